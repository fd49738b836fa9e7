"""The HTTP server: connections of bounded cost, and the routes that it is given.

What it serves reads what is known and contacts neither a registry nor the cluster: liveness must never depend on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.limits import Limit
from exporter.server.connections import Bounds, Connections
from exporter.server.pages import HEADERS, PATHS, Page, Pages

__all__ = ["HEADERS", "PATHS", "Bounds", "EmbeddedServer", "ListenError", "Page", "Pages", "Server", "listen"]

# A scrape in progress may finish when the process is asked to stop. Kubernetes waits 30 s, people less.
_SHUTDOWN_SECONDS = 2
# Connections that the kernel holds until they are accepted, and that are accepted at once. A client would try again
# after a second if there were more, and the kubelet waits for no more than that.
_BACKLOG = 512
# The kernel counts the buffers of a connection as memory of the pod, and lets each grow to megabytes by default. It
# takes twice these numbers, for its own overhead. So 256 clients that do not read cost 80 MiB there at most.
_SEND_BUFFER_BYTES = 128 << 10
_RECEIVE_BUFFER_BYTES = 32 << 10


class ListenError(Exception):
    """The exporter cannot listen on the address."""


def listen(host: str, port: int, *, key: str = "--listen") -> socket.socket:
    """A listening socket. An empty host means every address, port 0 any free port; `key` sets them.

    Raises:
        ListenError: in use, not an address of this machine, or not permitted.
    """
    try:
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
    except (OSError, OverflowError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error}; name another address with {key}") from error
    # Connections inherit it. asyncio sets it only on sockets that it created, and a page is sent in several writes.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return listener


class EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers: it shares the process with other parts and is stopped with them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers as they are."""
        yield


class _BoundedServer(EmbeddedServer):
    """uvicorn with bounded connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        self._connections.sweep()
        return await super().on_tick(counter)


class Server:
    """Answers requests while `run` runs.

    Args:
        listener: from `listen`; closed at the end.
        routes: what is answered; the first that matches a path answers it.
        exceeded: called with each limit that a client exceeds.
        bounds: what connections may cost.
    """

    def __init__(
        self,
        *,
        listener: socket.socket,
        routes: Sequence[BaseRoute],
        exceeded: Callable[[Limit], None],
        bounds: Bounds | None = None,
    ) -> None:
        self._listener = listener
        app = Starlette(routes=routes)
        # It would make an address from the client's Host header.
        app.router.redirect_slashes = False
        connections = Connections(bounds=bounds or Bounds(), exceeded=exceeded)
        config = uvicorn.Config(
            _without_bodies(app, exceeded),
            # A class to uvicorn, which only calls it.
            http=connections.accept,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=connections.bounds.header_bytes,
            backlog=_BACKLOG,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        self._server = _BoundedServer(config, connections)

    async def run(self) -> None:
        """Answer until cancelled; requests in progress may finish."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise


def _without_bodies(app: ASGIApp, exceeded: Callable[[Limit], None]) -> ASGIApp:
    """An application that refuses requests with a body."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in scope["headers"]
        ):
            exceeded(Limit.HTTP_BODY_BYTES)
            headers = {**HEADERS, "Connection": "close"}
            await PlainTextResponse("send no body\n", status_code=413, headers=headers)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded

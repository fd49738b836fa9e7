"""The HTTP server: connections of bounded cost, and the routes of other modules.

Routes only read known state and contact neither a registry nor the cluster, so liveness never depends on them.
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

# A scrape in progress may finish on shutdown. Kubernetes waits 30 s, people less.
_SHUTDOWN_SECONDS = 2
# Backlog of pending connections, all accepted at once. Beyond it, a client retries after a second, and the kubelet does
# not wait longer than that.
_BACKLOG = 512
# The kernel counts socket buffers as memory of the pod and lets each grow to megabytes by default. It doubles this
# number for its own overhead, so 256 clients that do not read cost at most 80 MiB.
_SEND_BUFFER_BYTES = 128 << 10
_RECEIVE_BUFFER_BYTES = 32 << 10


class ListenError(Exception):
    """The exporter cannot listen on the address."""


def listen(host: str, port: int, *, key: str = "--listen") -> socket.socket:
    """Return a listening socket. An empty host means every address, port 0 any free port. `key` names the setting.

    Raises:
        ListenError: the address is in use, not local, or not permitted.
    """
    try:
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
    except (OSError, OverflowError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error}; set another address with {key}") from error
    # Connections inherit it. asyncio only sets it on sockets that it created, and a page is sent in several writes.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return listener


class EmbeddedServer(uvicorn.Server):
    """uvicorn without signal handlers: it shares the process with other parts and stops with them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers unchanged."""
        yield


class _BoundedServer(EmbeddedServer):
    """uvicorn with bounded connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """Close overdue connections; uvicorn calls this ten times a second."""
        self._connections.sweep()
        return await super().on_tick(counter)


class Server:
    """HTTP server that runs while `run` runs.

    Args:
        listener: from `listen`; closed at the end.
        routes: routes; the first that matches a path is used.
        exceeded: called with each limit that a client exceeds.
        bounds: limits on connections.
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
        # A redirect would use an address from the client's Host header.
        app.router.redirect_slashes = False
        connections = Connections(bounds=bounds or Bounds(), exceeded=exceeded)
        config = uvicorn.Config(
            _without_bodies(app, exceeded),
            # uvicorn expects a class, but only calls it.
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
        """Serve until cancelled. Requests in progress may finish."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise


def _without_bodies(app: ASGIApp, exceeded: Callable[[Limit], None]) -> ASGIApp:
    """Wrap an application to reject requests with a body."""

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

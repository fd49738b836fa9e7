"""The HTTP server: the metrics, the findings as JSON, liveness and readiness.

It only reads what it is given and contacts neither a registry nor the cluster: liveness must never depend on them, and
a scrape takes as long as copying bytes. What is rendered on request is rendered in a thread, once for all who ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any, Protocol, TypeVar

import uvicorn
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics_text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter import __version__
from exporter.limits import Limit
from exporter.server.body import Body
from exporter.server.connections import Bounds, Connections
from exporter.server.negotiation import OPENMETRICS, accepts_gzip, accepts_openmetrics
from exporter.server.own_metrics import OwnMetrics
from exporter.telemetry import Telemetry

_T = TypeVar("_T")
# A scrape in progress may finish when the process is asked to stop. Kubernetes waits 30 s, people less.
_SHUTDOWN_SECONDS = 2
# Connections that the kernel holds until they are accepted, and that are accepted at once. A client would try again
# after a second if there were more, and the kubelet waits for no more than that.
_BACKLOG = 512
# The kernel counts the buffers of a connection as memory of the pod, and lets each grow to megabytes by default. It
# takes twice these numbers, for its own overhead.
_SEND_BUFFER_BYTES = 256 << 10
_RECEIVE_BUFFER_BYTES = 64 << 10
_MEDIA = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: f"{OPENMETRICS}; version=1.0.0; charset=utf-8",
}
_ENCODERS: dict[bool, Callable[[Any], bytes]] = {
    False: text.generate_latest,
    True: openmetrics_text.generate_latest,
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
PATHS = {
    "/metrics": "metrics, as text and OpenMetrics",
    "/api/v1/findings": "findings, as JSON",
    "/-/ready": "whether everything that is watched has been listed",
    "/-/healthy": "whether the process lives",
}
"""What can be read, and what each path has."""


class Page(Protocol):
    """The rendered content of `/metrics`, such as `collector.Exposition`."""

    def chunks(self, openmetrics: bool, /) -> Iterable[bytes]:  # noqa: FBT001
        """The page in parts, without its end."""

    def compressed(self, openmetrics: bool, /) -> bool:  # noqa: FBT001
        """Whether `compress` was called."""

    def compress(self, openmetrics: bool, /) -> None:  # noqa: FBT001
        """Prepare `gzip`; takes a while."""

    def gzip(self, openmetrics: bool, tail: bytes, /) -> Sequence[bytes]:  # noqa: FBT001
        """The page followed by `tail`, compressed, in parts."""


class ListenError(Exception):
    """The exporter cannot listen on the address."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. An empty host means every address, port 0 any free port.

    Raises:
        ListenError: in use, not an address of this machine, or not permitted.
    """
    try:
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
    except (OSError, OverflowError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error}; name another address with --listen") from error
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
        telemetry: the exporter's own metrics.
        exposition: the page of the newest snapshot.
        findings: the JSON of the newest snapshot in parts, none before there is one; called in a thread.
        ready: whether everything that is watched has been listed once.
        page: the routes of the page at `/`. None: a list of the other paths is there.
        bounds: what connections may cost.
    """

    def __init__(
        self,
        *,
        listener: socket.socket,
        telemetry: Telemetry,
        exposition: Callable[[], Page],
        findings: Callable[[], Sequence[bytes]],
        ready: Callable[[], bool],
        page: Sequence[Route] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._listener = listener
        self._own = OwnMetrics(telemetry.registry)
        self._exposition = exposition
        self._findings = findings
        self._ready = ready
        routes = [
            *(page if page is not None else (Route("/", self._landing),)),
            Route("/metrics", self._metrics),
            Route("/api/v1/findings", self._found),
            Route("/-/healthy", self._healthy),
            Route("/-/ready", self._readiness),
        ]
        app = Starlette(routes=routes)
        # It would make an address from the client's Host header.
        app.router.redirect_slashes = False
        connections = Connections(bounds=bounds or Bounds(), exceeded=telemetry.exceeded)
        config = uvicorn.Config(
            _without_bodies(app, telemetry.exceeded),
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
        # One, so that what many clients ask for at once is rendered once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="server")

    async def run(self) -> None:
        """Answer until cancelled; requests in progress may finish."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise
        finally:
            self._thread.shutdown(wait=False)

    async def _metrics(self, request: Request) -> Response:
        openmetrics = accepts_openmetrics(request.headers.get("accept", ""))
        compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
        exposition = self._exposition()
        if compressed and not exposition.compressed(openmetrics):
            await self._in_thread(lambda: exposition.compress(openmetrics))
        # Its last line is OpenMetrics' `# EOF`, so it comes after the snapshot.
        own = self._own.render(_ENCODERS[openmetrics], openmetrics=openmetrics)
        headers = {**_HEADERS, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
            return Body(exposition.gzip(openmetrics, own), media=_MEDIA[openmetrics], headers=headers)
        return Body((*exposition.chunks(openmetrics), own), media=_MEDIA[openmetrics], headers=headers)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _found(self, _request: Request) -> Response:
        parts = await self._in_thread(self._findings)
        # An empty list would read as if nothing missed a patch.
        return Body(parts, media="application/json", headers=_HEADERS) if parts else _unlisted()

    async def _healthy(self, _request: Request) -> Response:
        return PlainTextResponse("healthy\n", headers=_HEADERS)

    async def _readiness(self, _request: Request) -> Response:
        if self._ready():
            return PlainTextResponse("ready\n", headers=_HEADERS)
        return _unlisted()

    async def _landing(self, _request: Request) -> Response:
        links = "".join(f'<li><a href="{path}">{path}</a>: {escape(text)}</li>' for path, text in PATHS.items())
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mojaloop image patch exporter</title>'
            '<meta name="viewport" content="width=device-width"><style>'
            "body{font:1rem/1.6 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem;color:#222}"
            "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8ab4f8}}"
            "</style></head><body><h1>Mojaloop image patch exporter</h1>"
            "<p>Which containers of this cluster miss a patch release of their image. "
            f"Version {escape(__version__)}.</p>"
            f"<ul>{links}</ul></body></html>",
            headers=_HEADERS,
        )


def _unlisted() -> Response:
    return PlainTextResponse("not ready: what is watched has not been listed yet\n", status_code=503, headers=_HEADERS)


def _without_bodies(app: ASGIApp, exceeded: Callable[[Limit], None]) -> ASGIApp:
    """An application that refuses requests with a body."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in scope["headers"]
        ):
            exceeded(Limit.HTTP_BODY_BYTES)
            headers = {**_HEADERS, "Connection": "close"}
            await PlainTextResponse("send no body\n", status_code=413, headers=headers)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded

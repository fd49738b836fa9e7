"""The HTTP server: the metrics, the findings as JSON, liveness and readiness.

It only reads what it is given and contacts neither a registry nor the cluster: liveness must never depend on them, and
a scrape takes as long as copying bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Protocol

import uvicorn
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter import __version__

# A scrape in progress may finish when the process is asked to stop. Kubernetes waits 30 s, people less.
_SHUTDOWN_SECONDS = 2
_MOST_CONNECTIONS = 200
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
_EOF = b"# EOF\n"
_PAGES = {
    "/metrics": "metrics, as text and OpenMetrics",
    "/api/v1/findings": "findings, as JSON",
    "/-/ready": "whether the cluster has been listed",
    "/-/healthy": "whether the process lives",
}


class Page(Protocol):
    """The rendered content of `/metrics`, such as `collector.Exposition`."""

    def chunks(self, openmetrics: bool, /) -> Iterator[bytes]:  # noqa: FBT001
        """The page in parts, without its end."""

    def gzip(self, openmetrics: bool, tail: bytes, /) -> bytes:  # noqa: FBT001
        """The page followed by `tail`, compressed."""


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
    return listener


class EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers: it shares the process with other parts and is stopped with them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers as they are."""
        yield


class Server:
    """Answers requests while `run` runs.

    Args:
        listener: from `listen`; closed at the end.
        own: the exporter's own metrics.
        exposition: the page of the newest snapshot.
        findings: the JSON of the newest snapshot.
        ready: whether everything that is watched has been listed once.
    """

    def __init__(
        self,
        *,
        listener: socket.socket,
        own: CollectorRegistry,
        exposition: Callable[[], Page],
        findings: Callable[[], bytes],
        ready: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._own = _OwnMetrics(own)
        self._exposition = exposition
        self._findings = findings
        self._ready = ready
        routes = [
            Route("/", self._landing),
            Route("/metrics", self._metrics),
            Route("/api/v1/findings", self._found),
            Route("/-/healthy", self._healthy),
            Route("/-/ready", self._readiness),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        self._server = EmbeddedServer(config)

    async def run(self) -> None:
        """Answer until cancelled; requests in progress may finish."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise

    async def _metrics(self, request: Request) -> Response:
        encode, media = choose_encoder(request.headers.get("accept", ""))
        openmetrics = media.startswith("application/openmetrics-text")
        # Its last line is OpenMetrics' `# EOF`, so it comes after the snapshot.
        own = self._own.render(encode, media)
        exposition = self._exposition()
        headers = {**_HEADERS, "Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            return Response(exposition.gzip(openmetrics, own), media_type=media, headers=headers)

        return Response(b"".join((*exposition.chunks(openmetrics), own)), media_type=media, headers=headers)

    async def _found(self, _request: Request) -> Response:
        return Response(self._findings(), media_type="application/json", headers=_HEADERS)

    async def _healthy(self, _request: Request) -> Response:
        return PlainTextResponse("healthy\n", headers=_HEADERS)

    async def _readiness(self, _request: Request) -> Response:
        if self._ready():
            return PlainTextResponse("ready\n", headers=_HEADERS)
        return PlainTextResponse("not ready: the cluster has not been listed yet\n", status_code=503, headers=_HEADERS)

    async def _landing(self, _request: Request) -> Response:
        links = "".join(f'<li><a href="{path}">{path}</a>: {escape(text)}</li>' for path, text in _PAGES.items())
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


class _OwnMetrics:
    """The exporter's own metrics, a family rendered again only when a value of it changed.

    Most of them are counters of failures that stay as they are, and rendering them all would take longer than all else
    in a scrape.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # By media type and family: the values, and the text that they were rendered to.
        self._known: dict[tuple[str, str], tuple[list[float], bytes]] = {}

    def render(self, encode: Callable[[Any], bytes], media: str) -> bytes:
        """The page of the registry.

        Args:
            encode: `prometheus_client`'s encoder.
            media: the media type that it renders.
        """
        parts: list[bytes] = []
        for family in self._registry.collect():
            # Samples are only ever added, at the end.
            values = [sample.value for sample in family.samples]
            known = self._known.get((media, family.name))
            if known is None or known[0] != values:
                known = self._known[media, family.name] = values, encode(_One(family)).removesuffix(_EOF)
            parts.append(known[1])
        return b"".join((*parts, _EOF if "openmetrics" in media else b""))


class _One:
    """A family as a registry of its own."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _accepts_gzip(header: str) -> bool:
    """Whether `Accept-Encoding` (RFC 9110, section 12.5.3) accepts gzip."""
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding in ("gzip", "x-gzip", "*"):
            return not any(p.startswith("q=") and not p[2:].strip("0.") for p in parameters)
    return False

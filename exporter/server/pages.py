"""The exporter's own pages: metrics, liveness, readiness, and a landing page that links them.

A scrape only copies bytes. Anything rendered on request is rendered in a thread, once for concurrent requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any, Protocol

from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics_text
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter import __version__
from exporter.server.body import Body
from exporter.server.negotiation import OPENMETRICS, accepts_gzip, accepts_openmetrics
from exporter.server.own_metrics import OwnMetrics
from exporter.telemetry import Telemetry

_MEDIA = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: f"{OPENMETRICS}; version=1.0.0; charset=utf-8",
}
_ENCODERS: dict[bool, Callable[[Any], bytes]] = {
    False: text.generate_latest,
    True: openmetrics_text.generate_latest,
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
PATHS = {
    "/metrics": "metrics, as text and OpenMetrics",
    "/-/ready": "readiness: everything that is watched has been listed",
    "/-/healthy": "liveness: the process is running",
}
"""The exporter's own paths, with a description of each."""


class Page(Protocol):
    """The rendered content of `/metrics`, such as `collector.Exposition`."""

    def chunks(self, openmetrics: bool, /) -> Iterable[bytes]:  # noqa: FBT001
        """Return the page in parts, without its end."""

    def compressed(self, openmetrics: bool, /) -> bool:  # noqa: FBT001
        """Whether `compress` was called."""

    def compress(self, openmetrics: bool, /) -> None:  # noqa: FBT001
        """Prepare `gzip`. This takes a while."""

    def gzip(self, openmetrics: bool, tail: bytes, /) -> Sequence[bytes]:  # noqa: FBT001
        """Return the page followed by `tail`, compressed, in parts."""


class Pages:
    """The exporter's own pages.

    Args:
        telemetry: the exporter's own metrics.
        exposition: page of the newest snapshot.
        ready: whether everything that is watched has been listed once.
        links: additional paths for the landing page, with a description of each.
    """

    def __init__(
        self,
        *,
        telemetry: Telemetry,
        exposition: Callable[[], Page],
        ready: Callable[[], bool],
        links: Mapping[str, str] | None = None,
    ) -> None:
        self._own = OwnMetrics(telemetry.registry)
        self._exposition = exposition
        self._ready = ready
        self._links = {**PATHS, **(links or {})}
        # One thread, so that concurrent requests are rendered once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="server")

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pages. An earlier route for `/` replaces the landing page."""
        return [
            Route("/", self._landing),
            Route("/metrics", self._metrics),
            Route("/-/healthy", self._healthy),
            Route("/-/ready", self._readiness),
        ]

    async def _metrics(self, request: Request) -> Response:
        openmetrics = accepts_openmetrics(request.headers.get("accept", ""))
        compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
        exposition = self._exposition()
        if compressed and not exposition.compressed(openmetrics):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, lambda: exposition.compress(openmetrics))
        # This ends with OpenMetrics' `# EOF`, so it follows the snapshot.
        own = self._own.render(_ENCODERS[openmetrics], openmetrics=openmetrics)
        headers = {**HEADERS, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
            return Body(exposition.gzip(openmetrics, own), media=_MEDIA[openmetrics], headers=headers)
        return Body((*exposition.chunks(openmetrics), own), media=_MEDIA[openmetrics], headers=headers)

    async def _healthy(self, _request: Request) -> Response:
        return PlainTextResponse("healthy\n", headers=HEADERS)

    async def _readiness(self, _request: Request) -> Response:
        if self._ready():
            return PlainTextResponse("ready\n", headers=HEADERS)
        return PlainTextResponse(
            "not ready: the watched resources have not been listed yet\n", status_code=503, headers=HEADERS
        )

    async def _landing(self, _request: Request) -> Response:
        links = "".join(f'<li><a href="{path}">{path}</a>: {escape(text)}</li>' for path, text in self._links.items())
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mojaloop image patch exporter</title>'
            '<meta name="viewport" content="width=device-width"><style>'
            "body{font:1rem/1.6 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem;color:#222}"
            "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8ab4f8}}"
            "</style></head><body><h1>Mojaloop image patch exporter</h1>"
            "<p>Containers of this cluster that miss a patch release of their image. "
            f"Version {escape(__version__)}.</p>"
            f"<ul>{links}</ul></body></html>",
            headers=HEADERS,
        )

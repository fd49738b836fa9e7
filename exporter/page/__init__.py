"""The findings page at `/`, with its script and style sheet.

The server renders the HTML, so the page can be read, filtered, sorted and paged without a script. The script polls the
page with `If-None-Match` and replaces what changed.

Nothing is imported, loaded or cached for the page until it is requested: most hubs never open it, and every hub pays
for the exporter's memory. Slow work runs in a thread, so that it does not delay scrapes.

Anyone who can create a pod controls names and references shown here. The template escapes all of them. The
Content-Security-Policy permits only our own scripts and styles, and nothing from other hosts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.findings import Snapshot
from exporter.page.access import CHALLENGE, Headers, with_bearer

if TYPE_CHECKING:
    from exporter.page.rendering import Renderer

REFRESH_SECONDS = 15.0
# The threshold of the alert MojaloopImageLookupStale.
STALE_SECONDS = 6 * 3600.0
_FILES = files(__name__) / "files"
_MEDIA = {"page.css": "text/css", "page.js": "text/javascript"}
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Browsers revalidate every time, and the ETag makes that cheap. Shared caches must not store responses behind a token.
_PAGE = {**_SECURITY, "Cache-Control": "private, no-cache"}
# The URLs of files change with their content.
_FILE = {**_SECURITY, "Cache-Control": "private, max-age=31536000, immutable"}


MayRead = Callable[[Headers], bool]
"""Whether a request with these headers may read the page."""
_LOG_IN = "Log in with any user name, and the API's token as the password.\n"


class Source(Protocol):
    """The provider of the newest snapshot, such as the publisher of `app`."""

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot; an empty one before the first."""


def routes(
    source: Source,
    *,
    may_read: MayRead | None = None,
    links: Mapping[str, str] | None = None,
    stale_seconds: Callable[[], float] = lambda: STALE_SECONDS,
    refresh_seconds: float = REFRESH_SECONDS,
    clock: Callable[[], float] = time.time,
) -> list[Route]:
    """Return the routes of the page.

    Args:
        source: provides the snapshot to show.
        may_read: whether a request with these headers may read the page. A browser sends the API's token as the
            password of Basic authentication, which is converted to a bearer token here. None: everyone may.
        links: other paths of the same server, with a description of each.
        stale_seconds: age from which the page calls the tags of a repository old.
        refresh_seconds: polling interval of an open page.
        clock: returns epoch seconds.
    """
    settings = {"links": dict(links or {}), "stale_seconds": stale_seconds, "refresh_seconds": refresh_seconds}
    page = _Page(source, may_read=may_read, settings=settings, clock=clock)
    return [Route("/", page.answer), *(Route(f"/page/{name}", _file(name, media)) for name, media in _MEDIA.items())]


class Rendered(NamedTuple):
    """A response: its status, body and ETag."""

    status: int
    body: bytes
    etag: str = ""


class _Page:
    def __init__(
        self, source: Source, *, may_read: MayRead | None, settings: Mapping[str, Any], clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._may_read = may_read
        self._settings = settings
        self._clock = clock
        # One thread, so that rendering needs no lock. It starts with the first request.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._renderer: Renderer | None = None
        self._pending: dict[tuple[int, str, str], asyncio.Future[Rendered]] = {}

    async def answer(self, request: Request) -> Response:
        if self._may_read is not None and not self._may_read(with_bearer(request.headers.raw)):
            return PlainTextResponse(_LOG_IN, status_code=401, headers={**_PAGE, "WWW-Authenticate": CHALLENGE})
        snapshot, known = self._source.snapshot, request.headers.get("if-none-match", "")
        # Concurrent equal requests share a response.
        key = id(snapshot), request.url.query, known
        pending = self._pending.get(key)
        if pending is None:
            work = partial(self._render, snapshot, dict(request.query_params), known)
            pending = self._pending[key] = asyncio.get_running_loop().run_in_executor(self._thread, work)
            pending.add_done_callback(lambda _: self._pending.pop(key))
        rendered = await asyncio.shield(pending)
        if rendered.status == 400:
            return PlainTextResponse(rendered.body, status_code=400, headers=_PAGE)
        headers = {**_PAGE, "ETag": rendered.etag}
        return Response(rendered.body, status_code=rendered.status, headers=headers, media_type="text/html")

    def _render(self, snapshot: Snapshot, parameters: Mapping[str, str], known: str) -> Rendered:
        """Render a page; runs in the thread."""
        if self._renderer is None:
            from exporter.page.rendering import Renderer  # noqa: PLC0415 - jinja2 is imported for the first request

            self._renderer = Renderer(assets=asset_versions(), **self._settings)
        return self._renderer.render(snapshot, parameters, known=known, now=self._clock())


def asset_versions() -> dict[str, str]:
    """Return a text for each file of the page that changes with its content."""
    return {name: sha256((_FILES / name).read_bytes()).hexdigest()[:12] for name in _MEDIA}


def template() -> str:
    """Return the text of the page's template."""
    return (_FILES / "page.html").read_text("utf-8")


def _file(name: str, media: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        # A few kilobytes.
        return Response((_FILES / name).read_bytes(), media_type=media, headers=_FILE)

    return answer

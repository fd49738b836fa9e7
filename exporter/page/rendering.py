"""The page as HTML: rows and texts in the template.

The first request imports this module, and with it jinja2, and compiles the template once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from jinja2 import Environment, StrictUndefined

from exporter import __version__
from exporter.findings import Snapshot
from exporter.page import Rendered, template
from exporter.page.content import make_content
from exporter.page.query import QueryError, View
from exporter.page.rows import Tables


class Renderer:
    """Renderer of pages. It caches the template, and the rows of the newest snapshot that it rendered.

    Args:
        assets: version of each file that the page loads.
        links: other paths of the server, with a description of each.
        stale_seconds: age from which the tags of a repository count as old.
        refresh_seconds: polling interval of an open page.
    """

    def __init__(
        self,
        *,
        assets: Mapping[str, str],
        links: Mapping[str, str],
        stale_seconds: Callable[[], float],
        refresh_seconds: float,
    ) -> None:
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.globals.update(assets=assets, links=links, refresh_seconds=refresh_seconds, version=__version__)
        self._template = environment.from_string(template())
        self._stale_seconds = stale_seconds
        self._tables = Tables()

    def render(self, snapshot: Snapshot, parameters: Mapping[str, str], *, known: str, now: float) -> Rendered:
        """Render the response to a request.

        Args:
            snapshot: snapshot to show.
            parameters: query parameters.
            known: ETag of the client's copy. An equal page is not rendered again.
            now: epoch seconds.
        """
        try:
            view = View.of(parameters)
        except QueryError as error:
            return Rendered(400, f"{error}\n".encode())
        table = self._tables.of(snapshot)
        content = make_content(snapshot, table, view, now=now, stale_seconds=self._stale_seconds())
        # Proxies that compress responses make ETags weak.
        if known.removeprefix("W/") == content.etag:
            return Rendered(304, b"", content.etag)
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = self._template.render(content=content, title=content.title, now=at)
        return Rendered(200, body.encode(), content.etag)

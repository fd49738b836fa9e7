"""The page as HTML: rows and texts put into the template.

jinja2 is imported with this module, and the template compiled once, for the first request.
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
    """Renders pages; it keeps the template, and the rows of the newest snapshot that it rendered.

    Args:
        assets: the version of each file that the page loads.
        links: other paths of the server, and what each of them has.
        stale_seconds: the age from which the tags of a repository count as old.
        refresh_seconds: how often an open page asks for changes.
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
        """The answer to a request.

        Args:
            snapshot: what to show.
            parameters: of the address.
            known: the entity tag of the page that the client has; an equal one is not rendered again.
            now: epoch seconds.
        """
        try:
            view = View.of(parameters)
        except QueryError as error:
            return Rendered(400, f"{error}\n".encode())
        table = self._tables.of(snapshot)
        content = make_content(snapshot, table, view, now=now, stale_seconds=self._stale_seconds())
        # Proxies that compress answers make tags weak.
        if known.removeprefix("W/") == content.etag:
            return Rendered(304, b"", content.etag)
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = self._template.render(content=content, title=content.title, now=at)
        return Rendered(200, body.encode(), content.etag)

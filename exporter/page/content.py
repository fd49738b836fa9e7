"""The content of the page: rows and totals as texts for the template.

Everything here is a plain value. The page's ETag is derived from them: pages with equal values are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from exporter import __version__, words
from exporter.findings import Snapshot
from exporter.page.cells import FEW, Cells, capital, commands_of, make_cells, rfc3339, since_words
from exporter.page.query import NO_NAMESPACE, Sort, View
from exporter.page.rows import Row, Table, select
from exporter.words import State

ROWS = 100
"""Maximum number of rows on a page."""
# Total length of the commands. A page stays below 500 kB.
_PAGE_CHARACTERS = 100_000
_SORTS = {
    Sort.URGENCY: "State",
    Sort.WORKLOAD: "Workload",
    Sort.IMAGE: "Image",
    Sort.BEHIND: "Behind",
    Sort.AGE: "Missing for",
    Sort.OWNER: "Owner",
}


class Total(NamedTuple):
    """A number at the top: its title as on the dashboard, text, link to its rows, and start of its age."""

    title: str
    text: str
    url: str = ""
    since: str = ""
    state: str = ""


class Column(NamedTuple):
    """A column: its title, and how to sort by it."""

    title: str
    url: str = ""
    sorted: str = ""


class Choice(NamedTuple):
    """An option of a list."""

    value: str
    text: str
    chosen: bool


class Content(NamedTuple):
    """Everything that changes on the page."""

    notices: tuple[str, ...]
    totals: tuple[Total, ...]
    columns: tuple[Column, ...]
    rows: tuple[Cells, ...]
    matching: int
    first: int
    before: str
    after: str
    namespaces: tuple[Choice, ...]
    states: tuple[Choice, ...]
    sorts: tuple[Choice, ...]
    text: str
    reverse: bool
    filtered: bool
    listed: bool

    @property
    def title(self) -> str:
        """The title of the page, with the number of workloads that miss a patch."""
        missing = self.totals[0].text
        return "Image patches" if missing == "0" else f"({missing}) Image patches"

    @property
    def etag(self) -> str:
        """The entity tag of a page with this content, and this version's template."""
        return f'"{blake2b(repr((__version__, tuple(self))).encode(), digest_size=12).hexdigest()}"'


def make_content(snapshot: Snapshot, table: Table, view: View, *, now: float, stale_seconds: float) -> Content:
    """Return the content of a view of a snapshot.

    Args:
        snapshot: snapshot to show.
        table: table of the snapshot.
        view: which rows, in which order.
        now: epoch seconds, for ages.
        stale_seconds: age from which the tags of a repository count as old.
    """
    selected = select(table, view)
    # If rows are gone, show the last page.
    start = view.start if view.start < len(selected) else max(0, len(selected) - 1) // ROWS * ROWS
    shown = _page(selected[start : start + ROWS])
    end = start + len(shown)
    return Content(
        notices=tuple(_notices(snapshot, now, stale_seconds)),
        totals=_totals(table, view, now),
        columns=tuple(_columns(view)),
        rows=tuple(make_cells(row, now) for row in shown),
        matching=len(selected),
        first=start + 1 if selected else 0,
        before=view.url(start=max(0, start - ROWS)) if start else "",
        after=view.url(start=end) if end < len(selected) else "",
        namespaces=tuple(_namespaces(table.namespaces, view.namespace)),
        states=(
            Choice("", "All states", view.state is None),
            *(Choice(state.value, capital(text), view.state is state) for state, text in words.STATES.items()),
        ),
        sorts=tuple(
            Choice("" if sort is Sort.URGENCY else sort.value, title, view.sort is sort)
            for sort, title in _SORTS.items()
        ),
        text=view.text,
        reverse=view.reverse,
        filtered=view.filtered,
        listed=snapshot.listed,
    )


def _page(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the first rows, at least one, whose commands fit into a page."""
    room = _PAGE_CHARACTERS
    for number, row in enumerate(rows):
        room -= sum(len(command.text) for command in commands_of(row))
        if room < 0 and number:
            return rows[:number]
    return rows


def _notices(snapshot: Snapshot, now: float, stale_seconds: float) -> list[str]:
    """Return warnings that the list may be incomplete or old."""
    notices = []
    missing = [namespace for namespace, synced in sorted(snapshot.synced.items()) if not synced]
    if not snapshot.listed:
        notices.append("The list is incomplete: not everything that is watched has been listed yet.")
    elif missing:
        where = "in the cluster" if missing == ["*"] else f"in {_names(missing)}"
        notices.append(
            f"The list is incomplete: some watched resources {where} cannot be listed or followed. "
            "See the exporter's log for details."
        )
    old = sorted((at, str(repository)) for repository, at in snapshot.lookups.items() if now - at > stale_seconds)
    if old:
        age = words.age(now - old[0][0])
        which = _names([words.short_image(name) for _, name in old])
        notices.append(f"Newer patches may be missing: the last lookup of {which} was up to {age} ago.")
    return notices


def _totals(table: Table, view: View, now: float) -> tuple[Total, ...]:
    totals, everything = table.totals, View(sort=view.sort, reverse=view.reverse)

    def lag(title: str, since: float | None) -> Total:
        if since is None:
            return Total(title, "none")
        return Total(title, since_words(since, now), since=rfc3339(since), state=State.PATCH)

    def number(title: str, count: int, state: State | None, *, url: str = "") -> Total:
        return Total(title, f"{count:,}", url, state=state.value if state and count else "")

    return (
        number("Workloads that miss a patch", totals.workloads, State.PATCH, url=everything.url(state=State.PATCH)),
        lag("Worst lag", totals.worst),
        lag("Median lag", totals.median),
        # Not a link: these are also among the rows that miss a patch.
        number("Superseded lines", totals.superseded, State.SUPERSEDED),
        number("Unknown containers", totals.unknown, State.UNKNOWN, url=everything.url(state=State.UNKNOWN)),
        number("Watched containers", totals.watched, None, url=everything.url()),
    )


def _columns(view: View) -> list[Column]:
    def column(sort: Sort) -> Column:
        title = _SORTS[sort]
        if view.sort is not sort:
            return Column(title, view.url(sort=sort, reverse=False))
        # Behind and age start with the greatest.
        falls = view.reverse is not (sort in (Sort.BEHIND, Sort.AGE))
        return Column(title, view.url(reverse=not view.reverse), "descending" if falls else "ascending")

    return [
        column(Sort.URGENCY),
        column(Sort.WORKLOAD),
        column(Sort.IMAGE),
        Column("Running"),
        Column("Newest patch"),
        column(Sort.BEHIND),
        column(Sort.AGE),
        Column("Newer lines"),
        column(Sort.OWNER),
    ]


def _namespaces(known: Sequence[str], chosen: str) -> list[Choice]:
    choices = [Choice("", "All namespaces", not chosen)]
    if "" in known or chosen == NO_NAMESPACE:
        choices.append(Choice(NO_NAMESPACE, "Watched images", chosen == NO_NAMESPACE))
    named = {name for name in (*known, chosen) if name not in ("", NO_NAMESPACE)}
    return choices + [Choice(name, name, name == chosen) for name in sorted(named)]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:FEW])
    return shown if len(names) <= FEW else f"{shown} and {len(names) - FEW} more"

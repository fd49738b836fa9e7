"""Rows and totals of the page from a snapshot, without markup.

A row groups the containers of a workload that run the same image and tag and are in the same state, because one command
patches them. Building the rows of ten thousand containers takes tens of milliseconds, so they are built on first use
and cached with their snapshot.
"""

from __future__ import annotations

import operator
import statistics
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from exporter.findings import NO_STATE, Finding, Snapshot, WorkloadPatch
from exporter.page.query import NO_NAMESPACE, Sort, View
from exporter.words import State, state
from exporter.workloads import Manager, WorkloadKey

_URGENCY = {which: number for number, which in enumerate(State)}


class Row(NamedTuple):
    """Containers of one workload with the same image, tag and state.

    Attributes:
        state: state of all of them.
        findings: at least one, in the order of the snapshot.
        patch: their missing patch; None unless one is missing.
        since: epoch seconds when the first missing patch was published, or first seen; None if unknown or none is
            missing.
        manager: owner of the workload.
    """

    state: State
    findings: tuple[Finding, ...]
    patch: WorkloadPatch | None
    since: float | None
    manager: Manager | None

    @property
    def workload(self) -> WorkloadKey:
        """The workload of the containers."""
        return self.findings[0].workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The numbers of the overview dashboard, by the rules of its queries.

    Attributes:
        workloads: workloads that miss a patch.
        worst, median: epoch seconds since when the oldest and the median missing patch of workloads has been out; None
            if none is missing.
        superseded: images that run on a line for which a newer minor release exists, by namespace.
        unknown: containers that cannot be judged.
        watched: containers whose image is known.
    """

    workloads: int
    worst: float | None
    median: float | None
    superseded: int
    unknown: int
    watched: int


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a snapshot, the most urgent first, with its totals and namespaces."""

    rows: tuple[Row, ...]
    totals: Totals
    namespaces: tuple[str, ...]


class Tables:
    """Cache of the last requested snapshot's table. The table is dropped with its snapshot."""

    def __init__(self) -> None:
        self._snapshot: Callable[[], Snapshot | None] = lambda: None
        self._table: Table | None = None

    def of(self, snapshot: Snapshot) -> Table:
        """Return the table of a snapshot, built once."""
        table = self._table
        if table is None or self._snapshot() is not snapshot:
            table = make_table(snapshot)
            self._snapshot, self._table = weakref.ref(snapshot, self._drop), table
        return table

    def _drop(self, gone: Callable[[], Snapshot | None]) -> None:
        if self._snapshot is gone:
            self._table = None


def make_table(snapshot: Snapshot) -> Table:
    """Build the rows and totals of a snapshot."""
    patches = {(patch.workload, patch.image, patch.tag): patch for patch in snapshot.patches}
    rows: list[Row] = []
    for key, findings in groupby(snapshot.findings, operator.attrgetter("workload")):
        manager = snapshot.workloads.get(key, NO_STATE).manager
        together: dict[Any, list[Finding]] = {}
        for finding in findings:
            together.setdefault(_together(finding), []).append(finding)
        rows += (_row(group, patches.get((key, group[0].image, group[0].tag)), manager) for group in together.values())
    rows.sort(key=_urgency)
    namespaces = sorted({row.workload.namespace for row in rows})
    return Table(tuple(rows), _totals(snapshot, rows), tuple(namespaces))


def select(table: Table, view: View) -> Sequence[Row]:
    """Return the rows of a view on all its pages, in order."""
    rows: Iterable[Row] = table.rows
    if view.state is not None:
        rows = (row for row in rows if row.state is view.state)
    if view.namespace:
        wanted = "" if view.namespace == NO_NAMESPACE else view.namespace
        rows = (row for row in rows if row.workload.namespace == wanted)
    if view.text:
        words = view.text.casefold().split()
        rows = (row for row in rows if _contains(row, words))
    # The sort is stable, so equal rows stay in the order of urgency.
    chosen = list(rows) if view.sort is Sort.URGENCY else sorted(rows, key=_ORDERS[view.sort])
    if view.reverse:
        chosen.reverse()
    return chosen


def _together(finding: Finding) -> tuple[Any, ...]:
    """Return the key that the findings of a row share."""
    if (which := state(finding)) is State.PATCH:
        return which, finding.image, finding.tag
    reference = "" if finding.image else finding.reference
    return which, finding.image, finding.tag, finding.digest, reference, finding.reason, finding.minor, finding.major


def _row(findings: Sequence[Finding], patch: WorkloadPatch | None, manager: Manager | None) -> Row:
    which, since = state(findings[0]), None
    if which is State.PATCH:
        published = [finding.published for finding in findings if finding.published is not None]
        seen = [finding.first_seen for finding in findings if finding.first_seen is not None]
        since = min(published or seen, default=None)
    return Row(which, tuple(findings), patch if which is State.PATCH else None, since, manager)


def _totals(snapshot: Snapshot, rows: Sequence[Row]) -> Totals:
    since = [row.since for row in rows if row.since is not None]
    containers = [((*found.workload, found.container, found.container_type), found) for found in snapshot.findings]
    return Totals(
        workloads=len({row.workload for row in rows if row.state is State.PATCH}),
        worst=min(since, default=None),
        median=statistics.median(since) if since else None,
        superseded=len(
            {
                (found.workload.namespace, found.image)
                for found in snapshot.findings
                if found.minor is not None and found.minor != found.tag
            }
        ),
        unknown=len({key for key, found in containers if found.reason is not None}),
        watched=len({(key, found.image, found.tag) for key, found in containers if found.image}),
    )


def _contains(row: Row, words: Sequence[str]) -> bool:
    first, manager = row.findings[0], row.manager
    parts = [*row.workload, first.image, first.tag, first.reference, first.reason or ""]
    parts += (finding.container for finding in row.findings)
    if row.patch is not None:
        parts.append(row.patch.latest_tag)
    if manager is not None:
        parts += (manager.name, manager.source)
    text = " ".join(parts).casefold()
    return all(word in text for word in words)


def _oldest_first(row: Row) -> float:
    # An unknown age sorts last.
    return row.since if row.since is not None else float("inf")


def _urgency(row: Row) -> tuple[Any, ...]:
    return _URGENCY[row.state], _oldest_first(row), row.workload, row.findings[0].image, row.findings[0].tag


_ORDERS: dict[Sort, Callable[[Row], Any]] = {
    Sort.WORKLOAD: lambda row: row.workload,
    Sort.IMAGE: lambda row: (row.findings[0].image or row.findings[0].reference, row.findings[0].tag),
    Sort.BEHIND: lambda row: -row.patch.releases_behind if row.patch is not None else 0,
    Sort.AGE: _oldest_first,
    # Rows without an owner sort last.
    Sort.OWNER: lambda row: (row.manager is None, row.manager.name if row.manager else "",
                             row.manager.source if row.manager else ""),
}  # fmt: skip

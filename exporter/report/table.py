"""For people: a table with a row for each image and tag, and a line of counts."""

from __future__ import annotations

import io
from collections import Counter
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.findings import Finding, Snapshot
from exporter.reasons import Reason
from exporter.workloads import WorkloadKey

_DAY = 86400.0
# How many workloads a row names if nothing is to be done for them.
_FEW = 3
# No line of a table is longer: names, images and tags have at most some 250 characters each.
_LONGEST_LINE = 2000


def render_table(snapshot: Snapshot, *, now: float) -> str:
    """The table and the counts: within the width of a terminal, otherwise in complete lines.

    Args:
        snapshot: what to show.
        now: epoch seconds, for ages.
    """
    shown, output = table(snapshot, now=now), Console()
    text = io.StringIO()
    # In memory, so that whoever writes it notices what goes wrong.
    console = Console(file=text, force_terminal=output.is_terminal, width=output.width, markup=False, highlight=False)
    if not console.is_terminal:
        # Whoever pipes the table wants complete lines.
        needed = console.measure(shown, options=console.options.update(max_width=_LONGEST_LINE)).maximum
        console.width = max(console.width, needed)
    if snapshot.findings:
        console.print(shown)
        console.print()
    console.print(counts(snapshot), soft_wrap=not console.is_terminal)
    # A cell ends in blanks up to the width of its column.
    return "".join(f"{line.rstrip(' ')}\n" for line in text.getvalue().splitlines())


def table(snapshot: Snapshot, *, now: float) -> Table:
    """A row for each image and tag: first those that miss a patch, the longest missed at the top; then what is up to
    date; then what is unknown. Where a patch is missed every workload is named; elsewhere a few are enough.

    Where it is wider than the terminal, its cells are wrapped, those of the widest columns first.

    Args:
        snapshot: what to show.
        now: epoch seconds, for ages.
    """
    rows: dict[_Row, list[Finding]] = {}
    for finding in sorted(snapshot.findings, key=_rank):
        rows.setdefault(_row(finding, now), []).append(finding)
    placed = any(finding.workload.kind for finding in snapshot.findings)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("IMAGE", "PATCH"):
        shown.add_column(column, overflow="fold")
    for column in ("BEHIND", "MISSED FOR"):
        shown.add_column(column, justify="right", overflow="fold")
    shown.add_column("NEWER LINE", overflow="fold")
    if placed:
        shown.add_column("WHERE", overflow="fold")
    for row, findings in rows.items():
        cells = [Text(row.image), Text(row.patch, _style(findings[0])), Text(row.behind), Text(row.age)]
        shown.add_row(*cells, Text(row.newer, "yellow"), *([Text(_where(findings))] if placed else []))
    return shown


class _Row(NamedTuple):
    """The cells that findings of one image and tag share; empty where there is nothing to say."""

    image: str
    patch: str
    behind: str = ""
    age: str = ""
    newer: str = ""


def _row(finding: Finding, now: float) -> _Row:
    if finding.reason is not None:
        return _Row(_short(finding), f"unknown: {finding.reason.value.replace('_', ' ')}")
    newer = finding.newer_line or ""
    if not finding.patch_available:
        return _Row(_short(finding), "none", newer=newer)
    return _Row(
        _short(finding), str(finding.latest_tag), str(finding.releases_behind), _age(finding.published, now), newer
    )


def _style(finding: Finding) -> str:
    if finding.reason is not None:
        return "magenta"
    if finding.patch_available:
        return "bold red"
    # "0 patches" must never read as "secure".
    return "green" if finding.newer_line is None else "yellow"


def counts(snapshot: Snapshot) -> str:
    """One line: how many containers are judged, miss a patch, are on an old line, are unknown and why."""
    findings = snapshot.findings
    unknown = Counter(finding.reason.value.replace("_", " ") for finding in findings if finding.reason is not None)
    missing = sum(bool(finding.patch_available) for finding in findings)
    superseded = sum(finding.patch_available is False and finding.newer_line is not None for finding in findings)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(unknown.items()))
    parts = [
        f"{_many(len(findings), 'container')} checked",
        f"{missing} {'misses' if missing == 1 else 'miss'} a patch",
        f"{sum(unknown.values())} unknown" + (f" ({reasons})" if reasons else ""),
    ]
    if superseded:
        # "0 patches" must never read as "secure".
        verb, being = ("misses", "is") if superseded == 1 else ("miss", "are")
        parts.insert(2, f"{superseded} {verb} none, but {being} on a line that a newer one superseded")
    if snapshot.ignored:
        parts.append(f"{snapshot.ignored} ignored")
    return "; ".join(parts) + "."


def _rank(finding: Finding) -> tuple[int, float, str, str, WorkloadKey]:
    rank = 2 if finding.reason is not None else 0 if finding.patch_available else 1
    since = finding.published or finding.first_seen or 0.0
    return rank, since if rank == 0 else 0.0, finding.image, finding.tag, finding.workload


def _where(findings: list[Finding]) -> str:
    """The workloads of a row; only a few of many if nothing is to be done for them."""
    places = list(dict.fromkeys(finding.workload for finding in findings))
    shown = places if findings[0].patch_available or len(places) <= _FEW else places[: _FEW - 1]
    lines = [f"{key.namespace} {key.kind.lower()}/{key.name}" for key in shown]
    if len(shown) < len(places):
        lines.append(f"and {_many(len(places) - len(shown), 'more workload')}")
    return "\n".join(lines)


def _short(finding: Finding) -> str:
    """The image as people know it, without the prefixes of Docker Hub."""
    name = finding.image.removeprefix("docker.io/").removeprefix("library/")
    if not name:
        return finding.reference or ("(not judged)" if finding.reason is Reason.LIMIT_EXCEEDED else "(no image)")
    return f"{name}:{finding.tag}" if finding.tag else f"{name}@{finding.digest[:19]}..."


def _age(published: float | None, now: float) -> str:
    return "?" if published is None else _many(int(max(0.0, now - published) // _DAY), "day")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

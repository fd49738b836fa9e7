"""What `check` says: a table for people, JSON for programs, commands for a shell.

The JSON is that of `/api/v1/findings` as well, so that nothing here may cost the server memory: rich is imported where it is used.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.commands import advice, patch_command, rollback_command
from exporter.findings import Finding, Snapshot, WorkloadState
from exporter.workloads import WorkloadKey

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_NO_STATE = WorkloadState()
_DAY = 86400.0
# Workloads that a row names where nothing is to be done.
_FEW = 3
# No line of a table is longer: names, images and tags have at most some 250 characters each.
_LINE = 2000
Together = tuple[list[Finding], WorkloadState]


def groups(snapshot: Snapshot) -> Iterator[Together]:
    """The findings that one command patches: those of one workload, image and tag that miss a patch; with the workload's state."""

    def key(finding: Finding) -> tuple[WorkloadKey, str, str]:
        return finding.workload, finding.image, finding.tag

    missing = (finding for finding in snapshot.findings if finding.patch_available)
    for _, found in groupby(sorted(missing, key=key), key=key):
        together = list(found)
        yield together, snapshot.workloads.get(together[0].workload, _NO_STATE)


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The findings as one JSON object, in the order of the snapshot."""
    commands = {
        finding: (patch_command(together, state), rollback_command(together, state), advice(together, state))
        for together, state in groups(snapshot)
        for finding in together
    }
    return {
        "findings": [
            _to_json(
                finding, snapshot.workloads.get(finding.workload, _NO_STATE), *commands.get(finding, (None, None, None))
            )
            for finding in snapshot.findings
        ]
    }


def render_json(snapshot: Snapshot) -> bytes:
    """`to_json`, in UTF-8 and with a line's end."""
    return msgspec.json.format(msgspec.json.encode(to_json(snapshot)), indent=2) + b"\n"


def render_commands(snapshot: Snapshot) -> str:
    """A shell script: what to paste, and comments on what each line does and what no command can."""
    lines: list[str] = []
    for together, state in groups(snapshot):
        first = together[0]
        key = first.workload
        # Annotations of single containers may lead them to different tags.
        newest = " and ".join(dict.fromkeys(str(finding.latest_tag) for finding in together))
        place = f"{key.namespace}/{key.kind}/{key.name}: " if key.kind else ""
        lines.append(f"# {place}{first.image} {first.tag} -> {newest}")
        if (said := advice(together, state)) is not None:
            lines.append(f"# {said}")
        if (command := patch_command(together, state)) is not None:
            lines.append(command)
        lines.append("")
    unknown = sum(finding.reason is not None for finding in snapshot.findings)
    if unknown:
        lines.append(f"# {unknown} of {len(snapshot.findings)} containers could not be judged.")
    elif not lines:
        lines.append("# No container misses a patch.")
    return "\n".join(lines).rstrip("\n") + "\n"


def table(snapshot: Snapshot, *, now: float, narrow: bool = False) -> RenderableType:
    """What people read, a row for each image and tag: what misses a patch first, the longest missed on top; then what is up to date; then
    what is unknown. Where a patch is missed every workload is named; elsewhere some are enough.

    Args:
        snapshot: what to show.
        now: epoch seconds, for ages.
        narrow: the terminal is, so that a row takes several lines.
    """
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415 - the server never needs rich
    from rich.text import Text  # noqa: PLC0415

    rows: dict[tuple[str, ...], list[Finding]] = {}
    for finding in sorted(snapshot.findings, key=_rank):
        if finding.reason is not None:
            cells = (f"unknown: {finding.reason.value.replace('_', ' ')}", "", "", "")
        else:
            missed = bool(finding.patch_available)
            patch = str(finding.latest_tag) if missed else "none"
            cells = (
                patch,
                str(finding.releases_behind) if missed else "",
                _age(finding, now),
                _newer_line(finding) or "",
            )
        rows.setdefault((_short(finding), *cells), []).append(finding)
    if narrow:
        return Group(*(_stacked(cells, together) for cells, together in rows.items()))
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("IMAGE", "PATCH"):
        shown.add_column(column, overflow="fold")
    for column in ("BEHIND", "MISSED FOR"):
        shown.add_column(column, justify="right")
    shown.add_column("NEWER LINE", overflow="fold")
    placed = any(finding.workload.kind for finding in snapshot.findings)
    if placed:
        shown.add_column("WHERE", overflow="fold")
    for (image, patch, behind, age, newer), together in rows.items():
        row = [Text(image), Text(patch, _style(together[0])), Text(behind), Text(age), Text(newer, "yellow")]
        shown.add_row(*row, *([Text(_where(together))] if placed else []))
    return shown


def _stacked(cells: tuple[str, ...], together: list[Finding]) -> Text:
    """A row for a terminal that is too narrow for columns."""
    from rich.text import Text  # noqa: PLC0415

    image, patch, behind, age, newer = cells
    details = [
        f"{behind} behind" if behind else "",
        f"missed for {age}" if age not in ("", "?") else "",
        f"newer line {newer}" if newer else "",
    ]
    said = "; ".join(detail for detail in details if detail)
    places = "".join(f"\n  {line}" for line in _where(together).splitlines()) if together[0].workload.kind else ""
    arrow, patch = (" -> ", patch) if together[0].patch_available else (" ", "no patch" if patch == "none" else patch)
    return Text.assemble(
        (image, "bold"), arrow, (patch, _style(together[0])), f" ({said})" if said else "", (places, "dim")
    )


def _style(finding: Finding) -> str:
    return "magenta" if finding.reason is not None else "bold red" if finding.patch_available else "green"


def counts(snapshot: Snapshot) -> str:
    """One line: how many containers are judged, miss a patch, are on an old line, are unknown and why."""
    findings = snapshot.findings
    unknown = Counter(finding.reason.value.replace("_", " ") for finding in findings if finding.reason is not None)
    missing = sum(bool(finding.patch_available) for finding in findings)
    superseded = sum(finding.patch_available is False and _newer_line(finding) is not None for finding in findings)
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


def write(snapshot: Snapshot, output: str, *, now: float) -> None:
    """Write a snapshot to standard output.

    Args:
        snapshot: what to write.
        output: `table`, `json` or `commands`.
        now: epoch seconds.
    """
    if output == "json":
        sys.stdout.write(render_json(snapshot).decode())
    elif output == "commands":
        sys.stdout.write(render_commands(snapshot))
    else:
        from rich.console import Console  # noqa: PLC0415

        console = Console(markup=False, highlight=False)
        shown = table(snapshot, now=now)
        needed = console.measure(shown, options=console.options.update(max_width=_LINE)).maximum
        if not console.is_terminal:
            # Whoever pipes the table wants whole lines.
            console.width = max(console.width, needed)
        # A name that is broken in two is hard to read, and cannot be copied.
        console.print(shown if needed <= console.width else table(snapshot, now=now, narrow=True))
        console.print()
        console.print(counts(snapshot), highlight=False, soft_wrap=not console.is_terminal)
    sys.stdout.flush()


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far long work has come, on a terminal; yields what is told so: what, how much is done, of how much."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show


def _to_json(
    finding: Finding, state: WorkloadState, patch: str | None, rollback: str | None, instead: str | None
) -> dict[str, Any]:
    key = finding.workload

    def newer(tag: str | None) -> str | None:
        return None if tag == finding.tag else tag

    return {
        "namespace": key.namespace,
        "workload_kind": key.kind,
        "workload": key.name if key.kind else "",
        "container": finding.container,
        "container_type": finding.container_type.value,
        "image": finding.image,
        "tag": finding.tag,
        "latest_tag": newer(finding.latest_tag),
        "patch_available": finding.patch_available,
        "releases_behind": finding.releases_behind,
        "published": None if finding.published is None else _rfc3339(finding.published),
        "upgrades": {"minor": newer(finding.minor), "major": newer(finding.major)},
        "reason": None if finding.reason is None else finding.reason.value,
        "reference": finding.reference,
        "digest": finding.digest,
        "managed_by": None
        if state.manager is None
        else {"manager": state.manager.name, "source": state.manager.source},
        "patch_command": patch,
        "rollback_command": rollback,
        "advice": instead,
    }


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rank(finding: Finding) -> tuple[int, float, str, str, WorkloadKey]:
    rank = 2 if finding.reason is not None else 0 if finding.patch_available else 1
    since = finding.published or finding.first_seen or 0.0
    return rank, since if rank == 0 else 0.0, finding.image, finding.tag, finding.workload


def _newer_line(finding: Finding) -> str | None:
    """The newest tag beyond the running line, or None."""
    beyond = (tag for tag in (finding.major, finding.minor) if tag not in (None, finding.tag, finding.latest_tag))
    return next(beyond, None)


def _where(findings: list[Finding]) -> str:
    """The workloads of a row; a few stand for many where nothing is to be done."""
    places = list(dict.fromkeys(finding.workload for finding in findings))
    shown = places if findings[0].patch_available or len(places) <= _FEW else places[: _FEW - 1]
    lines = [f"{key.namespace} {key.kind.lower()}/{key.name}" for key in shown]
    if len(shown) < len(places):
        lines.append(f"and {_many(len(places) - len(shown), 'more workload')}")
    return "\n".join(lines)


def _short(finding: Finding) -> str:
    """The image as people know it: without what every image of Docker Hub has in common."""
    name = finding.image.removeprefix("docker.io/").removeprefix("library/")
    if not name:
        return "(not an image reference)"
    return f"{name}:{finding.tag}" if finding.tag else f"{name}@{finding.digest[:19]}..."


def _age(finding: Finding, now: float) -> str:
    if not finding.patch_available:
        return ""
    if finding.published is None:
        return "?"
    days = int(max(0.0, now - finding.published) // _DAY)
    return _many(days, "day")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

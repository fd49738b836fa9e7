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
    from rich.console import Console
    from rich.table import Table

_NO_STATE = WorkloadState()
_DAY = 86400.0
Group = tuple[list[Finding], WorkloadState]


def groups(snapshot: Snapshot) -> Iterator[Group]:
    """The findings that one command patches: of one workload, image and tag; with the workload's state."""

    def key(finding: Finding) -> tuple[WorkloadKey, str, str]:
        return finding.workload, finding.image, finding.tag

    for _, found in groupby(sorted(snapshot.findings, key=key), key=key):
        together = list(found)
        yield together, snapshot.workloads.get(together[0].workload, _NO_STATE)


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The findings as one JSON object, in the order of the snapshot."""
    commands = {
        finding: (patch_command(together, state), rollback_command(together, state))
        for together, state in groups(snapshot)
        for finding in together
    }
    return {
        "findings": [
            _to_json(finding, snapshot.workloads.get(finding.workload, _NO_STATE), *commands[finding])
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
        if not first.patch_available:
            continue
        key = first.workload
        place = f"{key.namespace}/{key.kind}/{key.name}: " if key.kind else ""
        lines.append(f"# {place}{first.image} {first.tag} -> {first.latest_tag}")
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


def table(snapshot: Snapshot, *, now: float) -> Table:
    """What people read: what misses a patch first, the longest missed on top; then what is up to date; then what is unknown.

    Args:
        snapshot: what to show.
        now: epoch seconds, for ages.
    """
    from rich.table import Table  # noqa: PLC0415 - the server never needs rich
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    places = any(finding.workload.kind for finding in snapshot.findings)
    if places:
        shown.add_column("NAMESPACE", overflow="fold")
        shown.add_column("WORKLOAD", overflow="fold")
        shown.add_column("CONTAINERS", overflow="fold")
    shown.add_column("IMAGE", overflow="fold")
    shown.add_column("PATCH", overflow="fold", no_wrap=False)
    shown.add_column("BEHIND", justify="right")
    shown.add_column("MISSED FOR", justify="right")
    shown.add_column("NEWER LINE", overflow="fold")
    for together, _ in sorted(groups(snapshot), key=_rank):
        first = together[0]
        key = first.workload
        cells: list[Text | str] = []
        if places:
            names = ", ".join(
                f.container if f.container_type == "container" else f"{f.container} (init)" for f in together
            )
            cells += [key.namespace, f"{key.kind.lower()}/{key.name}" if key.kind else "", names]
        cells.append(Text(_short(first)))
        if first.reason is not None:
            cells += [Text(f"unknown: {first.reason.value.replace('_', ' ')}", "magenta"), "", "", ""]
        else:
            newer = first.major if first.major != first.tag else first.minor
            cells += [
                Text(f"{first.latest_tag}", "bold red") if first.patch_available else Text("none", "green"),
                str(first.releases_behind) if first.patch_available else "",
                _age(first, now),
                Text(newer, "yellow") if newer is not None and newer not in (first.tag, first.latest_tag) else "",
            ]
        shown.add_row(*cells)
    return shown


def counts(snapshot: Snapshot) -> str:
    """One line: how many containers are judged, miss a patch, are on an old line, are unknown and why."""
    findings = snapshot.findings
    unknown = Counter(finding.reason.value.replace("_", " ") for finding in findings if finding.reason is not None)
    missing = sum(bool(finding.patch_available) for finding in findings)
    superseded = sum(
        finding.patch_available is False and finding.tag not in (finding.minor, finding.major) for finding in findings
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(unknown.items()))
    parts = [
        f"{_many(len(findings), 'container')} checked",
        f"{missing} miss a patch",
        f"{superseded} have none, but are on a line that a newer one superseded",
        f"{sum(unknown.values())} unknown" + (f" ({reasons})" if reasons else ""),
    ]
    return "; ".join(parts) + (f"; {snapshot.ignored} ignored" if snapshot.ignored else "") + "."


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
        console = _console()
        console.print(table(snapshot, now=now))
        console.print()
        console.print(counts(snapshot), highlight=False)
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


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        # Whoever pipes the table wants whole lines.
        console.width = max(console.width, 200)
    return console


def _to_json(finding: Finding, state: WorkloadState, patch: str | None, rollback: str | None) -> dict[str, Any]:
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
    }


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rank(group: Group) -> tuple[int, float, WorkloadKey]:
    first = group[0][0]
    rank = 2 if first.reason is not None else 0 if first.patch_available else 1
    return rank, first.published or first.first_seen or 0.0 if rank == 0 else 0.0, first.workload


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

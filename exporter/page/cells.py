"""The texts of a row: the running image, the missing patch, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

from exporter import words
from exporter.findings import Finding
from exporter.page.rows import Row
from exporter.words import State
from exporter.workloads import ContainerType

FEW = 3
"""Maximum number of names shown."""
# Longer commands are rare: that of a workload with three containers has about 500 characters.
_COMMAND_CHARACTERS = 20_000
_MANAGERS = {"argocd": "Argo CD", "flux": "Flux", "helm": "Helm", "operator": "Operator"}


class Command(NamedTuple):
    """A command to copy: button text, name, purpose, and the command itself."""

    title: str
    name: str
    purpose: str
    text: str


class Line(NamedTuple):
    """A release of a newer line: its tag, the part of the version that is greater, and a link to its changes."""

    tag: str
    strategy: str
    changes: str


class Cells(NamedTuple):
    """The texts of a row; empty if there is nothing to show.

    Attributes:
        id: identifies the subject of the row across pages; part of HTML ids.
        state, words: its state, as a value for the style and in words.
        name, place: the workload, and its namespace and kind.
        containers: their names.
        registry, image: the repository in two parts; or the reference as written in `image`.
        tag, latest: the running tag (or digest), and the newest patch.
        behind, age, since: number of releases, age in words, and start of the age (RFC 3339).
        lines: newer lines.
        manager, source: owner of the workload.
        changes: link to the changes of the patches.
        commands: commands to copy.
        advice: sentences that say what to do, and why.
    """

    id: str
    state: str
    words: str
    name: str
    place: str
    containers: str
    registry: str
    image: str
    tag: str
    latest: str
    behind: str
    age: str
    since: str
    lines: tuple[Line, ...]
    manager: str
    source: str
    changes: str
    commands: tuple[Command, ...]
    advice: tuple[str, ...]


def make_cells(row: Row, now: float) -> Cells:
    """Return the texts of a row at a time, in epoch seconds."""
    first, patch = row.findings[0], row.patch
    registry, image = _image(first)
    latest = patch.latest_tag if patch is not None else ""
    return Cells(
        id=blake2b(
            repr((row.workload, row.state, first.image, first.tag, first.reference)).encode(), digest_size=6
        ).hexdigest(),
        state=row.state.value,
        words=capital(words.STATES[row.state]),
        name=row.workload.name if row.workload.kind else words.running(first),
        place=_place(first),
        containers=_containers(row.findings),
        registry=registry,
        image=image,
        tag=first.tag or (f"{first.digest[:19]}…" if first.digest else ""),
        latest=latest,
        behind=f"{patch.releases_behind:,}" if patch is not None else "",
        age=(since_words(row.since, now) if row.since is not None else "unknown") if row.state is State.PATCH else "",
        since=rfc3339(row.since) if row.since is not None else "",
        lines=tuple(_lines(row)),
        manager=_MANAGERS.get(row.manager.name, row.manager.name) if row.manager else "",
        source=row.manager.source if row.manager else "",
        changes=words.changes_url(first.image, first.tag, latest) if latest else "",
        commands=tuple(command for command in commands_of(row) if len(command.text) <= _COMMAND_CHARACTERS),
        advice=tuple(_advice(row)),
    )


def _image(finding: Finding) -> tuple[str, str]:
    if not finding.image:
        return "", words.running(finding)
    registry, _, rest = finding.image.partition("/")
    return registry, rest


def _place(finding: Finding) -> str:
    key = finding.workload
    if not key.kind:
        return "image reference"
    if key.is_image:
        return "watched image"
    return f"{key.namespace} · {key.kind}" if key.namespace else key.kind


def _containers(findings: Sequence[Finding]) -> str:
    """Return the names of containers if they add to the workload's name, limited to a few."""
    names = [
        f"{found.container} (init)" if found.container_type is ContainerType.INIT_CONTAINER else found.container
        for found in findings
        if found.container
    ]
    if names == [findings[0].workload.name]:
        return ""
    shown = names if len(names) <= FEW else names[: FEW - 1]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    noun = "container" if len(names) == 1 else "containers"
    return f"{noun} {', '.join(shown)}{more}" if names else ""


def _lines(row: Row) -> list[Line]:
    first, lines = row.findings[0], []
    offered = row.patch.latest_tag if row.patch is not None else None
    for strategy in ("minor", "major"):
        found = (getattr(finding, strategy) for finding in row.findings)
        tag = next((tag for tag in found if tag is not None), None)
        if tag is not None and tag not in (first.tag, offered):
            lines.append(Line(tag, strategy, words.changes_url(first.image, first.tag, tag)))
    return lines


def commands_of(row: Row) -> list[Command]:
    """Return the commands to copy."""
    if row.patch is None:
        return []
    commands = (
        Command("Copy patch command", "patch", "To patch", row.patch.patch_command),
        Command("Copy rollback command", "rollback", "To roll back", row.patch.rollback_command),
        Command(
            "Copy approve command",
            "approve",
            "To let the patcher patch in an upgrade window",
            row.patch.approve_command,
        ),
    )
    return [command for command in commands if command.text]


def _advice(row: Row) -> list[str]:
    first = row.findings[0]
    advice: list[str] = []
    if first.reason is not None:
        advice += words.explain(first.reason)
    if any(len(command.text) > _COMMAND_CHARACTERS for command in commands_of(row)):
        print_it = f"mojaloop-image-patch-exporter check --cluster --namespace {row.workload.namespace}"
        advice.append(f"The command is too long to show here. Print it with `{print_it} --output commands`.")
    if row.patch is not None and row.patch.advice:
        advice.append(row.patch.advice)
    if row.state is State.SUPERSEDED:
        advice.append("No patch is missing on this line. Fixes may only be in the newer one.")
    return advice


def since_words(since: float, now: float) -> str:
    """Return in words how long ago a time was."""
    return words.age(max(0.0, now - since))


def capital(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def rfc3339(at: float) -> str:
    """Format a time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

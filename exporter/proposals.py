"""Proposals: what approvals would do, judged by the patcher's own rules before they are created.

A person sees which containers would change, from which tag to which, and when. What the patcher would refuse is refused
here with the same reason, so that nobody waits for a window in which nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from exporter import words
from exporter.cluster.decode import decode_object
from exporter.cluster.templates import to_workloads
from exporter.commands import approval, approved_together, helm_advice
from exporter.findings import Finding
from exporter.kinds import KINDS, Kind
from exporter.patcher.api import Api
from exporter.patcher.approvals import Approval, Metadata, Reason, Spec, moment
from exporter.patcher.judge import Case, refusal
from exporter.patcher.objects import WorkloadObject, decode_workload
from exporter.patcher.settings import Settings
from exporter.patcher.starting import reserve
from exporter.patcher.tags import Tags
from exporter.windows import Calendar
from exporter.workloads import Workload, WorkloadKey


class NothingToApproveError(Exception):
    """A workload has no patch that could be approved; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What somebody wants to approve.

    Attributes:
        workload: the workload.
        containers: the containers to patch; all have the same image and tag.
        to: the new tag.
    """

    workload: WorkloadKey
    containers: tuple[Finding, ...]
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An approval that could be created.

    Attributes:
        choice: what would be approved.
        document: the approval.
        window: when it would be carried out, in words.
        notes: what else a person should know, in sentences.
        refused: why it would be refused; None if it would not.
    """

    choice: Choice
    document: dict[str, Any]
    window: str
    notes: tuple[str, ...] = ()
    refused: tuple[Reason, str] | None = None

    def lines(self) -> list[str]:
        """The proposal as text."""
        choice, first = self.choice, self.choice.containers[0]
        behind = f" ({words.many(first.releases_behind, 'release')} behind)" if first.releases_behind else ""
        changes = words.changes_url(first.image, first.tag, choice.to)
        facts = [
            ("containers", ", ".join(finding.container for finding in choice.containers)),
            ("image", first.image),
            ("patch", f"{first.tag} -> {choice.to}{behind}"),
            *([("changes", changes)] if changes else []),
        ]
        if self.refused is not None:
            facts.append(("refused", f"{self.refused[1]} ({self.refused[0].value})"))
        else:
            facts += [("window", self.window), *(("note", note) for note in self.notes)]
        return [str(choice.workload), *(f"  {f'{name}:':<12}{text}" for name, text in facts)]


def choose(
    key: WorkloadKey, findings: Iterable[Finding], *, tag: str | None = None, containers: Collection[str] = ()
) -> list[Choice]:
    """What could be approved for a workload: a choice for each image and tag.

    Args:
        key: the workload.
        findings: its findings.
        tag: the new tag, for the containers with a patch if there are any; None chooses the newest patch.
        containers: only these containers; if empty, all.

    Raises:
        NothingToApproveError: there is no choice.
    """
    found = [finding for finding in findings if not containers or finding.container in containers]
    if missing := sorted(set(containers) - {finding.container for finding in found}):
        raise NothingToApproveError(f"{key} has no container {', '.join(missing)}, or it is ignored")
    groups = _groups(found, lambda finding: bool(finding.patch_available))
    if tag is not None and not groups:
        # The patcher's rules will say what is wrong with this tag.
        groups = _groups(found, lambda finding: bool(finding.image and finding.tag))
    if not groups:
        raise NothingToApproveError(f"{key}: {_why_nothing(found)}")
    choices = []
    for group in groups.values():
        to, together = (tag, group) if tag is not None else approved_together(group)
        choices.append(Choice(workload=key, containers=tuple(together), to=to))
    return choices


def _groups(findings: Iterable[Finding], wanted: Callable[[Finding], bool]) -> dict[tuple[str, str], list[Finding]]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in filter(wanted, findings):
        groups.setdefault((finding.image, finding.tag), []).append(finding)
    return groups


def _why_nothing(findings: Sequence[Finding]) -> str:
    unknown = [finding for finding in findings if finding.reason is not None]
    if unknown:
        return words.describe(unknown[0])
    if not findings:
        return "all of its containers are ignored, by annotations or by the configuration"
    return "it runs the newest patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposer:
    """Makes proposals.

    Attributes:
        api: sends requests to the API server.
        tags: looks up tags in registries.
        settings: the patcher's rules.
        calendar: the upgrade windows.
        clock: epoch seconds.
        approved_by: who approves.
        expires: when the approvals expire, in epoch seconds; None leaves that to the patcher.
        open: approvals that have not ended, by workload.
    """

    api: Api
    tags: Tags
    settings: Settings
    calendar: Calendar
    clock: Callable[[], float]
    approved_by: str
    expires: float | None = None
    open: dict[WorkloadKey, Approval] = field(default_factory=dict)

    async def read(self, key: WorkloadKey) -> tuple[WorkloadObject | None, Workload | None]:
        """A workload as it is now, as the patcher and as the exporter see it; None and None if it does not exist."""
        kind = KINDS.get(key.kind)
        body = await self.api.workload(kind, key.namespace, key.name) if kind is not None else None
        if kind is None or body is None:
            return None, None
        found = (workload for workload in to_workloads(kind, decode_object(body)) if workload.declared)
        return decode_workload(body), next(found, None)

    async def propose(self, choice: Choice) -> Proposal:
        """The proposal for a choice, with the workload as it is now."""
        key, now = choice.workload, self.clock()
        workload, known = await self.read(key)
        document = approval(
            key,
            uid=workload.metadata.uid if workload is not None else "",
            images={finding.container: finding.reference for finding in choice.containers},
            before=choice.containers[0].tag,
            to=choice.to,
            approved_by=self.approved_by,
        )
        if self.expires is not None:
            document["spec"]["expires"] = f"{moment(self.expires):%Y-%m-%dT%H:%M:%SZ}"
        case = Case(
            approval=_new(document, now),
            workload=workload,
            known=known,
            tag=None,
            settings=self.settings,
            now=now,
            starting=False,
        )
        refused = refusal(case)
        if refused is None and known is not None:
            answer = await self.tags.answer(case.approval, known)
            refused = (answer.reason, answer.text) if answer.reason is not None else None
        if refused is None and (other := self.open.get(key)) is not None:
            state = other.status.state.value or "new"
            refused = Reason.BUSY, f"{other} already approves {other.spec.to} and is {state}; delete it first."
        return Proposal(
            choice=choice,
            document=document,
            window=self._window(key, case.kind, workload, now),
            notes=tuple(self._notes(case)),
            refused=refused,
        )

    def _window(self, key: WorkloadKey, kind: Kind | None, workload: WorkloadObject | None, now: float) -> str:
        if not self.calendar.windows:
            return "unknown: no windows are configured here; pass the patcher's configuration with --config"
        if not self.calendar.covering(key):
            return "no window covers this workload, so it would never be patched"
        needed = reserve(kind.name, workload, self.settings) if kind is not None else 0.0
        found = self.calendar.next_start(key, now, reserve=needed)
        if found is None:
            return f"no window is long enough: the rollout needs {needed:.0f} s, so it would never start"
        at, window = found
        if at <= now:
            return f"{window.name}, which is open now"
        return f"{window.name}, from {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"

    def _notes(self, case: Case) -> list[str]:
        notes = []
        starting = refusal(replace(case, starting=True))
        if starting is not None:
            notes.append(f"{starting[1]} If this does not change before the rollout could start, it is refused.")
        if not self.settings.patching:
            notes.append("The configuration has patching: false, so no rollout starts for now.")
        notes.append(helm_advice(case.manager))
        return [note for note in notes if note]


def _new(document: dict[str, Any], now: float) -> Approval:
    """An approval as the patcher will read it."""
    namespace = document["metadata"]["namespace"]
    return Approval(
        metadata=Metadata(name="new", namespace=namespace, uid="", resource_version="", creation_timestamp=moment(now)),
        spec=msgspec.convert(document["spec"], Spec),
    )

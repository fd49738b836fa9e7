"""What is known about an approval at one moment, the steps that may follow, and what all steps share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from exporter.kinds import Kind
from exporter.patcher.approvals import Approval, Attempt, Reason, State, Status, moment
from exporter.patcher.judge import Case, TagAnswer
from exporter.patcher.objects import Pod, WorkloadObject
from exporter.patcher.patch import Operations
from exporter.patcher.settings import Opening, Settings
from exporter.workloads import Workload

# Kubernetes' default of `progressDeadlineSeconds` is 600; this number, the greatest, turns it off.
_NO_DEADLINE = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What may keep a rollout from starting, apart from the approval and its workload.

    Attributes:
        opening: the window that is open for the workload.
        next_opening: when the next one opens, in epoch seconds, if known.
        namespace_stopped: whether the namespace has the annotation that stops patching.
        busy: another approval whose rollout has started, as text.
        stopped_by: a failed approval that nobody has acknowledged, as text.
    """

    opening: Opening | None = None
    next_opening: float | None = None
    namespace_stopped: bool = False
    busy: str = ""
    stopped_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that is known about an approval at one moment.

    Attributes:
        approval: with its status.
        workload: the workload that it names; None if it does not exist.
        known: the same workload as the exporter sees it.
        pods: of the workload; read only in states that need them.
        tag: what the registry says about the tag; None if it was not asked.
        gates: what may keep its rollout from starting.
        now: epoch seconds.
    """

    approval: Approval
    workload: WorkloadObject | None
    known: Workload | None = None
    pods: Sequence[Pod] = ()
    tag: TagAnswer | None = None
    gates: Gates = Gates()
    now: float

    def since(self, time: datetime | None) -> float:
        """The seconds since a time in the status; 0 for a future time, as after a clock was set back."""
        return max(0.0, self.now - time.timestamp()) if time is not None else 0.0


@dataclass(frozen=True, slots=True)
class Write:
    """Write the status."""

    status: Status


@dataclass(frozen=True, slots=True)
class Patch:
    """Patch the workload."""

    operations: Operations


@dataclass(frozen=True, slots=True)
class Evict:
    """Evict pods."""

    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Do nothing now; look again later."""


Step = Write | Patch | Evict | Look


def case_of(seen: Observed, settings: Settings, *, starting: bool) -> Case:
    """What `judge` needs."""
    return Case(
        approval=seen.approval,
        workload=seen.workload,
        known=seen.known,
        tag=seen.tag,
        settings=settings,
        now=seen.now,
        starting=starting,
    )


def kind_of(seen: Observed) -> Kind:
    """The kind of the workload of an approval that was not refused."""
    kind = case_of(seen, Settings(), starting=False).kind
    if kind is None:
        raise LookupError(f"{seen.approval} names a kind that cannot be patched, and was not refused")
    return kind


def workload_of(seen: Observed) -> WorkloadObject:
    """The workload of an approval that was neither refused nor ended."""
    if seen.workload is None:
        raise LookupError(f"{seen.approval} names a workload that does not exist, and was not ended")
    return seen.workload


def attempt_at(seen: Observed, workload: WorkloadObject) -> Attempt:
    """The version of a workload that was judged: the next patch may change only this one."""
    return Attempt(workload.metadata.resource_version, workload.metadata.generation, moment(seen.now))


def deadline(kind: str, workload: WorkloadObject, settings: Settings) -> float:
    """The seconds without progress after which a rollout has failed."""
    own = workload.spec.progress_deadline_seconds
    if kind == "Deployment" and own is not None and own != _NO_DEADLINE:
        return float(own)
    return settings.deadline


def finish(seen: Observed, state: State, reason: Reason, message: str, status: Status | None = None) -> Step:
    """End an approval.

    Args:
        seen: what is known about it.
        state: a final one.
        reason: why.
        message: why, in one or two sentences.
        status: what to write; by default the status so far.
    """
    ended = replace(
        status or seen.approval.status,
        state=state,
        reason=reason.value,
        message=message,
        finished=moment(seen.now),
        attempt=None,
    )
    return Write(ended)

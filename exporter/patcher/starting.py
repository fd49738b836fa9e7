"""The steps of an approval before its rollout: judged, waiting, and the patch itself. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.kinds import Kind
from exporter.patcher.approvals import Reason, State, moment
from exporter.patcher.health import counts
from exporter.patcher.judge import EXPIRED, Case, expires, refusal
from exporter.patcher.objects import WorkloadObject, fingerprint
from exporter.patcher.patch import Images, changes, images, operations
from exporter.patcher.settings import Settings
from exporter.patcher.steps import (
    Look,
    Observed,
    Patch,
    Step,
    Write,
    attempt_at,
    case_of,
    deadline,
    finish,
    kind_of,
    workload_of,
)

# How long after an attempt was recorded its patch may be sent. After that, the attempt is recorded again first.
SEND_SECONDS = 30.0
# How long after an attempt was recorded its patch may still arrive without an answer. The API server ends every request
# after 60 s by default (`--request-timeout`). The rest allows for clocks that differ.
IN_FLIGHT_SECONDS = 120.0


def held(seen: Observed, settings: Settings) -> Step | None:
    """The next step of a waiting approval if it does not depend on the workload; None if it does.

    Outside windows no workloads are read: there may be hundreds of approvals.
    """
    if seen.now >= expires(seen.approval, settings):
        return finish(seen, State.REFUSED, Reason.EXPIRED, EXPIRED)
    gate = closed(seen, settings)
    return _wait(seen, *gate) if gate is not None else None


def waiting(seen: Observed, settings: Settings) -> Step:
    """The next step of an approval whose rollout has not started.

    Args:
        seen: includes the registry's answer the first time, and whenever the rollout could start.
        settings: the rules.
    """
    gate = closed(seen, settings)
    case = case_of(seen, settings, starting=gate is None)
    refused = refusal(case)
    if refused is not None:
        return finish(seen, State.REFUSED, *refused)
    if gate is None and seen.tag is not None and seen.tag.passing:
        gate = Reason.REGISTRY_UNAVAILABLE, seen.tag.text
    if gate is None and seen.tag is not None and seen.approval.status.state is State.WAITING:
        return _mark(seen, case)
    return _wait(seen, *(gate or (Reason.ACCEPTED, "The approval is valid.")))


def applying(seen: Observed, settings: Settings) -> Step:
    """The next step of an approval whose patch is about to be sent, or was sent."""
    status, kind, workload, attempt = seen.approval.status, kind_of(seen), seen.workload, seen.approval.status.attempt
    if workload is None or workload.metadata.uid != seen.approval.spec.workload.uid or attempt is None:
        # It no longer matters whether it was patched before it was deleted.
        return finish(seen, State.FAILED, Reason.WORKLOAD_GONE, "The workload was deleted while it was being patched.")
    if images(kind, workload, status.changes) is Images.AFTER:
        return _patched(seen, kind, workload)
    moved = workload.metadata.resource_version != attempt.resource_version
    if moved and workload.metadata.generation > attempt.generation + 1:
        # A single change cannot be our patch, because the images would be the new ones. With two changes, the second
        # may have undone our patch.
        text = "The workload was changed several times while it was being patched, and the patch may have been undone."
        return finish(seen, State.REFUSED, Reason.CHANGED_MEANWHILE, text)
    case = case_of(seen, settings, starting=True)
    refused, gate = refusal(case), closed(seen, settings)
    if refused is None and gate is None:
        if not moved and seen.since(attempt.time) <= SEND_SECONDS:
            return Patch(operations(kind, workload, status.changes, attempt=attempt))
        if not moved or seen.tag is None or not seen.tag.passing:
            return _mark(seen, case)
        gate = Reason.REGISTRY_UNAVAILABLE, "The registry did not answer."
    if not moved and seen.since(attempt.time) < IN_FLIGHT_SECONDS:
        return Look()  # a patch that was sent may still arrive
    if refused is not None:
        return finish(seen, State.REFUSED, *refused)
    return _wait(seen, *gate) if gate is not None else Look()


def rejected(seen: Observed, reason: Reason, message: str) -> Step:
    """The next step after the API server rejected a patch, and would reject it again.

    A rollback is retried without end: nothing else restores the old image.
    """
    if seen.approval.status.state is State.APPLYING:
        return finish(seen, State.REFUSED, reason, message)
    status = replace(seen.approval.status, message=f"The old image cannot be restored yet: {message}")
    return Look() if status == seen.approval.status else Write(status)


def forbidden(seen: Observed, message: str) -> Step:
    """The next step if the patcher is not permitted to read the workload or its namespace.

    A rollout that has started continues when the permission is granted. Until then the status says what is missing.
    """
    if not seen.approval.status.state.active:
        return _wait(seen, Reason.FORBIDDEN, message)
    status = replace(
        seen.approval.status, message=f"{message} The rollout is not watched until it has this permission."
    )
    return Look() if status == seen.approval.status else Write(status)


def closed(seen: Observed, settings: Settings) -> tuple[Reason, str] | None:
    """What keeps a rollout from starting; None if nothing does."""
    gates = seen.gates
    if not settings.patching:
        return Reason.PATCHING_DISABLED, "The configuration of the patcher has patching: false."
    if gates.namespace_stopped:
        return Reason.NAMESPACE_STOPPED, "An annotation of the namespace stops patching."
    if gates.stopped_by:
        text = f"{gates.stopped_by} failed; no rollout starts until somebody acknowledges or deletes it."
        return Reason.QUEUE_STOPPED, text
    if gates.opening is None:
        then = f" The next one opens at {_shown(gates.next_opening)}." if gates.next_opening is not None else ""
        return Reason.OUTSIDE_WINDOW, f"No upgrade window is open for this workload.{then}"
    if gates.busy:
        # It is not named: otherwise the text of two hundred approvals would change with every rollout.
        return Reason.BUSY, "Another workload is being patched; one is patched at a time."
    needed = reserve(seen.approval.spec.workload.kind, seen.workload, settings)
    if gates.opening.seconds_left < needed:
        # The seconds that are left are not in it: otherwise the text would change with every look.
        text = f"Too little time is left in window {gates.opening.window}: this rollout needs {needed:.0f} s."
        return Reason.WINDOW_TOO_SHORT, text
    return None


def reserve(kind: str, workload: WorkloadObject | None, settings: Settings) -> float:
    """The seconds that a window must have left when a rollout starts: enough for it to fail and be rolled back."""
    if settings.reserve is not None:
        return settings.reserve
    if kind == "CronJob" or workload is None:
        return 0.0
    return 2 * (deadline(kind, workload, settings) + settings.soak)


def _wait(seen: Observed, reason: Reason, message: str) -> Step:
    status = seen.approval.status
    waiting = replace(
        status,
        state=State.WAITING,
        reason=reason.value,
        message=message,
        accepted=status.accepted or moment(seen.now),
        fingerprint=status.fingerprint or (_fingerprint(seen) if seen.workload is not None else ""),
        attempt=None,
        changes=(),
        window="",
        started=None,
    )
    return Look() if waiting == status else Write(waiting)


def _mark(seen: Observed, case: Case) -> Step:
    """Record that the patch is about to be sent, and for which version of the workload."""
    opening = seen.gates.opening
    return Write(
        replace(
            seen.approval.status,
            state=State.APPLYING,
            reason=Reason.PATCHING.value,
            message="The patch is being sent.",
            window=opening.window if opening is not None else "",
            started=seen.approval.status.started or moment(seen.now),
            changes=changes(seen.approval.spec),
            attempt=attempt_at(seen, case.object),
        )
    )


def _patched(seen: Observed, kind: Kind, workload: WorkloadObject) -> Step:
    """The workload has the new images: its rollout starts."""
    status = replace(seen.approval.status, patched=moment(seen.now), progressed=moment(seen.now), attempt=None)
    if kind.name == "CronJob":
        text = "The next Job runs the new image; a CronJob has no rollout to watch."
        return finish(seen, State.APPLIED, Reason.ROLLED_OUT, text, status)
    wanted = counts(kind.name, workload).wanted
    return Write(
        replace(
            status,
            state=State.ROLLING_OUT,
            reason=Reason.PROGRESSING.value,
            message=f"The workload is patched; {wanted} pods are rolling out.",
        )
    )


def _fingerprint(seen: Observed) -> str:
    return fingerprint(kind_of(seen), workload_of(seen), [ref.name for ref in seen.approval.spec.containers])


def _shown(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M} UTC"

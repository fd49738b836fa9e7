"""The steps of an approval after its patch: the rollout, the soak, and the rollback. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.commands import helm_advice
from exporter.patcher.approvals import Failure, Reason, State, moment
from exporter.patcher.health import Verdict, counts, health, observed
from exporter.patcher.objects import Pod
from exporter.patcher.patch import Images, images, operations, reversed_
from exporter.patcher.settings import Settings
from exporter.patcher.steps import (
    Evict,
    Look,
    Observed,
    Patch,
    Step,
    Write,
    attempt_at,
    deadline,
    finish,
    kind_of,
    workload_of,
)


def ended(seen: Observed) -> Step | None:
    """The last step if somebody else ended the rollout: deleted the workload, or changed its images."""
    workload, status = seen.workload, seen.approval.status
    if workload is None or workload.metadata.uid != seen.approval.spec.workload.uid:
        return finish(seen, State.FAILED, Reason.WORKLOAD_GONE, "The workload was deleted during its rollout.")
    now = images(kind_of(seen), workload, status.changes)
    if now is Images.OTHER or (now is Images.AFTER and status.restored is not None):
        text = "Somebody changed the images during the rollout; the patcher leaves the workload as it is."
        return finish(seen, State.FAILED, Reason.SUPERSEDED, text)
    if now is Images.BEFORE and status.state is not State.ROLLING_BACK:
        text = "Somebody restored the old images during the rollout; the patcher leaves the workload as it is."
        return finish(seen, State.FAILED, Reason.UNDONE, text)
    return None


def rolling_out(seen: Observed, settings: Settings) -> Step:
    """The next step while pods of the new template start."""
    status, kind, workload = seen.approval.status, kind_of(seen).name, workload_of(seen)
    wanted, updated, _ = counts(kind, workload)
    found = health(kind, workload)
    if wanted == 0 and observed(workload):
        return _roll_back(seen, Reason.NOTHING_RUNS, "The workload was scaled to zero during the rollout")
    if found.verdict is Verdict.FAILED:
        return _roll_back(seen, Reason.ROLLOUT_FAILED, found.why)
    revision = workload.status.update_revision if observed(workload) else ""
    if found.verdict is Verdict.HEALTHY:
        soaking = replace(
            status,
            state=State.SOAKING,
            reason=Reason.HEALTHY.value,
            message=f"The rollout is complete; the workload has to stay healthy for {settings.soak:.0f} s.",
            healthy=moment(seen.now),
            revision=revision,
            replicas=wanted,
            restarts=_crashes(seen),
        )
        return Write(soaking)
    if observed(workload) and (updated > status.progress or revision != status.revision):
        progress = max(updated, status.progress)
        return Write(replace(status, progress=progress, progressed=moment(seen.now), revision=revision))
    seconds = deadline(kind, workload, settings) + (settings.grace if kind == "Deployment" else 0.0)
    if seen.since(status.progressed) > seconds:
        return _roll_back(seen, Reason.DEADLINE_EXCEEDED, f"No progress for {seconds:.0f} s: {found.why}")
    return Look()


def soaking(seen: Observed, settings: Settings) -> Step:
    """The next step while the workload has to stay healthy.

    Conditions do not change when pods crash after they were ready, so this looks at the numbers of pods and restarts.
    """
    status, kind, workload = seen.approval.status, kind_of(seen).name, workload_of(seen)
    wanted, _, available = counts(kind, workload)
    found, crashes = health(kind, workload), _crashes(seen)
    if observed(workload):
        if wanted == 0:
            return _roll_back(seen, Reason.NOTHING_RUNS, "The workload was scaled to zero during the soak")
        # Pods that somebody adds during the soak need time to become available.
        if available < (needed := min(wanted, status.replicas)):
            return _roll_back(seen, Reason.UNAVAILABLE, f"{available} of {needed} pods are available during the soak")
        if found.verdict is Verdict.FAILED:
            return _roll_back(seen, Reason.ROLLOUT_FAILED, found.why)
    if crashes > status.restarts:
        return _roll_back(seen, Reason.RESTARTED, f"{crashes - status.restarts} restarts of containers in the soak")
    if crashes < status.restarts:
        # Pods were deleted, and their restarts are no longer counted.
        return Write(replace(status, restarts=crashes))
    soaked = seen.since(status.healthy)
    if soaked >= settings.soak and found.verdict is Verdict.HEALTHY:
        return finish(seen, State.APPLIED, Reason.ROLLED_OUT, _with_advice(seen, "The new image runs and is healthy."))
    if soaked > settings.soak + deadline(kind, workload, settings) + settings.grace:
        return _roll_back(seen, Reason.DEADLINE_EXCEEDED, f"Not healthy after the soak: {found.why}")
    return Look()


def rolling_back(seen: Observed, settings: Settings) -> Step:
    """The next step until the old images are back and the workload is healthy."""
    status, kind, workload = seen.approval.status, kind_of(seen), workload_of(seen)
    attempt, failure = status.attempt, status.failure or Failure(Reason.ROLLOUT_FAILED.value, "")
    if images(kind, workload, status.changes) is Images.AFTER:
        if attempt is None or workload.metadata.resource_version != attempt.resource_version:
            return Write(replace(status, attempt=attempt_at(seen, workload)))
        return Patch(operations(kind, workload, reversed_(status.changes), attempt=attempt))
    wanted, _, available = counts(kind.name, workload)
    if status.restored is None:
        restored = replace(status, restored=moment(seen.now), progressed=moment(seen.now), progress=0, attempt=None)
        text = f"The old image is restored; its pods have to become healthy. {failure.message}"
        return Write(replace(restored, reason=Reason.RESTORED.value, message=text))
    found = health(kind.name, workload)
    # Conditions may still describe the rollout that failed.
    if found.verdict is Verdict.HEALTHY or (wanted == 0 and observed(workload)):
        text = f"The old image is restored, and the workload is healthy. {failure.message}"
        return finish(seen, State.ROLLED_BACK, Reason(failure.reason), text)
    if available > status.progress:
        return Write(replace(status, progress=available, progressed=moment(seen.now)))
    if seen.since(status.progressed) > deadline(kind.name, workload, settings) + settings.grace:
        text = f"The old image is restored, but the workload does not become healthy: {found.why}. {failure.message}"
        return finish(seen, State.FAILED, Reason.ROLLBACK_STUCK, text)
    broken = _broken(seen)
    return Evict(broken) if broken and settings.evict else Look()


def blocked(seen: Observed, message: str) -> Step:
    """The next step after the API server refused an eviction: the status says why."""
    status = replace(seen.approval.status, reason=Reason.EVICTION_BLOCKED.value, message=message)
    return Look() if status == seen.approval.status else Write(status)


def _roll_back(seen: Observed, reason: Reason, why: str) -> Step:
    """Record that the rollback is about to be sent, and for which version of the workload."""
    return Write(
        replace(
            seen.approval.status,
            state=State.ROLLING_BACK,
            reason=Reason.RESTORING.value,
            message=f"The old image is being restored. {why.rstrip('.')}.",
            failure=Failure(reason.value, f"{why.rstrip('.')}."),
            attempt=attempt_at(seen, workload_of(seen)),
        )
    )


def _broken(seen: Observed) -> tuple[Pod, ...]:
    """Pods that block the rollback of a StatefulSet with `OrderedReady`: not ready, and of the failed revision."""
    workload, revision = workload_of(seen), seen.approval.status.revision
    if seen.approval.spec.workload.kind != "StatefulSet" or not observed(workload) or not revision:
        return ()
    if workload.spec.pod_management_policy == "Parallel" or revision == workload.status.update_revision:
        return ()
    return tuple(
        pod
        for pod in seen.pods
        if pod.revision == revision and not pod.ready and pod.metadata.deletion_timestamp is None
    )


def _crashes(seen: Observed) -> int:
    return sum(pod.crashes for pod in seen.pods)


def _with_advice(seen: Observed, text: str) -> str:
    return f"{text} {helm_advice(seen.known.manager if seen.known is not None else None)}".rstrip()

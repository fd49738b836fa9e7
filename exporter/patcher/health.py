"""Whether the rollout of a workload is complete, judged from its status alone. Pure functions, a rule for each kind.

Until the controller has seen the newest spec, the status describes an older one, and a rollout that has not started
looks complete. So the status is ignored until `observedGeneration` equals the generation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from exporter.patcher.objects import WorkloadObject


class Verdict(StrEnum):
    """The progress of a rollout."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    FAILED = "failed"


class Health(NamedTuple):
    """The progress of a rollout, and why, as a phrase."""

    verdict: Verdict
    why: str


class Counts(NamedTuple):
    """How many pods of a workload are desired, have the newest template, and are available."""

    wanted: int
    updated: int
    available: int


@dataclass(frozen=True, slots=True)
class Rules:
    """How to read the status of a kind.

    Attributes:
        counts: the numbers of its pods.
        complete: whether its rollout is complete, if the controller has seen the newest spec.
    """

    counts: Callable[[WorkloadObject], Counts]
    complete: Callable[[WorkloadObject], bool]


def _replicas(workload: WorkloadObject) -> Counts:
    status = workload.status
    return Counts(workload.spec.replicas, status.updated_replicas, status.available_replicas)


def _scheduled(workload: WorkloadObject) -> Counts:
    status = workload.status
    return Counts(status.desired_number_scheduled, status.updated_number_scheduled, status.number_available)


def _deployment(workload: WorkloadObject) -> bool:
    wanted, updated, available = _replicas(workload)
    return updated == workload.status.replicas == available == wanted


def _stateful_set(workload: WorkloadObject) -> bool:
    (wanted, updated, available), status = _replicas(workload), workload.status
    if available != wanted or updated < wanted - workload.partition:
        return False
    return workload.partition > 0 or (updated == wanted and status.current_revision == status.update_revision)


def _daemon_set(workload: WorkloadObject) -> bool:
    wanted, updated, available = _scheduled(workload)
    return updated == available == wanted


# The kinds that can be patched on approval. A CronJob has no rollout: its next Job runs the new image.
RULES = {
    "Deployment": Rules(_replicas, _deployment),
    "StatefulSet": Rules(_replicas, _stateful_set),
    "DaemonSet": Rules(_scheduled, _daemon_set),
    "CronJob": Rules(lambda _: Counts(0, 0, 0), lambda _: True),
}


def counts(kind: str, workload: WorkloadObject) -> Counts:
    """The numbers of a workload's pods."""
    return RULES[kind].counts(workload)


def observed(workload: WorkloadObject) -> bool:
    """Whether its controller has seen the newest spec."""
    return workload.status.observed_generation == workload.metadata.generation


def health(kind: str, workload: WorkloadObject) -> Health:
    """The progress of a workload's rollout."""
    if kind == "CronJob":
        return Health(Verdict.HEALTHY, "a CronJob has no rollout")
    if not observed(workload):
        return Health(Verdict.PROGRESSING, "the controller has not seen the newest spec yet")
    if kind == "Deployment" and (failure := _failure(workload)):
        return Health(Verdict.FAILED, failure)
    wanted, updated, available = counts(kind, workload)
    why = f"{updated} of {wanted} pods are updated and {available} available"
    return Health(Verdict.HEALTHY if RULES[kind].complete(workload) else Verdict.PROGRESSING, why)


def _failure(workload: WorkloadObject) -> str:
    for condition in workload.status.conditions or ():
        if (condition.type, condition.status) in (("Progressing", "False"), ("ReplicaFailure", "True")):
            return f"{condition.type} is {condition.status} ({condition.reason}): {condition.message}"
    return ""

"""Approvals: the custom resource `ImagePatchApproval`, as the patcher reads and writes it.

A person creates it, and its spec never changes after that. The patcher writes only the status. Everything that has to
survive a crash of the patcher is in the status: the images before and after the patch, and which version of the
workload the patcher was about to change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from exporter.cluster.decode import MalformedError
from exporter.cluster.nesting import Message, tolerant

GROUP = "image-patch.mojaloop.io"
VERSION = "v1alpha1"
KIND = "ImagePatchApproval"
PLURAL = "imagepatchapprovals"
# The annotation of a failed approval that lets the queue continue: somebody has looked at it.
ACKNOWLEDGED = f"{GROUP}/acknowledged"


class State(StrEnum):
    """The state of an approval. docs/patching.md says what each state means for the workload."""

    NEW = ""
    WAITING = "Waiting"
    APPLYING = "Applying"
    ROLLING_OUT = "RollingOut"
    SOAKING = "Soaking"
    ROLLING_BACK = "RollingBack"
    APPLIED = "Applied"
    ROLLED_BACK = "RolledBack"
    REFUSED = "Refused"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        """Whether the approval has ended: it is one attempt, and there is no second one."""
        return self in (State.APPLIED, State.ROLLED_BACK, State.REFUSED, State.FAILED)

    @property
    def active(self) -> bool:
        """Whether its rollout has started and not ended. One approval at a time is active."""
        return self in (State.APPLYING, State.ROLLING_OUT, State.SOAKING, State.ROLLING_BACK)

    @property
    def failed(self) -> bool:
        """Whether its rollout started and did not end as approved: a person should look at it."""
        return self in (State.ROLLED_BACK, State.FAILED)


class Reason(StrEnum):
    """Why an approval is in its state: a closed list, documented in docs/patching.md."""

    # Waiting.
    ACCEPTED = "Accepted"
    OUTSIDE_WINDOW = "OutsideWindow"
    WINDOW_TOO_SHORT = "WindowTooShort"
    BUSY = "Busy"
    QUEUE_STOPPED = "QueueStopped"
    PATCHING_DISABLED = "PatchingDisabled"
    NAMESPACE_STOPPED = "NamespaceStopped"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    FORBIDDEN = "Forbidden"
    # During a rollout.
    PATCHING = "Patching"
    PROGRESSING = "Progressing"
    HEALTHY = "Healthy"
    RESTORING = "Restoring"
    RESTORED = "Restored"
    EVICTION_BLOCKED = "EvictionBlocked"
    # Refused.
    INVALID = "Invalid"
    EXPIRED = "Expired"
    NOT_SELECTED = "NotSelected"
    OWN_RELEASE = "OwnRelease"
    UNSUPPORTED_KIND = "UnsupportedKind"
    WORKLOAD_NOT_FOUND = "WorkloadNotFound"
    UID_CHANGED = "UidChanged"
    CONTAINER_NOT_FOUND = "ContainerNotFound"
    IMAGE_CHANGED = "ImageChanged"
    TEMPLATE_CHANGED = "TemplateChanged"
    MANAGED = "Managed"
    IGNORED = "Ignored"
    INVALID_ANNOTATION = "InvalidAnnotation"
    NOT_A_PATCH = "NotAPatch"
    NOT_NEWER = "NotNewer"
    TAG_NOT_FOUND = "TagNotFound"
    REGISTRY_NOT_ALLOWED = "RegistryNotAllowed"
    PAUSED = "Paused"
    ON_DELETE = "OnDelete"
    ORDERED_READY = "OrderedReady"
    NOTHING_RUNS = "NothingRuns"
    NOTHING_UPDATES = "NothingUpdates"
    UNHEALTHY = "Unhealthy"
    PATCH_REJECTED = "PatchRejected"
    CHANGED_MEANWHILE = "ChangedMeanwhile"
    # Why a rollout failed or ended early.
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    UNAVAILABLE = "Unavailable"
    RESTARTED = "Restarted"
    WORKLOAD_GONE = "WorkloadGone"
    UNDONE = "Undone"
    SUPERSEDED = "Superseded"
    ROLLBACK_STUCK = "RollbackStuck"
    # Applied.
    ROLLED_OUT = "RolledOut"


class WorkloadRef(msgspec.Struct, frozen=True):
    """The workload that an approval names. It is in the namespace of the approval."""

    kind: str
    name: str
    uid: str
    group: str = ""

    @property
    def published(self) -> str:
        """The kind, with its group if kubectl needs one, as in `workloads.WorkloadKey`."""
        return f"{self.kind}.{self.group}" if "." in self.group else self.kind


class ContainerRef(msgspec.Struct, frozen=True):
    """A container to patch, and its image as in the pod template."""

    name: str
    image: str


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What is approved.

    Attributes:
        workload: the workload to patch.
        containers: which of its containers; init containers count too.
        from_: the tag that they run.
        to: the tag that they will run.
        approved_by: who approves.
        expires: when the approval expires, if its rollout has not started by then.
    """

    workload: WorkloadRef
    containers: tuple[ContainerRef, ...]
    to: str
    from_: str = msgspec.field(name="from")
    approved_by: str = ""
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Change(msgspec.Struct, frozen=True):
    """The image of a container before and after the patch."""

    container: str
    before: str
    after: str


class Attempt(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The version of the workload that a patch may change.

    Attributes:
        resource_version: the version that the patch names. The API server rejects it if the workload has another one.
        generation: how often the spec of the workload was changed.
        time: when this was recorded.
    """

    resource_version: str
    generation: int
    time: datetime


class Failure(msgspec.Struct, frozen=True):
    """Why a rollout failed."""

    reason: str
    message: str


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A condition as in other Kubernetes objects; `kubectl wait --for=condition=Complete` waits for one."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: datetime


class Status(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The state of an approval, and everything that its next step needs.

    Attributes:
        state, reason, message: its state, and the reason as a word and in one or two sentences.
        window: the name of the window in which the rollout started.
        accepted: when it was first judged and not refused.
        started: when the rollout started.
        patched: when the workload was first seen with the new images.
        healthy: when the soak started.
        restored: when the workload was first seen with the old images again.
        finished: when it reached a final state.
        fingerprint: of the pod template without the images of these containers, when it was accepted.
        changes: what the patch changes.
        attempt: the version of the workload that the next patch, or rollback, may change.
        failure: why the rollout failed; set from then on.
        revision: of a StatefulSet, the revision with the new images.
        progress: the highest number of updated pods seen; after a rollback, of available pods.
        progressed: when that number last rose.
        replicas: the number of desired pods when the soak started.
        restarts: container restarts when the soak started, without those of pods that were deleted since.
        conditions: `Accepted`, `Patched` and `Complete`.
    """

    state: State = State.NEW
    reason: str = ""
    message: str = ""
    window: str = ""
    accepted: datetime | None = None
    started: datetime | None = None
    patched: datetime | None = None
    healthy: datetime | None = None
    restored: datetime | None = None
    finished: datetime | None = None
    fingerprint: str = ""
    changes: tuple[Change, ...] = ()
    attempt: Attempt | None = None
    failure: Failure | None = None
    revision: str = ""
    progress: int = 0
    progressed: datetime | None = None
    replicas: int = 0
    restarts: int = 0
    conditions: tuple[Condition, ...] = ()


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """An approval's metadata."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    creation_timestamp: datetime
    annotations: dict[str, str] | None = None


class Approval(msgspec.Struct, frozen=True):
    """An approval."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    def __str__(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def workload(self) -> str:
        """The workload as messages name it: `hub/Deployment/quoting-service`."""
        ref = self.spec.workload
        return f"{self.metadata.namespace}/{ref.published}/{ref.name}"

    @property
    def order(self) -> tuple[datetime, str, str]:
        """Older approvals come first."""
        return self.metadata.creation_timestamp, self.metadata.namespace, self.metadata.name

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has acknowledged that it failed."""
        return (self.metadata.annotations or {}).get(ACKNOWLEDGED, "").lower() == "true"


class ApprovalPage(msgspec.Struct, frozen=True):
    """A list of approvals, not decoded yet: one that cannot be decoded does not hide the others."""

    items: tuple[msgspec.Raw, ...] = ()


_decode = tolerant(msgspec.json.Decoder(Approval).decode)


def decode(message: Message) -> Approval:
    """An approval as the API server sends it.

    Raises:
        MalformedError: it cannot be decoded. The schema of the custom resource prevents that.
    """
    try:
        return _decode(message)
    except ValueError as error:
        raise MalformedError(f"cannot read an approval: {error}") from error


def encode_status(status: Status) -> Any:
    """A status as plain values for JSON."""
    return msgspec.to_builtins(status, str_keys=True)


def moment(seconds: float) -> datetime:
    """A time as in the status: UTC, in whole seconds as everywhere in Kubernetes.

    It is rounded up, so that a soak is never too short.
    """
    return datetime.fromtimestamp(math.ceil(seconds), UTC)


def with_conditions(status: Status, before: Sequence[Condition], now: datetime) -> Status:
    """A status with the conditions that follow from its state.

    Args:
        status: its own conditions are replaced.
        before: the conditions so far; one that does not change keeps the time of its last transition.
        now: the transition time of those that change.
    """
    known = {condition.type: condition for condition in before}
    values = {
        "Accepted": "False" if status.state is State.REFUSED else "True",
        "Patched": "True" if status.patched is not None and status.restored is None else "False",
        "Complete": "True" if status.state.final else "False",
    }
    conditions = []
    for type_, value in values.items():
        old = known.get(type_)
        since = old.last_transition_time if old is not None and old.status == value else now
        reason = status.reason or status.state.value
        conditions.append(Condition(type_, value, reason, status.message, since))
    return msgspec.structs.replace(status, conditions=tuple(conditions))

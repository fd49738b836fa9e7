"""The fields of workloads and pods that the patcher needs, decoded from JSON.

The exporter reads fewer fields of very many objects (`cluster.decode`). The patcher reads one workload at a time, with
its complete pod template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from exporter.cluster.decode import MalformedError, OwnerReference
from exporter.cluster.nesting import Message, tolerant
from exporter.kinds import Kind

LISTS = ("initContainers", "containers")


class WorkloadMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A workload's metadata."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int = 0
    deletion_timestamp: datetime | None = None


class RollingUpdate(msgspec.Struct, frozen=True):
    """Parameters of a StatefulSet's rolling update."""

    partition: int | None = None


class UpdateStrategy(msgspec.Struct, frozen=True, rename="camel"):
    """How a StatefulSet or DaemonSet replaces its pods."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class LabelRequirement(msgspec.Struct, frozen=True):
    """An expression of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """Which pods belong to a workload."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelRequirement, ...] | None = None

    @property
    def text(self) -> str:
        """The selector as text, for the parameter `labelSelector`."""
        labels = (f"{key}={value}" for key, value in (self.match_labels or {}).items())
        return ",".join((*labels, *map(_expression, self.match_expressions or ())))


class WorkloadSpec(msgspec.Struct, frozen=True, rename="camel"):
    """A workload's spec; fields that a kind does not have keep their defaults."""

    replicas: int = 1
    paused: bool = False
    progress_deadline_seconds: int | None = None
    update_strategy: UpdateStrategy = UpdateStrategy()
    pod_management_policy: str = ""
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    job_template: dict[str, Any] = {}


class WorkloadCondition(msgspec.Struct, frozen=True):
    """A condition of a Deployment."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class WorkloadStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A workload's status. The API server leaves out numbers that are 0."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    conditions: tuple[WorkloadCondition, ...] | None = None


class WorkloadObject(msgspec.Struct, frozen=True):
    """A workload."""

    metadata: WorkloadMetadata
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()

    @property
    def partition(self) -> int:
        """The ordinal from which a StatefulSet updates its pods."""
        update = self.spec.update_strategy.rolling_update
        return (update.partition or 0) if update is not None else 0


class PodMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's metadata."""

    name: str
    uid: str
    labels: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    deletion_timestamp: datetime | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The status of a container."""

    restart_count: int = 0


class PodCondition(msgspec.Struct, frozen=True):
    """A condition of a pod."""

    type: str = ""
    status: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The status of a pod."""

    phase: str = ""
    conditions: tuple[PodCondition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(msgspec.Struct, frozen=True):
    """A pod."""

    metadata: PodMetadata
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """Whether it is ready."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions or ())

    @property
    def crashes(self) -> int:
        """How often its containers were restarted; a failed pod counts as one more."""
        containers = (*(self.status.container_statuses or ()), *(self.status.init_container_statuses or ()))
        return sum(container.restart_count for container in containers) + (self.status.phase == "Failed")

    @property
    def revision(self) -> str:
        """The revision of its StatefulSet that it was made from."""
        return (self.metadata.labels or {}).get("controller-revision-hash", "")

    def belongs_to(self, kind: str, name: str) -> bool:
        """Whether it belongs to a workload; a selector may match other pods too."""
        owner = next((owner for owner in self.metadata.owner_references or () if owner.controller), None)
        if owner is None:
            return False
        if kind == "Deployment":
            suffix = (self.metadata.labels or {}).get("pod-template-hash", "")
            return (owner.kind, owner.name) == ("ReplicaSet", f"{name}-{suffix}")
        return (owner.kind, owner.name) == (kind, name)


class Place(NamedTuple):
    """The JSON pointer (RFC 6901) to a container, and its image."""

    path: str
    image: str


_decode_workload = tolerant(msgspec.json.Decoder(WorkloadObject).decode)
_decode_pod = tolerant(msgspec.json.Decoder(Pod).decode)


def decode_workload(message: Message) -> WorkloadObject:
    """A workload as the API server sends it.

    Raises:
        MalformedError: it cannot be decoded.
    """
    try:
        return _decode_workload(message)
    except ValueError as error:
        raise MalformedError(f"cannot read a workload: {error}") from error


def decode_pod(message: Message) -> Pod:
    """A pod as the API server sends it.

    Raises:
        MalformedError: it cannot be decoded.
    """
    try:
        return _decode_pod(message)
    except ValueError as error:
        raise MalformedError(f"cannot read a pod: {error}") from error


def places(kind: Kind, workload: WorkloadObject) -> dict[str, Place]:
    """The containers of a pod template by name; the API server ensures that names are unique."""
    return {
        str(container.get("name", "")): Place(f"{kind.pod_spec}/{list_}/{index}", str(container.get("image", "")))
        for list_, index, container in _containers(_template(kind, workload))
    }


def fingerprint(kind: Kind, workload: WorkloadObject, containers: Collection[str]) -> str:
    """A digest of the pod template without the images of some containers, so that their patch does not change it."""
    template = _template(kind, workload)
    spec = dict(template.get("spec") or {})
    for list_ in LISTS:
        if list_ in spec:
            spec[list_] = [
                {key: value for key, value in container.items() if key != "image"}
                if container.get("name") in containers
                else container
                for container in spec[list_] or ()
            ]
    canonical = msgspec.json.encode({**template, "spec": spec}, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()


def _template(kind: Kind, workload: WorkloadObject) -> Mapping[str, Any]:
    if kind.name != "CronJob":
        return workload.spec.template
    found: Any = workload.spec.job_template
    for key in ("spec", "template"):
        found = found.get(key) or {}
    return dict(found)


def _containers(template: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    for list_ in LISTS:
        for index, container in enumerate((template.get("spec") or {}).get(list_) or ()):
            yield list_, index, container


def _expression(requirement: LabelRequirement) -> str:
    key, values = requirement.key, ",".join(requirement.values or ())
    forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
    return forms[requirement.operator]

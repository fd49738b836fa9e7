"""What we know of each container, and the immutable snapshot that every output is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from exporter.images import Repository
from exporter.workloads import ContainerType, Manager, Workload, WorkloadKey


class Reason(StrEnum):
    """Why a container cannot be judged: a closed list, part of the metric contract."""

    INVALID_REFERENCE = "invalid_reference"
    INVALID_ANNOTATION = "invalid_annotation"
    NOT_A_VERSION = "not_a_version"
    FLOATING_TAG = "floating_tag"
    DIGEST_ONLY = "digest_only"
    REGISTRY_NOT_ALLOWED = "registry_not_allowed"
    PRIVATE_ADDRESS = "private_address"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    BAD_ANSWER = "bad_answer"

    @property
    def permanent(self) -> bool:
        """Whether only somebody's change can end it; the others are transient."""
        return self in _PERMANENT


_PERMANENT = frozenset(
    {
        Reason.INVALID_REFERENCE,
        Reason.INVALID_ANNOTATION,
        Reason.NOT_A_VERSION,
        Reason.FLOATING_TAG,
        Reason.DIGEST_ONLY,
        Reason.REGISTRY_NOT_ALLOWED,
        Reason.PRIVATE_ADDRESS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of one container of a workload.

    Attributes:
        workload: namespace, kind and name.
        container, container_type, position: which container, and its index in its list.
        reference: as written; empty where it is invalid.
        image: the repository that runs (`docker.io/mojaloop/quoting-service`); empty where the reference is invalid.
        tag: the running tag; empty where the reference is invalid or has a digest only.
        digest: the digest in the reference, or empty.
        reason: why it cannot be judged, or None; then the fields below are set.
        latest_tag: the newest patch, equal to `tag` where there is none; None where not judged.
        releases_behind: how many patches are missed.
        published: epoch seconds when the first missed patch was published; None where there is none or it is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None where there is none.
        minor, major: the newest tag by these strategies, equal to `tag` where there is none; None where not judged.
    """

    workload: WorkloadKey
    container: str
    container_type: ContainerType
    position: int
    reference: str
    image: str
    tag: str
    digest: str = ""
    reason: Reason | None = None
    latest_tag: str | None = None
    releases_behind: int | None = None
    published: float | None = None
    first_seen: float | None = None
    minor: str | None = None
    major: str | None = None

    @property
    def patch_available(self) -> bool | None:
        """Whether a newer patch exists; None where that is not known."""
        return None if self.latest_tag is None else self.latest_tag != self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadState:
    """What is known of a workload apart from its containers; the attributes are those of `workloads.Workload`."""

    manager: Manager | None = None
    rollout_incomplete: bool = False
    declared: bool = True
    image_triggers: tuple[str, ...] = ()

    @classmethod
    def of(cls, workload: Workload) -> WorkloadState:
        """The state of a workload that runs."""
        return cls(
            manager=workload.manager,
            rollout_incomplete=workload.rollout_incomplete,
            declared=workload.declared,
            image_triggers=workload.image_triggers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is published, at one moment; outputs share it without locks.

    Attributes:
        findings: sorted by workload, type, position, image, tag; ignored containers are not there.
        workloads: per workload with a finding: its manager and rollout.
        lookups: last successful lookup of each repository's tags, epoch seconds.
        synced: per watched namespace (`*` or a name) whether all that is watched there is judged.
        ignored: how many containers an annotation or the configuration left out.
    """

    findings: tuple[Finding, ...] = ()
    workloads: Mapping[WorkloadKey, WorkloadState] = field(default_factory=lambda: MappingProxyType({}))
    lookups: Mapping[Repository, float] = field(default_factory=lambda: MappingProxyType({}))
    synced: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    ignored: int = 0

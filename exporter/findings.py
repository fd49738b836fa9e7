"""The findings about containers, and the immutable snapshot that every output is rendered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter.images import Repository
from exporter.reasons import Reason
from exporter.workloads import Container, ContainerType, Manager, Workload, WorkloadKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The facts about one container of a workload.

    Attributes:
        workload: namespace, kind and name.
        container, container_type, position: which container, and its index in its list.
        reference: as written; an invalid one is printable and cut to 300 characters.
        image: the repository that runs (`docker.io/mojaloop/quoting-service`); empty if the reference is invalid.
        tag: the running tag; empty if the reference is invalid or has only a digest.
        digest: the digest in the reference, or empty.
        reason: why it cannot be judged, or None; then the fields below are set.
        latest_tag: the newest patch; equal to `tag` if there is none, None if not judged.
        releases_behind: how many patches are missed.
        published: epoch seconds when the first missed patch was published; None if there is none, or it is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None if there is none.
        minor: the newest release with a greater Y and the same X; equal to `tag` if there is none, None if not judged.
        major: the newest release with a greater X, likewise.
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
        """Whether a newer patch exists; None if unknown."""
        return None if self.latest_tag is None else self.latest_tag != self.tag

    @property
    def newer_line(self) -> str | None:
        """The newest release of the newer lines; None if there is none, or if it equals `latest_tag`."""
        newest = next((tag for tag in (self.major, self.minor) if tag not in (None, self.tag)), None)
        return None if newest == self.latest_tag else newest


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadState:
    """The facts about a workload apart from its containers; see `workloads.Workload` for the attributes."""

    manager: Manager | None = None
    rollout_incomplete: bool = False
    declared: bool = True
    image_triggers: tuple[str, ...] = ()
    containers: tuple[Container, ...] = ()
    uid: str = ""

    @classmethod
    def of(cls, workload: Workload) -> WorkloadState:
        """Return the state of a workload."""
        return cls(
            manager=workload.manager,
            rollout_incomplete=workload.rollout_incomplete,
            declared=workload.declared,
            image_triggers=workload.image_triggers,
            containers=workload.containers,
            uid=workload.uid,
        )


NO_STATE = WorkloadState()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPatch:
    """The patch that a workload's containers of one image and tag miss, and the commands for it.

    Attributes:
        workload: namespace, kind and name.
        image, tag: the running image.
        latest_tag: the newest patch that any of the containers is offered.
        releases_behind: the highest number of missed patches.
        patch_command: one line of shell; empty if a patch cannot work or would not last.
        rollback_command: one line of shell that undoes it; empty likewise.
        approve_command: one line of shell that approves the patch for the patcher; empty if there is no patcher, or if
            it would refuse.
        advice: what to do in addition to the command, or instead of it; may be empty.
    """

    workload: WorkloadKey
    image: str
    tag: str
    latest_tag: str
    releases_behind: int
    patch_command: str = ""
    rollback_command: str = ""
    approve_command: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Snapshot:
    """Everything that is published at one moment; all outputs share it without locks.

    Attributes:
        findings: sorted by workload, type, position, image, tag; without ignored containers.
        patches: sorted by workload, image, tag; only with a missing patch.
        workloads: for each workload with a finding, its manager and rollout.
        lookups: last successful lookup of each repository's tags, epoch seconds.
        synced: for each watched namespace (`*` or a name), whether everything watched there is listed and followed.
        listed: whether everything watched has been listed once, or is known not to be listable.
        ignored: the number of containers that an annotation or the configuration excludes.
    """

    findings: tuple[Finding, ...] = ()
    patches: tuple[WorkloadPatch, ...] = ()
    workloads: Mapping[WorkloadKey, WorkloadState] = field(default_factory=lambda: MappingProxyType({}))
    lookups: Mapping[Repository, float] = field(default_factory=lambda: MappingProxyType({}))
    synced: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    listed: bool = False
    ignored: int = 0

"""What is known of each container, and the immutable snapshot that every output is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType

from exporter.images import Repository
from exporter.reasons import Reason
from exporter.workloads import ContainerType, Manager, Workload, WorkloadKey


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
        latest_tag: the newest patch; equal to `tag` if there is none, None if not judged.
        releases_behind: how many patches are missed.
        published: epoch seconds when the first missed patch was published; None if there is none, or it is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None if there is none.
        minor, major: the newest tag by these strategies; equal to `tag` if there is none, None if not judged.
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
        """Whether a newer patch exists; None if that is not known."""
        return None if self.latest_tag is None else self.latest_tag != self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadState:
    """What is known of a workload in addition to its containers; the attributes are those of `workloads.Workload`."""

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


NO_STATE = WorkloadState()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is published, at one moment; all outputs share it without locks.

    Attributes:
        findings: sorted by workload, type, position, image, tag; without ignored containers.
        workloads: for each workload with a finding, its manager and rollout.
        lookups: last successful lookup of each repository's tags, epoch seconds.
        synced: for each watched namespace (`*` or a name), whether everything that is watched there is judged.
        ignored: how many containers an annotation or the configuration left out.
    """

    findings: tuple[Finding, ...] = ()
    workloads: Mapping[WorkloadKey, WorkloadState] = field(default_factory=lambda: MappingProxyType({}))
    lookups: Mapping[Repository, float] = field(default_factory=lambda: MappingProxyType({}))
    synced: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    ignored: int = 0


def patch_groups(snapshot: Snapshot) -> Iterator[tuple[list[Finding], WorkloadState]]:
    """The findings that one command patches, with the workload's state.

    Those are the ones of one workload, image and tag that miss a patch.
    """

    def key(finding: Finding) -> tuple[WorkloadKey, str, str]:
        return finding.workload, finding.image, finding.tag

    missing = (finding for finding in snapshot.findings if finding.patch_available)
    for _, group in groupby(sorted(missing, key=key), key=key):
        findings = list(group)
        yield findings, snapshot.workloads.get(findings[0].workload, NO_STATE)

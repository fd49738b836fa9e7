"""The content of a report: everything that was checked, and the selected and sorted findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from exporter.findings import Finding, Snapshot, WorkloadPatch
from exporter.places import Places
from exporter.workloads import WorkloadKey

MATCHES: Mapping[str, Callable[[Finding], bool]] = MappingProxyType(
    {
        "patch": lambda finding: bool(finding.patch_available),
        "unknown": lambda finding: finding.reason is not None,
        "superseded": lambda finding: finding.newer_line is not None,
    }
)
"""The values of `--only` and `--fail-on`; a finding may match several."""


def _by_age(finding: Finding) -> tuple[Any, ...]:
    since = finding.published or finding.first_seen or 0.0
    return _rank(finding), since if finding.patch_available else 0.0, *_by_image(finding)


def _by_releases(finding: Finding) -> tuple[Any, ...]:
    return _rank(finding), -(finding.releases_behind or 0), *_by_age(finding)


def _by_image(finding: Finding) -> tuple[Any, ...]:
    return finding.image, finding.tag, finding.workload


def _rank(finding: Finding) -> int:
    """Sort findings with a missed patch first, then those without, then unknown ones."""
    return 2 if finding.reason is not None else 0 if finding.patch_available else 1


SORTS: Mapping[str, Callable[[Finding], tuple[Any, ...]] | None] = MappingProxyType(
    {"age": _by_age, "behind": _by_releases, "image": _by_image, "name": None}
)
"""The values of `--sort`. Snapshots are sorted by name: namespace, kind, workload, container."""


Group = tuple[WorkloadKey, str, str]
"""A workload, an image and a tag, which one command patches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a report.

    Attributes:
        snapshot: everything that was checked.
        findings: the selected ones, in the requested order.
        patches: of these findings, in the same order.
        now: epoch seconds, for ages.
        places: positions of the containers of manifests.
        failing: of `MATCHES`, those that count as failures.
        references: of every container, as written, including those that an annotation or the configuration excludes.
        plain: whether the reader is not a terminal, even if standard output is one.
    """

    snapshot: Snapshot
    findings: tuple[Finding, ...]
    patches: Mapping[Group, WorkloadPatch]
    now: float
    places: Places
    failing: frozenset[str]
    references: tuple[str, ...]
    plain: bool

    def shown(self) -> Snapshot:
        """Return a snapshot of only the selected findings."""
        return replace(self.snapshot, findings=self.findings, patches=tuple(self.patches.values()))

    def patch_of(self, finding: Finding) -> WorkloadPatch | None:
        """Return the patch for a finding's workload, or None."""
        return self.patches.get(_group(finding)) if finding.patch_available else None


def select(
    snapshot: Snapshot,
    *,
    now: float,
    only: Collection[str] = (),
    sort: str = "name",
    places: Places | None = None,
    failing: Collection[str] = ("patch",),
    references: Iterable[str] = (),
    plain: bool = True,
) -> Content:
    """Select and sort the findings of a snapshot.

    Args:
        snapshot: everything that was checked.
        now: epoch seconds.
        only: of `MATCHES`; findings that match one are shown. Empty for all.
        sort: one of `SORTS`.
        places, failing, references, plain: as in `Content`.
    """
    found = [finding for finding in snapshot.findings if not only or any(MATCHES[one](finding) for one in only)]
    if (key := SORTS[sort]) is not None:
        found.sort(key=key)
    known = {_group(patch): patch for patch in snapshot.patches}
    groups = dict.fromkeys(_group(finding) for finding in found if finding.patch_available)
    return Content(
        snapshot=snapshot,
        findings=tuple(found),
        patches={group: known[group] for group in groups if group in known},
        now=now,
        places=places or Places(),
        failing=frozenset(failing),
        references=tuple(references),
        plain=plain,
    )


def _group(thing: Finding | WorkloadPatch) -> Group:
    return thing.workload, thing.image, thing.tag

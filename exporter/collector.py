"""A snapshot as Prometheus reads it: text 0.0.4 and OpenMetrics 1.0.0.

Rendered once per snapshot, whoever scrapes: the sample lines of both formats are the same bytes, only the `# TYPE` of an info
metric differs. A scrape then copies bytes, or a compressed stream that was begun once.

`FAMILIES` is the metric contract as data; the README's table is made of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from exporter.findings import Finding, Snapshot
from exporter.workloads import WorkloadKey

_W = "namespace, workload_kind, workload, container, container_type"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, labels, and what its value says."""

    name: str
    labels: str
    help: str

    @property
    def is_info(self) -> bool:
        """Whether OpenMetrics has a type of its own for it; text 0.0.4 calls it a gauge."""
        return self.name.endswith("_info")


_AVAILABLE = Family(
    "mojaloop_image_patch_available",
    f"{_W}, image, tag, latest_tag",
    "1 if a newer patch of the running tag exists, 0 if none does; no sample where that is not known.",
)
_BEHIND = Family("mojaloop_image_patch_releases_behind", f"{_W}, image, tag", "How many newer patch releases exist.")
_PUBLISHED = Family(
    "mojaloop_image_patch_published_timestamp_seconds",
    f"{_W}, image, tag",
    "When the first patch that the container misses was published; no sample where none is missed or its time is unknown.",
)
_FIRST_SEEN = Family(
    "mojaloop_image_patch_first_seen_timestamp_seconds",
    f"{_W}, image, tag",
    "When the exporter first saw that a patch was missing.",
)
_UPGRADE = Family(
    "mojaloop_image_upgrade_available",
    f"{_W}, image, tag, latest_tag, strategy",
    "1 if a newer minor or major release exists, 0 if none does. A container with 0 patches and 1 here is not safe.",
)
_UNKNOWN = Family(
    "mojaloop_image_status_unknown", f"{_W}, image, tag, reason", "1 for a container that cannot be judged, and why."
)
_INFO = Family(
    "mojaloop_image_info",
    f"{_W}, image, tag, digest, reference, position",
    "1 for every watched container: its reference as written, its digest, its index in its list.",
)
_LOOKUP = Family(
    "mojaloop_image_lookup_timestamp_seconds", "registry, image", "Last successful lookup of a repository's tags."
)
_MANAGED = Family(
    "mojaloop_workload_managed_by",
    "namespace, workload_kind, workload, manager, source",
    "1 where argocd, flux, helm or an operator owns the workload; the most specific owner.",
)
_ROLLOUT = Family(
    "mojaloop_workload_rollout_incomplete",
    "namespace, workload_kind, workload",
    "1 while pods of an older template still run; no sample else.",
)
_SYNCED = Family(
    "mojaloop_exporter_synced",
    "watched_namespace",
    "1 while every container that is watched there (* is everywhere) is judged, or unknown for a permanent reason.",
)
FAMILIES = (
    _AVAILABLE,
    _BEHIND,
    _PUBLISHED,
    _FIRST_SEEN,
    _UPGRADE,
    _UNKNOWN,
    _INFO,
    _LOOKUP,
    _MANAGED,
    _ROLLOUT,
    _SYNCED,
)


class Exposition:
    """A snapshot, rendered."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._bodies = _render(snapshot)
        self._compressed: dict[bool, tuple[bytes, zlib._Compress]] = {}

    def chunks(self, openmetrics: bool) -> Iterator[bytes]:  # noqa: FBT001 - the one choice there is
        """The page in parts, without OpenMetrics' closing `# EOF`: the exporter's own metrics come between."""
        for family in FAMILIES:
            yield _head(family, openmetrics=openmetrics)
            yield self._bodies[family]

    def gzip(self, openmetrics: bool, tail: bytes) -> bytes:  # noqa: FBT001 - as above
        """The page and what comes behind it, compressed; all but the tail is compressed once."""
        if openmetrics not in self._compressed:
            stream = zlib.compressobj(level=3, wbits=31)
            parts = [stream.compress(chunk) for chunk in self.chunks(openmetrics)]
            parts.append(stream.flush(zlib.Z_SYNC_FLUSH))
            self._compressed[openmetrics] = (b"".join(parts), stream)
        begun, stream = self._compressed[openmetrics]
        rest = stream.copy()
        return b"".join((begun, rest.compress(tail), rest.flush()))


def _head(family: Family, *, openmetrics: bool) -> bytes:
    kind, name = "gauge", family.name
    if openmetrics and family.is_info:
        kind, name = "info", family.name.removesuffix("_info")
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode()


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _workload(key: WorkloadKey) -> str:
    return f'namespace="{key.namespace}",workload_kind="{key.kind}",workload="{key.name}"'


def _render(snapshot: Snapshot) -> dict[Family, bytes]:
    lines: dict[Family, list[str]] = {family: [] for family in FAMILIES}
    for finding in snapshot.findings:
        _render_finding(finding, lines)
    for key, state in snapshot.workloads.items():
        if state.manager is not None:
            lines[_MANAGED].append(
                f'{_MANAGED.name}{{{_workload(key)},manager="{_escape(state.manager.name)}",source="{_escape(state.manager.source)}"}} 1.0\n'
            )
        if state.rollout_incomplete:
            lines[_ROLLOUT].append(f"{_ROLLOUT.name}{{{_workload(key)}}} 1.0\n")
    for repository, at in snapshot.lookups.items():
        lines[_LOOKUP].append(f'{_LOOKUP.name}{{registry="{repository.registry}",image="{repository}"}} {at!r}\n')
    for namespace, synced in sorted(snapshot.synced.items()):
        lines[_SYNCED].append(f'{_SYNCED.name}{{watched_namespace="{_escape(namespace)}"}} {float(synced)}\n')
    # Popped one by one, so that text and bytes of all families are never held together.
    return {family: "".join(lines.pop(family)).encode() for family in FAMILIES}


def _render_finding(finding: Finding, lines: dict[Family, list[str]]) -> None:
    # Names and references were checked against grammars that hold no character to escape (checker, images).
    labels = (
        f'{_workload(finding.workload)},container="{finding.container}",container_type="{finding.container_type.value}"'
        f',image="{finding.image}",tag="{finding.tag}"'
    )
    if finding.image:
        lines[_INFO].append(
            f'{_INFO.name}{{{labels},digest="{finding.digest}",reference="{finding.reference}",position="{finding.position}"}} 1.0\n'
        )
    if finding.reason is not None:
        lines[_UNKNOWN].append(f'{_UNKNOWN.name}{{{labels},reason="{finding.reason.value}"}} 1.0\n')
        return
    lines[_AVAILABLE].append(
        f'{_AVAILABLE.name}{{{labels},latest_tag="{finding.latest_tag}"}} {float(bool(finding.patch_available))}\n'
    )
    lines[_BEHIND].append(f"{_BEHIND.name}{{{labels}}} {float(finding.releases_behind or 0)}\n")
    for family, value in _times(finding):
        lines[family].append(f"{family.name}{{{labels}}} {value!r}\n")
    for strategy, latest in (("minor", finding.minor), ("major", finding.major)):
        newer = float(latest != finding.tag)
        lines[_UPGRADE].append(f'{_UPGRADE.name}{{{labels},latest_tag="{latest}",strategy="{strategy}"}} {newer}\n')


def _times(finding: Finding) -> Iterable[tuple[Family, float]]:
    if finding.published is not None:
        yield _PUBLISHED, float(finding.published)
    if finding.first_seen is not None:
        yield _FIRST_SEEN, float(finding.first_seen)

"""A snapshot in the formats of Prometheus: text 0.0.4 and OpenMetrics 1.0.0.

A snapshot is rendered once, however often it is scraped. The sample lines of both formats are identical; only the `#
TYPE` of info metrics differs. A scrape copies bytes, or a compressed stream that was begun once.

`FAMILIES` is the metric contract as data. It declares the labels of each family once, for its samples and for
docs/metrics.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from exporter.commands import within_label_limit
from exporter.findings import Finding, Snapshot

_WORKLOAD = ("namespace", "workload_kind", "workload")
_CONTAINER = (*_WORKLOAD, "container", "container_type", "image", "tag")
# Values in the syntax of both formats.
_NO, _YES = "0.0", "1.0"


def _pairs(labels: Sequence[str]) -> str:
    """Return a format string for the values of some labels."""
    return ",".join(f'{label}="%s"' for label in labels)


# Many samples begin with the labels of the same workload or container. That text is rendered once for all of them.
_WORKLOAD_PAIRS, _CONTAINER_PAIRS = _pairs(_WORKLOAD), _pairs(_CONTAINER)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric.

    Attributes:
        name: with its unit.
        help: the meaning of its value.
        shared: the labels of the workload or container, which come first in a line; may be empty.
        own: the labels that follow.
        line: a format string for a sample: the rendered shared labels if any, the values of the own labels, and the
            sample's value.
    """

    name: str
    help: str
    shared: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    line: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        labels = ",".join(part for part in ("%s" if self.shared else "", _pairs(self.own)) if part)
        object.__setattr__(self, "line", f"{self.name}{{{labels}}} %s\n")

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all labels, in the order of the page."""
        return self.shared + self.own

    @property
    def is_info(self) -> bool:
        """Whether it is of OpenMetrics' type info, which text 0.0.4 lacks."""
        return self.name.endswith("_info")


_AVAILABLE = Family(
    "mojaloop_image_patch_available",
    "1 if a newer patch of the running tag exists, 0 if not; no sample if that is unknown.",
    _CONTAINER,
    ("latest_tag",),
)
_BEHIND = Family("mojaloop_image_patch_releases_behind", "How many newer patch releases exist.", _CONTAINER)
_PUBLISHED = Family(
    "mojaloop_image_patch_published_timestamp_seconds",
    "When the first patch that the container misses was published; no sample if none is missed or its time is unknown.",
    _CONTAINER,
)
_FIRST_SEEN = Family(
    "mojaloop_image_patch_first_seen_timestamp_seconds",
    "When the exporter first saw that a patch was missing.",
    _CONTAINER,
)
_UPGRADE = Family(
    "mojaloop_image_upgrade_available",
    "1 if a release of a newer line exists (minor: greater Y of X.Y.Z, major: greater X), 0 if not. "
    "A container with 0 patches and 1 here is not safe.",
    _CONTAINER,
    ("latest_tag", "strategy"),
)
_UNKNOWN = Family(
    "mojaloop_image_status_unknown", "1 for a container that cannot be judged, and why.", _CONTAINER, ("reason",)
)
_INFO = Family(
    "mojaloop_image_info",
    "1 for every watched container: its reference as written, its digest, its index in its list.",
    _CONTAINER,
    ("digest", "reference", "position"),
)
_LOOKUP = Family(
    "mojaloop_image_lookup_timestamp_seconds",
    "Last successful lookup of a repository's tags.",
    own=("registry", "image"),
)
_PATCH = Family(
    "mojaloop_workload_patch_releases_behind",
    "How many patch releases the containers of a workload with this image and tag are behind, with the command to "
    "patch them, its rollback, and what to do instead or as well; no sample if no patch is missing.",
    _WORKLOAD,
    ("image", "tag", "latest_tag", "patch_command", "rollback_command", "advice"),
)
_MANAGED = Family(
    "mojaloop_workload_managed_by",
    "1 if argocd, flux, helm or an operator owns the workload; the most specific owner.",
    _WORKLOAD,
    ("manager", "source"),
)
_ROLLOUT = Family(
    "mojaloop_workload_rollout_incomplete",
    "1 while pods of an older template still run; no sample otherwise.",
    _WORKLOAD,
)
_SYNCED = Family(
    "mojaloop_exporter_synced",
    "1 while everything watched there (* is everywhere) has been listed and is followed, otherwise 0.",
    own=("watched_namespace",),
)
_SCRAPE_CHECK = Family(
    "mojaloop_exporter_scrape_check",
    "Always 1, with the value kept in both labels; if other values arrive, the scrape renames, overwrites or drops "
    "labels.",
    own=("namespace", "container"),
)
_SAMPLES = Family(
    "mojaloop_exporter_samples",
    "How many samples of a metric this page has: if fewer arrive, the scrape drops them.",
    own=("metric",),
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
    _PATCH,
    _MANAGED,
    _ROLLOUT,
    _SYNCED,
    _SCRAPE_CHECK,
    _SAMPLES,
)
_COUNTED = tuple(family for family in FAMILIES if family.name.startswith(("mojaloop_image_", "mojaloop_workload_")))


class Exposition:
    """A rendered snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._bodies = _render(snapshot)
        self._compressed: dict[bool, tuple[bytes, zlib._Compress]] = {}

    def chunks(self, openmetrics: bool) -> Iterator[bytes]:  # noqa: FBT001 - the one choice there is
        """Yield the page in parts, without OpenMetrics' closing `# EOF`: the exporter's own metrics follow."""
        for family in FAMILIES:
            yield _head(family, openmetrics=openmetrics)
            yield self._bodies[family]

    def compressed(self, openmetrics: bool) -> bool:  # noqa: FBT001 - as above
        """Return whether the page of a format was compressed."""
        return openmetrics in self._compressed

    def compress(self, openmetrics: bool) -> None:  # noqa: FBT001 - as above
        """Compress the page of a format, once. It takes 10 ms per MiB and is thread-safe."""
        if openmetrics not in self._compressed:
            stream = zlib.compressobj(level=3, wbits=31)
            parts = [stream.compress(chunk) for chunk in self.chunks(openmetrics)]
            parts.append(stream.flush(zlib.Z_SYNC_FLUSH))
            self._compressed[openmetrics] = (b"".join(parts), stream)

    def gzip(self, openmetrics: bool, tail: bytes) -> tuple[bytes, bytes]:  # noqa: FBT001 - as above
        """Return the compressed page, which all requests share, and the compressed tail."""
        self.compress(openmetrics)
        begun, stream = self._compressed[openmetrics]
        rest = stream.copy()
        return begun, rest.compress(tail) + rest.flush()


def _head(family: Family, *, openmetrics: bool) -> bytes:
    kind, name = "gauge", family.name
    if openmetrics and family.is_info:
        kind, name = "info", family.name.removesuffix("_info")
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode()


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class _Lines:
    """The rendered samples of every family.

    Attributes:
        bodies: the text by family. It grows line by line, because lists of lines would take twice the memory of the
            page.
    """

    def __init__(self) -> None:
        self.bodies = {family: bytearray() for family in FAMILIES}

    def add(self, family: Family, *values: object) -> None:
        """Add a sample, given the values of its labels and its own."""
        self.bodies[family] += (family.line % values).encode()


def _render(snapshot: Snapshot) -> dict[Family, bytes]:
    lines = _Lines()
    for finding in snapshot.findings:
        _render_finding(finding, lines)
    for patch in map(within_label_limit, snapshot.patches):
        workload = _WORKLOAD_PAIRS % patch.workload
        commands = (_escape(patch.patch_command), _escape(patch.rollback_command), _escape(patch.advice))
        values = (workload, patch.image, patch.tag, patch.latest_tag, *commands, float(patch.releases_behind))
        lines.add(_PATCH, *values)
    for key, state in snapshot.workloads.items():
        workload = _WORKLOAD_PAIRS % key
        if (manager := state.manager) is not None:
            lines.add(_MANAGED, workload, _escape(manager.name), _escape(manager.source), _YES)
        if state.rollout_incomplete:
            lines.add(_ROLLOUT, workload, _YES)
    for repository, at in snapshot.lookups.items():
        lines.add(_LOOKUP, repository.registry, repository, at)
    for namespace, synced in sorted(snapshot.synced.items()):
        lines.add(_SYNCED, _escape(namespace), float(synced))
    lines.add(_SCRAPE_CHECK, "kept", "kept", _YES)
    for family in _COUNTED:
        # Values contain no line feeds: they are escaped.
        lines.add(_SAMPLES, family.name, float(lines.bodies[family].count(b"\n")))
    # Popped one by one, so all copies are never in memory together.
    return {family: bytes(lines.bodies.pop(family)) for family in FAMILIES}


def _render_finding(finding: Finding, lines: _Lines) -> None:
    # Names and references were validated (evaluate, images): their grammars have no characters to escape.
    key, tag = finding.workload, finding.tag
    container = _CONTAINER_PAIRS % (
        key.namespace,
        key.kind,
        key.name,
        finding.container,
        finding.container_type,
        finding.image,
        tag,
    )
    if finding.image:
        values = (container, finding.digest, finding.reference, finding.position, _YES)
        lines.add(_INFO, *values)
    if finding.reason is not None:
        lines.add(_UNKNOWN, container, finding.reason, _YES)
        return
    latest = finding.latest_tag
    lines.add(_AVAILABLE, container, latest, _NO if latest == tag else _YES)
    lines.add(_BEHIND, container, float(finding.releases_behind or 0))
    if finding.published is not None:
        lines.add(_PUBLISHED, container, float(finding.published))
    if finding.first_seen is not None:
        lines.add(_FIRST_SEEN, container, float(finding.first_seen))
    for strategy, newest in (("minor", finding.minor), ("major", finding.major)):
        lines.add(_UPGRADE, container, newest, strategy, _NO if newest == tag else _YES)

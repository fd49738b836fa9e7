"""The JSON of `check` and of `/api/v1/findings` for programs. Its keys are an API, described in docs/findings.md.

A workload's command can be long, and many containers share it. So commands have their own list, with an item for each
workload, image and tag. Each object is encoded by itself, so the document is never in memory twice. The metadata of the
document (`head`) is separate from its lists (`body`), which the server renders once for all requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from exporter import __version__
from exporter.findings import NO_STATE, Finding, Snapshot, WorkloadPatch, WorkloadState
from exporter.reasons import Reason
from exporter.report.content import Content
from exporter.workloads import ContainerType, WorkloadKey

FORMAT = 2
"""The version of the format. It changes if a key is removed or changes its meaning, not if one is added."""


class ManagedBy(msgspec.Struct, frozen=True, kw_only=True):
    """The owner: `argocd`, `flux`, `helm` or `operator`, and the name of the Application, release or owner."""

    manager: str
    source: str


class Upgrades(msgspec.Struct, frozen=True, kw_only=True):
    """The newest tags of newer lines (minor: greater Y of X.Y.Z, major: greater X); null if there is none."""

    minor: str | None
    major: str | None


class ContainerFinding(msgspec.Struct, frozen=True, kw_only=True):
    """The finding about one container."""

    namespace: str
    workload_kind: str
    workload: str
    container: str
    container_type: ContainerType
    image: str
    tag: str
    latest_tag: str | None
    patch_available: bool | None
    releases_behind: int | None
    published: str | None
    upgrades: Upgrades
    reason: Reason | None
    reference: str
    digest: str
    managed_by: ManagedBy | None


class WorkloadFinding(msgspec.Struct, frozen=True, kw_only=True):
    """The patch for a workload's containers of one image and tag; only if one is missing."""

    namespace: str
    workload_kind: str
    workload: str
    image: str
    tag: str
    latest_tag: str
    releases_behind: int
    patch_command: str | None
    rollback_command: str | None
    approve_command: str | None
    advice: str | None
    managed_by: ManagedBy | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The findings at one moment."""

    format: int
    generated: str
    version: str
    synced: bool
    findings: list[ContainerFinding]
    workloads: list[WorkloadFinding]


def render_json(snapshot: Snapshot, *, now: float) -> bytes:
    """Render a snapshot as a `Document` in UTF-8: one object per line, in the order of the snapshot.

    Args:
        snapshot: the snapshot.
        now: epoch seconds.
    """
    return head(snapshot, now=now) + body(snapshot)


def render(content: Content) -> str:
    """Render the selected findings as a `Document`."""
    return render_json(content.shown(), now=content.now).decode()


def head(snapshot: Snapshot, *, now: float) -> bytes:
    """Render the document up to its lists: its time, the exporter's version, and whether the cluster is followed."""
    # `synced` is empty for references and manifests, which cannot be followed, and never for a cluster.
    facts = {
        "format": FORMAT,
        "generated": rfc3339(now),
        "version": __version__,
        "synced": all(snapshot.synced.values()),
    }
    encode = msgspec.json.Encoder().encode
    return b"{" + b",".join(b'\n  "%s": %s' % (key.encode(), encode(value)) for key, value in facts.items())


def body(snapshot: Snapshot) -> bytes:
    """Render the lists of the document, up to its end."""
    encode = msgspec.json.Encoder().encode
    text = bytearray()
    for name, objects in (("findings", _containers(snapshot)), ("workloads", _workloads(snapshot))):
        text += f',\n  "{name}": ['.encode()
        separator = b"\n    "
        for thing in objects:
            text += separator
            text += encode(thing)
            separator = b",\n    "
        text += b"]" if separator == b"\n    " else b"\n  ]"
    text += b"\n}\n"
    return bytes(text)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a `Document`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Document)}


def _containers(snapshot: Snapshot) -> Iterator[ContainerFinding]:
    return (container_finding(found, snapshot.workloads.get(found.workload, NO_STATE)) for found in snapshot.findings)


def _workloads(snapshot: Snapshot) -> Iterator[WorkloadFinding]:
    # A reference that was judged by itself has no workload.
    patches = (patch for patch in snapshot.patches if patch.workload.kind)
    return (_workload(patch, snapshot.workloads.get(patch.workload, NO_STATE)) for patch in patches)


def container_finding(finding: Finding, state: WorkloadState = NO_STATE) -> ContainerFinding:
    """Convert a finding for the document."""

    def newer(tag: str | None) -> str | None:
        return None if tag == finding.tag else tag

    return ContainerFinding(
        **_place(finding.workload),
        container=finding.container,
        container_type=finding.container_type,
        image=finding.image,
        tag=finding.tag,
        latest_tag=newer(finding.latest_tag),
        patch_available=finding.patch_available,
        releases_behind=finding.releases_behind,
        published=None if finding.published is None else rfc3339(finding.published),
        upgrades=Upgrades(minor=newer(finding.minor), major=newer(finding.major)),
        reason=finding.reason,
        reference=finding.reference,
        digest=finding.digest,
        managed_by=_manager(state),
    )


def _workload(patch: WorkloadPatch, state: WorkloadState) -> WorkloadFinding:
    return WorkloadFinding(
        **_place(patch.workload),
        image=patch.image,
        tag=patch.tag,
        latest_tag=patch.latest_tag,
        releases_behind=patch.releases_behind,
        patch_command=patch.patch_command or None,
        rollback_command=patch.rollback_command or None,
        approve_command=patch.approve_command or None,
        advice=patch.advice or None,
        managed_by=_manager(state),
    )


def _place(key: WorkloadKey) -> dict[str, Any]:
    return {"namespace": key.namespace, "workload_kind": key.kind, "workload": key.name if key.kind else ""}


def _manager(state: WorkloadState) -> ManagedBy | None:
    manager = state.manager
    return None if manager is None else ManagedBy(manager=manager.name, source=manager.source)


def rfc3339(at: float) -> str:
    """Format a time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

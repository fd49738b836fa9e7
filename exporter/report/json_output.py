"""For programs: the JSON of `check` and of `/api/v1/findings`. Its keys are an API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from exporter.findings import NO_STATE, Finding, Snapshot, WorkloadPatch, WorkloadState


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The findings as one JSON object, in the order of the snapshot."""
    patches = {(patch.workload, patch.image, patch.tag): patch for patch in snapshot.patches}
    return {
        "findings": [
            _to_json(
                finding,
                snapshot.workloads.get(finding.workload, NO_STATE),
                patches.get((finding.workload, finding.image, finding.tag)) if finding.patch_available else None,
            )
            for finding in snapshot.findings
        ]
    }


def render_json(snapshot: Snapshot) -> bytes:
    """`to_json` as UTF-8, with a line feed at the end."""
    return msgspec.json.format(msgspec.json.encode(to_json(snapshot)), indent=2) + b"\n"


def _to_json(finding: Finding, state: WorkloadState, patch: WorkloadPatch | None) -> dict[str, Any]:
    key = finding.workload

    def newer(tag: str | None) -> str | None:
        return None if tag == finding.tag else tag

    return {
        "namespace": key.namespace,
        "workload_kind": key.kind,
        "workload": key.name if key.kind else "",
        "container": finding.container,
        "container_type": finding.container_type.value,
        "image": finding.image,
        "tag": finding.tag,
        "latest_tag": newer(finding.latest_tag),
        "patch_available": finding.patch_available,
        "releases_behind": finding.releases_behind,
        "published": None if finding.published is None else _rfc3339(finding.published),
        "upgrades": {"minor": newer(finding.minor), "major": newer(finding.major)},
        "reason": None if finding.reason is None else finding.reason.value,
        "reference": finding.reference,
        "digest": finding.digest,
        "managed_by": None
        if state.manager is None
        else {"manager": state.manager.name, "source": state.manager.source},
        "patch_command": (patch and patch.patch_command) or None,
        "rollback_command": (patch and patch.rollback_command) or None,
        "advice": (patch and patch.advice) or None,
    }


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

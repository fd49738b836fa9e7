"""The audit log: a line of JSON for each decision, and for most of them an Event for the workload.

The line says who approved, what was done to which workload, when, in which window, and with what result. Only audit
lines are written to standard output; logs go to standard error. The approval's status is authoritative: a process that
is killed between the two loses a line, never a state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from exporter.kinds import Kind
from exporter.patcher.approvals import Approval, State, Status

COMPONENT = "image-patcher"
_EVENTS = {
    State.ROLLING_OUT: ("Normal", "ImagePatched"),
    State.APPLIED: ("Normal", "ImagePatchApplied"),
    State.ROLLING_BACK: ("Warning", "ImagePatchFailed"),
    State.ROLLED_BACK: ("Warning", "ImagePatchRolledBack"),
    State.REFUSED: ("Warning", "ImagePatchRefused"),
    State.FAILED: ("Warning", "ImagePatchFailed"),
}
# Of an Event's message (`core/v1`), in characters.
_LONGEST_MESSAGE = 1000


class Audit:
    """Writes audit lines.

    Args:
        write: is called with each line, without a line ending.
        identity: the name of this process.
        verified: whether the API server ensures that `approvedBy` created the approval.
    """

    def __init__(self, write: Callable[[str], None], *, identity: str, verified: bool) -> None:
        self._write = write
        self._identity = identity
        self._verified = verified

    def note(self, approval: Approval, status: Status, *, now: datetime) -> None:
        """Write the line of a decision.

        Args:
            approval: the approval.
            status: its new status.
            now: the time.
        """
        spec = approval.spec
        line = {
            "time": now.isoformat().replace("+00:00", "Z"),
            "approval": str(approval),
            "uid": approval.metadata.uid,
            "approved_by": spec.approved_by,
            "approver": "verified" if self._verified else "unverified",
            "workload": approval.workload,
            "containers": [container.name for container in spec.containers],
            "from": spec.from_,
            "to": spec.to,
            "state": status.state.value,
            "reason": status.reason,
            "message": status.message,
            "window": status.window,
            "patcher": self._identity,
        }
        self._write(json.dumps(line, separators=(",", ":")))


def event(approval: Approval, status: Status, *, kind: Kind | None, now: datetime, identity: str) -> Any:
    """The Event for a new state; None if the state has none.

    Its name is derived from the approval and the state, so two patchers cannot create it twice.

    Args:
        approval: the approval.
        status: its new status.
        kind: of the workload; None for an unknown kind.
        now: the time.
        identity: the name of this process.
    """
    if status.state not in _EVENTS:
        return None
    type_, reason = _EVENTS[status.state]
    meta, ref, spec = approval.metadata, approval.spec.workload, approval.spec
    digest = hashlib.sha256(f"{meta.uid}/{status.state.value}".encode()).hexdigest()[:16]
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{COMPONENT}.{digest}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": kind.api_version if kind is not None else f"{ref.group}/v1".lstrip("/"),
            "kind": ref.kind,
            "namespace": meta.namespace,
            "name": ref.name,
            "uid": ref.uid,
        },
        "type": type_,
        "reason": reason,
        "message": f"{spec.from_} to {spec.to}: {status.message}"[:_LONGEST_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": identity,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }

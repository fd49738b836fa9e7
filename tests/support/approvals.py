"""Approvals and workloads for the tests of the patcher, as documents of the API."""

from __future__ import annotations

from typing import Any

from exporter.patcher.approvals import GROUP, KIND, VERSION

API_VERSION = f"{GROUP}/{VERSION}"
CREATED = "2026-11-21T20:00:00Z"
BEFORE, AFTER = "mojaloop/ledger:v1.0.0", "mojaloop/ledger:v1.0.1"
GROUPS = {"CronJob": "batch", "Job": "batch", "Pod": ""}


def approval(
    kind: str = "Deployment",
    *,
    name: str = "one",
    namespace: str = "hub",
    workload: str = "thing",
    uid: str = "uid-1",
    status: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """An approval of one patch; `from_` is `spec.from`."""
    if "from_" in spec:
        spec["from"] = spec.pop("from_")
    ref = {"group": GROUPS.get(kind, "apps"), "kind": kind, "name": workload, "uid": uid}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"approval-{name}",
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            **({"annotations": annotations} if annotations else {}),
            **(metadata or {}),
        },
        "spec": {
            "workload": ref,
            "containers": [{"name": "main", "image": BEFORE}],
            "from": "v1.0.0",
            "to": "v1.0.1",
            "approvedBy": "alice",
            **spec,
        },
        **({"status": status} if status else {}),
    }

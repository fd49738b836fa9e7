"""Many objects, one workload: what counts for whom.

A custom controller's workload is the union over its pods, a Rollout's over its ReplicaSets; a Deployment's is one object. What each
object contributes is kept by the object, so that one that goes takes only its own share along.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.cluster.templates import merge
from exporter.inventory import Inventory
from exporter.workloads import Workload, WorkloadKey


class ObjectRef(NamedTuple):
    """An object that counts for a workload."""

    kind: str
    namespace: str
    name: str


class WorkloadAggregator:
    """What each object contributes; the inventory holds the sums."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._parts: dict[WorkloadKey, dict[ObjectRef, Workload]] = {}
        self._keys: dict[ObjectRef, WorkloadKey] = {}

    def put(self, ref: ObjectRef, part: Workload | None) -> None:
        """Set what an object contributes, None for nothing (any more)."""
        before = self._keys.pop(ref, None)
        if before is not None and (part is None or part.key != before):
            parts = self._parts[before]
            del parts[ref]
            self._sum(before)
        if part is not None:
            self._keys[ref] = part.key
            self._parts.setdefault(part.key, {})[ref] = part
            self._sum(part.key)

    def get(self, ref: ObjectRef) -> Workload | None:
        """What an object contributes."""
        key = self._keys.get(ref)
        return self._parts[key][ref] if key is not None else None

    def _sum(self, key: WorkloadKey) -> None:
        parts = self._parts[key]
        if parts:
            self._inventory.put(merge(parts.values()))
        else:
            del self._parts[key]
            self._inventory.remove(key)

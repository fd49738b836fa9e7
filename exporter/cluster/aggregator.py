"""Many objects, one workload: what counts for whom.

A custom controller's workload is the union over its pods, a Deployment's is one object. What each object contributes
is kept by the object, so that one that goes takes only its own part with it.
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
        self._objects: dict[ObjectRef, tuple[Workload, ...]] = {}
        self._parts: dict[WorkloadKey, dict[ObjectRef, Workload]] = {}

    def put(self, ref: ObjectRef, parts: tuple[Workload, ...]) -> None:
        """Set what an object contributes, at most one part for a workload; without any it is forgotten."""
        before = self._objects.pop(ref, ())
        if parts:
            self._objects[ref] = parts
        if parts == before:
            return
        keys = {part.key for part in parts}
        for part in before:
            if part.key not in keys:
                del self._parts[part.key][ref]
                self._sum(part.key)
        for part in parts:
            self._parts.setdefault(part.key, {})[ref] = part
            self._sum(part.key)

    def get(self, ref: ObjectRef) -> tuple[Workload, ...]:
        """What an object contributes."""
        return self._objects.get(ref, ())

    def _sum(self, key: WorkloadKey) -> None:
        parts = self._parts[key]
        if not parts:
            del self._parts[key]
            self._inventory.remove(key)
        elif (workload := merge(parts.values())).containers:
            self._inventory.put(workload)
        else:
            self._inventory.remove(key)

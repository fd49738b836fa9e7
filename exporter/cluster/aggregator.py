"""Workloads built from the contributions of many objects.

The workload of a custom controller is the union of its pods. The workload of a Deployment is one object. Contributions
are kept by object, so a deleted object removes only its own. Equal contributions are merged once, however many pods
have them, and each workload once per batch of changes.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

from exporter.cluster.templates import merge
from exporter.inventory import Inventory
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey

log = logging.getLogger(__name__)

# Workloads of a namespace that are still shown after its containers exceed the limit.
SHOWN = 100


class ObjectRef(NamedTuple):
    """An object that contributes to a workload."""

    kind: str
    namespace: str
    name: str


class WorkloadAggregator:
    """The contributions of all objects. `publish` writes their sums to the inventory.

    Args:
        inventory: receives the workloads.
        telemetry: counts refused workloads.
        most: limit on the containers of a namespace.
    """

    def __init__(
        self, inventory: Inventory, *, telemetry: Telemetry, most: int = Limit.NAMESPACE_CONTAINERS.most
    ) -> None:
        self._inventory = inventory
        self._telemetry = telemetry
        self._most = most
        self._objects: dict[ObjectRef, tuple[Workload, ...]] = {}
        # Number of objects with the same contribution.
        self._parts: dict[WorkloadKey, Counter[Workload]] = {}
        # A dictionary keeps the order, so every start refuses the same workloads.
        self._changed: dict[WorkloadKey, None] = {}
        # Containers in the inventory, and those of each refused workload, by namespace.
        self._containers: Counter[str] = Counter()
        self._refused: dict[str, dict[WorkloadKey, int]] = {}

    def put(self, ref: ObjectRef, parts: tuple[Workload, ...]) -> None:
        """Set the contribution of an object, at most one part per workload. No parts removes the object."""
        before = self._objects.pop(ref, ())
        if parts:
            self._objects[ref] = parts
        if parts == before:
            return
        for part in before:
            counts = self._parts[part.key]
            counts[part] -= 1
            if not counts[part]:
                del counts[part]
            self._changed[part.key] = None
        for part in parts:
            self._parts.setdefault(part.key, Counter())[part] += 1
            self._changed[part.key] = None

    def get(self, ref: ObjectRef) -> tuple[Workload, ...]:
        """Return the contribution of an object."""
        return self._objects.get(ref, ())

    def publish(self) -> None:
        """Apply all changes since the last call to the inventory."""
        changed, self._changed = self._changed, {}
        for key in changed:
            self._sum(key)
        for namespace in {key.namespace for key in changed} & self._refused.keys():
            self._admit(namespace)

    def _sum(self, key: WorkloadKey) -> None:
        parts = self._parts.get(key)
        if not parts:
            self._parts.pop(key, None)
            self._withdraw(key)
        elif not (workload := merge(parts)).containers:
            self._withdraw(key)
        else:
            known = self._inventory.workloads().get(key)
            refused = known is not None and known.limit_exceeded
            if workload.limit_exceeded and not refused and not any(part.limit_exceeded for part in parts):
                self._telemetry.exceeded(Limit.CONTAINERS)
                log.warning("%s is not judged: its objects have too many containers in total", key)
            self._put(workload)

    def _put(self, workload: Workload) -> None:
        """Put a workload into the inventory, or a placeholder if its namespace has too many containers."""
        key, namespace = workload.key, workload.key.namespace
        known = self._inventory.workloads().get(key)
        refused = self._refused.get(namespace, {})
        before = len(known.containers) if known is not None and key not in refused else 0
        if self._containers[namespace] - before + len(workload.containers) <= self._most:
            self._refused_no_longer(key)
            self._containers[namespace] += len(workload.containers) - before
            self._inventory.put(workload)
            return
        self._containers[namespace] -= before
        if key not in refused:
            self._telemetry.exceeded(Limit.NAMESPACE_CONTAINERS)
            if not refused:
                log.warning("namespace %s has too many containers: not all of its workloads are judged", namespace)
        refused = self._refused.setdefault(namespace, {})
        refused[key] = len(workload.containers)
        if known is not None or len(refused) <= SHOWN:
            self._inventory.put(workload.refused())

    def _withdraw(self, key: WorkloadKey) -> None:
        known = self._inventory.workloads().get(key)
        if known is not None and key not in self._refused.get(key.namespace, {}):
            self._containers[key.namespace] -= len(known.containers)
        self._refused_no_longer(key)
        self._inventory.remove(key)

    def _refused_no_longer(self, key: WorkloadKey) -> None:
        refused = self._refused.get(key.namespace)
        if refused is not None and refused.pop(key, None) is not None and not refused:
            del self._refused[key.namespace]

    def _admit(self, namespace: str) -> None:
        """Judge refused workloads that fit now."""
        for key, containers in list(self._refused[namespace].items()):
            if self._containers[namespace] + containers <= self._most:
                self._sum(key)

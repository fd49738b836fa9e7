"""Many objects, one workload: what each object contributes, and the sums.

The workload of a custom controller is the union over its pods; that of a Deployment is one object. What each object
contributes is kept by object, so that an object that goes takes only its own part with it. Equal contributions are
merged once, however many pods have them, and a workload once per batch of changes.
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

# Workloads of a namespace that are shown although its containers are too many.
SHOWN = 100


class ObjectRef(NamedTuple):
    """An object that counts for a workload."""

    kind: str
    namespace: str
    name: str


class WorkloadAggregator:
    """What each object contributes; the inventory holds the sums after `publish`.

    Args:
        inventory: where workloads are put.
        telemetry: where refused workloads are counted.
        most: the containers of a namespace.
    """

    def __init__(
        self, inventory: Inventory, *, telemetry: Telemetry, most: int = Limit.NAMESPACE_CONTAINERS.most
    ) -> None:
        self._inventory = inventory
        self._telemetry = telemetry
        self._most = most
        self._objects: dict[ObjectRef, tuple[Workload, ...]] = {}
        # How many objects contribute the same part.
        self._parts: dict[WorkloadKey, Counter[Workload]] = {}
        # A dictionary keeps the order, so that the same workloads are refused after every start.
        self._changed: dict[WorkloadKey, None] = {}
        # The containers in the inventory by namespace, and how many each refused workload has.
        self._containers: Counter[str] = Counter()
        self._refused: dict[str, dict[WorkloadKey, int]] = {}

    def put(self, ref: ObjectRef, parts: tuple[Workload, ...]) -> None:
        """Set what an object contributes, at most one part for a workload; without any it is forgotten."""
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
        """What an object contributes."""
        return self._objects.get(ref, ())

    def publish(self) -> None:
        """Bring the inventory up to date with every change since the last call."""
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
                log.warning("%s is not judged: its objects together have too many containers", key)
            self._put(workload)

    def _put(self, workload: Workload) -> None:
        """Put a workload into the inventory, or what stands for it while its namespace has too many containers."""
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
        """Judge workloads that were refused, where others have made room for them."""
        for key, containers in list(self._refused[namespace].items()):
            if self._containers[namespace] + containers <= self._most:
                self._sum(key)

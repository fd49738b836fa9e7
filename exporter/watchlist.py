"""The watch list: configured images, judged as if they ran, with or without a cluster.

A reference with a tag becomes a workload of the kind `Image` without a namespace, and is treated like a container. A
repository without a tag has nothing to judge; its tags are looked up for the API.

The list has its own scope, the namespace `""`. So an exporter without a cluster never reports a cluster as synced, and
does not resolve the alerts of another exporter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.annotations import PREFIX
from exporter.images import Reference
from exporter.inventory import Inventory, ScopeState
from exporter.versions import Strategy
from exporter.workloads import IMAGE_KIND, OPERATOR, Container, ContainerType, Workload, WorkloadKey, image_key


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedImage:
    """An entry of the watch list.

    Attributes:
        reference: with a tag it is judged; without one, its repository is looked up.
        name: the published name of the reference; empty without a tag.
        strategy: of the reference; None for the configured one.
    """

    reference: Reference
    name: str = ""
    strategy: Strategy | None = None

    def workload(self) -> Workload:
        """Return the workload that represents a reference with a tag."""
        container = Container("", ContainerType.CONTAINER, self.reference.written, 0)
        annotations = () if self.strategy is None else ((f"{PREFIX}strategy", self.strategy.value),)
        return Workload(key=image_key(self.name), containers=(container,), annotations=annotations)


class WatchList:
    """Keeps the inventory in sync with the list.

    Args:
        inventory: where the images are stored.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._keys: frozenset[WorkloadKey] = frozenset()

    def replace(self, images: Iterable[WatchedImage]) -> None:
        """Watch these images from now on, and no others."""
        entries = tuple(images)
        workloads = [entry.workload() for entry in entries if entry.reference.tag is not None]
        keys = frozenset(workload.key for workload in workloads)
        for gone in self._keys - keys:
            self._inventory.remove(gone)
        for workload in workloads:
            self._inventory.put(workload)
        self._keys = keys
        self._inventory.set_repositories(
            frozenset(entry.reference.repository for entry in entries if entry.reference.tag is None)
        )
        if entries:
            self._inventory.set_scope(IMAGE_KIND, OPERATOR, ScopeState.SYNCED)
        else:
            self._inventory.drop_scope(IMAGE_KIND, OPERATOR)

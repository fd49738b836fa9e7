"""The production client on a cluster. Tests wait until its inventory has the expected content."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from exporter.cluster import Cluster, Connection, open_connection
from exporter.inventory import Inventory, ScopeState
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey
from tests.support.kube import Kube
from tests.support.workloads import body


class Remembering(Inventory):
    """An inventory that records its changes.

    Attributes:
        states: every state of each scope, in order.
        keys: every workload that was ever held.
        rollouts: for each workload, the changes of whether its rollout was incomplete.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[ScopeState] = []
        self.keys: set[WorkloadKey] = set()
        self.rollouts: dict[WorkloadKey, list[bool]] = {}

    def set_scope(self, kind: str, watched_namespace: str, state: ScopeState) -> None:
        self.states.append(state)
        super().set_scope(kind, watched_namespace, state)

    def put(self, workload: Workload) -> None:
        self.keys.add(workload.key)
        rollouts = self.rollouts.setdefault(workload.key, [])
        if rollouts[-1:] != [workload.rollout_incomplete]:
            rollouts.append(workload.rollout_incomplete)
        super().put(workload)


class Following:
    def __init__(self, inventory: Remembering, telemetry: Telemetry, connection: Connection, cluster: Cluster) -> None:
        self.inventory, self.telemetry, self.connection, self.cluster = inventory, telemetry, connection, cluster

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(
                    f"not within {seconds} s; {self.inventory.workloads()} {dict(self.inventory.scopes())}"
                )
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def images(self, namespace: str) -> dict[str, list[str]]:
        return {
            f"{key.kind}/{key.name}": [container.image for container in workload.containers]
            for key, workload in self.inventory.workloads().items()
            if key.namespace == namespace
        }

    async def until_images(self, namespace: str, images: dict[str, list[str]], seconds: float = 60.0) -> None:
        try:
            await self.until(lambda: self.images(namespace) == images, seconds)
        except AssertionError as error:
            raise AssertionError(f"{self.images(namespace)} != {images}") from error

    async def caught_up(self, kube: Kube, namespace: str, *kinds: str) -> set[WorkloadKey]:
        """Wait until all past events of these kinds have arrived, and return the markers' keys.

        A watch keeps the order of events, so the marker arrives last.
        """
        markers = {WorkloadKey(namespace, kind, "marker") for kind in kinds}
        for marker in markers:
            kube.create(marker.kind, namespace, body(marker.kind, marker.name))
        await self.until(lambda: markers <= self.inventory.keys)
        return markers

    def restarts(self, kind: str, reason: str) -> float:
        return self.telemetry.watch_restarts.labels(kind, reason)._value.get()


@asynccontextmanager
async def following(
    kube: Kube | Path | None, *namespaces: str, token: str | None = None, run: bool = True, **more: Any
):
    """Follow a cluster: as the named user, with a kubeconfig, or (without either) as the environment is configured."""
    inventory, telemetry = Remembering(), Telemetry()
    if kube is None or isinstance(kube, Path):
        kubeconfig = kube
    else:
        kubeconfig = kube.kubeconfig(token) if token else kube.kubeconfig()
    async with open_connection(kubeconfig=kubeconfig) as connection:
        cluster = Cluster(
            connection=connection,
            inventory=inventory,
            telemetry=telemetry,
            clock=time.time,
            namespaces=namespaces,
            **more,
        )
        found = Following(inventory, telemetry, connection, cluster)
        if not run:
            yield found
            return
        task = asyncio.create_task(cluster.run())
        try:
            await found.until(lambda: all(s is not ScopeState.PENDING for s in inventory.scopes().values()))
            yield found
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait([task])

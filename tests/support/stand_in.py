"""The stand-in for the API server, and the production client on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from exporter.cluster import Cluster, open_connection
from exporter.demo.cluster import StandInCluster
from exporter.demo.objects import apply_json_patch
from exporter.inventory import Inventory
from exporter.kinds import KINDS as TABLE
from exporter.telemetry import Telemetry
from tests.support.following import Following


@contextlib.asynccontextmanager
async def following(kubeconfig: Path, *namespaces: str) -> AsyncIterator[Following]:
    """Run the production client on a cluster, and wait until every namespace is synced."""
    inventory, telemetry = Inventory(), Telemetry()
    async with open_connection(kubeconfig=kubeconfig) as connection:
        cluster = Cluster(
            connection=connection, inventory=inventory, telemetry=telemetry, clock=lambda: 0.0, namespaces=namespaces
        )
        task = asyncio.create_task(cluster.run())
        try:
            found = Following(inventory, telemetry, connection, cluster)
            await found.until(lambda: all(inventory.synced().values()))
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Standing:
    """The stand-in with the methods of `Kube`, so that scenarios for a real API server run on it too."""

    def __init__(self, cluster: StandInCluster, kubeconfig: Path) -> None:
        self._cluster, self._kubeconfig = cluster, kubeconfig

    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def create(self, kind: str, namespace: str, document: dict[str, Any]) -> None:
        metadata = {**document["metadata"], "namespace": namespace}
        self._cluster.put({"kind": kind, "apiVersion": TABLE[kind].api_version, **document, "metadata": metadata})

    def patch(
        self, kind: str, namespace: str, name: str, operations: list[dict[str, Any]], *, subresource: str = ""
    ) -> None:
        self._cluster.put(apply_json_patch(self._cluster.get(f"{kind.lower()}s", namespace, name), operations))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self._cluster.remove(f"{kind.lower()}s", namespace, name)

    def compact(self) -> None:
        self._cluster.forget()

"""Stand-ins for a cluster and for registries, filled with a real Mojaloop release.

They speak real HTTP on loopback ports. The demo and the tests reach them through the clients that a hub uses, so the
product has no branch for either.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from exporter.demo import release
from exporter.demo.cluster import StandInCluster
from exporter.demo.grafana import overview
from exporter.demo.pipeline import MissingError, Pipeline, pipeline
from exporter.demo.registry import StandInRegistry
from exporter.demo.slack import StandInSlack
from exporter.registry import RegistryEntry
from exporter.server import EmbeddedServer

__all__ = [
    "MissingError",
    "Pipeline",
    "StandInCluster",
    "StandInRegistry",
    "StandInSlack",
    "StandIns",
    "overview",
    "pipeline",
    "serving",
    "stand_ins",
]


@dataclass(frozen=True, slots=True)
class StandIns:
    """The running stand-ins, and how to reach them.

    Attributes:
        kubeconfig: for the cluster.
        registries: the default entries, pointing to the stand-in.
        cluster, registry: the stand-ins themselves, to change what they hold.
    """

    kubeconfig: Path
    registries: tuple[RegistryEntry, ...]
    cluster: StandInCluster
    registry: StandInRegistry


@contextlib.asynccontextmanager
async def stand_ins() -> AsyncIterator[StandIns]:
    """A cluster and registries, for as long as the context lasts."""
    cluster, registry = StandInCluster(), StandInRegistry(release.tags())
    for workload in release.workloads():
        cluster.put(workload)
    with tempfile.TemporaryDirectory(prefix="image-patch-demo-") as folder:
        async with serving(cluster.app) as api, serving(registry.app) as registries:
            kubeconfig = Path(folder) / "kubeconfig"
            cluster.write_kubeconfig(kubeconfig, api)
            try:
                yield StandIns(kubeconfig, registry.entries(registries), cluster, registry)
            finally:
                cluster.close()


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """An application on a free loopback port; yields its address."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = EmbeddedServer(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            running.result()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running

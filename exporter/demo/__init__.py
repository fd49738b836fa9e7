"""Stand-ins for a cluster and for registries, filled with a real Mojaloop release.

They serve real HTTP on loopback ports. The demo and the tests use them through the production clients, so the product
has no special case for either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from exporter.demo import release
from exporter.demo.cluster import StandInCluster
from exporter.demo.objects import Document
from exporter.demo.pages import Pages
from exporter.demo.pipeline import MissingError, Pipeline, pipeline
from exporter.demo.registry import StandInRegistry
from exporter.demo.slack import StandInSlack
from exporter.registry import RegistryEntry
from exporter.server import EmbeddedServer

SOAK_SECONDS = 3
"""How long a workload of the demo must stay healthy after its patch; a hub waits for five minutes."""

__all__ = [
    "SOAK_SECONDS",
    "MissingError",
    "Pages",
    "Pipeline",
    "StandInCluster",
    "StandInRegistry",
    "StandInSlack",
    "StandIns",
    "pipeline",
    "serving",
    "stand_ins",
]


@dataclass(frozen=True, slots=True)
class StandIns:
    """The running stand-ins.

    Attributes:
        kubeconfig: for the cluster.
        config: a configuration file that makes `check` and `serve` use the stand-ins.
        registries: the default entries, pointing to the stand-in.
        cluster, registry: the stand-ins themselves, to change their content.
    """

    kubeconfig: Path
    config: Path
    registries: tuple[RegistryEntry, ...]
    cluster: StandInCluster
    registry: StandInRegistry


@contextlib.asynccontextmanager
async def stand_ins(workloads: Iterable[Document] | None = None) -> AsyncIterator[StandIns]:
    """Run a cluster and registries while the context lasts.

    Args:
        workloads: those of the cluster; None for a release with many missed updates.
    """
    cluster, registry = StandInCluster(), StandInRegistry(release.tags())
    cluster.install("ImagePatchApproval")
    for workload in release.workloads() if workloads is None else workloads:
        cluster.put(workload)
    with tempfile.TemporaryDirectory(prefix="image-patch-demo-") as folder:
        async with serving(cluster.app) as api, serving(registry.app) as registries:
            kubeconfig, config = Path(folder) / "kubeconfig", Path(folder) / "config.yaml"
            cluster.write_kubeconfig(kubeconfig, api)
            entries = registry.entries(registries)
            _write_configuration(config, kubeconfig, entries)
            try:
                yield StandIns(kubeconfig, config, entries, cluster, registry)
            finally:
                cluster.close()


def _write_configuration(path: Path, kubeconfig: Path, entries: Iterable[RegistryEntry]) -> None:
    registries = {
        entry.name: {
            "endpoint": entry.endpoint,
            "hub_endpoint": entry.hub_endpoint,
            "allow_private": [str(network) for network in entry.allow_private],
        }
        for entry in entries
        if entry.endpoint is not None
    }
    document = {
        # The demo uses the usual port.
        "listen": "127.0.0.1:0",
        "state_dir": str(path.parent / "state"),
        "kubernetes": {"kubeconfig": str(kubeconfig), "context": "demo"},
        "registries": registries,
        # Open all day, every day.
        "windows": [{"name": "always", "schedule": "0 0 * * *", "duration": "25h"}],
        "approve_commands": True,
        "patcher": {"soak": f"{SOAK_SECONDS}s"},
    }
    # JSON is YAML too.
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on a free loopback port; yields its address."""
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

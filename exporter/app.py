"""The exporter, assembled from its parts and run.

`exporting` starts everything that `serve` needs, and the demo uses it too. `open_checker` and `build_cluster` make
single parts from a configuration; `check` uses them without the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from exporter import __version__
from exporter.catalogue import Catalogue
from exporter.checker import Checker
from exporter.cluster import Cluster, Connection, open_connection
from exporter.collector import Exposition
from exporter.config import Configuration
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.registry import RegistryClient
from exporter.report.json_output import render_json
from exporter.server import Server, listen
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)


class CommandError(Exception):
    """A command cannot do what it was asked to do; the message says why, in one line."""


class SnapshotPublisher:
    """The newest snapshot and its renderings, each made once, however many requests there are.

    Rendering a large snapshot takes a while, so `run` does it in a thread. Until it is done, the one before is shown.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._snapshot = Snapshot()
        self._newest = self._snapshot, False
        self._exposition = Exposition(self._snapshot)
        self._findings: tuple[Snapshot, bytes] | None = None
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._listed = False

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the snapshot as soon as it is rendered; one that is older and not rendered yet is left out."""
        # Missing rights must not keep a Service from being scraped: metrics of their own report them.
        scopes = self._inventory.scopes().values()
        self._newest = snapshot, bool(scopes) and ScopeState.PENDING not in scopes
        self._changed.set()

    async def run(self) -> None:
        """Render what is published, until cancelled."""
        loop = asyncio.get_running_loop()
        while await self._changed.wait():
            self._changed.clear()
            snapshot, listed = self._newest
            self._exposition = await loop.run_in_executor(self._thread, Exposition, snapshot)
            self._snapshot, self._listed = snapshot, self._listed or listed

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def complete(self) -> bool:
        """Whether every container is judged, or unknown for a permanent reason."""
        findings, synced = self._snapshot.findings, self._snapshot.synced
        return bool(synced) and all(synced.values()) and all(f.reason is None or f.reason.permanent for f in findings)

    def dated(self) -> bool:
        """Whether the publish time of every first missed patch is known."""
        return all(finding.published is not None for finding in self._snapshot.findings if finding.patch_available)

    def ready(self) -> bool:
        """Whether everything that is watched has been listed once and is followed, or is known to be forbidden."""
        return self._listed and ScopeState.STALE not in self._inventory.scopes().values()

    def exposition(self) -> Exposition:
        """The page of metrics."""
        return self._exposition

    def findings(self) -> bytes:
        """The JSON of `check`; the server asks for it in a thread of its own."""
        snapshot, known = self._snapshot, self._findings
        if known is None or known[0] is not snapshot:
            known = self._findings = snapshot, render_json(snapshot)
        return known[1]


async def serve(configuration: Configuration) -> None:
    """Run the exporter until SIGTERM or SIGINT."""
    async with exporting(configuration) as (address, _):
        _log.info("version %s answers at %s", __version__, address)
        # What is allocated by now stays; the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        await wait_for_signal()
        _log.info("shutting down")


@contextlib.asynccontextmanager
async def exporting(configuration: Configuration) -> AsyncIterator[tuple[str, SnapshotPublisher]]:
    """Run the exporter while the context lasts; yields its address and what it publishes.

    A part that fails cancels the other parts and the body of the context. An exporter that goes on without a part
    reports stale values.
    """
    telemetry, inventory = Telemetry(), Inventory()
    publisher = SnapshotPublisher(inventory)
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(contextlib.closing(listen(*configuration.listen)))
        connection = await opened.enter_async_context(connect(configuration))
        checker = await opened.enter_async_context(
            open_checker(configuration, telemetry=telemetry, inventory=inventory)
        )
        checker.on_snapshot = publisher.publish
        cluster = build_cluster(configuration, connection, telemetry=telemetry, inventory=inventory)
        server = Server(
            listener=listener,
            telemetry=telemetry,
            exposition=publisher.exposition,
            findings=publisher.findings,
            ready=publisher.ready,
        )
        async with asyncio.TaskGroup() as group:
            parts = [
                group.create_task(run(), name=name)
                for name, run in (
                    ("cluster", cluster.run),
                    ("checker", checker.run),
                    ("publisher", publisher.run),
                    ("server", server.run),
                )
            ]
            try:
                yield _address(listener), publisher
            finally:
                for part in parts:
                    part.cancel()


def connect(configuration: Configuration) -> contextlib.AbstractAsyncContextManager[Connection]:
    """The connection to the cluster of a configuration."""
    return open_connection(kubeconfig=configuration.kubeconfig, context=configuration.context)


@contextlib.asynccontextmanager
async def open_checker(
    configuration: Configuration, *, telemetry: Telemetry, inventory: Inventory
) -> AsyncIterator[Checker]:
    """The checker over a catalogue and the registries, which are closed with the context."""
    async with (
        await Catalogue.open(configuration.state_dir, clock=time.time, telemetry=telemetry) as catalogue,
        RegistryClient(configuration.registries, telemetry=telemetry, proxy=configuration.proxy) as registry,
    ):
        yield Checker(
            inventory=inventory,
            catalogue=catalogue,
            registry=registry,
            telemetry=telemetry,
            clock=time.time,
            settings=configuration.settings(),
        )


def build_cluster(
    configuration: Configuration, connection: Connection, *, telemetry: Telemetry, inventory: Inventory
) -> Cluster:
    """What fills the inventory from a cluster."""
    return Cluster(
        connection=connection,
        inventory=inventory,
        telemetry=telemetry,
        clock=time.time,
        kinds=configuration.kinds,
        namespaces=configuration.watched_namespaces,
        exclude=lambda key: not configuration.selects(key),
    )


async def wait_for_signal() -> None:
    """Wait for SIGTERM or SIGINT."""
    received, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.set)
    await received.wait()


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""Assemble the exporter from its parts and run it.

`exporting` starts everything that `serve` needs, and the demo uses it too. `open_checker` and `build_cluster` build
single parts from a configuration. `check` uses them without the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

from starlette.routing import BaseRoute

from exporter import __version__, logs, windows
from exporter.api import LINKS, Api
from exporter.api.auth import Guard
from exporter.api.handlers import Handlers
from exporter.catalogue import Catalogue
from exporter.checker import Checker
from exporter.cluster import Cluster, Connection, open_connection
from exporter.collector import Exposition
from exporter.config import Configuration
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.lean import share_one_heap
from exporter.page import STALE_SECONDS, routes
from exporter.registry import RegistryClient
from exporter.reload import ConfigurationSource, Reloader
from exporter.server import PATHS, Pages, Server, listen
from exporter.telemetry import Telemetry
from exporter.watchlist import WatchList

_log = logging.getLogger(__name__)

# How often the lag of the event loop is measured, and how long a lag is shown: longer than most scrape intervals.
_LAG_SECONDS = 0.5
_LAG_WINDOW_SECONDS = 60.0
# Rendering ten thousand findings takes half a second. Only more than these are rendered in a thread, which costs
# memory.
_FINDINGS_AT_ONCE = 1_000


class CommandError(Exception):
    """A command failed; the message says why, in one line."""


class SnapshotPublisher:
    """The newest snapshot and its renderings. Each is made once, regardless of the number of requests."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._snapshot = Snapshot()
        self._exposition = Exposition(self._snapshot)
        # The default executor may be blocked by slow DNS lookups.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._listed = False

    async def publish(self, snapshot: Snapshot) -> None:
        """Render a snapshot, then replace the current one with it."""
        if len(snapshot.findings) > _FINDINGS_AT_ONCE:
            loop = asyncio.get_running_loop()
            self._exposition = await loop.run_in_executor(self._thread, Exposition, snapshot)
        else:
            self._exposition = Exposition(snapshot)
        # Missing permissions must not stop a Service from being scraped. Other metrics report them.
        self._snapshot, self._listed = snapshot, self._listed or snapshot.listed

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def complete(self) -> bool:
        """Return whether every container is judged, or unknown for a permanent reason."""
        findings, synced = self._snapshot.findings, self._snapshot.synced
        return bool(synced) and all(synced.values()) and all(f.reason is None or f.reason.permanent for f in findings)

    def dated(self) -> bool:
        """Return whether the publish time of every first missed patch is known."""
        return all(finding.published is not None for finding in self._snapshot.findings if finding.patch_available)

    def ready(self) -> bool:
        """Return whether everything watched has been listed once and is followed, or is known to be forbidden."""
        return self._listed and ScopeState.STALE not in self._inventory.scopes().values()

    def exposition(self) -> Exposition:
        """Return the metrics page."""
        return self._exposition

    def listed_snapshot(self) -> Snapshot | None:
        """Return the newest snapshot, or None until everything was listed: incomplete findings would mislead."""
        return self._snapshot if self._listed else None


async def serve(configuration: Configuration, source: ConfigurationSource) -> None:
    """Run the exporter until SIGTERM or SIGINT; SIGHUP reloads the configuration file.

    Args:
        configuration: the settings.
        source: the origin of the configuration.
    """
    share_one_heap()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, source.requested.set)
    async with exporting(configuration, source) as (address, _):
        _log.info("version %s listens on %s", __version__, address)
        # Everything allocated so far stays, so the garbage collector need not scan it again.
        gc.collect()
        gc.freeze()
        await wait_for_signal()
        _log.info("shutting down")


@contextlib.asynccontextmanager
async def exporting(
    configuration: Configuration, source: ConfigurationSource | None = None
) -> AsyncIterator[tuple[str, SnapshotPublisher]]:
    """Run the exporter while the context lasts; yields its address and its publisher.

    Args:
        configuration: what to do.
        source: the origin of the configuration, watched for changes; None to not watch it.

    A part that fails cancels the other parts and the body of the context: an exporter without one of its parts would
    report stale values.
    """
    telemetry, inventory = Telemetry(), Inventory()
    telemetry.config_loaded(time.time())
    publisher, watch_list = SnapshotPublisher(inventory), WatchList(inventory)
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(contextlib.closing(listen(*configuration.listen)))
        listeners = [listener]
        if configuration.api_listen is not None:
            own = listen(*configuration.api_listen, key="api.listen")
            listeners.append(opened.enter_context(contextlib.closing(own)))
            _log.info("the API listens on %s", _address(own))
        connection = await opened.enter_async_context(connect(configuration)) if configuration.kubernetes else None
        checker = await opened.enter_async_context(
            open_checker(configuration, telemetry=telemetry, inventory=inventory)
        )
        checker.on_snapshot = publisher.publish
        watch_list.replace(configuration.watch)
        windows.publish(configuration.calendar(), telemetry, clock=time.time)
        guard = Guard(configuration.api_token_file)
        handlers = Handlers(checker.query(guarded=guard.closed), publisher.listed_snapshot, clock=time.time)
        page = partial(page_of, configuration, publisher, checker=checker, guard=guard)
        answers = Api(handlers, guard, telemetry=telemetry)
        servers = build_servers(listeners, publisher, telemetry=telemetry, answers=answers, page=page)
        async with asyncio.TaskGroup() as group:
            runs = [("checker", checker.run()), ("event loop", watch_event_loop(telemetry))]
            runs += [("server", server.run()) for server in servers]
            if connection is not None:
                cluster = build_cluster(configuration, connection, telemetry=telemetry, inventory=inventory)
                runs.append(("cluster", cluster.run()))
            if source is not None:
                apply = partial(_apply, checker=checker, watch_list=watch_list, telemetry=telemetry)
                runs.append(("reload", Reloader(source, configuration, apply=apply, telemetry=telemetry).run()))
            parts = [group.create_task(run, name=name) for name, run in runs]
            try:
                yield _address(listener), publisher
            finally:
                for part in parts:
                    part.cancel()


def page_of(
    configuration: Configuration,
    publisher: SnapshotPublisher,
    links: Mapping[str, str],
    *,
    checker: Checker,
    guard: Guard,
) -> Sequence[BaseRoute]:
    """Return the findings page, which shows what the API returns and links to other paths; None if it is disabled."""
    if not configuration.page_enabled:
        return ()
    return routes(
        publisher,
        may_read=guard.admits if guard.closed else None,
        links=links,
        # If lookups are rare, some hours without one are normal.
        stale_seconds=lambda: max(STALE_SECONDS, 2 * checker.lookup_interval),
    )


async def _apply(
    configuration: Configuration,
    changed: Collection[str],
    *,
    checker: Checker,
    watch_list: WatchList,
    telemetry: Telemetry,
) -> None:
    """Apply the keys that need no restart (`Key.live`)."""
    if not {"log.level", "log.format"}.isdisjoint(changed):
        logs.configure(configuration.log_level, configuration.log_format)
    windows.publish(configuration.calendar(), telemetry, clock=time.time)
    renewed = not {"registries", "proxy", "ca_file"}.isdisjoint(changed)
    await checker.configure(
        configuration.settings(), entries=configuration.registries if renewed else None, proxy=configuration.proxy
    )
    # Last, because a new image may need a new registry.
    watch_list.replace(configuration.watch)


def build_servers(
    listeners: Sequence[socket.socket],
    publisher: SnapshotPublisher,
    *,
    telemetry: Telemetry,
    answers: Api,
    page: Callable[[Mapping[str, str]], Sequence[BaseRoute]],
) -> list[Server]:
    """Return a server for each listener: the first has the pages about the exporter, and the last has the API.

    Args:
        listeners: one or two.
        publisher: the content.
        telemetry: the exporter's own metrics.
        answers: the API.
        page: builds the findings page with these links; it is served next to the API.
    """
    shared = len(listeners) == 1
    pages = Pages(
        telemetry=telemetry,
        exposition=publisher.exposition,
        ready=publisher.ready,
        links=LINKS if shared else None,
    )
    findings = [answers, *page({**PATHS, **LINKS} if shared else LINKS)]
    routes_of = [[*(findings if shared else []), *pages.routes()], findings]
    return [
        Server(listener=listener, routes=of_one, exceeded=telemetry.exceeded)
        for listener, of_one in zip(listeners, routes_of, strict=False)
    ]


async def watch_event_loop(telemetry: Telemetry, *, window: float = _LAG_WINDOW_SECONDS) -> None:
    """Publish the highest lag of the event loop, forever.

    Args:
        telemetry: has the gauge.
        window: seconds for which a lag is shown, so that a scrape sees it.
    """
    loop = asyncio.get_running_loop()
    # Times and lags, each lag less than the one before. A lag hidden by a later and greater one is dropped.
    lags: deque[tuple[float, float]] = deque()
    while True:
        due = loop.time() + _LAG_SECONDS
        await asyncio.sleep(_LAG_SECONDS)
        now = loop.time()
        while lags and lags[-1][1] <= now - due:
            lags.pop()
        lags.append((now, now - due))
        while lags[0][0] < now - window:
            lags.popleft()
        telemetry.event_loop_lag.set(lags[0][1])


def connect(configuration: Configuration) -> contextlib.AbstractAsyncContextManager[Connection]:
    """Return the connection to the configured cluster."""
    return open_connection(kubeconfig=configuration.kubeconfig, context=configuration.context)


@contextlib.asynccontextmanager
async def open_checker(
    configuration: Configuration, *, telemetry: Telemetry, inventory: Inventory
) -> AsyncIterator[Checker]:
    """Open the checker with its catalogue and its registry client, which are closed with the context."""
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
    """Return the part that fills the inventory from a cluster."""
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

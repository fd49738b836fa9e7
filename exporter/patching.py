"""`patcher`: builds the patcher from a configuration, and runs it or shows what it would do.

It is a separate process with its own metrics and its own permissions. It uses the exporter's configuration, connection
and registry client, but does not need a running exporter.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from exporter import __version__, logs, windows
from exporter.app import connect, wait_for_signal
from exporter.cluster import ApiError, ClusterError, Connection, UnreachableError
from exporter.config import Configuration
from exporter.lean import share_one_heap
from exporter.patcher.api import Api
from exporter.patcher.audit import Audit
from exporter.patcher.engine import Engine, Parts
from exporter.patcher.lease import Lease
from exporter.patcher.openings import CalendarWindows
from exporter.patcher.preview import preview
from exporter.patcher.settings import Settings
from exporter.patcher.tags import Tags
from exporter.patcher.telemetry import PatcherTelemetry
from exporter.registry import RegistryClient
from exporter.reload import ConfigurationSource, Reloader
from exporter.report.destination import write_text
from exporter.server import Pages, Server, listen

_log = logging.getLogger(__name__)

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def patcher(configuration: Configuration, source: ConfigurationSource, *, dry_run: bool = False) -> int:
    """Run the patcher until SIGTERM or SIGINT; or print what it would do, and change nothing.

    Args:
        configuration: the configuration.
        source: where it was loaded from; it is reloaded when it changes, and on SIGHUP.
        dry_run: whether to only print what would be done.

    Returns:
        The exit status.
    """
    if dry_run:
        try:
            async with connect(configuration) as connection, assembled(configuration, connection) as parts:
                async for line in preview(parts):
                    write_text(f"{line}\n")
        except (ApiError, UnreachableError) as error:
            raise ClusterError(f"cannot read approvals: {error}") from error
        return 0
    share_one_heap()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, source.requested.set)
    async with patching(configuration, source) as address:
        _log.info("version %s listens on %s", __version__, address)
        await wait_for_signal()
        _log.info("shutting down")
    return 0


@contextlib.asynccontextmanager
async def patching(
    configuration: Configuration,
    source: ConfigurationSource | None = None,
    *,
    audit: Callable[[str], None] | None = None,
) -> AsyncIterator[str]:
    """Run the patcher while the context lasts; yields its address. If a part of it fails, all of it ends.

    Args:
        configuration: the configuration.
        source: where it was loaded from, to reload it when it changes; None never reloads.
        audit: writes an audit line; by default to standard output.
    """
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(contextlib.closing(listen(*configuration.listen)))
        connection = await opened.enter_async_context(connect(configuration))
        parts = await opened.enter_async_context(assembled(configuration, connection, audit=audit))
        windows.publish(configuration.calendar(), parts.telemetry, clock=time.time)
        parts.telemetry.config_loaded(time.time())
        engine, lease = Engine(parts), _lease(configuration, connection, parts)
        pages = Pages(
            telemetry=parts.telemetry,
            exposition=_NoPage,
            ready=lambda: parts.telemetry.working or (lease is not None and lease.contacted),
        )
        server = Server(listener=listener, routes=pages.routes(), exceeded=parts.telemetry.exceeded)
        async with asyncio.TaskGroup() as group:
            work = engine.run() if lease is None else lease.hold(engine.run)
            tasks = [group.create_task(server.run(), name="server"), group.create_task(work, name="patcher")]
            if source is not None:
                apply = partial(_apply, engine=engine, telemetry=parts.telemetry)
                follow = Reloader(source, configuration, apply=apply, telemetry=parts.telemetry).run()
                tasks.append(group.create_task(follow, name="reload"))
            try:
                host, port = listener.getsockname()[:2]
                yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            finally:
                for task in tasks:
                    task.cancel()


@contextlib.asynccontextmanager
async def assembled(
    configuration: Configuration, connection: Connection, *, audit: Callable[[str], None] | None = None
) -> AsyncIterator[Parts]:
    """The parts of the engine for a configuration; the arguments are those of `patching`."""
    settings, telemetry, identity = settings_of(configuration), PatcherTelemetry(), _identity()
    async with RegistryClient(configuration.registries, telemetry=telemetry, proxy=configuration.proxy) as registry:
        yield Parts(
            api=Api(connection, namespaces=configuration.watched_namespaces),
            tags=Tags(registry, strategy=configuration.strategy),
            windows=CalendarWindows(configuration.calendar()),
            settings=settings,
            telemetry=telemetry,
            audit=Audit(audit or _audit_line, identity=identity, verified=settings.verified),
            clock=time.time,
            identity=identity,
        )


async def _apply(
    configuration: Configuration, changed: Collection[str], *, engine: Engine, telemetry: PatcherTelemetry
) -> None:
    """Apply the keys that need no restart (`Key.live`)."""
    if not {"log.level", "log.format"}.isdisjoint(changed):
        logs.configure(configuration.log_level, configuration.log_format)
    if not {"registries", "proxy", "ca_file"}.isdisjoint(changed):
        _log.warning("changes of registries, proxy and ca_file apply after a restart of the patcher")
    calendar = configuration.calendar()
    windows.publish(calendar, telemetry, clock=time.time)
    engine.configure(settings=settings_of(configuration), windows=CalendarWindows(calendar))


def settings_of(configuration: Configuration) -> Settings:
    """The patcher's rules for a configuration."""
    return Settings(
        patching=configuration.patching,
        strategy=configuration.strategy,
        soak=configuration.patcher_soak,
        deadline=configuration.patcher_deadline,
        reserve=configuration.patcher_reserve,
        stop_on_failure=configuration.patcher_on_failure == "stop",
        evict=configuration.patcher_statefulset_recovery == "evict",
        expiry=configuration.patcher_expiry,
        selects=configuration.selects,
        named_namespaces=configuration.namespaces.include,
        own_release=configuration.patcher_own_release or "",
        verified=configuration.patcher_verified_approvers,
    )


def _lease(configuration: Configuration, connection: Connection, parts: Parts) -> Lease | None:
    """The Lease that replicas share; None outside a pod, unless its namespace is configured."""
    namespace = configuration.patcher_lease_namespace
    if namespace is None and _POD_NAMESPACE.is_file():
        namespace = _POD_NAMESPACE.read_text("utf-8").strip()
    if not namespace:
        return None
    return Lease(
        connection,
        namespace=namespace,
        name=configuration.patcher_lease_name,
        identity=parts.identity,
        changed=lambda held: parts.telemetry.leading.set(1 if held else 0),
    )


def _identity() -> str:
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"


def _audit_line(line: str) -> None:
    write_text(f"{line}\n")


class _NoPage:
    """A page of metrics without findings; the server adds the patcher's own metrics."""

    def chunks(self, openmetrics: bool, /) -> Iterable[bytes]:  # noqa: ARG002, FBT001
        return ()

    def compressed(self, openmetrics: bool, /) -> bool:  # noqa: ARG002, FBT001
        return True

    def compress(self, openmetrics: bool, /) -> None:  # noqa: FBT001
        """Do nothing."""

    def gzip(self, openmetrics: bool, tail: bytes, /) -> Sequence[bytes]:  # noqa: ARG002, FBT001
        return (gzip.compress(tail, mtime=0),)

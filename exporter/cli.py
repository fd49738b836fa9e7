"""The command: wiring only. What each part does stands in its module; here they are put together.

Exit status: 0 done, 1 a failure (one line on standard error), 2 wrong usage or configuration, 3 what `--fail-on` names was found.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__, config, logs, manifests, report
from exporter.catalogue import Catalogue, CatalogueError
from exporter.checker import Checker
from exporter.cluster import Cluster, ClusterConfigurationError, ClusterError, Connection, open_connection
from exporter.collector import Exposition
from exporter.config import Configuration, ConfigurationError
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.manifests import ManifestError
from exporter.registry import RegistryClient
from exporter.server import ListenError, Server, listen
from exporter.telemetry import Telemetry
from exporter.versions import STRATEGY_NAMES
from exporter.workloads import Container, ContainerType, Workload, reference_key

if TYPE_CHECKING:
    from exporter.demo import StandInSlack

PROG = "mojaloop-image-patch-exporter"
_log = logging.getLogger(__name__)


# Everything of the demo takes seconds; what hangs should say so.
_DEMO_SECONDS = 60.0
_QUIET_SECONDS = 4.0


class DemoError(Exception):
    """The demo did not get to its end."""


class UsageError(Exception):
    """A command line that asks for nothing that can be done."""


# What is said in one line; anything else is a fault of ours, and shows where it happened.
FAILURES = (CatalogueError, ClusterError, ClusterConfigurationError, ListenError, ManifestError, DemoError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        loaded = _configuration(parsed)
        logs.configure(loaded.log_level, loaded.log_format)
        status: int = asyncio.run(parsed.run(parsed, loaded))
    except (ConfigurationError, UsageError) as error:
        return _failed(error, 2)
    except FAILURES as error:
        return _failed(error, 1)
    except BaseExceptionGroup as group:  # a part of `exporting` failed, or who waited inside
        known: BaseException | None = group.subgroup(FAILURES)
        if known is None:
            raise
        while isinstance(known, BaseExceptionGroup):
            known = known.exceptions[0]
        return _failed(known, 1)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`check ... | head`); Python would complain once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _failed(error: BaseException, status: int) -> int:
    sys.stderr.write(f"{PROG}: {' '.join(str(error).split())}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description="Tells which containers miss a patch release of their image."
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config", type=Path, metavar="FILE", help="the configuration (YAML); defaults and environment without it"
    )
    shared.add_argument("--kubeconfig", type=Path, metavar="FILE", help="how to reach the cluster from outside of it")
    shared.add_argument("--context", metavar="NAME", help="a context of the kubeconfig")

    serve = commands.add_parser("serve", parents=[shared], help="watch a cluster and publish metrics")
    serve.add_argument("--listen", metavar="HOST:PORT", help="where to answer")
    serve.add_argument("--state-dir", metavar="DIR", help="where to keep the tags known so far")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", parents=[shared], help="judge images, a cluster or manifests once")
    check.add_argument("references", nargs="*", metavar="REFERENCE", help="image references, judged without a cluster")
    check.add_argument("--cluster", action="store_true", help="judge what runs in a cluster")
    check.add_argument(
        "--namespace", metavar="NS", help="with --cluster, one namespace; with --manifests, that of objects without one"
    )
    check.add_argument(
        "--manifests",
        action="append",
        default=[],
        metavar="FILE",
        help="judge what these would run: a file, a folder, or - for standard input",
    )
    check.add_argument("--strategy", choices=tuple(STRATEGY_NAMES), help="how far an offer may go")
    check.add_argument("--output", choices=("table", "json", "commands"), default="table")
    check.add_argument(
        "--fail-on",
        choices=("patch", "unknown"),
        action="append",
        default=[],
        help="end with status 3 where there is one; may be given twice",
    )
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="an embedded cluster and registry, and the exporter on them")
    demo.add_argument("--listen", metavar="HOST:PORT", help="where to answer")
    demo.set_defaults(run=_demo)
    return parser


def _configuration(parsed: argparse.Namespace) -> Configuration:
    """The configuration, with what the command line says in place of it."""
    loaded = config.load(getattr(parsed, "config", None), os.environ)
    said = {name: getattr(parsed, name, None) for name in ("kubeconfig", "context", "listen", "strategy", "state_dir")}
    given = {name: value for name, value in said.items() if value is not None}
    for name in ("listen", "strategy", "state_dir"):
        if name in given:
            given[name] = config.parse_option(name, given[name])
    return replace(loaded, **given)


# serve


class SnapshotPublisher:
    """The newest snapshot and its renderings, each made once, however many ask for it."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._snapshot = Snapshot()
        self._exposition = Exposition(self._snapshot)
        self._findings: bytes | None = None
        self._ready = False

    def take(self, snapshot: Snapshot) -> None:
        """Publish a snapshot."""
        self._snapshot, self._findings = snapshot, None
        self._exposition = Exposition(snapshot)
        # Missing rights are no reason to keep a Service from being scraped: they show in metrics of their own.
        scopes = self._inventory.scopes().values()
        self._ready = self._ready or (bool(scopes) and ScopeState.PENDING not in scopes)

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def complete(self) -> bool:
        """Whether every container is judged, or unknown for a permanent reason."""
        return bool(self._snapshot.synced) and all(self._snapshot.synced.values())

    def dated(self) -> bool:
        """Whether the publish time of every first missed patch is known."""
        return all(finding.published is not None for finding in self._snapshot.findings if finding.patch_available)

    def ready(self) -> bool:
        """Whether everything that is watched has been listed once, or is known to be forbidden."""
        return self._ready

    def exposition(self) -> Exposition:
        """The page of metrics."""
        return self._exposition

    def findings(self) -> bytes:
        """The JSON of `check`."""
        if self._findings is None:
            self._findings = report.render_json(self._snapshot)
        return self._findings


async def _serve(_: argparse.Namespace, loaded: Configuration) -> int:
    async with exporting(loaded) as (address, _latest):
        _log.info("version %s answers at %s", __version__, address)
        # What is there by now stays; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        await _told_to_end()
        _log.info("told to end")
    return 0


@contextlib.asynccontextmanager
async def exporting(loaded: Configuration) -> AsyncIterator[tuple[str, SnapshotPublisher]]:
    """The exporter at work; yields the address that it answers at, and its newest snapshot.

    A part that dies takes the others, and whoever waits inside, with it: a part that is dead in silence is how exporters lie.
    """
    telemetry, inventory = Telemetry(), Inventory()
    latest = SnapshotPublisher(inventory)
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(contextlib.closing(listen(*loaded.listen)))
        where = open_connection(kubeconfig=loaded.kubeconfig, context=loaded.context)
        connection = await opened.enter_async_context(where)
        checker = await _checker(loaded, opened, telemetry=telemetry, inventory=inventory)
        checker.on_snapshot = latest.take
        server = Server(
            listener=listener,
            own=telemetry.registry,
            exposition=latest.exposition,
            findings=latest.findings,
            ready=latest.ready,
        )
        async with asyncio.TaskGroup() as group:
            parts = [
                group.create_task(
                    _cluster(loaded, connection, telemetry=telemetry, inventory=inventory).run(), name="cluster"
                ),
                group.create_task(checker.run(), name="checker"),
                group.create_task(server.run(), name="server"),
            ]
            try:
                yield _address(listener), latest
            finally:
                for part in parts:
                    part.cancel()


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _told_to_end() -> None:
    """Wait for SIGTERM or SIGINT."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


# check


async def _check(parsed: argparse.Namespace, loaded: Configuration) -> int:
    if sum((bool(parsed.references), parsed.cluster, bool(parsed.manifests))) != 1:
        raise UsageError("check: name image references, or --cluster, or --manifests FILE: one of the three")
    if parsed.namespace is not None and parsed.references:
        raise UsageError("check: --namespace goes with --cluster or --manifests")
    telemetry, inventory = Telemetry(), Inventory()
    async with AsyncExitStack() as opened:
        if parsed.cluster and parsed.namespace is not None:
            loaded = replace(loaded, namespaces=config.Globs(include=(parsed.namespace,)))
        checker = await _checker(replace(loaded, state_dir=None), opened, telemetry=telemetry, inventory=inventory)
        with report.progress() as progress:
            if parsed.cluster:
                progress("listing the cluster", 0, 0)
                where = open_connection(kubeconfig=loaded.kubeconfig, context=loaded.context)
                connection = await opened.enter_async_context(where)
                await _cluster(loaded, connection, telemetry=telemetry, inventory=inventory).list_once()
                if set(inventory.scopes().values()) == {ScopeState.FORBIDDEN}:
                    raise ClusterError("may not list anything there, so that nothing can be said of it")
            for workload in _given(parsed):
                inventory.put(workload)
            snapshot = await checker.check_once(lambda done, total: progress("looking tags up", done, total))
    report.write(snapshot, parsed.output, now=time.time())
    found = {
        "patch": any(finding.patch_available for finding in snapshot.findings),
        # What may not be listed is not known either.
        "unknown": ScopeState.FORBIDDEN in inventory.scopes().values()
        or any(finding.reason is not None for finding in snapshot.findings),
    }
    return 3 if any(found[what] for what in parsed.fail_on) else 0


def _given(parsed: argparse.Namespace) -> Iterator[Workload]:
    """The workloads of `check REFERENCE...` and `check --manifests`."""
    for number, text in enumerate(parsed.references):
        yield Workload(key=reference_key(number), containers=(Container("", ContainerType.CONTAINER, text, 0),))
    if parsed.manifests:
        yield from manifests.read(parsed.manifests, namespace=parsed.namespace or "default")


# demo


def _local(port: int) -> tuple[str, int]:
    """A loopback address for the demo: the usual port if it is free, so that a second demo is none the worse for it."""
    try:
        listen("127.0.0.1", port).close()
    except ListenError:
        return "127.0.0.1", 0
    return "127.0.0.1", port


async def _demo(parsed: argparse.Namespace, loaded: Configuration) -> int:
    # What the demo brings is no part of the product, and costs it no memory.
    from exporter.demo import MissingError, StandInSlack, overview, pipeline, serving, stand_ins  # noqa: PLC0415

    if parsed.listen is None:
        loaded = replace(loaded, listen=_local(loaded.listen[1]))
    slack, behind = StandInSlack(), None
    async with AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins())
        loaded = replace(loaded, kubeconfig=there.kubeconfig, registries=there.registries, state_dir=None)
        address, latest = await opened.enter_async_context(exporting(loaded))
        channel = await opened.enter_async_context(serving(slack.app))
        folder = there.kubeconfig.parent / "pipeline"
        missing = ""
        try:
            target = address.removeprefix("http://")
            behind = await opened.enter_async_context(pipeline(folder, targets=[(target, {})], slack=channel))
        except MissingError as error:
            missing = str(error)
        with report.progress() as progress:
            async with asyncio.timeout(_DEMO_SECONDS):
                while not (latest.complete() and latest.dated()):
                    judged = sum(finding.reason is None for finding in latest.snapshot.findings)
                    progress("judging", judged, len(latest.snapshot.findings))
                    await asyncio.sleep(0.1)
        report.write(latest.snapshot, "table", now=time.time())
        _say(
            f"""
The cluster and the registries are embedded: Mojaloop v17.3.0, with some workloads set back, as in a hub that did not follow.
  metrics       {address}/metrics
  findings      {address}/api/v1/findings
  kubectl       kubectl --kubeconfig {there.kubeconfig} --namespace mojaloop get deployments"""
        )
        if behind is not None:
            _say(
                f"""  Prometheus    {behind.prometheus}/alerts
  Alertmanager  {behind.alertmanager}
  Slack         {channel}

The alerts are the shipped ones, but wait for seconds where a hub waits for a quarter of an hour. What Slack shows:
"""
            )
            await _messages(slack)
            _say("\nGrafana's overview, from the same queries:\n")
            for title, shown in await overview(behind.prometheus):
                _say(f"  {title:<28} {shown}")
        else:
            _say(f"\n{missing}.")
        if sys.stdin.isatty():
            _say("\nPatch a Deployment with a command from above and look again. Ctrl-C ends it.")
            await _told_to_end()
    return 0


async def _messages(slack: StandInSlack) -> None:
    """Say what came to Slack: the first two messages whole, and the titles of all."""
    with report.progress() as progress:
        loop = asyncio.get_running_loop()
        end, quiet, known = loop.time() + _DEMO_SECONDS, 0.0, 0
        # The groups come one after another; when none came for some seconds, that was it.
        while loop.time() < end and not (known and loop.time() - quiet > _QUIET_SECONDS):
            if len(slack.messages) != known:
                known, quiet = len(slack.messages), loop.time()
            progress("waiting for alerts", known, 0)
            await asyncio.sleep(0.2)
    if not slack.messages:
        raise DemoError(f"no message came within {_DEMO_SECONDS:.0f} s; refused were {slack.refusals}")
    patches = [message for message in slack.messages if "```" in message.text]
    for message in patches[:2]:
        _say(message.as_text() + "\n")
    _say(f"and {len(slack.messages) - len(patches[:2])} more:")
    for message in slack.messages:
        if message not in patches[:2]:
            _say(f"  {message.title}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# The parts, as a configuration has them.


async def _checker(
    loaded: Configuration, opened: AsyncExitStack, *, telemetry: Telemetry, inventory: Inventory
) -> Checker:
    """The checker over a catalogue and the registries, which are closed with `opened`."""
    catalogue = await Catalogue.open(loaded.state_dir, clock=time.time, telemetry=telemetry)
    await opened.enter_async_context(catalogue)
    registry = RegistryClient(loaded.registries, telemetry=telemetry, proxy=loaded.proxy)
    return Checker(
        inventory=inventory,
        catalogue=catalogue,
        registry=await opened.enter_async_context(registry),
        telemetry=telemetry,
        clock=time.time,
        settings=loaded.settings(),
    )


def _cluster(loaded: Configuration, connection: Connection, *, telemetry: Telemetry, inventory: Inventory) -> Cluster:
    return Cluster(
        connection=connection,
        inventory=inventory,
        telemetry=telemetry,
        clock=time.time,
        kinds=loaded.kinds,
        namespaces=loaded.watched_namespaces,
        exclude=lambda key: not loaded.selects(key),
    )

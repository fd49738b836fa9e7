"""`check`: judge image references, manifests or the workloads of a cluster once, print the result and exit.

A gate in a pipeline must not pass if nothing was checked, so an empty input is a failure. With `--fail-on`, a container
that could not be judged for a transient reason is a failure too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from exporter import report
from exporter.app import CommandError, build_cluster, connect, open_checker
from exporter.cluster import ClusterError, manifests
from exporter.config import Configuration, Globs
from exporter.findings import Finding, Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.places import Places
from exporter.report import destination
from exporter.report.content import MATCHES, select
from exporter.report.progress import progress
from exporter.telemetry import Telemetry
from exporter.workloads import Container, ContainerType, Workload, reference_key

FOUND = 3
"""Exit status if something that `--fail-on` names was found."""
_UNLISTED = frozenset({ScopeState.FORBIDDEN, ScopeState.NOT_INSTALLED})


async def check(
    configuration: Configuration,
    *,
    references: Sequence[str] = (),
    paths: Sequence[str] = (),
    cluster: bool = False,
    namespace: str | None = None,
    output: str = "table",
    output_file: str = destination.STANDARD_OUTPUT,
    only: Collection[str] = (),
    sort: str | None = None,
    fail_on: Collection[str] = (),
    allow_empty: bool = False,
) -> int:
    """Judge one of three sources and report the result.

    Args:
        configuration: registries, strategy, selection; for a cluster also how to reach it.
        references: image references; `-` reads them from standard input, one per line.
        paths: manifests; files, folders, or `-` for standard input.
        cluster: whether to judge the workloads of a cluster.
        namespace: of a cluster, the only one to judge; of manifests, the namespace of objects without one.
        output: one of `report.FORMATS`.
        output_file: the file to write; `-` for standard output.
        only: the findings to show, of `content.MATCHES`; empty for all. It does not affect the exit status.
        sort: one of `content.SORTS`; None for the format's default.
        fail_on: of `patch`, `unknown`, `superseded` and `any`.
        allow_empty: whether to accept an empty input.

    Returns:
        The exit status: `FOUND` if something that `fail_on` names was found, otherwise 0.

    Raises:
        CommandError: a manifest cannot be read, there is nothing to judge, or nothing that `fail_on` names was found
            but something could not be judged.
        ClusterError: the cluster cannot be listed.
        OutputError: the result cannot be written.
    """
    destination.check_writable(output_file)
    # A single run neither needs nor changes the catalogue of a running exporter.
    configuration = replace(configuration, state_dir=None)
    if cluster and namespace is not None:
        configuration = replace(configuration, namespaces=Globs(include=(namespace,)))
    telemetry, inventory, places = Telemetry(), Inventory(), Places()
    async with AsyncExitStack() as opened:
        checker = await opened.enter_async_context(
            open_checker(configuration, telemetry=telemetry, inventory=inventory)
        )
        show = opened.enter_context(progress())
        if cluster:
            show("listing the cluster", 0, 0)
            connection = await opened.enter_async_context(connect(configuration))
            await build_cluster(configuration, connection, telemetry=telemetry, inventory=inventory).list_once()
            if set(inventory.scopes().values()) <= _UNLISTED:
                raise ClusterError("not permitted to list any workloads")
        for workload in _workloads(references, paths, namespace=namespace or "default", places=places):
            inventory.put(workload)
        snapshot = await checker.check_once(lambda done, total: show("looking up tags", done, total))
    failing = set(MATCHES) if "any" in fail_on else set(fail_on)
    shown = select(
        snapshot,
        now=time.time(),
        only=only,
        sort=sort or report.FORMATS[output].sort,
        places=places,
        failing=failing | {"patch"},
        references=[container.image for one in inventory.workloads().values() for container in one.containers],
        plain=output_file != destination.STANDARD_OUTPUT,
    )
    destination.write(report.render(shown, output), output_file)
    if not snapshot.findings and not allow_empty:
        raise CommandError(_nothing(snapshot, namespace if cluster else None))
    unlisted = sorted({kind for (kind, _), state in inventory.scopes().items() if state in _UNLISTED})
    # Kinds that cannot be listed are unknown, too.
    if ("unknown" in failing and unlisted) or any(MATCHES[what](f) for what in failing for f in snapshot.findings):
        return FOUND
    if fail_on:
        _refuse_to_pass(snapshot.findings, unlisted)
    return 0


def _workloads(
    references: Sequence[str], paths: Sequence[str], *, namespace: str, places: Places
) -> Iterator[Workload]:
    try:
        for number, text in enumerate(_references(references)):
            yield Workload(key=reference_key(number), containers=(Container("", ContainerType.CONTAINER, text, 0),))
        if paths:
            yield from manifests.read(paths, namespace=namespace, places=places)
    except manifests.ManifestError as error:
        raise CommandError(str(error)) from error


def _references(given: Sequence[str]) -> Iterator[str]:
    for text in given:
        if text != "-":
            yield text
            continue
        for _, content in manifests.contents(text):
            lines = content.decode(errors="replace").splitlines()
            yield from filter(None, map(str.strip, lines))


def _nothing(snapshot: Snapshot, namespace: str | None) -> str:
    """Return why nothing was checked, as far as known, and what to do."""
    if snapshot.ignored:
        why = f": {snapshot.ignored} {'container is' if snapshot.ignored == 1 else 'containers are'} ignored"
    elif namespace is not None:
        why = f": namespace {namespace} does not exist, or has no workloads"
    else:
        why = ""
    return f"no containers to check{why} (use --allow-empty to accept this)"


def _refuse_to_pass(findings: Sequence[Finding], unlisted: Sequence[str]) -> None:
    """Raise if something that `--fail-on` names may be among what could not be judged."""
    reasons = Counter(f.reason.value.replace("_", " ") for f in findings if f.reason and not f.reason.permanent)
    if reasons:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        containers = "container" if len(findings) == 1 else "containers"
        raise CommandError(
            f"{reasons.total()} of {len(findings)} {containers} could not be judged ({listed}), so this check is "
            "incomplete; try again"
        )
    if unlisted:
        raise CommandError(
            f"could not list {', '.join(unlisted)}, so this check is incomplete; grant the permissions, or exclude "
            "these kinds with kubernetes.kinds"
        )

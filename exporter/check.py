"""`check`: judges image references, manifests or what runs in a cluster once, prints the result and ends."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from exporter import report
from exporter.app import CommandError, build_cluster, connect, open_checker
from exporter.cluster import ClusterError, manifests
from exporter.config import Configuration, Globs
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.report.progress import progress
from exporter.telemetry import Telemetry
from exporter.workloads import Container, ContainerType, Workload, reference_key

FOUND = 3
"""The exit status if something that `--fail-on` names was found."""
_UNLISTED = frozenset({ScopeState.FORBIDDEN, ScopeState.NOT_INSTALLED})


async def check(
    configuration: Configuration,
    *,
    references: Sequence[str] = (),
    paths: Sequence[str] = (),
    cluster: bool = False,
    namespace: str | None = None,
    output: str = "table",
    fail_on: Collection[str] = (),
) -> int:
    """Judge one of three sources, and print the result.

    Args:
        configuration: registries, strategy, selection; for a cluster also how to reach it.
        references: image references.
        paths: manifests; files, folders, or `-` for standard input.
        cluster: whether to judge what runs in a cluster.
        namespace: of the cluster, the only one to judge; of manifests, that of objects without one.
        output: one of `report.FORMATS`.
        fail_on: `patch`, `unknown`, both or neither.

    Returns:
        The exit status: `FOUND` if something was found that `fail_on` names, otherwise 0.

    Raises:
        CommandError: a manifest cannot be read.
        ClusterError: the cluster cannot be listed.
    """
    # One run neither needs nor changes what a running exporter keeps.
    configuration = replace(configuration, state_dir=None)
    if cluster and namespace is not None:
        configuration = replace(configuration, namespaces=Globs(include=(namespace,)))
    telemetry, inventory = Telemetry(), Inventory()
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
        for workload in _workloads(references, paths, namespace=namespace or "default"):
            inventory.put(workload)
        snapshot = await checker.check_once(lambda done, total: show("looking tags up", done, total))
    report.write(snapshot, output, now=time.time())
    found = _found(snapshot, inventory)
    return FOUND if any(found[what] for what in fail_on) else 0


def _workloads(references: Sequence[str], paths: Sequence[str], *, namespace: str) -> Iterator[Workload]:
    for number, text in enumerate(references):
        yield Workload(key=reference_key(number), containers=(Container("", ContainerType.CONTAINER, text, 0),))
    try:
        if paths:
            yield from manifests.read(paths, namespace=namespace)
    except manifests.ManifestError as error:
        raise CommandError(str(error)) from error


def _found(snapshot: Snapshot, inventory: Inventory) -> dict[str, bool]:
    """For each value of `--fail-on`, whether there is one."""
    return {
        "patch": any(finding.patch_available for finding in snapshot.findings),
        # What cannot be listed is unknown, too.
        "unknown": not _UNLISTED.isdisjoint(inventory.scopes().values())
        or any(finding.reason is not None for finding in snapshot.findings),
    }

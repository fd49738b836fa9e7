"""The workloads of a cluster, kept in the inventory by one reflector for each kind and namespace.

If the configuration names namespaces, each is listed separately, so namespaced permissions are enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from exporter.cluster.aggregator import WorkloadAggregator
from exporter.cluster.connection import (
    ApiError,
    Connection,
    UnreachableError,
    open_connection,
)
from exporter.cluster.credentials import ClusterConfigurationError
from exporter.cluster.decode import MalformedError
from exporter.cluster.reflector import (
    RECHECK_SECONDS,
    SILENCE_SECONDS,
    STALE_SECONDS,
    UNLISTED,
    WATCH_SECONDS,
    Reflector,
    WatchContext,
)
from exporter.cluster.retries import reason_of
from exporter.inventory import Inventory
from exporter.kinds import KINDS as TABLE
from exporter.telemetry import Telemetry
from exporter.workloads import WorkloadKey

__all__ = [
    "KINDS",
    "ApiError",
    "Cluster",
    "ClusterConfigurationError",
    "ClusterError",
    "Connection",
    "UnreachableError",
    "open_connection",
]

# Names of the kinds that can be watched.
KINDS = tuple(TABLE)
# Concurrent fetches of specifications, across all kinds and namespaces.
FETCHES = 16


class ClusterError(Exception):
    """A one-off list of the cluster failed."""


class Cluster:
    """Mirror of a cluster in the inventory. `run` keeps it up to date; `list_once` fills it once, for short commands.

    Args:
        connection: see `open_connection`.
        inventory: receives workloads and scopes.
        telemetry: counts watch restarts and missing permissions.
        kinds: kinds to watch, from `KINDS`, all required. Kinds left out are not judged. Neither is what they control,
            unless the kind is optional. If empty, every kind is watched. Optional kinds are then skipped if they are
            not installed or we are not permitted to list them.
        namespaces: namespaces to list separately. If empty, the whole cluster is listed.
        clock: the wall clock, in epoch seconds.
        exclude: whether to ignore a workload. Ignored workloads are not kept in memory.
        silence: seconds without an event or bookmark after which a watch is considered broken.
        watch_seconds: bounds of a watch's random duration.
        recheck: seconds between checks for a kind that is not installed.
        stale: seconds without a successful list or watch after which a kind is stale.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        inventory: Inventory,
        telemetry: Telemetry,
        clock: Callable[[], float],
        kinds: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        exclude: Callable[[WorkloadKey], bool] | None = None,
        silence: float = SILENCE_SECONDS,
        watch_seconds: tuple[float, float] = WATCH_SECONDS,
        recheck: float = RECHECK_SECONDS,
        stale: float = STALE_SECONDS,
    ) -> None:
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"kinds that cannot be watched: {', '.join(sorted(unknown))}")
        context = WatchContext(
            connection=connection,
            inventory=inventory,
            aggregator=WorkloadAggregator(inventory, telemetry=telemetry),
            telemetry=telemetry,
            clock=clock,
            exclude=exclude or (lambda _: False),
            fetching=asyncio.Semaphore(FETCHES),
            silence=silence,
            watch_seconds=watch_seconds,
            recheck=recheck,
            stale=stale,
        )
        self._reflectors = [
            Reflector(kind=TABLE[kind], watched_namespace=namespace, required=bool(kinds), context=context)
            for namespace in dict.fromkeys(namespaces or ("*",))
            for kind in dict.fromkeys(kinds or KINDS)
        ]

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run(), name=f"watch {reflector.kind.name} in {reflector.watched_namespace}")

    async def list_once(self) -> None:
        """List everything once. The inventory's scopes show what is forbidden or not installed.

        Raises:
            ClusterError: a list failed for another reason.
        """
        outcomes = await asyncio.gather(
            *(reflector.list_once() for reflector in self._reflectors), return_exceptions=True
        )
        for reflector, outcome in zip(self._reflectors, outcomes, strict=True):
            if (
                isinstance(outcome, ApiError)
                and (reason := reason_of(outcome, custom=reflector.kind.custom)) in UNLISTED
            ):
                reflector.unlist(reason, outcome)
            elif isinstance(outcome, (ApiError, UnreachableError, MalformedError, ClusterConfigurationError)):
                raise ClusterError(
                    f"cannot list {reflector.kind.name} in namespace {reflector.watched_namespace}: {outcome}"
                ) from outcome
            elif isinstance(outcome, BaseException):
                raise outcome

"""What runs in a cluster, kept in the inventory: one reflector for each kind and namespace.

Where the configuration names namespaces, each is listed by itself, so that rights within them are enough.
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

# The names of the kinds that can be watched.
KINDS = tuple(TABLE)
# Specifications fetched at a time, over all kinds and namespaces.
FETCHES = 16


class ClusterError(Exception):
    """A cluster could not be listed once."""


class Cluster:
    """Keeps the inventory up to date while `run` runs; `list_once` is the same for a command that ends.

    Args:
        connection: see `open_connection`.
        inventory: where workloads and scopes are put.
        telemetry: where restarts and missing rights are counted.
        kinds: among `KINDS`, and each is required. What is left out is not judged; what it controls is not either,
            unless the kind is optional. Without any: every kind, the optional ones where they are installed and we are
            permitted to list them.
        namespaces: the namespaces to list one by one; none: the whole cluster.
        clock: the time of day.
        exclude: whether a workload is not of interest; such workloads are not held.
        silence: the seconds without an event or a bookmark after which a watch counts as broken.
        watch_seconds: how long a watch lasts, chosen at random between two bounds.
        recheck: the seconds after which a kind that was not installed is looked for again.
        stale: the seconds without a working list or watch after which a kind no longer counts as followed.
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
        """List everything once; the inventory's scopes show what is forbidden or not installed.

        Raises:
            ClusterError: something could not be listed for another reason.
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

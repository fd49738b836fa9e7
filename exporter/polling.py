"""When repositories are looked up: each once an interval while it is in use, however many containers run it.

A failed lookup is retried after some seconds, then after twice as long each time, up to the interval; or when the
registry says. The publish times of first missed patches are asked for as soon as they are needed, each once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from exporter.catalogue import Catalogue, CatalogueError, IncompleteListError
from exporter.images import Repository
from exporter.reasons import Reason
from exporter.registry import RegistryClient, RegistryError
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)

# After a failed lookup: the first wait, doubled with each further failure up to the interval.
_FIRST_RETRY_SECONDS = 10.0
_JITTER = 0.1


@dataclass(slots=True)
class Demand:
    """What the running containers need of a repository.

    Attributes:
        running: the tags that run.
        undated: tags whose publish time is missing.
    """

    running: set[str] = field(default_factory=set)
    undated: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Polled:
    """A repository in use: what is needed of it, and the task that looks it up."""

    demand: Demand
    task: asyncio.Task[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Poller:
    """Looks repositories up and stores the answers in the catalogue.

    Attributes:
        changed: set after every lookup and every new publish time; whoever waits for it clears it.
        failures: why the last lookup of a repository failed, where it did.
        lookups: the last successful lookup of each repository in use, epoch seconds.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: RegistryClient,
        telemetry: Telemetry,
        clock: Callable[[], float],
        interval: float,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._telemetry = telemetry
        self._clock = clock
        self._interval = interval
        self._polled: dict[Repository, _Polled] = {}
        self._stale: set[Repository] = set()
        self.changed = asyncio.Event()
        self.failures: dict[Repository, Reason] = {}
        self.lookups: dict[Repository, float] = {}

    def take_stale(self) -> set[Repository]:
        """The repositories whose answers may have changed since this was called last."""
        stale, self._stale = self._stale, set()
        return stale

    async def follow(self, demands: Mapping[Repository, Demand], group: asyncio.TaskGroup) -> None:
        """Look these repositories up from now on, in tasks of the group, and no others."""
        new = demands.keys() - self._polled.keys()
        stored = await self._catalogue.lookups() if new else {}
        for repository in new:
            if (last := stored.get(str(repository))) is not None:
                self.lookups[repository] = last
            self._polled[repository] = _Polled(demands[repository], group.create_task(self._poll(repository)))
        for repository in self._polled.keys() - demands.keys():
            self._polled.pop(repository).task.cancel()
            self.failures.pop(repository, None)
            self.lookups.pop(repository, None)
        for repository, demand in demands.items():
            polled = self._polled[repository]
            if demand.undated and demand.undated != polled.demand.undated:
                polled.wake.set()
            polled.demand = demand

    async def _poll(self, repository: Repository) -> None:
        """Look a repository up, again and again, for as long as it is in use."""
        polled, failures = self._polled[repository], 0
        last = self.lookups.get(repository)
        due = self._clock()
        if last is not None:
            due += max(0.0, min(self._interval, last + self._interval - due))
        while True:
            if self._clock() >= due:
                error = await self.look_up(repository, polled.demand.running)
                failures = failures + 1 if error else 0
                wait = self._interval if error is None else self._retry_after(error, failures)
                due = self._clock() + wait * random.uniform(1, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
            polled.wake.clear()
            await self.look_up_dates(repository, polled.demand.undated)
            try:
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await polled.wake.wait()
            except TimeoutError:
                continue

    def _retry_after(self, error: RegistryError, failures: int) -> float:
        backoff = min(self._interval, _FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
        return max(backoff, error.retry_after or 0.0)

    async def look_up(self, repository: Repository, running: AbstractSet[str]) -> RegistryError | None:
        """Look a repository up once; a failure keeps the last answer, and is returned.

        Args:
            repository: where to look.
            running: its tags that run: a complete list holds one of those that were known before.
        """
        try:
            etag = await self._catalogue.etag(repository)
            async with self._registry.listing(repository, etag=etag) as answer:
                if answer.not_modified:
                    stored = await self._catalogue.confirm(repository)
                else:
                    stored = await self._catalogue.store(repository, answer.names, running=running, etag=answer.etag)
        except RegistryError as error:
            _log.warning("%s: %s (%s)", repository, error, error.reason)
            return self._failed(repository, error)
        except IncompleteListError as error:
            _log.warning("%s; the last answer is kept", error)
            self._telemetry.registry_failures.labels(repository.registry, Reason.BAD_ANSWER.value).inc()
            return self._failed(repository, RegistryError(str(error), reason=Reason.BAD_ANSWER))
        except CatalogueError as error:
            _log.error("%s: the tags could not be stored: %s", repository, error)
            return self._failed(repository, RegistryError(str(error), reason=Reason.PENDING))
        self.failures.pop(repository, None)
        self.lookups[repository] = stored.looked_up
        if stored.changed:
            self._stale.add(repository)
        self.changed.set()
        return None

    def _failed(self, repository: Repository, error: RegistryError) -> RegistryError:
        self.failures[repository] = error.reason
        self.changed.set()
        return error

    async def look_up_dates(self, repository: Repository, undated: AbstractSet[str]) -> None:
        """Ask when tags were published. A registry that does not know is not asked again."""
        for tag in sorted(undated):
            try:
                published = await self._registry.created(repository, tag)
            except RegistryError as error:
                if error.reason is not Reason.NOT_FOUND:
                    _log.info("%s:%s: its publish time is not known yet: %s", repository, tag, error)
                    continue
                published = None
            await self._catalogue.record_published(repository, tag, published)
            self._stale.add(repository)
        if repository in self._stale:
            self.changed.set()

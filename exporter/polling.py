"""When repositories are looked up: each once an interval while it is in use, however many containers run it.

A failed lookup is retried after some seconds, then later and later; or when the registry says. What looks like the
answer for good (404, 401) is retried less often than what looks like a fault, and at once for a new tag. A running tag
that the last list did not have is looked for at once: it may have been published a moment ago. The publish times of
first missed patches are asked for as soon as they are needed, each once. `schedule` says whose turn it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from exporter.catalogue import Catalogue, CatalogueError, IncompleteListError, TooLargeError
from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryClient, RegistryError
from exporter.schedule import Elapsed, Schedule
from exporter.telemetry import Telemetry
from exporter.workloads import OPERATOR

_log = logging.getLogger(__name__)

# After a failed lookup: the first wait, which grows with each further failure.
_FIRST_RETRY_SECONDS = 10.0
# A reason that looks permanent: the wait grows faster, and beyond the interval.
_LOOKS_PERMANENT = frozenset(
    {Reason.NOT_FOUND, Reason.UNAUTHORIZED, *(reason for reason in Reason if reason.permanent)}
)
_LONGEST_RETRY_SECONDS = 86400.0
_LONGEST_RETRY_INTERVALS = 4
_JITTER = 0.1
# Nobody waits for publish times: after a start they are spread out, so that scrapes do not wait for them.
_DATE_PAUSE_SECONDS = 0.1
# How often clocks are compared, and a catalogue that could not be written is tried again.
_TICK_SECONDS = 60.0
# A wall clock that is set back further than this is noticed; adjustments in small steps are not.
_STEP_SECONDS = 60.0
# Registries and exporters have clocks of their own.
_FUTURE_SECONDS = 86400.0


@dataclass(slots=True)
class Demand:
    """What the running containers need of a repository.

    Attributes:
        running: the tags that run.
        undated: tags whose publish time is missing.
        lacking: tags that run and that the last list did not have.
        namespaces: where the containers run.
    """

    running: set[str] = field(default_factory=set)
    undated: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Polled:
    """A repository in use.

    Attributes:
        demand: what is needed of it.
        due: when its tags are looked up next, by the elapsed time.
        failures: how many lookups in a row failed.
        asked: the tags whose publish time was asked for since the last lookup.
        dates_due: when further publish times are asked for, by the elapsed time; None if nobody needs any.
        task: what asks the registry now, if anything does.
    """

    demand: Demand
    due: float
    failures: int = 0
    asked: set[str] = field(default_factory=set)
    dates_due: float | None = None
    task: asyncio.Task[None] | None = None


class Poller:
    """Looks repositories up and stores the answers in the catalogue.

    Args:
        catalogue: where answers are stored.
        registry: what is asked.
        telemetry: the exporter's own metrics.
        clock: epoch seconds.
        monotonic: seconds of a clock that nobody sets.
        interval: seconds between two lookups of a repository.
        repositories: how many a namespace may use. What the operator names (`workloads.OPERATOR`) has no limit.
        questions: how many a namespace may ask of one registry in an interval, likewise.

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
        monotonic: Callable[[], float] = time.monotonic,
        repositories: int = Limit.REPOSITORIES.most,
        questions: int = Limit.QUESTIONS.most,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._telemetry = telemetry
        self._clock = clock
        self._monotonic = monotonic
        self._interval = interval
        self._repositories = repositories
        self._elapsed = Elapsed(clock=clock, monotonic=monotonic)
        self._offset = clock() - monotonic()
        self._schedule = Schedule(
            at_once=Limits().concurrency, most=questions, interval=interval, on_blocked=self._note_blocked
        )
        self._polled: dict[Repository, _Polled] = {}
        self._refused: set[Repository] = set()
        self._unreachable: set[str] = set()
        self._dates_due = -math.inf
        self._in_use: Mapping[str, Collection[str]] = {}
        self._stale: set[Repository] = set()
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        self.failures: dict[Repository, Reason] = {}
        self.lookups: dict[Repository, float] = {}

    def take_stale(self) -> set[Repository]:
        """The repositories whose answers may have changed since this was called last."""
        stale, self._stale = self._stale, set()
        return stale

    async def follow(self, demands: Mapping[Repository, Demand], group: asyncio.TaskGroup) -> None:
        """Look these repositories up from now on, in tasks of the group, and no others."""
        self.expect(demands)
        admitted = self._admit(demands)
        new = admitted - self._polled.keys()
        stored = await self._catalogue.lookups() if new else {}
        for repository in new:
            self._add(repository, demands[repository], stored.get(str(repository)))
        for repository in self._polled.keys() - admitted:
            self._remove(repository)
        for repository in admitted - new:
            self._change(repository, demands[repository])
        if self._serving is None:
            self._serving = group.create_task(self._serve(group), name="poller")
        self._wake.set()

    def set_interval(self, interval: float) -> None:
        """Look repositories up so often from now on; what is overdue by then is looked up now."""
        if interval == self._interval:
            return
        self._interval = interval
        self._schedule.set_interval(interval)
        now, wall = self._elapsed(), self._clock()
        for repository, polled in self._polled.items():
            failure = self.failures.get(repository)
            since = self.lookups.get(repository, wall) if failure is None else wall
            due = now + max(0.0, since + interval - wall)
            if polled.due > due and failure is not Reason.RATE_LIMITED:
                polled.due = due
                self._schedule.expedite(repository, due)
        self._wake.set()

    def retry(self) -> None:
        """Look up again what failed: the configuration of registries changed. Rate limits go on."""
        now = self._elapsed()
        for repository, polled in self._polled.items():
            if self.failures.get(repository, Reason.RATE_LIMITED) is not Reason.RATE_LIMITED:
                polled.failures, polled.due = 0, now
                self._schedule.expedite(repository, now)
        self._wake.set()

    def expect(self, demands: Mapping[Repository, Demand]) -> None:
        """Note which repositories are in use: the catalogue forgets others first."""
        self._in_use = {str(repository): tuple(demand.namespaces) for repository, demand in demands.items()}

    def _admit(self, demands: Mapping[Repository, Demand]) -> set[Repository]:
        """The repositories that are looked up; where a namespace uses too many, the first ones stay."""
        admitted, counts = set(demands), Counter[str]()
        if len(demands) > self._repositories:
            for repository in sorted(demands, key=lambda one: (one not in self._polled, str(one))):
                if OPERATOR in demands[repository].namespaces:
                    continue
                # What several use counts for the one that uses fewest.
                namespace = min(demands[repository].namespaces, key=counts.__getitem__, default="")
                counts[namespace] += 1
                if counts[namespace] > self._repositories:
                    admitted.remove(repository)
        refused = demands.keys() - admitted
        for repository in refused - self._refused:
            self._telemetry.exceeded(Limit.REPOSITORIES)
            self.failures[repository] = Reason.LIMIT_EXCEEDED
        for repository in self._refused - refused:
            self.failures.pop(repository, None)
        self._refused = refused
        return admitted

    def _add(self, repository: Repository, demand: Demand, last: float | None) -> None:
        now, wall = self._elapsed(), self._clock()
        due = now
        if last is not None:
            # A lookup in the future was made while the clock was wrong: nobody knows how long ago it is.
            self.lookups[repository] = min(last, wall)
            due += max(0.0, last + self._interval - wall) if last <= wall and not demand.lacking else 0.0
        self._polled[repository] = polled = _Polled(demand, due)
        if demand.undated:
            due = min(due, self._due_of_dates(polled, now))
        self._schedule.put(repository, namespaces=demand.namespaces, due=due)

    def _due_of_dates(self, polled: _Polled, now: float) -> float:
        if polled.dates_due is None:
            self._dates_due = polled.dates_due = max(now, self._dates_due + _DATE_PAUSE_SECONDS)
        return polled.dates_due

    def _remove(self, repository: Repository) -> None:
        self._schedule.remove(repository)
        if (task := self._polled.pop(repository).task) is not None:
            task.cancel()
        if repository not in self._refused:
            self.failures.pop(repository, None)
        self.lookups.pop(repository, None)

    def _change(self, repository: Repository, demand: Demand) -> None:
        polled = self._polled[repository]
        before, polled.demand = polled.demand, demand
        self._schedule.use(repository, demand.namespaces)
        now = self._elapsed()
        new = not (demand.running <= before.running and demand.namespaces <= before.namespaces)
        failure = self.failures.get(repository)
        if (new and failure in _LOOKS_PERMANENT) or (failure is None and demand.lacking - before.lacking):
            # Somebody may have corrected what was wrong, or published the tag since the last lookup.
            polled.due = now
            self._schedule.expedite(repository, now)
        if demand.undated - polled.asked:
            self._schedule.expedite(repository, self._due_of_dates(polled, now))

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        """Start lookups when they are due, for ever."""
        tick = self._monotonic() + _TICK_SECONDS
        while True:
            self._wake.clear()
            self._notice_step()
            now = self._elapsed()
            for repository in self._schedule.begin(now):
                polled = self._polled[repository]
                polled.task = group.create_task(self._attend(repository, polled))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._schedule.wait(now), _TICK_SECONDS)):
                    await self._wake.wait()
            if self._monotonic() >= tick:
                tick = self._monotonic() + _TICK_SECONDS
                await self._catalogue.retry_disk()

    async def _attend(self, repository: Repository, polled: _Polled) -> None:
        """Use the turn of a repository."""
        if self._elapsed() >= polled.due and self._schedule.charge(repository, self._elapsed()):
            polled.asked.clear()
            error = await self.look_up(repository, polled.demand.running)
            polled.failures = polled.failures + 1 if error else 0
            wait = self._interval if error is None else self._retry_after(error, polled.failures)
            # The jitter spreads load and guards nothing.
            polled.due = self._elapsed() + wait * random.uniform(1, 1 + _JITTER)  # noqa: S311
        due = polled.due
        while undated := polled.demand.undated - polled.asked:
            if not self._schedule.charge(repository, self._elapsed()):
                due = self._elapsed()
                break
            polled.asked.add(tag := min(undated))
            await self.look_up_dates(repository, {tag})
        polled.dates_due = None
        polled.task = None
        self._schedule.finish(repository, due=due)
        self._wake.set()

    def _retry_after(self, error: RegistryError, failures: int) -> float:
        growth, longest = 2.0, self._interval
        if error.reason in _LOOKS_PERMANENT:
            growth = 4.0
            longest = max(longest, min(_LONGEST_RETRY_INTERVALS * longest, _LONGEST_RETRY_SECONDS))
        backoff = min(longest, _FIRST_RETRY_SECONDS * growth ** min(failures - 1, 20))
        return max(backoff, error.retry_after or 0.0)

    def _notice_step(self) -> None:
        """Correct the times of lookups after the wall clock was set back: what it said before was wrong."""
        offset = self._clock() - self._monotonic()
        back, self._offset = self._offset - offset, offset
        if back < _STEP_SECONDS:
            return
        now = self._clock()
        _log.warning("the clock was set back by %.0f s", back)
        for repository, at in self.lookups.items():
            if at > now:
                self.lookups[repository] = min(at - back, now)
        self.changed.set()

    def _note_blocked(self, registry: str, namespace: str) -> None:
        self._telemetry.exceeded(Limit.QUESTIONS)
        _log.warning("%s: namespace %s has asked all that it may in an interval; its lookups wait", registry, namespace)

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
                    stored = await self._catalogue.store(
                        repository, answer.names, running=running, etag=answer.etag, in_use=self._in_use
                    )
        except RegistryError as error:
            self._note_failure(repository, error)
            return self._failed(repository, error)
        except IncompleteListError as error:
            _log.warning("%s; the last answer is kept", error)
            self._telemetry.registry_failures.labels(repository.registry, Reason.BAD_ANSWER.value).inc()
            return self._failed(repository, RegistryError(str(error), reason=Reason.BAD_ANSWER))
        except TooLargeError as error:
            _log.warning("%s; the last answer is kept", error)
            self._telemetry.exceeded(error.limit)
            return self._failed(repository, RegistryError(str(error), reason=Reason.LIMIT_EXCEEDED))
        except CatalogueError as error:
            _log.error("%s: the tags could not be stored: %s", repository, error)
            return self._failed(repository, RegistryError(str(error), reason=Reason.PENDING))
        self.failures.pop(repository, None)
        if repository.registry in self._unreachable:
            self._unreachable.remove(repository.registry)
            _log.info("%s answers again", repository.registry)
        self.lookups[repository] = stored.looked_up
        if stored.changed:
            self._stale.add(repository)
        self.changed.set()
        return None

    def _note_failure(self, repository: Repository, error: RegistryError) -> None:
        """Log a failed lookup; of a registry that cannot be reached, the first one until it answers again."""
        if error.reason is not Reason.UNREACHABLE:
            _log.warning("%s: %s (%s)", repository, error, error.reason)
        elif repository.registry not in self._unreachable:
            self._unreachable.add(repository.registry)
            more = "; its other repositories are not logged until it answers"
            _log.warning("%s: %s (%s)%s", repository, error, error.reason, more)
        else:
            _log.debug("%s: %s (%s)", repository, error, error.reason)

    def _failed(self, repository: Repository, error: RegistryError) -> RegistryError:
        self.failures[repository] = error.reason
        self.changed.set()
        return error

    async def look_up_dates(self, repository: Repository, undated: AbstractSet[str]) -> None:
        """Ask when tags were published. A registry that does not know is not asked again.

        A time in the future is not recorded: either this clock is behind, or the time is wrong. It is asked for again
        after the next lookup.
        """
        for tag in sorted(undated):
            try:
                published = await self._registry.created(repository, tag)
            except RegistryError as error:
                if error.reason is not Reason.NOT_FOUND:
                    _log.info("%s:%s: its publish time is not known yet: %s", repository, tag, error)
                    continue
                published = None
            if published is not None and published > self._clock() + _FUTURE_SECONDS:
                _log.info("%s:%s: its publish time is in the future", repository, tag)
                continue
            await self._catalogue.record_published(repository, tag, published)
            self._stale.add(repository)
        if repository in self._stale:
            self.changed.set()

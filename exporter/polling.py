"""Poll the repositories in use, each by its timetable, however many containers run it.

A failed lookup is retried with backoff from some seconds, or when the registry says. Failures that look permanent (404,
401) are retried less often than faults, and immediately for a new tag. A running tag missing from the last list
triggers a lookup immediately, because it may have just been published. The publish times of first missed patches are
looked up once, as soon as they are needed. `schedule` decides the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.catalogue import Catalogue
from exporter.cron import Cron
from exporter.images import Repository
from exporter.limits import Limit
from exporter.lookups import Lookups
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryClient
from exporter.schedule import Elapsed, Schedule
from exporter.telemetry import Telemetry
from exporter.timetable import LOOKS_PERMANENT, Timetable, retry_wait, timetable
from exporter.workloads import OPERATOR

_log = logging.getLogger(__name__)

# Of the wait before a retry.
_JITTER = 0.1
# Publish times are not urgent: after a start they are spread out, so scrapes do not wait for them.
_DATE_PAUSE_SECONDS = 0.1
# How often clocks are compared, and writes to a failed catalogue are retried.
_TICK_SECONDS = 60.0


@dataclass(slots=True)
class Demand:
    """The needs of the running containers of a repository.

    Attributes:
        running: the running tags.
        undated: tags without a publish time.
        lacking: running tags that the last list lacked.
        namespaces: of the containers.
    """

    running: set[str] = field(default_factory=set)
    undated: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Polled:
    """A repository in use.

    Attributes:
        demand: the needs of its containers.
        due: when its tags are looked up next, in elapsed time.
        regular: the same in epoch seconds if that is a regular lookup, otherwise minus infinity.
        failures: the number of consecutive failed lookups.
        asked: the tags whose publish time was looked up since the last lookup.
        dates_due: when further publish times are looked up, in elapsed time; None if none are needed.
        task: the current request to the registry, if any.
    """

    demand: Demand
    due: float
    regular: float = -math.inf
    failures: int = 0
    asked: set[str] = field(default_factory=set)
    dates_due: float | None = None
    task: asyncio.Task[None] | None = None


class Poller(Lookups):
    """Looks repositories up when they are due.

    Args:
        catalogue, registry, telemetry, clock: see `Lookups`.
        monotonic: seconds of a monotonic clock.
        interval: seconds between two lookups of a repository, if there is no schedule.
        cron: the schedule.
        repositories: the limit for each namespace. Images named by the operator (`workloads.OPERATOR`) have no limit.
        questions: the limit of lookups for each namespace and registry, per interval, or per hour with a schedule;
            likewise.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: RegistryClient,
        telemetry: Telemetry,
        clock: Callable[[], float],
        interval: float,
        cron: Cron | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        repositories: int = Limit.REPOSITORIES.most,
        questions: int = Limit.QUESTIONS.most,
    ) -> None:
        super().__init__(catalogue=catalogue, registry=registry, telemetry=telemetry, clock=clock)
        self._monotonic = monotonic
        self._timetable: Timetable = timetable(interval, cron, now=clock())
        self._repositories = repositories
        self._elapsed = Elapsed(clock=clock, monotonic=monotonic)
        pace = self._timetable.pace
        self._schedule = Schedule(
            at_once=Limits().concurrency, most=questions, interval=pace, on_blocked=self._note_blocked
        )
        telemetry.lookup_interval.set(self._timetable.longest)
        self._polled: dict[Repository, _Polled] = {}
        self._refused: set[Repository] = set()
        self._dates_due = -math.inf
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    def expect(self, demands: Mapping[Repository, Demand]) -> None:
        """Note which repositories are in use: the catalogue drops others first."""
        self._in_use = {str(repository): tuple(demand.namespaces) for repository, demand in demands.items()}

    def uses(self, repository: Repository) -> bool:
        """Return whether a repository is needed, and so looked up as far as limits permit."""
        return str(repository) in self._in_use

    async def follow(self, demands: Mapping[Repository, Demand], group: asyncio.TaskGroup) -> None:
        """Look up these repositories from now on, and no others, in tasks of the group."""
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

    @property
    def longest_interval(self) -> float:
        """Return the longest time between two regular lookups of a repository, in seconds."""
        return self._timetable.longest

    def set_timetable(self, *, interval: float, cron: Cron | None) -> None:
        """Change the interval or schedule; past lookups still count."""
        changed = timetable(interval, cron, now=self._clock())
        if changed == self._timetable:
            return
        self._timetable = changed
        self._telemetry.lookup_interval.set(changed.longest)
        self._schedule.set_interval(changed.pace)
        self._replan()
        self._wake.set()

    def retry(self) -> None:
        """Retry failed lookups, because the configuration of registries changed. Rate limits stay in effect."""
        now = self._elapsed()
        for repository, polled in self._polled.items():
            if self.failures.get(repository, Reason.RATE_LIMITED) is not Reason.RATE_LIMITED:
                polled.failures, polled.due = 0, now
                self._schedule.expedite(repository, now)
        self._wake.set()

    def _admit(self, demands: Mapping[Repository, Demand]) -> set[Repository]:
        """Return the repositories to look up; of a namespace that uses too many, the first ones stay."""
        admitted, counts = set(demands), Counter[str]()
        if len(demands) > self._repositories:
            for repository in sorted(demands, key=lambda one: (one not in self._polled, str(one))):
                if OPERATOR in demands[repository].namespaces:
                    continue
                # A shared repository counts for the namespace that uses fewest.
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
        self._polled[repository] = polled = _Polled(demand, now)
        if last is not None:
            # A lookup in the future was made while the clock was wrong, so its age is unknown.
            self.lookups[repository] = min(last, wall)
            if last <= wall and not demand.lacking:
                self._plan(repository, polled)
        due = polled.due
        if demand.undated:
            due = min(due, self._due_of_dates(polled, now))
        self._schedule.put(repository, namespaces=demand.namespaces, due=due)

    def _plan(self, repository: Repository, polled: _Polled) -> None:
        """Plan the next regular lookup, from the last one."""
        polled.regular = self._timetable.due(repository, self.lookups[repository])
        polled.due = self._elapsed() + max(0.0, polled.regular - self._clock())

    def _replan(self) -> None:
        """Plan every lookup again, after a change of the timetable or the clock.

        A retry happens no later than a regular lookup would, unless the registry limits requests.
        """
        now, wall = self._elapsed(), self._clock()
        for repository, polled in self._polled.items():
            if polled.regular > -math.inf:
                self._plan(repository, polled)
            elif self.failures.get(repository) is not Reason.RATE_LIMITED:
                polled.due = min(polled.due, now + self._timetable.due(repository, wall) - wall)
            dates = math.inf if polled.dates_due is None else polled.dates_due
            self._schedule.reschedule(repository, min(polled.due, dates))

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
        if (new and failure in LOOKS_PERMANENT) or (failure is None and demand.lacking - before.lacking):
            # The cause may be fixed, or the tag may have been published, since the last lookup.
            polled.due, polled.regular = now, -math.inf
            self._schedule.expedite(repository, now)
        if demand.undated - polled.asked:
            self._schedule.expedite(repository, self._due_of_dates(polled, now))

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        """Start lookups when they are due, forever."""
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
        """Process the turn of a repository."""
        if self._is_due(polled) and self._schedule.charge(repository, self._elapsed()):
            polled.asked.clear()
            error = await self.look_up(repository, polled.demand.running)
            if error is None:
                polled.failures = 0
                self._plan(repository, polled)
            else:
                polled.failures += 1
                wait = max(retry_wait(self._timetable.pace, error.reason, polled.failures), error.retry_after or 0.0)
                # The jitter spreads load; it is not for security.
                wait *= random.uniform(1, 1 + _JITTER)  # noqa: S311
                polled.due, polled.regular = self._elapsed() + wait, -math.inf
        blocked = False
        while undated := polled.demand.undated - polled.asked:
            if blocked := not self._schedule.charge(repository, self._elapsed()):
                break
            polled.asked.add(tag := min(undated))
            await self.look_up_dates(repository, {tag})
        polled.dates_due = None
        polled.task = None
        self._schedule.finish(repository, due=self._elapsed() if blocked else polled.due)
        self._wake.set()

    def _is_due(self, polled: _Polled) -> bool:
        """Return whether its tags are due; a slightly slow clock delays a regular lookup."""
        if (early := polled.regular - self._clock()) > 0:
            polled.due = self._elapsed() + early
        return self._elapsed() >= polled.due

    def _notice_step(self) -> None:
        """Correct the times of lookups after the wall clock was set back, because they were wrong."""
        back = self._elapsed.set_back()
        if not back:
            return
        now = self._clock()
        _log.warning("the clock was set back by %.0f s", back)
        for repository, at in self.lookups.items():
            if at > now:
                self.lookups[repository] = min(at - back, now)
        self._replan()
        self.changed.set()

    def _note_blocked(self, registry: str, namespace: str) -> None:
        self._telemetry.exceeded(Limit.QUESTIONS)
        _log.warning(
            "%s: namespace %s has used up its lookups for this interval; further ones are delayed", registry, namespace
        )

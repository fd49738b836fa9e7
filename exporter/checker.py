"""Inventory x catalogue -> findings: every change of a workload or of known tags leads to a new immutable snapshot.

`evaluate` decides what to ask for a container, `polling` keeps the catalogue up to date, and the loop here joins both.
Changes are coalesced for half a second. Answers are kept per question (tag and options), so a changed workload costs
one question, and memory holds answers for running containers only.

A snapshot does not wait for slow answers, and nothing here blocks the event loop for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from exporter.catalogue import Catalogue
from exporter.commands import render
from exporter.cron import Cron
from exporter.evaluate import Ask, Evaluated, Evaluator, Item
from exporter.evaluations import ROUND_SECONDS, Evaluations
from exporter.findings import Finding, Snapshot, WorkloadPatch, WorkloadState
from exporter.images import Repository
from exporter.inventory import Inventory
from exporter.polling import Demand, Poller
from exporter.query import Query
from exporter.reasons import Reason
from exporter.registry import RegistryClient, RegistryEntry, RegistryError
from exporter.telemetry import Telemetry
from exporter.verdicts import Question, Verdict
from exporter.versions import Strategy
from exporter.workloads import OPERATOR, Workload, WorkloadKey

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Long enough for a rollout of many workloads to be one snapshot, short enough for a change to show within two seconds.
COALESCE_SECONDS = 0.5
# Slower answers, from repositories with very many tags, go into a later snapshot.
_PATIENCE_SECONDS = 0.25
# A snapshot of ten thousand containers takes a second. At most half of the time is spent on snapshots.
_LONGEST_COALESCE_SECONDS = 2.0
# Steps between yields to other tasks: for steps of some microseconds, and for steps of a fraction of a millisecond.
_LIGHT_STEPS, _HEAVY_STEPS = 500, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to judge, and how often.

    Attributes:
        strategy: for containers whose annotations name none.
        interval: seconds between two lookups of a repository, if there is no schedule.
        schedule: when repositories are looked up.
        selects: whether a workload is judged.
        selects_image: whether containers of a repository, given by name, are judged.
        approvable: whether a patcher would carry out an approval of a workload.
    """

    strategy: Strategy = Strategy.PATCH
    interval: float = 3600.0
    schedule: Cron | None = None
    selects: Callable[[WorkloadKey], bool] = lambda _: True
    selects_image: Callable[[str], bool] = lambda _: True
    approvable: Callable[[WorkloadKey], bool] = lambda _: False


class Checker:
    """Keeps `snapshot` up to date while `run` runs; `check_once` fills it once."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        catalogue: Catalogue,
        registry: RegistryClient,
        telemetry: Telemetry,
        clock: Callable[[], float],
        settings: Settings,
    ) -> None:
        self._inventory = inventory
        self._catalogue = catalogue
        self._registry = registry
        self._telemetry = telemetry
        self._use(settings)
        self._evaluations = Evaluations(self._evaluate)
        self._poller = Poller(
            catalogue=catalogue,
            registry=registry,
            telemetry=telemetry,
            clock=clock,
            interval=settings.interval,
            cron=settings.schedule,
        )
        # Workloads as they were evaluated: the inventory may change while a snapshot is built.
        self._workloads: dict[WorkloadKey, Workload] = {}
        # Repositories that are looked up although no workload uses them: as in the inventory, and after mirrors are
        # resolved.
        self._extra: tuple[frozenset[Repository], frozenset[Repository]] = (frozenset(), frozenset())
        self._evaluated: dict[WorkloadKey, Evaluated] = {}
        self._synced: Mapping[str, bool] = {}
        self._listed = False
        self._answers: dict[Ask, Verdict] = {}
        # Repositories in the catalogue, by name. It has no answers before their first lookup.
        self._known: set[str] | None = None
        self._stale: set[Repository] = set()
        self._judging: dict[Repository, asyncio.Task[None]] = {}
        self._judged = asyncio.Event()
        self.snapshot = Snapshot()
        self.on_snapshot: Callable[[Snapshot], Awaitable[None]] = _nowhere

    def _use(self, settings: Settings) -> None:
        self._selects = settings.selects
        self._approvable = settings.approvable
        # Commands depend on the settings, too.
        self._patches: dict[WorkloadKey, _Rendered] = {}
        self._evaluator = Evaluator(
            strategy=settings.strategy,
            selects_image=settings.selects_image,
            lookup_repository=self._registry.lookup_repository,
            exceeded=self._telemetry.exceeded,
        )

    def _evaluate(self, workload: Workload) -> Evaluated:
        return self._evaluator.evaluate(workload)

    async def configure(
        self, settings: Settings, *, entries: Iterable[RegistryEntry] | None = None, proxy: str | None = None
    ) -> None:
        """Apply another configuration; lookups in progress finish with the old one.

        Args:
            settings: what to judge, and how often.
            entries: registry entries, with the proxy to reach them; None if neither changed.
            proxy: as `RegistryClient` has it.
        """
        if entries is not None:
            await self._registry.configure(entries, proxy=proxy)
            self._poller.retry()
        self._use(settings)
        self._poller.set_timetable(interval=settings.interval, cron=settings.schedule)
        # The questions of every workload depend on all of this. Known answers are kept.
        self._extra = frozenset(), frozenset()
        self._inventory.note_all()

    @property
    def lookup_interval(self) -> float:
        """Return the longest time between two regular lookups of a repository, in seconds."""
        return self._poller.longest_interval

    def query(self, *, guarded: bool) -> Query:
        """Return an object that answers questions about watched images.

        Args:
            guarded: whether all clients are permitted to see the tags of private repositories.
        """
        return Query(
            evaluator=lambda: self._evaluator,
            catalogue=self._catalogue,
            poller=self._poller,
            registry=self._registry,
            guarded=guarded,
        )

    async def run(self) -> None:
        """Follow the inventory and the registries until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                began = loop.time()
                self._inventory.changed.clear()
                self._poller.changed.clear()
                demands = await self._refresh(group, patience=_PATIENCE_SECONDS)
                await self._poller.follow(demands, group)
                await self._publish(demands)
                took = loop.time() - began
                await asyncio.sleep(min(max(COALESCE_SECONDS, took), _LONGEST_COALESCE_SECONDS))
                if not self._evaluations.waiting:
                    await _either(self._inventory.changed, self._poller.changed, self._judged)

    async def check_once(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Snapshot:
        """Judge the current inventory, with one lookup of each repository.

        Args:
            progress: called with the number of repositories looked up so far and in total.
        """
        async with asyncio.TaskGroup() as group:
            demands = await self._refresh(group)
        self._poller.expect(demands)
        done = 0

        async def look_up(repository: Repository, demand: Demand) -> None:
            nonlocal done
            await self._poller.look_up(repository, demand.running)
            done += 1
            progress(done, len(demands))

        progress(0, len(demands))
        async with asyncio.TaskGroup() as group:
            for repository, demand in demands.items():
                group.create_task(look_up(repository, demand))
        async with asyncio.TaskGroup() as group:
            demands = await self._refresh(group)
            for repository, demand in demands.items():
                group.create_task(self._poller.look_up_dates(repository, demand.undated))
        async with asyncio.TaskGroup() as group:
            await self._publish(await self._refresh(group))
        return self.snapshot

    def _items(self) -> Iterable[Item]:
        return (item for evaluated in self._evaluated.values() for item in evaluated.items)

    async def _refresh(self, group: asyncio.TaskGroup, *, patience: float | None = None) -> Mapping[Repository, Demand]:
        """Process changes, ask the catalogue the open questions, and return the demand for each repository.

        Args:
            group: for the tasks that wait for answers.
            patience: seconds to wait for answers; later ones go into a later snapshot. None waits for all.
        """
        # Both at once: a snapshot must not claim to be complete before it has the data.
        self._synced, self._listed = self._inventory.synced(), self._inventory.listed()
        workloads, changes = self._inventory.workloads(), self._inventory.take_changes()
        changed = {key: workloads.get(key) if self._selects(key) else None for key in changes}
        # Until a complete page was published, workloads missing from it would look deleted.
        synced = self.snapshot.synced and all(self.snapshot.synced.values())
        evaluated = await self._evaluations.round(changed, seconds=ROUND_SECONDS if synced else math.inf)
        for key, result in evaluated.items():
            if result is None:
                self._evaluated.pop(key, None)
                self._workloads.pop(key, None)
            else:
                self._workloads[key], self._evaluated[key] = result
        self._stale |= self._poller.take_stale()
        asks: set[Ask] = set()
        async for item in _sliced(self._items()):
            if item.ask is not None:
                asks.add(item.ask)
        for gone in self._answers.keys() - asks:
            del self._answers[gone]
        await self._ask(asks, group, patience=patience)
        return await self._demands()

    async def _ask(self, asks: Iterable[Ask], group: asyncio.TaskGroup, *, patience: float | None) -> None:
        """Ask the catalogue the questions whose answer is missing or outdated."""
        if self._known is None:
            self._known = set(await self._catalogue.lookups())
        self._known.update(map(str, self._stale))
        open_questions: dict[Repository, list[Question]] = {}
        later: set[Repository] = set()
        async for ask in _sliced(asks):
            if ask.repository in self._stale or ask not in self._answers:
                if ask.repository in self._judging:
                    later.add(ask.repository)
                else:
                    open_questions.setdefault(ask.repository, []).append(ask.question)
        self._stale &= later
        async for repository, questions in _sliced(open_questions.items(), steps=_HEAVY_STEPS):
            if str(repository) in self._known:
                self._judging[repository] = group.create_task(self._judge(repository, questions))
        if self._judging:
            await asyncio.wait(self._judging.values(), timeout=patience)
        # Answers that have arrived go into the next snapshot.
        self._judged.clear()
        if later - self._judging.keys():
            self._judged.set()

    async def _judge(self, repository: Repository, questions: Sequence[Question]) -> None:
        verdicts = await self._catalogue.judge(repository, questions)
        if verdicts is None and self._known is not None:
            self._known.discard(str(repository))
        for question, verdict in zip(questions, verdicts or (), strict=False):
            self._answers[Ask(repository, question)] = verdict
        del self._judging[repository]
        self._judged.set()

    async def _demands(self) -> Mapping[Repository, Demand]:
        demands: dict[Repository, Demand] = {}
        async for item in _sliced(self._items()):
            if (ask := item.ask) is None:
                continue
            demand = demands.setdefault(ask.repository, Demand())
            demand.running.add(ask.question.tag)
            demand.namespaces.add(item.finding.workload.namespace)
            verdict = self._answers.get(ask)
            if verdict is not None and verdict.undated is not None:
                demand.undated.add(verdict.undated)
            if verdict is not None and not verdict.found:
                demand.lacking.add(ask.question.tag)
        async for repository in _sliced(await self._looked_up_only()):
            demands.setdefault(repository, Demand()).namespaces.add(OPERATOR)
        return demands

    async def _looked_up_only(self) -> frozenset[Repository]:
        """Return the repositories to look up although no workload uses them, if their registries are allowed."""
        before, named = self._extra, self._inventory.repositories
        if named is before[0]:
            return before[1]
        found: set[Repository] = set()
        async for repository in _sliced(named):
            with contextlib.suppress(RegistryError):  # it is logged
                found.add(self._registry.lookup_repository(repository))
        # If `configure` was called in the meantime, some were resolved with the old configuration.
        if self._extra is before:
            self._extra = named, frozenset(found)
        return frozenset(found)

    async def _publish(self, in_use: Iterable[Repository]) -> None:
        async for item in _sliced(self._items()):
            if item.ask is not None:
                failure = self._poller.failures.get(item.ask.repository, Reason.PENDING)
                item.update(self._answers.get(item.ask), failure)
        keys = sorted(self._evaluated)
        findings: list[Finding] = []
        async for key in _sliced(keys):
            findings += sorted((item.finding for item in self._evaluated[key].items), key=_order)
        ignored = sum(evaluated.ignored for evaluated in self._evaluated.values())
        unknown = sum(finding.reason is not None for finding in findings)
        self._telemetry.containers.labels("judged").set(len(findings) - unknown)
        self._telemetry.containers.labels("unknown").set(unknown)
        self._telemetry.containers.labels("ignored").set(ignored)
        patches = await self._render_patches(keys)
        lookups = self._poller.lookups
        self.snapshot = Snapshot(
            findings=tuple(findings),
            patches=patches,
            workloads=MappingProxyType(self._states(keys)),
            lookups=MappingProxyType({r: lookups[r] for r in sorted(in_use, key=str) if r in lookups}),
            synced=MappingProxyType(self._synced),
            listed=self._listed,
            ignored=ignored,
        )
        await self.on_snapshot(self.snapshot)

    def _states(self, keys: Iterable[WorkloadKey]) -> dict[WorkloadKey, WorkloadState]:
        return {key: WorkloadState.of(self._workloads[key]) for key in keys if self._evaluated[key].items}

    async def _render_patches(self, keys: Iterable[WorkloadKey]) -> tuple[WorkloadPatch, ...]:
        """Return the patches of every workload, rendering only those of changed workloads."""
        before, self._patches = self._patches, {}
        async for key in _sliced(keys, steps=_HEAVY_STEPS):
            findings = tuple(item.finding for item in self._evaluated[key].items if item.finding.patch_available)
            if not findings:
                continue
            known, workload = before.get(key), self._workloads[key]
            # Findings and workloads are replaced on change, so identity is enough.
            if known is None or known.workload is not workload or not _same(known.findings, findings):
                patches = render(findings, WorkloadState.of(workload), approvable=self._approvable(key))
                known = _Rendered(workload, findings, patches)
            self._patches[key] = known
        return tuple(patch for rendered in self._patches.values() for patch in rendered.patches)


class _Rendered(NamedTuple):
    """The patches of a workload, and their inputs."""

    workload: Workload
    findings: tuple[Finding, ...]
    patches: list[WorkloadPatch]


def _same(some: Sequence[Finding], others: Sequence[Finding]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _order(finding: Finding) -> tuple[WorkloadKey, str, int, str, str, str]:
    place = finding.workload, finding.container_type, finding.position
    return *place, finding.container, finding.image, finding.tag


async def _sliced(items: Iterable[_T], *, steps: int = _LIGHT_STEPS) -> AsyncIterator[_T]:
    """Yield the items, and let other tasks run after each slice."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % steps == 0:
            await asyncio.sleep(0)


async def _nowhere(_: Snapshot) -> None:
    """Default for `on_snapshot`: discard the snapshot."""


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()

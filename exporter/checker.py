"""Inventory x catalogue -> findings: every change of what runs, or of what is known, ends in a new immutable snapshot.

`evaluate` decides what to ask for a container, `polling` keeps the catalogue up to date, and the loop here brings both
together. Changes are coalesced for half a second. Answers are kept per question (tag and options), so a change of one
workload costs one question, and memory holds only what runs.
"""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from exporter.catalogue import Catalogue
from exporter.commands import render
from exporter.evaluate import Ask, Evaluated, Evaluator, Item
from exporter.evaluations import ROUND_SECONDS, Evaluations
from exporter.findings import Finding, Snapshot, WorkloadPatch, WorkloadState
from exporter.images import Repository
from exporter.inventory import Inventory
from exporter.polling import Demand, Poller
from exporter.reasons import Reason
from exporter.registry import RegistryClient
from exporter.telemetry import Telemetry
from exporter.verdicts import Question, Verdict
from exporter.versions import Strategy
from exporter.workloads import Workload, WorkloadKey

# Long enough that a rollout of many workloads is one snapshot, short enough that a change shows within two seconds.
COALESCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is judged, and how often.

    Attributes:
        strategy: for containers whose annotations name none.
        interval: seconds between two lookups of a repository.
        selects: whether a workload is judged at all.
        selects_image: whether containers of a repository (by its name) are.
    """

    strategy: Strategy = Strategy.PATCH
    interval: float = 3600.0
    selects: Callable[[WorkloadKey], bool] = lambda _: True
    selects_image: Callable[[str], bool] = lambda _: True


class Checker:
    """Keeps `snapshot` up to date while `run` runs; `check_once` does the same for a command that ends."""

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
        self._telemetry = telemetry
        self._selects = settings.selects
        self._evaluator = Evaluator(
            strategy=settings.strategy,
            selects_image=settings.selects_image,
            lookup_repository=registry.lookup_repository,
            exceeded=telemetry.exceeded,
        )
        self._evaluations = Evaluations(self._evaluator.evaluate)
        self._poller = Poller(
            catalogue=catalogue, registry=registry, telemetry=telemetry, clock=clock, interval=settings.interval
        )
        self._evaluated: dict[WorkloadKey, Evaluated] = {}
        self._answers: dict[Ask, Verdict] = {}
        self._patches: dict[WorkloadKey, _Rendered] = {}
        self.snapshot = Snapshot()
        self.on_snapshot: Callable[[Snapshot], None] = lambda _: None

    async def run(self) -> None:
        """Follow the inventory and the registries until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._inventory.changed.clear()
                self._poller.changed.clear()
                demands = await self._refresh()
                await self._poller.follow(demands, group)
                self._publish(demands)
                await asyncio.sleep(COALESCE_SECONDS)
                if not self._evaluations.waiting:
                    await _either(self._inventory.changed, self._poller.changed)

    async def check_once(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Snapshot:
        """Judge what the inventory holds now, with one lookup of each repository.

        Args:
            progress: called with the number of repositories that were looked up, and the number of all.
        """
        demands = await self._refresh()
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
        demands = await self._refresh()
        async with asyncio.TaskGroup() as group:
            for repository, demand in demands.items():
                group.create_task(self._poller.look_up_dates(repository, demand.undated))
        self._publish(await self._refresh())
        return self.snapshot

    def _items(self) -> Iterable[Item]:
        return (item for evaluated in self._evaluated.values() for item in evaluated.items)

    async def _refresh(self) -> Mapping[Repository, Demand]:
        """Take in what changed and ask the catalogue what is not answered; returns the demand for each repository."""
        workloads = self._inventory.workloads()
        changes = self._inventory.take_changes()
        changed = {key: workloads.get(key) if self._selects(key) else None for key in changes}
        # Until a complete page was published, a workload that is not in it yet would seem to be gone.
        synced = self.snapshot.synced and all(self.snapshot.synced.values())
        evaluated = await self._evaluations.round(changed, seconds=ROUND_SECONDS if synced else math.inf)
        for key, result in evaluated.items():
            if result is None:
                self._evaluated.pop(key, None)
            else:
                self._evaluated[key] = result
        stale = self._poller.take_stale()
        asks = {item.ask for item in self._items() if item.ask is not None}
        for gone in self._answers.keys() - asks:
            del self._answers[gone]
        open_questions: dict[Repository, list[Question]] = {}
        for ask in asks:
            if ask.repository in stale or ask not in self._answers:
                open_questions.setdefault(ask.repository, []).append(ask.question)
        for repository, questions in open_questions.items():
            verdicts = await self._catalogue.judge(repository, questions) or ()
            for question, verdict in zip(questions, verdicts, strict=False):
                self._answers[Ask(repository, question)] = verdict
        return self._demands(asks)

    def _demands(self, asks: Iterable[Ask]) -> Mapping[Repository, Demand]:
        demands: dict[Repository, Demand] = {}
        for ask in asks:
            demand = demands.setdefault(ask.repository, Demand())
            demand.running.add(ask.question.tag)
            if (verdict := self._answers.get(ask)) is not None and verdict.undated is not None:
                demand.undated.add(verdict.undated)
        return demands

    def _publish(self, in_use: Iterable[Repository]) -> None:
        for item in self._items():
            if item.ask is not None:
                failure = self._poller.failures.get(item.ask.repository, Reason.PENDING)
                item.update(self._answers.get(item.ask), failure)
        findings = sorted((item.finding for item in self._items()), key=_order)
        ignored = sum(evaluated.ignored for evaluated in self._evaluated.values())
        unknown = sum(finding.reason is not None for finding in findings)
        self._telemetry.containers.labels("judged").set(len(findings) - unknown)
        self._telemetry.containers.labels("unknown").set(unknown)
        self._telemetry.containers.labels("ignored").set(ignored)
        lookups = self._poller.lookups
        self.snapshot = Snapshot(
            findings=tuple(findings),
            patches=self._render_patches(),
            workloads=MappingProxyType(self._states()),
            lookups=MappingProxyType({r: lookups[r] for r in sorted(in_use, key=str) if r in lookups}),
            synced=MappingProxyType(self._inventory.synced()),
            ignored=ignored,
        )
        self.on_snapshot(self.snapshot)

    def _states(self) -> dict[WorkloadKey, WorkloadState]:
        workloads = self._inventory.workloads()
        return {
            key: WorkloadState.of(workloads[key])
            for key in sorted(self._evaluated)
            if self._evaluated[key].items and key in workloads
        }

    def _render_patches(self) -> tuple[WorkloadPatch, ...]:
        """The patches of every workload; those of a workload that did not change are kept."""
        workloads, before, self._patches = self._inventory.workloads(), self._patches, {}
        for key in sorted(self._evaluated):
            findings = tuple(item.finding for item in self._evaluated[key].items if item.finding.patch_available)
            if not findings or (workload := workloads.get(key)) is None:
                continue
            known = before.get(key)
            # Findings and workloads are replaced when they change.
            if known is None or known.workload is not workload or not _same(known.findings, findings):
                known = _Rendered(workload, findings, render(findings, WorkloadState.of(workload)))
            self._patches[key] = known
        return tuple(patch for rendered in self._patches.values() for patch in rendered.patches)


class _Rendered(NamedTuple):
    """The patches of a workload, and what they were rendered from."""

    workload: Workload
    findings: tuple[Finding, ...]
    patches: list[WorkloadPatch]


def _same(some: Sequence[Finding], others: Sequence[Finding]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _order(finding: Finding) -> tuple[WorkloadKey, str, int, str, str, str]:
    place = finding.workload, finding.container_type, finding.position
    return *place, finding.container, finding.image, finding.tag


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()

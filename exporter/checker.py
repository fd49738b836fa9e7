"""Inventory x catalogue -> findings: what runs is asked about, and every change ends in a new immutable snapshot.

One task turns changes into snapshots, coalesced for half a second; one task per repository in use looks its tags up once an
interval, however many containers run it. Answers are kept per question (tag and options), so that a change of one workload
costs one question, and memory holds what runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from exporter.annotations import InvalidAnnotationError, read_options
from exporter.catalogue import Catalogue, CatalogueError, IncompleteListError, Question, Verdict
from exporter.findings import Finding, Reason, Snapshot, WorkloadState
from exporter.images import InvalidReferenceError, Repository, parse
from exporter.inventory import Inventory
from exporter.registry import RegistryClient, RegistryError
from exporter.telemetry import Telemetry
from exporter.versions import Strategy, lowest, unjudgeable
from exporter.workloads import Container, Workload, WorkloadKey, is_kind, is_object_name

_log = logging.getLogger(__name__)

# Long enough that a rollout of many workloads is one snapshot, short enough that a change shows within two seconds.
COALESCE_SECONDS = 0.5
# After a failed lookup: the first wait, doubled with each further failure up to the interval.
_FIRST_RETRY_SECONDS = 10.0
_JITTER = 0.1


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


@dataclass(slots=True)
class _Item:
    """A container of a workload: its finding so far, and what it takes to judge it (None: a permanent reason stands)."""

    finding: Finding
    asks: tuple[Repository, Question] | None = None
    verdict: Verdict | None = None


@dataclass(slots=True)
class _Watch:
    """The lookups of one repository in use."""

    task: asyncio.Task[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Checker:
    """Keeps `snapshot` up to date while `run` runs; `check_once` is the same for a command that ends."""

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
        self._clock = clock
        self._settings = settings
        self._items: dict[WorkloadKey, list[_Item]] = {}
        self._ignored: dict[WorkloadKey, int] = {}
        self._answers: dict[tuple[Repository, Question], Verdict] = {}
        # Repositories whose answers have to be asked for again, and whose lookup failed before they were ever judged.
        self._stale: set[Repository] = set()
        self._failures: dict[Repository, Reason] = {}
        self._lookups: dict[Repository, float] = {}
        self._watches: dict[Repository, _Watch] = {}
        self.snapshot = Snapshot()
        self.on_snapshot: Callable[[Snapshot], None] = lambda _: None

    async def run(self) -> None:
        """Follow the inventory for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._inventory.changed.clear()
                await self._refresh()
                await self._follow_repositories(group)
                self._publish()
                await asyncio.sleep(COALESCE_SECONDS)
                await self._inventory.changed.wait()

    async def check_once(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Snapshot:
        """Judge what the inventory holds now, with one lookup of each repository.

        Args:
            progress: told how many repositories are looked up, of how many.
        """
        await self._refresh()
        repositories = self._in_use()
        done = 0

        async def look_up(repository: Repository) -> None:
            nonlocal done
            await self._look_up(repository)
            done += 1
            progress(done, len(repositories))

        progress(0, len(repositories))
        async with asyncio.TaskGroup() as group:
            for repository in repositories:
                group.create_task(look_up(repository))
        await self._refresh()
        async with asyncio.TaskGroup() as group:
            for repository in repositories:
                group.create_task(self._look_up_dates(repository))
        await self._refresh()
        self._publish()
        return self.snapshot

    # From workloads to items.

    async def _refresh(self) -> None:
        """Take in what changed, and ask the catalogue what is not answered."""
        workloads = self._inventory.workloads()
        for key in self._inventory.take_changes():
            self._items.pop(key, None)
            self._ignored.pop(key, None)
            if (workload := workloads.get(key)) is not None and self._settings.selects(key):
                self._take_in(workload)
        stale, self._stale = self._stale, set()
        asked = {item.asks for items in self._items.values() for item in items if item.asks is not None}
        for gone in self._answers.keys() - asked:
            del self._answers[gone]
        wanted: dict[Repository, list[Question]] = {}
        for repository, question in asked:
            if repository in stale or (repository, question) not in self._answers:
                wanted.setdefault(repository, []).append(question)
        for repository, questions in wanted.items():
            await self._ask(repository, questions)

    async def _ask(self, repository: Repository, questions: list[Question]) -> None:
        verdicts = await self._catalogue.judge(repository, questions) or ()
        for question, verdict in zip(questions, verdicts, strict=False):
            self._answers[repository, question] = verdict
        if repository in self._watches and any(verdict.undated for verdict in verdicts):
            self._watches[repository].wake.set()

    def _take_in(self, workload: Workload) -> None:
        items: list[_Item] = []
        ignored = 0
        for container in workload.containers:
            item = self._item(workload, container)
            if item is None:
                ignored += 1
            else:
                items.append(item)
        self._items[workload.key] = _only_lowest(items)
        self._ignored[workload.key] = ignored

    def _item(self, workload: Workload, container: Container) -> _Item | None:
        """A container's item; None where it is left out."""
        unknown = Finding(
            workload=workload.key,
            container=container.name,
            container_type=container.type,
            position=container.position,
            reference="",
            image="",
            tag="",
            reason=Reason.INVALID_REFERENCE,
        )
        key = workload.key
        # What has no kind is a reference that is judged by itself (`workloads.reference_key`).
        if key.kind and not (
            is_object_name(key.namespace)
            and is_object_name(key.name)
            and is_kind(key.kind)
            and is_object_name(container.name)
        ):
            # The API server admits no such name; a manifest may hold anything, and names end up in commands.
            _log.warning("left out: %r of %r is no name that Kubernetes takes", container.name, tuple(key))
            return None
        try:
            reference = parse(container.image)
        except InvalidReferenceError:
            return _Item(unknown)
        name = str(reference.repository)
        if not self._settings.selects_image(name):
            return None
        tag = reference.tag or ("" if reference.digest else "latest")
        known = replace(
            unknown,
            reference=reference.written,
            image=name,
            tag=tag,
            digest=reference.digest or "",
            reason=Reason.PENDING,
        )
        try:
            said = read_options(workload.annotations, container.name)
        except InvalidAnnotationError as error:
            _log.warning("%s, container %s: %s", workload.key, container.name, error)
            return _Item(replace(known, reason=Reason.INVALID_ANNOTATION))
        if said.ignore:
            return None
        if not tag:
            return _Item(replace(known, reason=Reason.DIGEST_ONLY))
        if (why := unjudgeable(tag)) is not None:
            return _Item(replace(known, reason=Reason(why.value)))
        try:
            repository = self._registry.lookup_repository(said.lookup or reference.repository)
        except RegistryError as error:
            return _Item(replace(known, reason=error.reason))
        return _Item(
            known, (repository, Question(tag, said.strategy or self._settings.strategy, said.include, said.exclude))
        )

    # From items to a snapshot.

    def _publish(self) -> None:
        findings: list[Finding] = []
        for items in self._items.values():
            for item in items:
                self._bring_up_to_date(item)
                findings.append(item.finding)
        findings.sort(key=lambda f: (f.workload, f.container_type, f.position, f.container, f.image, f.tag))
        workloads = self._inventory.workloads()
        states = {
            key: WorkloadState.of(workloads[key])
            for key in sorted(self._items)
            if self._items[key] and key in workloads
        }
        transient = {f.workload.namespace for f in findings if f.reason is not None and not f.reason.permanent}
        synced = {
            namespace: listed and not (transient if namespace == "*" else namespace in transient)
            for namespace, listed in self._inventory.synced().items()
        }
        ignored = sum(self._ignored.values())
        unknown = sum(f.reason is not None for f in findings)
        self._telemetry.containers.labels("judged").set(len(findings) - unknown)
        self._telemetry.containers.labels("unknown").set(unknown)
        self._telemetry.containers.labels("ignored").set(ignored)
        in_use = self._in_use()
        self.snapshot = Snapshot(
            findings=tuple(findings),
            workloads=MappingProxyType(states),
            lookups=MappingProxyType(
                {r: at for r, at in sorted(self._lookups.items(), key=lambda i: str(i[0])) if r in in_use}
            ),
            synced=MappingProxyType(synced),
            ignored=ignored,
        )
        self.on_snapshot(self.snapshot)

    def _bring_up_to_date(self, item: _Item) -> None:
        if item.asks is None:
            return
        verdict = self._answers.get(item.asks)
        if verdict is None:
            reason = self._failures.get(item.asks[0], Reason.PENDING)
            if item.finding.reason is not reason:
                item.finding = replace(item.finding, reason=reason)
        elif verdict is not item.verdict:
            item.verdict = verdict
            item.finding = replace(
                item.finding,
                reason=None,
                latest_tag=verdict.latest,
                releases_behind=verdict.behind,
                published=verdict.published,
                first_seen=verdict.first_seen,
                minor=verdict.minor,
                major=verdict.major,
            )

    # Lookups.

    def _in_use(self) -> dict[Repository, set[str]]:
        """The repositories to look up, and the tags that run of each."""
        found: dict[Repository, set[str]] = {}
        for items in self._items.values():
            for item in items:
                if item.asks is not None:
                    found.setdefault(item.asks[0], set()).add(item.asks[1].tag)
        return found

    async def _follow_repositories(self, group: asyncio.TaskGroup) -> None:
        in_use = self._in_use()
        new = in_use.keys() - self._watches.keys()
        stored = await self._catalogue.lookups() if new else {}
        for repository in new:
            if (last := stored.get(str(repository))) is not None:
                self._lookups[repository] = last
            self._watches[repository] = _Watch(group.create_task(self._watch(repository)))
        for repository in self._watches.keys() - in_use.keys():
            self._watches.pop(repository).task.cancel()
            self._failures.pop(repository, None)
            self._lookups.pop(repository, None)

    async def _watch(self, repository: Repository) -> None:
        """Look one repository up, again and again, for as long as it is in use."""
        interval, failures = self._settings.interval, 0
        last = self._lookups.get(repository)
        wait = 0.0 if last is None else max(0.0, min(interval, last + interval - self._clock()))
        wake = self._watches[repository].wake
        due = self._clock() + wait
        while True:
            if self._clock() >= due:
                error = await self._look_up(repository)
                failures = failures + 1 if error else 0
                wait = interval
                if error is not None:
                    wait = max(
                        min(interval, _FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20)), error.retry_after or 0.0
                    )
                due = self._clock() + wait * random.uniform(1, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
            wake.clear()
            await self._look_up_dates(repository)
            try:
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _look_up(self, repository: Repository) -> RegistryError | None:
        """One lookup; a failure keeps the last answer, and is returned."""
        try:
            answer = await self._registry.tags(repository, etag=await self._catalogue.etag(repository))
            if answer.not_modified:
                changed = await self._catalogue.confirm(repository)
            else:
                running = self._in_use().get(repository, set())
                changed = await self._catalogue.store(repository, answer.names, running=running, etag=answer.etag)
            stored = await self._catalogue.lookups()
        except RegistryError as error:
            _log.warning("%s: %s (%s)", repository, error, error.reason)
            return self._failed(repository, error)
        except IncompleteListError as error:
            _log.warning("%s; its last answer stays", error)
            self._telemetry.registry_failures.labels(repository.registry, "bad_answer").inc()
            return self._failed(repository, RegistryError(str(error), reason=Reason.BAD_ANSWER))
        except CatalogueError as error:
            _log.error("%s: the tags could not be kept: %s", repository, error)
            return self._failed(repository, RegistryError(str(error), reason=Reason.PENDING))
        self._failures.pop(repository, None)
        # As it is kept, so that a restart says the same.
        self._lookups[repository] = stored.get(str(repository), self._clock())
        if changed:
            self._stale.add(repository)
        self._inventory.changed.set()
        return None

    def _failed(self, repository: Repository, error: RegistryError) -> RegistryError:
        self._failures[repository] = error.reason
        self._inventory.changed.set()
        return error

    async def _look_up_dates(self, repository: Repository) -> None:
        """Ask when the first patches that containers miss were published, each once ever."""
        undated = sorted(
            {v.undated for (r, _), v in self._answers.items() if r == repository and v.undated is not None}
        )
        for tag in undated:
            try:
                published = await self._registry.created(repository, tag)
            except RegistryError as error:
                if error.reason is not Reason.NOT_FOUND:
                    _log.info("%s:%s: its publish time is not known yet: %s", repository, tag, error)
                    continue
                published = None
            await self._catalogue.record_published(repository, tag, published)
            self._stale.add(repository)
        if self._stale:
            self._inventory.changed.set()


def _only_lowest(items: list[_Item]) -> list[_Item]:
    """Of several tags of one image in one place (a custom controller in the middle of a rollout) the lowest."""
    places: dict[tuple[str, str, str], list[_Item]] = {}
    for item in items:
        places.setdefault((item.finding.container, item.finding.container_type, item.finding.image), []).append(item)
    kept: list[_Item] = []
    for place in places.values():
        tag = lowest(item.finding.tag for item in place)
        kept.append(next(item for item in place if item.finding.tag == tag))
    return kept

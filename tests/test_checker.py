"""Changes of what runs and of what is known become snapshots. test_registry_* test registries over sockets."""

import asyncio
import contextlib
import threading

import pytest

from exporter.annotations import PREFIX
from exporter.catalogue import Catalogue
from exporter.checker import Checker, Settings
from exporter.config import Configuration, Globs
from exporter.images import Repository, parse
from exporter.inventory import Inventory, ScopeState
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import RegistryError, TagList
from exporter.telemetry import Telemetry
from exporter.versions import Strategy
from exporter.watchlist import WatchedImage, WatchList
from exporter.workloads import Container, ContainerType, Manager, Workload, WorkloadKey

pytestmark = pytest.mark.anyio
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
KEY = WorkloadKey("mojaloop", "Deployment", "ledger")


class Script:
    """Stands where the registry client stands: answers, or raises, what the test says."""

    def __init__(self):
        self.answers = {LEDGER: ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0"]}
        self.dates = {"v1.0.1": 500.0}
        self.asked = []

    def lookup_repository(self, repository, instead=None):
        repository = instead or repository
        if repository.registry == "denied.example":
            raise RegistryError("not on the allow list", reason=Reason.REGISTRY_NOT_ALLOWED)
        return repository

    @contextlib.asynccontextmanager
    async def listing(self, repository, *, etag=None):
        self.asked.append(str(repository))
        answer = self.answers[repository]
        if isinstance(answer, Exception):
            raise answer
        yield TagList(names=tuple(answer), etag=None, not_modified=False)

    async def created(self, repository, tag):
        self.asked.append(f"{repository}:{tag}")
        return self.dates.get(tag)


def workload(image, *, key=KEY, name="app", annotations=(), more=()):
    containers = (Container(name, ContainerType.CONTAINER, image, 0), *more)
    return Workload(key=key, containers=containers, annotations=tuple(annotations), manager=Manager("helm", "moja"))


@contextlib.asynccontextmanager
async def checking(script=None, *, directory=None, interval=3600.0, telemetry=None, **settings):
    inventory, telemetry = Inventory(), telemetry or Telemetry()
    inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
    async with await Catalogue.open(directory, clock=lambda: 1_000.0, telemetry=telemetry) as catalogue:
        yield (
            inventory,
            Checker(
                inventory=inventory,
                catalogue=catalogue,
                registry=script or Script(),
                telemetry=telemetry,
                clock=lambda: 1_000.0,
                settings=Settings(interval=interval, **settings),
            ),
        )


@contextlib.asynccontextmanager
async def running(checker):
    task = asyncio.create_task(checker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_container_that_misses_patches():
    async with checking() as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        snapshot = await checker.check_once()
    (finding,) = snapshot.findings
    assert (finding.latest_tag, finding.releases_behind, finding.published, finding.first_seen) == (
        "v1.0.2",
        2,
        500.0,
        1_000.0,
    )
    assert (finding.minor, finding.major, finding.reason, finding.patch_available) == ("v1.1.0", "v1.0.0", None, True)
    assert snapshot.lookups == {LEDGER: 1_000.0}
    assert snapshot.synced == {"*": True}
    assert snapshot.workloads[KEY].manager == Manager("helm", "moja")


async def test_a_container_that_cannot_be_judged_stops_nothing_else():
    async with checking() as (inventory, checker):
        inventory.put(workload("redis:6"))
        inventory.put(workload("mojaloop/central-ledger:v1.0.0", key=KEY._replace(name="other")))
        snapshot = await checker.check_once()
    unknown, judged = snapshot.findings
    assert (unknown.reason, unknown.patch_available) == (Reason.FLOATING_TAG, None)
    assert judged.latest_tag == "v1.0.2"
    assert snapshot.synced == {"*": True}


async def test_a_tag_that_is_not_in_the_list_is_unknown_until_it_is_published():
    script = Script()
    async with checking(script) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.2"))
        async with running(checker):
            await until(lambda: [finding.patch_available for finding in checker.snapshot.findings] == [False])
            script.answers[LEDGER] = [*script.answers[LEDGER], "v1.0.3"]
            inventory.put(workload("mojaloop/central-ledger:v1.0.3"))
            # Within the interval: the list that lacks a running tag is read again.
            await until(lambda: [f.patch_available for f in checker.snapshot.findings if f.tag == "v1.0.3"] == [False])
            inventory.put(workload("mojaloop/central-ledger:v99.0.0"))
            await until(lambda: [f.reason for f in checker.snapshot.findings] == [Reason.TAG_NOT_FOUND])
    assert script.asked.count(str(LEDGER)) == 3


async def test_a_withdrawn_tag_keeps_its_patch():
    async with checking() as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        inventory.put(workload("mojaloop/central-ledger:v1.0.1", key=KEY._replace(name="other")))
        script = checker._poller._registry
        for names in (["v1.0.0", "v1.0.1", "v1.0.2"], *[["v1.0.1", "v1.0.2"]] * 3):
            script.answers[LEDGER] = names
            snapshot = await checker.check_once()
    assert [(f.tag, f.latest_tag, f.reason) for f in snapshot.findings] == [
        ("v1.0.0", "v1.0.2", None), ("v1.0.1", "v1.0.2", None),
    ]  # fmt: skip


async def test_an_ignored_container_is_not_there():
    async with checking() as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0", annotations=[(PREFIX + "ignore", "true")]))
        snapshot = await checker.check_once()
    assert (snapshot.findings, snapshot.ignored) == ((), 1)


async def test_a_failed_lookup_is_a_reason_and_says_nothing_of_the_cluster():
    script = Script()
    script.answers[LEDGER] = RegistryError("503", reason=Reason.UNREACHABLE)
    async with checking(script) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        snapshot = await checker.check_once()
    assert snapshot.findings[0].reason is Reason.UNREACHABLE
    assert snapshot.synced == {"*": True}


async def test_after_a_restart_with_the_registry_away_the_answers_are_the_same(tmp_path):
    async with checking(directory=tmp_path) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        before = await checker.check_once()
    script = Script()
    script.answers[LEDGER] = RegistryError("away", reason=Reason.UNREACHABLE)
    async with checking(script, directory=tmp_path) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        assert (await checker.check_once()).findings == before.findings


@pytest.mark.parametrize("cut", [[], ["v1.0.1"], ["v9.0.0"]])
async def test_a_list_that_is_not_whole_changes_no_answer(cut):
    script = Script()
    async with checking(script) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        before = await checker.check_once()
        script.answers[LEDGER] = cut
        assert (await checker.check_once()).findings == before.findings


async def test_one_lookup_for_any_number_of_containers_and_one_date_once():
    script = Script()
    async with checking(script) as (inventory, checker):
        for number in range(20):
            inventory.put(workload("mojaloop/central-ledger:v1.0.0", key=KEY._replace(name=f"ledger-{number}")))
        await checker.check_once()
        await checker.check_once()
    assert sorted(script.asked) == [str(LEDGER), str(LEDGER), f"{LEDGER}:v1.0.1"]


async def test_a_workload_appears_changes_and_vanishes():
    async with checking() as (inventory, checker), running(checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        await until(lambda: [f.latest_tag for f in checker.snapshot.findings] == ["v1.0.2"])
        await until(lambda: checker.snapshot.findings[0].published == 500.0)
        inventory.put(workload("mojaloop/central-ledger:v1.0.2"))
        await until(lambda: [(f.tag, f.patch_available) for f in checker.snapshot.findings] == [("v1.0.2", False)])
        inventory.remove(KEY)
        await until(lambda: checker.snapshot.findings == () and not checker.snapshot.lookups)


async def test_a_lookup_is_no_change_of_the_inventory():
    async with checking() as (inventory, checker), running(checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        await until(lambda: checker.snapshot.findings and checker.snapshot.findings[0].published == 500.0)
        assert not inventory.changed.is_set()


async def test_workloads_are_evaluated_off_the_event_loop():
    evaluated_in = []

    class Observed(Script):
        def lookup_repository(self, repository, instead=None):
            evaluated_in.append(threading.current_thread())
            return repository

    async with checking(Observed()) as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        snapshot = await checker.check_once()
    assert snapshot.findings[0].latest_tag == "v1.0.2"
    assert evaluated_in
    assert threading.main_thread() not in evaluated_in


async def test_a_limit_that_a_workload_exceeds_is_counted():
    async with checking() as (inventory, checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0", annotations=[(PREFIX + "include-tags", r"\pL{1000}")]))
        snapshot = await checker.check_once()
        assert [finding.reason for finding in snapshot.findings] == [Reason.LIMIT_EXCEEDED]
        counted = checker._telemetry.limits_exceeded.labels(Limit.EXPRESSION_MEMORY.label)
        assert counted._value.get() == 1.0


async def test_a_repository_with_very_many_tags_does_not_keep_others_from_being_judged(monkeypatch):
    monkeypatch.setattr("exporter.checker._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("exporter.checker.COALESCE_SECONDS", 0.0)
    script, big = Script(), Repository("docker.io", "mojaloop/big")
    script.answers[big] = [f"v1.0.{patch}" for patch in range(40_000)]
    async with checking(script) as (inventory, checker):
        seen = []

        async def publish(snapshot):
            seen.append({f.workload.name for f in snapshot.findings if f.reason is None})

        checker.on_snapshot = publish
        for number in range(500):
            inventory.put(workload(f"mojaloop/big:v1.0.{number}", key=KEY._replace(name=f"big-{number}")))
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        async with running(checker):
            await until(lambda: seen and len(seen[-1]) == 501)
        assert {"ledger"} in seen, "before the others"


async def test_nothing_is_judged_of_a_repository_before_its_first_lookup(monkeypatch):
    asked = []
    judge = Catalogue.judge

    async def counted(catalogue, repository, questions):
        asked.append(repository)
        return await judge(catalogue, repository, questions)

    monkeypatch.setattr(Catalogue, "judge", counted)
    script = Script()
    script.answers[LEDGER] = RegistryError("404", reason=Reason.NOT_FOUND)
    async with checking(script) as (inventory, checker), running(checker):
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        await until(lambda: [f.reason for f in checker.snapshot.findings] == [Reason.NOT_FOUND])
        for number in range(3):
            inventory.put(workload("redis:6", key=KEY._replace(name=f"redis-{number}")))
            await until(lambda count=number + 2: len(checker.snapshot.findings) == count)
    assert asked == []


async def test_other_tasks_have_their_turn_while_many_workloads_are_taken_in():
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with checking() as (inventory, checker):
        for number in range(2000):
            inventory.put(workload("redis:6", key=KEY._replace(name=f"redis-{number:04}")))
        counting = asyncio.create_task(count())
        async with asyncio.TaskGroup() as group:
            demands = await checker._refresh(group)
            taken_in, turns = turns, 0
            await checker._publish(demands)
        counting.cancel()
    # Once in fifty steps of evaluating and rendering, and once in five hundred of everything else.
    assert taken_in >= 2000 / 50 + 2000 / 500 * 2
    assert turns >= 2000 / 50 + 2000 / 500 * 2


async def test_a_snapshot_is_not_said_to_be_complete_before_it_has_what_was_listed_last(monkeypatch):
    lookups, arriving = Catalogue.lookups, True

    async with checking() as (inventory, checker):
        inventory.set_scope("Deployment", "*", ScopeState.PENDING)
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))

        async def meanwhile(catalogue):
            # The list of a kind arrives while the checker waits for the catalogue.
            nonlocal arriving
            if arriving:
                inventory.put(workload("redis:6", key=KEY._replace(name="late")))
                inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
                arriving = False
            return await lookups(catalogue)

        monkeypatch.setattr(Catalogue, "lookups", meanwhile)
        seen = []

        async def publish(snapshot):
            seen.append(({f.workload.name for f in snapshot.findings}, snapshot.synced["*"], snapshot.listed))

        checker.on_snapshot = publish
        async with running(checker):
            await until(lambda: seen and seen[-1][1])
        assert seen[0] == ({"ledger"}, False, False)
        assert seen[-1] == ({"ledger", "late"}, True, True)


IMAGES = [
    WatchedImage(reference=parse("mojaloop/central-ledger:v1.0.0"), name="ledger"),
    WatchedImage(reference=parse("mojaloop/other"), name=""),
    WatchedImage(reference=parse("denied.example/a/b"), name=""),
]


async def test_images_of_the_list_are_judged_whatever_is_filtered_and_repositories_are_looked_up_only():
    script, nothing = Script(), Globs(include=("none",))
    script.answers[Repository("docker.io", "mojaloop/other")] = ["v3.0.0"]
    settings = Configuration(namespaces=nothing, workloads=Globs(include=("a/b/c",)), images=nothing).settings()
    async with checking(script, selects=settings.selects, selects_image=settings.selects_image) as (inventory, checker):
        watch_list = WatchList(inventory)
        watch_list.replace(IMAGES)
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        async with running(checker):
            await until(lambda: len(checker.snapshot.lookups) == 2)
            await until(lambda: [f.releases_behind for f in checker.snapshot.findings] == [2])
            (finding,) = checker.snapshot.findings
            assert (finding.workload, finding.container) == (WorkloadKey("", "Image", "ledger"), "")
            assert checker.snapshot.synced == {"*": True, "": True}
            assert checker.snapshot.lookups.keys() == {LEDGER, Repository("docker.io", "mojaloop/other")}
            watch_list.replace(IMAGES[1:])
            await until(lambda: not checker.snapshot.findings)
            watch_list.replace([])
            await until(lambda: not checker.snapshot.lookups)
            assert checker.snapshot.synced == {"*": True}


async def test_another_configuration_holds_at_once_and_keeps_what_is_known():
    class Entries(Script):
        async def configure(self, entries, *, proxy=None):
            self.entries = entries

        def lookup_repository(self, repository, instead=None):
            if self.entries:
                return repository
            return super().lookup_repository(repository, instead)

    script = Entries()
    script.entries = ()
    denied = Repository("denied.example", "a/b")
    script.answers[denied] = ["v1.0.0"]
    async with checking(script) as (inventory, checker):
        WatchList(inventory).replace(IMAGES[2:])
        inventory.put(workload("mojaloop/central-ledger:v1.0.0"))
        inventory.put(workload("redis:6", key=KEY._replace(name="redis")))

        def latest():
            return {f.workload.name: f.latest_tag for f in checker.snapshot.findings}

        async with running(checker):
            await until(lambda: latest() == {"ledger": "v1.0.2", "redis": None})
            await checker.configure(Settings(strategy=Strategy.MINOR))
            await until(lambda: latest() == {"ledger": "v1.1.0", "redis": None})
            await checker.configure(Settings(selects_image=lambda name: "redis" not in name))
            await until(lambda: latest() == {"ledger": "v1.0.2"})
            assert script.asked.count(str(LEDGER)) == 1
            assert denied not in checker.snapshot.lookups
            await checker.configure(Settings(), entries=("anything",))
            await until(lambda: denied in checker.snapshot.lookups)
            assert script.asked.count(str(LEDGER)) == 1

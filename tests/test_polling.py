"""When repositories are looked up and publish times asked for, on a clock of the test's own."""

import asyncio
import contextlib

import pytest

from exporter.catalogue import Catalogue
from exporter.images import Repository
from exporter.polling import Demand, Poller
from exporter.reasons import Reason
from exporter.registry import RegistryError, TagList
from exporter.telemetry import Telemetry

pytestmark = pytest.mark.anyio
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
INTERVAL = 3600.0


class Registry:
    """Answers as the test says, and records what it was asked and when."""

    def __init__(self, clock):
        self.clock = clock
        self.failures = []
        self.tag_lists = []
        self.dates = []

    @contextlib.asynccontextmanager
    async def listing(self, _repository, *, etag=None):
        self.tag_lists.append(self.clock())
        if self.failures:
            raise self.failures.pop(0)
        yield TagList(names=("v1.0.0", "v1.0.1"), etag="x", not_modified=etag is not None)

    async def created(self, _repository, tag):
        self.dates.append(tag)
        if tag == "v1.0.9":
            raise RegistryError("gone", reason=Reason.NOT_FOUND)
        if tag == "v1.0.8":
            raise RegistryError("busy", reason=Reason.UNREACHABLE)
        return 500.0


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@contextlib.asynccontextmanager
async def polling(directory=None, clock=None):
    clock = clock or Clock()
    telemetry, registry = Telemetry(), Registry(clock)
    async with await Catalogue.open(directory, clock=clock, telemetry=telemetry) as catalogue:
        yield (
            registry,
            Poller(catalogue=catalogue, registry=registry, telemetry=telemetry, clock=clock, interval=INTERVAL),
        )


async def settled(poller, demands, group, holds):
    """Follow the demands and wait until something holds."""
    await poller.follow(demands, group)
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def following():
    """A group for the poller's tasks, which are cancelled at the end."""
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            yield group
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("failures", "retry_after", "wait"),
    [(1, None, 10.0), (2, None, 20.0), (4, None, 80.0), (40, None, INTERVAL), (1, 300.0, 300.0), (4, 9.0, 80.0)],
)
async def test_failures_are_retried_later_each_time_and_never_before_the_registry_says(failures, retry_after, wait):
    async with polling() as (_, poller):
        error = RegistryError("busy", reason=Reason.RATE_LIMITED, retry_after=retry_after)
        assert poller._retry_after(error, failures) == wait


async def test_a_lookup_says_when_and_that_answers_may_differ():
    async with polling() as (_, poller):
        assert await poller.look_up(LEDGER, {"v1.0.0"}) is None
        assert (poller.lookups, poller.failures) == ({LEDGER: 1_000_000.0}, {})
        assert poller.changed.is_set()
        assert poller.take_stale() == {LEDGER}
        assert poller.take_stale() == set()


async def test_an_unchanged_list_confirms_the_answers_at_a_new_time():
    clock = Clock()
    async with polling(clock=clock) as (_, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
        poller.take_stale()
        poller.changed.clear()
        clock.now += INTERVAL
        await poller.look_up(LEDGER, {"v1.0.0"})
        assert poller.lookups == {LEDGER: 1_000_000.0 + INTERVAL}
        assert poller.changed.is_set()
        assert poller.take_stale() == set()


async def test_a_failed_lookup_keeps_the_time_of_the_last_one_and_says_why():
    async with polling() as (registry, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
        registry.failures = [RegistryError("busy", reason=Reason.RATE_LIMITED)]
        assert (await poller.look_up(LEDGER, {"v1.0.0"})).reason is Reason.RATE_LIMITED
        assert (poller.failures, poller.lookups) == ({LEDGER: Reason.RATE_LIMITED}, {LEDGER: 1_000_000.0})


async def test_after_a_restart_a_repository_waits_for_the_rest_of_its_interval(tmp_path):
    clock = Clock()
    async with polling(tmp_path, clock) as (_, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
    clock.now += 60
    async with polling(tmp_path, clock) as (registry, poller), following() as group:
        demands = {LEDGER: Demand(running={"v1.0.0"}, undated={"v1.0.1"})}
        await settled(poller, demands, group, lambda: registry.dates)
        assert (registry.tag_lists, poller.lookups) == ([], {LEDGER: 1_000_000.0})


async def test_a_repository_that_is_no_longer_in_use_is_forgotten():
    async with polling() as (registry, poller), following() as group:
        registry.failures = [RegistryError("busy", reason=Reason.RATE_LIMITED)]
        await settled(poller, {LEDGER: Demand(running={"v1.0.0"})}, group, lambda: poller.failures)
        await poller.follow({}, group)
        assert (poller.failures, poller.lookups) == ({}, {})


async def test_a_new_missed_patch_is_dated_at_once_and_known_ones_are_left_alone():
    async with polling() as (registry, poller), following() as group:
        await settled(poller, {LEDGER: Demand({"v1.0.0"})}, group, lambda: poller.lookups)
        poller.take_stale()
        await settled(poller, {LEDGER: Demand({"v1.0.0"}, {"v1.0.1"})}, group, lambda: registry.dates)
        await settled(poller, {LEDGER: Demand({"v1.0.0"}, set())}, group, poller.take_stale)
        assert (registry.dates, len(registry.tag_lists)) == (["v1.0.1"], 1)


async def test_a_date_that_the_registry_does_not_have_is_recorded_and_a_failure_is_not():
    async with polling() as (_, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
        poller.take_stale()
        await poller.look_up_dates(LEDGER, {"v1.0.8"})
        assert poller.take_stale() == set()
        await poller.look_up_dates(LEDGER, {"v1.0.8", "v1.0.9"})
        assert poller.take_stale() == {LEDGER}

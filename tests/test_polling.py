"""When repositories are looked up and publish times asked for, on a clock of the test's own."""

import asyncio
import contextlib
import itertools
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from exporter.catalogue import Catalogue
from exporter.cron import Cron
from exporter.images import Repository
from exporter.polling import Demand, Poller
from exporter.reasons import Reason
from exporter.registry import RegistryError, TagList
from exporter.telemetry import Telemetry
from exporter.workloads import OPERATOR

pytestmark = pytest.mark.anyio
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
INTERVAL = 3600.0


class Registry:
    """Answers as the test says, and records what it was asked and when."""

    def __init__(self, clock):
        self.clock = clock
        self.failures = []
        self.tag_lists = []
        self.asked = []
        self.dates = []
        self.published = 500.0

    @contextlib.asynccontextmanager
    async def listing(self, repository, *, etag=None):
        self.tag_lists.append(self.clock())
        self.asked.append(repository)
        if repository.path.startswith("invented/"):
            raise RegistryError("404", reason=Reason.NOT_FOUND)
        if self.failures:
            raise self.failures.pop(0)
        yield TagList(names=("v1.0.0", "v1.0.1"), etag="x", not_modified=etag is not None)

    async def created(self, _repository, tag):
        self.dates.append(tag)
        if tag == "v1.0.9":
            raise RegistryError("gone", reason=Reason.NOT_FOUND)
        if tag == "v1.0.8":
            raise RegistryError("busy", reason=Reason.UNREACHABLE)
        return self.published


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@contextlib.asynccontextmanager
async def polling(directory=None, clock=None, *, monotonic=None, telemetry=None, most_each=10**9, **more):
    clock = clock or Clock()
    telemetry, registry = telemetry or Telemetry(), Registry(clock)
    async with await Catalogue.open(directory, clock=clock, telemetry=telemetry, most_each=most_each) as catalogue:
        yield (
            registry,
            Poller(
                catalogue=catalogue,
                registry=registry,
                telemetry=telemetry,
                clock=clock,
                monotonic=monotonic or Clock(),
                interval=INTERVAL,
                **more,
            ),
        )


async def settled(poller, demands, group, holds):
    """Follow the demands and wait until something holds."""
    await poller.follow(demands, group)
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def following():
    """A group for the poller's tasks, which are cancelled at the end."""
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            yield group
            raise asyncio.CancelledError


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


async def test_a_registry_that_cannot_be_reached_is_logged_once_until_it_answers(caplog):
    caplog.set_level("INFO")
    other = Repository("docker.io", "mojaloop/other")
    async with polling() as (registry, poller):
        registry.failures = [RegistryError("no route", reason=Reason.UNREACHABLE) for _ in range(3)]
        for repository in (LEDGER, other, LEDGER, LEDGER):
            await poller.look_up(repository, set())
        assert [record.getMessage() for record in caplog.records] == [
            f"{LEDGER}: no route (unreachable); failures of its other repositories are not logged until it answers",
            "docker.io responds again",
        ]
        registry.failures = [RegistryError("no", reason=Reason.NOT_FOUND) for _ in range(2)]
        for repository in (LEDGER, other):
            await poller.look_up(repository, set())
        assert len(caplog.records) == 4, "other failures are about a repository"


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


YEAR = 365 * 86400.0
FOLLOWED = {LEDGER: Demand({"v1.0.0"}, namespaces={"hub"})}


@pytest.mark.parametrize(
    ("wall", "steady"), [(-10 * YEAR, 1.1 * INTERVAL), (1.1 * INTERVAL, 0)], ids=["set back", "suspended"]
)
async def test_no_clock_stops_lookups(wall, steady):
    clock, monotonic = Clock(), Clock()
    clock.now = 2e9
    async with polling(clock=clock, monotonic=monotonic) as (registry, poller), following() as group:
        await settled(poller, FOLLOWED, group, lambda: len(registry.tag_lists) == 1)
        clock.now += wall
        monotonic.now += steady
        await settled(poller, FOLLOWED, group, lambda: len(registry.tag_lists) == 2)
        await settled(poller, FOLLOWED, group, lambda: poller.lookups == {LEDGER: clock.now})


async def test_after_the_clock_was_set_back_a_failing_registry_shows_as_stale():
    clock, monotonic = Clock(), Clock()
    clock.now = 2e9 + 10 * YEAR
    async with polling(clock=clock, monotonic=monotonic) as (registry, poller), following() as group:
        await settled(poller, FOLLOWED, group, lambda: poller.lookups)
        registry.failures = [RegistryError("busy", reason=Reason.UNREACHABLE) for _ in range(100)]
        monotonic.now += 2 * INTERVAL
        clock.now += 2 * INTERVAL - 10 * YEAR
        await settled(poller, FOLLOWED, group, lambda: poller.failures)
        assert poller.lookups == {LEDGER: 2e9}, "two intervals ago"


async def test_a_stored_lookup_in_the_future_counts_as_none(tmp_path):
    clock = Clock()
    clock.now += 10 * YEAR
    async with polling(tmp_path, clock) as (_, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
    clock.now = Clock.now
    async with polling(tmp_path, clock) as (registry, poller), following() as group:
        registry.failures = [RegistryError("busy", reason=Reason.UNREACHABLE)]
        await settled(poller, FOLLOWED, group, lambda: poller.failures)
        assert poller.lookups == {LEDGER: Clock.now}, "at the latest"


@pytest.mark.parametrize(
    ("reason", "demand", "again"),
    [
        (Reason.NOT_FOUND, Demand({"v1.0.0", "v1.0.1"}, namespaces={"hub"}), True),
        (Reason.NOT_FOUND, Demand({"v1.0.0"}, namespaces={"hub", "other"}), True),
        (Reason.NOT_FOUND, Demand({"v1.0.0"}, namespaces={"hub"}), False),
        (Reason.RATE_LIMITED, Demand({"v1.0.0", "v1.0.1"}, namespaces={"hub"}), False),
    ],
    ids=["a new tag", "a new namespace", "nothing new", "rate limited"],
)
async def test_a_change_of_what_runs_asks_at_once_for_what_was_not_found(reason, demand, again):
    async with polling() as (registry, poller), following() as group:
        registry.failures = [RegistryError("no", reason=reason)]
        await settled(poller, FOLLOWED, group, lambda: poller.failures)
        other = Repository("quay.io", "mojaloop/other")
        await settled(poller, {LEDGER: demand, other: Demand(namespaces={"x"})}, group, lambda: other in poller.lookups)
        await settled(poller, {LEDGER: demand}, group, lambda: registry.asked.count(LEDGER) == 1 + again)


@pytest.mark.parametrize(
    ("failures", "again"), [([], True), ([RegistryError("no", reason=Reason.RATE_LIMITED)], False)]
)
async def test_a_running_tag_that_the_list_lacks_is_looked_for_once_and_at_once(failures, again):
    lacking = Demand({"v1.0.7"}, lacking={"v1.0.7"}, namespaces={"hub"})
    other = Repository("quay.io", "mojaloop/other")
    async with polling() as (registry, poller), following() as group:
        registry.failures = list(failures)
        await settled(poller, FOLLOWED, group, lambda: LEDGER in poller.lookups or poller.failures)
        for _ in range(2):
            await settled(poller, {LEDGER: lacking}, group, lambda: registry.asked.count(LEDGER) == 1 + again)
        await settled(
            poller, {LEDGER: lacking, other: Demand(namespaces={"x"})}, group, lambda: other in poller.lookups
        )
        assert registry.asked.count(LEDGER) == 1 + again


async def test_after_a_restart_a_tag_that_the_stored_list_lacks_is_looked_for_at_once(tmp_path):
    clock = Clock()
    async with polling(tmp_path, clock) as (_, poller):
        await poller.look_up(LEDGER, {"v1.0.0"})
    async with polling(tmp_path, clock) as (registry, poller), following() as group:
        demand = Demand({"v1.0.7"}, lacking={"v1.0.7"}, namespaces={"hub"})
        await settled(poller, {LEDGER: demand}, group, lambda: registry.asked == [LEDGER])


def invented(count, namespace="hostile"):
    return {
        Repository("docker.io", f"invented/{number:05}"): Demand({"v1.0.0"}, namespaces={namespace})
        for number in range(count)
    }


async def test_a_real_image_does_not_wait_for_thousands_of_invented_ones():
    async with polling(questions=10**6, repositories=10**6) as (registry, poller), following() as group:
        await poller.follow(invented(3000), group)
        await settled(poller, {**invented(3000), **FOLLOWED}, group, lambda: LEDGER in registry.asked)
        assert registry.asked.index(LEDGER) < 20


async def test_a_namespace_does_not_use_up_a_registry_for_the_others():
    telemetry = Telemetry()
    async with polling(telemetry=telemetry, questions=50) as (registry, poller), following() as group:
        hub = {Repository("docker.io", f"mojaloop/s-{n}"): Demand({"v1.0.0"}, namespaces={"hub"}) for n in range(40)}
        await settled(poller, {**invented(500), **hub}, group, lambda: hub.keys() <= poller.lookups.keys())
        exceeded = "mojaloop_exporter_limits_exceeded_total"
        await settled(poller, {**invented(500), **hub}, group, lambda: len(poller.failures) == 50)
        assert len(registry.asked) == 90
        assert telemetry.registry.get_sample_value(exceeded, {"limit": "questions"}) == 1


async def test_of_too_many_repositories_the_rest_is_refused_until_there_is_room():
    telemetry = Telemetry()
    async with polling(telemetry=telemetry, repositories=10) as (registry, poller), following() as group:
        many = {**FOLLOWED, **invented(15)}
        await settled(poller, many, group, lambda: len(registry.asked) == 11)
        await settled(poller, many, group, lambda: Reason.NOT_FOUND in poller.failures.values())
        refused = {one for one, reason in poller.failures.items() if reason is Reason.LIMIT_EXCEEDED}
        assert refused == set(list(invented(15))[10:])
        exceeded = "mojaloop_exporter_limits_exceeded_total"
        assert telemetry.registry.get_sample_value(exceeded, {"limit": "repositories"}) == 5
        fewer = {one: demand for one, demand in many.items() if one in refused or one == LEDGER}
        await settled(poller, fewer, group, lambda: refused <= set(registry.asked))
        await settled(poller, fewer, group, lambda: set(poller.failures.values()) == {Reason.NOT_FOUND})


async def test_a_repository_that_is_too_large_is_refused_and_counted():
    telemetry = Telemetry()
    async with polling(telemetry=telemetry, most_each=10) as (_, poller):
        assert (await poller.look_up(LEDGER, {"v1.0.0"})).reason is Reason.LIMIT_EXCEEDED
        exceeded = "mojaloop_exporter_limits_exceeded_total"
        assert telemetry.registry.get_sample_value(exceeded, {"limit": "repository_bytes"}) == 1


async def test_a_publish_time_in_the_future_is_asked_for_again_after_the_next_lookup():
    clock, monotonic = Clock(), Clock()
    async with polling(clock=clock, monotonic=monotonic) as (registry, poller), following() as group:
        registry.published = Clock.now + 3 * 86400
        demands = {LEDGER: Demand({"v1.0.0"}, {"v1.0.1"}, namespaces={"hub"})}
        await settled(poller, {LEDGER: Demand({"v1.0.0"}, namespaces={"hub"})}, group, poller.take_stale)
        await settled(poller, demands, group, lambda: registry.dates)
        await settled(poller, {**demands, **invented(1)}, group, lambda: poller.failures)
        assert (registry.dates, poller.take_stale()) == (["v1.0.1"], set()), "once, and not recorded"
        clock.now += 3 * 86400
        await settled(poller, demands, group, poller.take_stale)
        assert registry.dates == ["v1.0.1"] * 2


async def test_dates_count_as_questions():
    async with polling(questions=30) as (registry, poller), following() as group:
        undated = {f"v1.1.{patch}" for patch in range(100)}
        await settled(
            poller, {LEDGER: Demand({"v1.0.0"}, undated, namespaces={"hub"})}, group, lambda: len(registry.dates) == 29
        )
        other = {Repository("docker.io", "mojaloop/other"): Demand({"v1.0.0"}, namespaces={"other"})}
        await settled(
            poller,
            {LEDGER: Demand({"v1.0.0"}, undated, namespaces={"hub"}), **other},
            group,
            lambda: len(poller.lookups) == 2,
        )
        assert len(registry.dates) == 29


async def test_what_the_operator_names_has_no_limit():
    telemetry = Telemetry()
    named = {Repository("docker.io", f"mojaloop/s-{n}"): Demand(namespaces={OPERATOR}) for n in range(40)}
    async with polling(telemetry=telemetry, questions=5, repositories=5) as (registry, poller), following() as group:
        await settled(poller, {**named, **invented(10)}, group, lambda: named.keys() <= poller.lookups.keys())
        await settled(poller, {**named, **invented(10)}, group, lambda: len(registry.asked) == 45)
        assert list(poller.failures.values()).count(Reason.LIMIT_EXCEEDED) == 5, "others are limited as before"


@pytest.mark.parametrize(
    ("reason", "again"), [(Reason.UNAUTHORIZED, True), (Reason.UNREACHABLE, True), (Reason.RATE_LIMITED, False)]
)
async def test_with_other_entries_of_registries_what_failed_is_tried_again_at_once(reason, again):
    async with polling() as (registry, poller), following() as group:
        registry.failures = [RegistryError("no", reason=reason)]
        await settled(poller, FOLLOWED, group, lambda: poller.failures)
        poller.retry()
        # The invented image is asked for after everything that is due.
        await settled(poller, {**FOLLOWED, **invented(1)}, group, lambda: len(registry.asked) == 2 + again)
        assert registry.asked.count(LEDGER) == 1 + again


BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = Cron("0 8 * * 1-5", BERLIN)


def epoch(written):
    return datetime.fromisoformat(written).timestamp()


class Host:
    """A host whose two clocks go together, unless it sleeps or is set; or the monotonic one is faster by a factor."""

    def __init__(self, start, *, factor=1.0):
        self.wall, self.steady, self.factor = Clock(), Clock(), factor
        self.wall.now = epoch(start)

    def shown(self, times):
        return [datetime.fromtimestamp(time, BERLIN).strftime("%a %d %H:%M") for time in times]

    async def until(self, poller, end):
        """Let time pass, and what becomes due happen when it does."""
        while self.wall.now < epoch(end):
            wait = poller._schedule.wait(poller._elapsed())
            passes = min(max(wait, 0.001), 3600.0, epoch(end) - self.wall.now)
            self.wall.now += passes
            self.steady.now += passes * self.factor
            await quiet(poller)


async def quiet(poller):
    """Wait until what is due by now was attended to."""
    poller._wake.set()
    async with asyncio.timeout(60):
        while poller._wake.is_set() or any(polled.task for polled in poller._polled.values()):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def scheduled(host, *, cron=WEEKDAYS, directory=None, demands=FOLLOWED, **more):
    """A poller with a schedule that follows the demands, after what is due at once."""
    parts = polling(directory, host.wall, monotonic=host.steady, cron=cron, **more)
    async with parts as (registry, poller), following() as group:
        await poller.follow(demands, group)
        await quiet(poller)
        yield registry, poller


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-03-27T12:00+01:00", "2026-04-01T00:00+02:00", ["Fri 27 12:00", "Mon 30 08:00", "Tue 31 08:00"]),
        ("2026-10-23T12:00+02:00", "2026-10-27T12:00+01:00", ["Fri 23 12:00", "Mon 26 08:00", "Tue 27 08:00"]),
        ("2028-02-28T12:00+01:00", "2028-03-01T12:00+01:00", ["Mon 28 12:00", "Tue 29 08:00", "Wed 01 08:00"]),
    ],
    ids=["clocks go forward", "clocks go back", "a leap day"],
)
async def test_a_new_repository_is_looked_up_at_once_and_then_at_every_tick(start, end, expected):
    host = Host(start)
    async with scheduled(host) as (registry, poller):
        await host.until(poller, end)
        assert host.shown(registry.tag_lists) == expected


async def test_the_lookups_of_a_tick_are_spread_over_a_minute_alike_in_every_process():
    host = Host("2026-02-02T12:00+01:00")
    demands = {Repository("docker.io", f"mojaloop/s-{n}"): Demand({"v1.0.0"}, namespaces={"hub"}) for n in range(60)}
    times = []
    for _replica in range(2):
        host.wall.now = epoch("2026-02-02T12:00+01:00")
        async with scheduled(host, demands=demands) as (registry, poller):
            await host.until(poller, "2026-02-03T07:59:59+01:00")
            assert len(registry.asked) == 60
            await host.until(poller, "2026-02-03T08:02+01:00")
            looked_up = dict(zip(registry.asked[60:], registry.tag_lists[60:], strict=True))
            seconds = [time - epoch("2026-02-03T08:00+01:00") for time in looked_up.values()]
            assert (min(seconds), max(seconds)) == (pytest.approx(2, abs=2), pytest.approx(58, abs=2))
            assert max(Counter(int(second) // 10 for second in seconds).values()) < 25, "of 60, in 10 s"
            times.append(looked_up)
    assert times[0] == times[1]


async def test_a_host_that_slept_past_ticks_looks_up_once():
    host = Host("2026-02-02T12:00+01:00")
    async with scheduled(host) as (registry, poller):
        host.wall.now = epoch("2026-02-05T08:00:10+01:00")  # the monotonic clock stood still
        await host.until(poller, "2026-02-06T07:00+01:00")
        assert host.shown(registry.tag_lists) == ["Mon 02 12:00", "Thu 05 08:00"]
        await host.until(poller, "2026-02-06T09:00+01:00")
        assert host.shown(registry.tag_lists)[2:] == ["Fri 06 08:00"]


@pytest.mark.parametrize(
    ("start", "expected"),
    [("2026-02-02T20:00+01:00", ["Tue 03 08:00"]), ("2026-02-03T11:00+01:00", ["Tue 03 11:00"])],
    ids=["between two ticks", "after a tick that was missed"],
)
async def test_after_a_restart_the_last_lookup_counts(tmp_path, start, expected):
    host = Host("2026-02-02T12:00+01:00")
    async with scheduled(host, directory=tmp_path) as (registry, _):
        assert len(registry.tag_lists) == 1
    host.wall.now = epoch(start)
    async with scheduled(host, directory=tmp_path) as (registry, poller):
        await host.until(poller, "2026-02-03T12:00+01:00")
        assert host.shown(registry.tag_lists) == expected


@pytest.mark.parametrize(
    ("reason", "most"), [(Reason.UNREACHABLE, 3600.0), (Reason.NOT_FOUND, 4 * 3600.0)], ids=["passing", "lasting"]
)
async def test_failures_are_retried_within_hours_between_the_ticks_of_a_weekly_schedule(reason, most):
    host = Host("2026-02-02T12:00+01:00")
    async with scheduled(host, cron=Cron("0 8 * * 1", BERLIN)) as (registry, poller):
        registry.failures = [RegistryError("no", reason=reason) for _ in range(20)]
        await host.until(poller, "2026-02-09T07:59+01:00")
        assert len(registry.tag_lists) == 1
        await host.until(poller, "2026-02-13T08:00+01:00")
        assert not poller.failures
        waits = [after - before for before, after in itertools.pairwise(registry.tag_lists[1:])]
        assert len(waits) == 20
        assert waits[:4] == sorted(waits[:4])
        assert (waits[0] <= 40, max(waits) == pytest.approx(most, rel=0.11)) == (True, True)
        looked_up = registry.tag_lists[-1]
        await host.until(poller, "2026-02-17T00:00+01:00")
        (again,) = (time for time in registry.tag_lists if time > looked_up)
        assert host.shown([again]) == ["Mon 16 08:00"], "the schedule goes on"


async def test_a_clock_that_is_set_back_waits_for_the_tick_by_the_new_time():
    host = Host("2026-02-06T07:00+01:00")
    async with scheduled(host) as (registry, poller):
        host.wall.now = epoch("2026-02-02T12:00+01:00")
        await host.until(poller, "2026-02-03T12:00+01:00")
        assert host.shown(registry.tag_lists[1:]) == ["Tue 03 08:00"]
        host.wall.now -= 30.0  # a step that is too small to be noticed
        await host.until(poller, "2026-02-04T12:00+01:00")
        assert host.shown(registry.tag_lists[2:]) == ["Wed 04 08:00"]


async def test_a_regular_lookup_is_never_before_its_tick_however_clocks_differ():
    host = Host("2026-02-02T12:00+01:00", factor=1.01)
    async with scheduled(host) as (registry, poller):
        await host.until(poller, "2026-02-05T12:00+01:00")
        assert host.shown(registry.tag_lists[1:]) == ["Tue 03 08:00", "Wed 04 08:00", "Thu 05 08:00"]


async def test_a_timetable_that_changes_is_in_force_at_once():
    host, telemetry = Host("2026-02-02T12:00+01:00"), Telemetry()
    other = Repository("docker.io", "mojaloop/other")
    async with scheduled(host, telemetry=telemetry) as (registry, poller), following() as group:
        # They are retried after 10, 40, 160, 640 and 2560 s.
        registry.failures = [RegistryError("no", reason=Reason.NOT_FOUND)] * 5
        await poller.follow({**FOLLOWED, other: Demand({"v1.0.0"}, namespaces={"hub"})}, group)
        await host.until(poller, "2026-02-02T12:20+01:00")
        asked = len(registry.asked)
        poller.set_timetable(interval=INTERVAL, cron=None)
        assert telemetry.registry.get_sample_value("mojaloop_exporter_lookup_interval_seconds") == INTERVAL
        await host.until(poller, "2026-02-02T13:07+01:00")
        assert Counter(registry.asked[asked:]) == {LEDGER: 1, other: 1}
        poller.set_timetable(interval=60.0, cron=Cron("*/10 * * * *"))
        assert telemetry.registry.get_sample_value("mojaloop_exporter_lookup_interval_seconds") == 600.0
        await host.until(poller, "2026-02-02T13:32+01:00")
        assert Counter(registry.asked[-6:]) == {LEDGER: 3, other: 3}
        assert host.shown(registry.tag_lists[-6::2]) == ["Mon 02 13:10", "Mon 02 13:20", "Mon 02 13:30"]


async def test_a_retry_comes_at_the_latest_when_a_new_timetable_would_look_up():
    host = Host("2026-02-02T12:00+01:00")
    async with scheduled(host, demands={}) as (registry, poller), following() as group:
        registry.failures = [RegistryError("busy", reason=Reason.UNREACHABLE, retry_after=3000.0)]
        await poller.follow(FOLLOWED, group)
        await quiet(poller)
        poller.set_timetable(interval=INTERVAL, cron=Cron("*/10 * * * *"))
        await host.until(poller, "2026-02-02T12:09:59+01:00")
        assert len(registry.asked) == 1
        await host.until(poller, "2026-02-02T12:11:02+01:00")
        assert (len(registry.asked), poller.failures) == (2, {})


async def test_questions_are_limited_by_the_hour_with_a_weekly_schedule_and_by_the_interval_otherwise():
    host = Host("2026-02-02T12:00+01:00")
    many = {Repository("docker.io", f"mojaloop/s-{n}"): Demand({"v1.0.0"}, namespaces={"hub"}) for n in range(100)}
    async with scheduled(host, cron=Cron("0 8 * * 1", BERLIN), demands=many, questions=50) as (registry, poller):
        assert len(registry.asked) == 50
        await host.until(poller, "2026-02-02T12:30+01:00")
        assert len(registry.asked) == pytest.approx(75, abs=1)
        poller.set_timetable(interval=60.0, cron=None)
        await host.until(poller, "2026-02-02T12:31+01:00")
        assert len(registry.asked) >= 100, "in a minute"


async def test_after_a_failure_nothing_is_asked_before_the_registry_says():
    host = Host("2026-02-02T12:00+01:00")
    async with scheduled(host) as (registry, poller):
        registry.failures = [RegistryError("busy", reason=Reason.RATE_LIMITED, retry_after=1800.0)]
        await host.until(poller, "2026-02-03T12:00+01:00")
        assert host.shown(registry.tag_lists[1:2]) == ["Tue 03 08:00"]
        assert registry.tag_lists[2] - registry.tag_lists[1] == pytest.approx(1890, abs=110)

"""When a repository is due, by an interval or a schedule, and how long a failure waits."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from exporter.cron import Cron
from exporter.images import Repository
from exporter.reasons import Reason
from exporter.timetable import Every, Ticks, retry_wait, timetable

REPOSITORIES = [Repository("docker.io", f"mojaloop/service-{number}") for number in range(500)]
LEDGER = Repository("docker.io", "mojaloop/central-ledger")


def at(written):
    return datetime.fromisoformat(written).timestamp()


def ticks(expression, zone="UTC"):
    found = timetable(3600.0, Cron(expression, ZoneInfo(zone)), now=at("2026-01-05T00:00Z"))
    assert isinstance(found, Ticks)
    return found


def test_with_an_interval_repositories_are_due_after_it_and_drift_apart():
    every = timetable(600.0, None, now=0.0)
    assert every == Every(600.0)
    waits = [every.due(repository, 1000.0) - 1000.0 for repository in REPOSITORIES]
    assert 600.0 <= min(waits) < 605.0 < 655.0 < max(waits) < 660.0
    assert (every.longest, every.pace) == (600.0, 600.0)


def test_with_a_long_interval_they_drift_by_an_hour_at_most():
    weekly = timetable(7 * 86400.0, None, now=0.0)
    waits = [weekly.due(repository, 0.0) - 7 * 86400.0 for repository in REPOSITORIES]
    assert 3300.0 < max(waits) < 3600.0


def test_with_a_schedule_repositories_are_due_within_a_minute_of_the_next_tick():
    daily = ticks("0 8 * * *")
    after = [daily.due(repository, at("2026-01-05T12:00Z")) - at("2026-01-06T08:00Z") for repository in REPOSITORIES]
    assert 0.0 <= min(after) < 1.0 < 59.0 < max(after) < 60.0
    assert [sum(10 * ten <= one < 10 * ten + 10 for one in after) for ten in range(6)] == [
        pytest.approx(len(REPOSITORIES) / 6, rel=0.35)
    ] * 6


def test_the_time_of_a_repository_is_the_same_in_every_process():
    due = ticks("0 8 * * *").due(LEDGER, at("2026-01-05T12:00Z"))
    assert due == pytest.approx(at("2026-01-06T08:00:45.26Z"), abs=0.01)


@pytest.mark.parametrize("last", ["2026-01-06T08:00:00Z", "2026-01-06T08:00:05Z", "2026-01-07T07:59:59Z"])
def test_a_lookup_after_a_tick_counts_for_it_whatever_made_it(last):
    due = ticks("0 8 * * *").due(LEDGER, at(last))
    assert at("2026-01-07T08:00Z") <= due < at("2026-01-07T08:01Z")


@pytest.mark.parametrize("repository", REPOSITORIES[:50], ids=str)
def test_a_schedule_of_every_minute_misses_none(repository):
    minutely, last = ticks("* * * * *"), at("2026-01-05T12:00Z")
    for minute in range(1, 10):
        due = minutely.due(repository, last)
        assert int(due - at("2026-01-05T12:00Z")) // 60 == minute
        last = due + 20.0  # the lookup takes long


def test_many_repositories_are_due_as_one_would_be():
    shared, alone = ticks("0 8,20 * * 1-5", "Europe/Berlin"), ticks("0 8,20 * * 1-5", "Europe/Berlin")
    lasts = [at("2026-03-27T00:00Z") + 7919.0 * number % 700_000 for number in range(len(REPOSITORIES))]
    for repository, last in zip(REPOSITORIES, lasts, strict=True):
        assert shared.due(repository, last) == Ticks(alone.cron, alone.longest).due(repository, last)


@pytest.mark.parametrize(
    ("expression", "longest", "pace"),
    [("0 8 * * 1-5", 73 * 3600.0, 3600.0), ("*/5 * * * *", 300.0, 300.0), ("0 8 1 * *", 31 * 86400.0 + 3600, 3600.0)],
)
def test_a_schedule_is_as_patient_as_its_longest_gap_and_retries_within_hours(expression, longest, pace):
    found = ticks(expression, "Europe/Berlin")
    assert (found.longest, found.pace) == (longest, pace)


@pytest.mark.parametrize(("failures", "wait"), [(1, 10.0), (2, 20.0), (4, 80.0), (40, 3600.0)])
def test_failures_are_retried_later_each_time(failures, wait):
    assert retry_wait(3600.0, Reason.RATE_LIMITED, failures) == wait


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, 10.0), (2, 40.0), (4, 640.0), (6, 10240.0), (7, 14400.0), (40, 14400.0)]
)
@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.UNAUTHORIZED, Reason.PRIVATE_ADDRESS])
def test_what_looks_permanent_is_asked_for_less_often(reason, failures, wait):
    assert retry_wait(3600.0, reason, failures) == wait

"""The patcher's view of the windows of a configuration."""

from datetime import UTC, datetime

import pytest

from exporter.config import load
from exporter.patcher.openings import CalendarWindows
from exporter.patcher.settings import Opening
from exporter.workloads import WorkloadKey

HUB = """
windows:
  - {name: night, schedule: 0 2 * * *, duration: 2h, namespaces: [hub]}
  - {name: late, schedule: 0 3 * * *, duration: 3h, namespaces: [hub]}
freezes:
  - {from: "2026-11-25T05:00:00Z", to: "2026-11-26T00:00:00Z"}
"""
THING, ELSEWHERE = WorkloadKey("hub", "Deployment", "thing"), WorkloadKey("other", "Deployment", "thing")


def at(day, hour, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.fixture
def windows(tmp_path):
    file = tmp_path / "configuration.yaml"
    file.write_text(HUB)
    return CalendarWindows(load(file, {}).calendar())


@pytest.mark.parametrize(
    ("now", "opening", "next_opening"),
    [
        (at(24, 1), None, at(24, 2)),
        # Windows that overlap count together.
        (at(24, 2), Opening("night", 4 * 3600.0), at(24, 3)),
        (at(24, 5), Opening("late", 3600.0), at(25, 2)),
        (at(24, 6), None, at(25, 2)),
        # Until a freeze begins, and not while it lasts.
        (at(25, 4, 30), Opening("late", 1800.0), at(26, 2)),
        (at(25, 5, 30), None, at(26, 2)),
    ],
)
def test_what_is_open_for_a_workload_and_what_opens_next(windows, now, opening, next_opening):
    assert windows.opening(THING, now) == opening
    assert windows.next_opening(THING, now) == next_opening


def test_a_workload_that_no_window_names_is_never_patched(windows):
    for hour in range(24):
        assert windows.opening(ELSEWHERE, at(24, hour)) is None
        assert windows.next_opening(ELSEWHERE, at(24, hour)) is None


def test_answers_that_are_kept_are_those_of_the_moment(windows):
    seen = [windows.opening(THING, at(24, hour)) is not None for hour in (1, 2, 5, 6)]
    assert seen == [False, True, True, False]
    assert [windows.next_opening(THING, at(24, hour)) for hour in (1, 1, 2, 3)] == [
        at(24, 2), at(24, 2), at(24, 3), at(25, 2),
    ]  # fmt: skip

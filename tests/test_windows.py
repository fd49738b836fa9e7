"""When workloads may be patched: windows and freezes, compared with an oracle that goes minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.cron import Cron, CronError
from exporter.telemetry import Telemetry
from exporter.windows import Calendar, Freeze, Window, publish
from exporter.workloads import WorkloadKey
from tests.support.cron_oracle import FIELDS, fire_times, minutes, text

LEDGER = WorkloadKey("mojaloop", "Deployment", "central-ledger")
REDIS = WorkloadKey("backing", "StatefulSet", "redis")
BERLIN, NAIROBI = ZoneInfo("Europe/Berlin"), ZoneInfo("Africa/Nairobi")
HOUR = 3600.0

# Where clocks change, and where they never do; the end of a month, and 29 February.
PLACES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Africa/Nairobi", "2026-04-30"),
    ("Africa/Lagos", "2028-02-29"),
]
DAYS = 3


def at(written):
    return datetime.fromisoformat(written).timestamp()


def window(schedule="0 22 * * 1-5", hours=6.0, zone=NAIROBI, name="nights", **patterns):
    return Window(name=name, cron=Cron(schedule, zone), duration=hours * HOUR, **patterns)


@st.composite
def cases(draw):
    """A place, windows with what the oracle needs of them, freezes, and a minute to ask about."""
    place = draw(st.sampled_from(PLACES))
    first = minutes(*place, DAYS)[0][0]
    windows = []
    for number in range(draw(st.integers(1, 3))):
        fields = draw(FIELDS)
        duration = draw(st.integers(1, 300) | st.sampled_from([60, 360, 1440, 2880]))
        try:
            cron = Cron(text(fields), ZoneInfo(place[0]))
        except CronError:
            assume(False)
        windows.append((Window(name=f"w{number}", cron=cron, duration=duration * 60.0), fields))
    freezes = []
    for begin, length in draw(st.lists(st.tuples(st.integers(0, 2 * DAYS * 1440), st.integers(1, 1000)), max_size=3)):
        start = (first + timedelta(minutes=begin)).timestamp()
        freezes.append(Freeze(start=start, end=start + 60.0 * length))
    return place, windows, tuple(freezes), draw(st.integers(2 * 1440, 2 * DAYS * 1440 - 1))


class Oracle:
    """Which minutes are open, and at which a window opens: by number, from the first one of `clock`."""

    def __init__(self, clock, windows, freezes):
        self.first = clock[0][0].timestamp()
        self.count = len(clock)
        self.frozen = {
            minute
            for freeze in freezes
            for minute in range(self.number(freeze.start), min(self.number(freeze.end), self.count))
        }
        self.open, self.starts = [], []
        for one, fields in windows:
            starts = {self.number(moment.timestamp()) for moment in fire_times(fields, clock)}
            length = int(one.duration // 60)
            self.open.append({minute for start in starts for minute in range(start, start + length)} - self.frozen)
            self.starts.append(starts)
        # For each minute, how many from it on are open without a gap.
        self.remaining = [0] * (self.count + 1)
        for minute in reversed(range(self.count)):
            if any(minute in opened for opened in self.open):
                self.remaining[minute] = self.remaining[minute + 1] + 1

    def number(self, time):
        return int(time - self.first) // 60

    def time(self, number):
        return self.first + 60.0 * number

    def opens(self, window, number):
        """Whether a window opens, again or while it is open, at a minute."""
        opened = self.open[window]
        return number in opened and (number in self.starts[window] or number - 1 not in opened)


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from([0.0, 0.25, 59.0]), st.integers(1, 600))
def test_what_is_open_and_for_how_long_is_what_an_oracle_says(case, seconds, reserve):
    place, windows, freezes, minute = case
    clock = minutes(*place, DAYS)
    oracle = Oracle(clock, windows, freezes)
    calendar = Calendar(tuple(one for one, _ in windows), freezes)
    now = oracle.time(minute) + seconds

    for number, one in enumerate(calendar.windows):
        assert calendar.is_open(one, now) == (minute in oracle.open[number])
        after = range(minute + 1, oracle.count)
        expected = next((oracle.time(later) for later in after if oracle.opens(number, later)), None)
        found = calendar.next_opening(one, now)
        assert found == expected if expected is not None else found >= oracle.time(oracle.count)

    left = oracle.remaining[minute]
    known = oracle.time(oracle.count) - now  # the oracle does not see further
    expected = left * 60.0 - seconds if left else 0.0
    assert min(calendar.remaining(LEDGER, now), known) == pytest.approx(min(expected, known))
    assert calendar.remaining(LEDGER, now, enough=60.0) == pytest.approx(min(expected, 60.0))

    fits = (
        later
        for later in range(minute, oracle.count - reserve)
        if oracle.remaining[later] * 60.0 - (seconds if later == minute else 0.0) >= reserve * 60.0
    )
    expected = next(fits, None)
    found = calendar.next_start(LEDGER, now, reserve=reserve * 60.0)
    if expected is None:
        assert found is None or found[0] >= oracle.time(oracle.count - reserve)
    else:
        assert found is not None
        assert found[0] == (now if expected == minute else oracle.time(expected))
        assert calendar.is_open(found[1], found[0])


@pytest.mark.parametrize(
    ("zone", "night", "closes"),
    [
        (NAIROBI, "2026-03-27T22:00+03:00", "2026-03-28T04:00+03:00"),
        (BERLIN, "2026-03-28T22:00+01:00", "2026-03-29T05:00+02:00"),
        (BERLIN, "2026-10-24T22:00+02:00", "2026-10-25T03:00+01:00"),
    ],
    ids=["no change", "clocks go forward", "clocks go back"],
)
def test_a_window_lasts_as_long_as_it_says_also_where_clocks_change(zone, night, closes):
    nights = window("0 22 * * *", zone=zone)
    calendar = Calendar((nights,))
    assert not calendar.is_open(nights, at(night) - 0.001)
    assert calendar.is_open(nights, at(night))
    assert calendar.remaining(LEDGER, at(night)) == 6 * HOUR
    assert calendar.is_open(nights, at(closes) - 0.001)
    assert not calendar.is_open(nights, at(closes))
    assert calendar.remaining(LEDGER, at(closes)) == 0.0


def test_without_a_matching_window_nothing_may_ever_be_patched():
    calendar = Calendar((window("0 * * * *", 1.0, namespaces=("hub-*",)),))
    now = at("2026-02-02T12:00Z")
    assert (calendar.remaining(LEDGER, now), calendar.next_start(LEDGER, now)) == (0.0, None)
    assert Calendar().next_start(LEDGER, now) is None
    assert calendar.remaining(WorkloadKey("hub-a", "Deployment", "x"), now) > 0


@pytest.mark.parametrize(
    ("patterns", "covered"),
    [
        ({}, [LEDGER, REDIS]),
        ({"namespaces": ("mojaloop",)}, [LEDGER]),
        ({"namespaces": ("moja*", "back*")}, [LEDGER, REDIS]),
        ({"workloads": ("*/StatefulSet/*",)}, [REDIS]),
        ({"namespaces": ("mojaloop",), "workloads": ("*/StatefulSet/*",)}, []),
        ({"workloads": ("mojaloop/Deployment/central-*",)}, [LEDGER]),
        ({"namespaces": ("Mojaloop",)}, []),
    ],
)
def test_a_window_is_for_what_matches_its_patterns(patterns, covered):
    assert [key for key in (LEDGER, REDIS) if window(**patterns).covers(key)] == covered


def test_windows_of_one_workload_that_follow_each_other_count_together_and_others_do_not():
    early = window("0 20 * * *", 2.0, name="early", namespaces=("mojaloop",))
    nights = window("0 22 * * *", 6.0, name="nights", namespaces=("moja*",))
    other = window("0 4 * * *", 6.0, name="other", namespaces=("backing",))
    calendar, now = Calendar((early, nights, other)), at("2026-02-02T20:30+03:00")
    assert calendar.remaining(LEDGER, now) == 7.5 * HOUR
    assert calendar.open_for(LEDGER, now) == (early,)
    assert calendar.open_for(LEDGER, now + 2 * HOUR) == (nights,)
    assert calendar.remaining(LEDGER, now, enough=600.0) == 600.0
    assert calendar.next_start(LEDGER, at("2026-02-02T12:00+03:00"), reserve=7 * HOUR) == (
        at("2026-02-02T20:00+03:00"), early,
    )  # fmt: skip


def test_a_rollout_waits_for_a_window_that_is_long_enough():
    short, weekend = window("0 22 * * 1-5", 1.0, name="short"), window("0 22 * * 6", 6.0, name="weekend")
    calendar, monday = Calendar((short, weekend)), at("2026-02-02T22:30+03:00")
    assert calendar.next_start(LEDGER, monday, reserve=0.5 * HOUR) == (monday, short)
    assert calendar.next_start(LEDGER, monday, reserve=HOUR) == (at("2026-02-03T22:00+03:00"), short)
    assert calendar.next_start(LEDGER, monday, reserve=2 * HOUR) == (at("2026-02-07T22:00+03:00"), weekend)
    assert calendar.next_start(LEDGER, monday, reserve=7 * HOUR) is None


def test_a_freeze_closes_windows_and_they_open_again_after_it():
    nights = window("0 22 * * *")
    frozen = Freeze(start=at("2026-02-02T23:00+03:00"), end=at("2026-02-03T01:00+03:00"), name="month-end")
    calendar = Calendar((nights,), (frozen,))
    before, within = at("2026-02-02T22:30+03:00"), at("2026-02-03T00:59:59+03:00")
    assert calendar.remaining(LEDGER, before) == 0.5 * HOUR
    assert calendar.next_opening(nights, before) == frozen.end
    assert (calendar.is_open(nights, within), calendar.freeze(within)) == (False, frozen)
    assert calendar.next_start(LEDGER, within) == (frozen.end, nights)
    assert calendar.remaining(LEDGER, frozen.end) == 3 * HOUR
    assert calendar.next_opening(nights, frozen.end) == at("2026-02-03T22:00+03:00")


def test_a_freeze_of_weeks_skips_every_opening_in_it():
    nights = window("0 22 * * *")
    frozen = Freeze(start=at("2026-12-20T00:00+03:00"), end=at("2027-01-03T12:00+03:00"))
    assert Calendar((nights,), (frozen,)).next_opening(nights, at("2026-12-25T00:00+03:00")) == at(
        "2027-01-03T22:00+03:00"
    )


def test_a_schedule_without_gaps_is_always_open():
    always = window("0 * * * *", 1.0)
    assert Calendar((always,)).remaining(LEDGER, at("2026-02-02T12:30+03:00")) == 7 * 24 * HOUR


class Clock:
    def __init__(self, now):
        self.now = at(now)

    def __call__(self):
        return self.now


def shown(telemetry, name):
    open_ = telemetry.registry.get_sample_value("mojaloop_upgrade_window_open", {"window": name})
    next_ = telemetry.registry.get_sample_value("mojaloop_upgrade_window_next_timestamp_seconds", {"window": name})
    return open_, next_ and datetime.fromtimestamp(next_, UTC).strftime("%d %H:%M")


def test_metrics_are_those_of_the_moment_when_they_are_read():
    telemetry, clock = Telemetry(), Clock("2026-02-02T21:59+03:00")
    publish(Calendar((window("0 22 * * *"),)), telemetry, clock=clock)
    assert shown(telemetry, "nights") == (0.0, "02 19:00")
    clock.now += 60
    assert shown(telemetry, "nights") == (1.0, "03 19:00")
    clock.now += 6 * HOUR
    assert shown(telemetry, "nights") == (0.0, "03 19:00")
    clock.now -= 3 * HOUR  # the clock was set back
    assert shown(telemetry, "nights") == (1.0, "03 19:00")


def test_windows_that_are_gone_have_no_metrics():
    telemetry, clock = Telemetry(), Clock("2026-02-02T22:00+03:00")
    publish(Calendar((window("0 22 * * *"),)), telemetry, clock=clock)
    publish(Calendar((window("0 23 * * *", name="later"),)), telemetry, clock=clock)
    assert shown(telemetry, "nights") == (None, None)
    assert shown(telemetry, "later") == (0.0, "02 20:00")

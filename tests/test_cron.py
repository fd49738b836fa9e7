"""When a schedule fires, above all where clocks change: compared with an oracle that goes minute by minute."""

import itertools
import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.cron import Cron, CronError
from tests.support.cron_oracle import FIELDS, PLACES, fire_times, minutes, text

BERLIN = ZoneInfo("Europe/Berlin")


def at(written):
    return datetime.fromisoformat(written).timestamp()


def following(expression, zone, start, count):
    """What clocks of the zone show at the next times, with the offset."""
    cron, time, shown = Cron(expression, ZoneInfo(zone)), at(start), []
    for _ in range(count):
        time = cron.after(time)
        shown.append(datetime.fromtimestamp(time, cron.zone).strftime("%a %m-%d %H:%M%z"))
    return shown


@settings(max_examples=150, deadline=None)
@given(FIELDS, st.sampled_from(PLACES), st.integers(0, 3 * 1440), st.sampled_from([0, 0.5, 59]))
def test_the_next_time_is_that_of_an_oracle_that_goes_minute_by_minute(fields, place, minute, seconds):
    clock = minutes(*place, 2)
    begin = clock[0][0] + timedelta(minutes=minute, seconds=seconds)
    try:
        cron = Cron(text(fields), ZoneInfo(place[0]))
    except CronError as error:
        assume("never fires" not in str(error))
        raise
    expected = next((moment for moment in fire_times(fields, clock[minute:]) if moment > begin), None)
    found = cron.after(begin.timestamp())
    if expected is None:
        assert found > clock[-1][0].timestamp()
    else:
        assert datetime.fromtimestamp(found, UTC) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["Sun 03-29 03:00+0200", "Mon 03-30 02:30+0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["Sun 03-29 03:00+0200", "Mon 03-30 02:00+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["Mon 03-30 02:00+0200", "Mon 03-30 02:30+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["Sun 10-25 02:30+0200", "Mon 10-26 02:30+0100"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15Z", ["Mon 10-26 02:30+0100"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T00:15Z", ["Sun 10-25 02:30+0200", "Sun 10-25 02:30+0100"]),
        ("0 8 * * 1-5", "Europe/Berlin", "2026-03-27T12:00Z", ["Mon 03-30 08:00+0200", "Tue 03-31 08:00+0200"]),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00Z", ["Fri 04-24 01:00+0300", "Sat 04-25 00:00+0300"]),
        ("0 0 29 2 *", "Africa/Nairobi", "2026-01-01T00:00Z", ["Tue 02-29 00:00+0300", "Sun 02-29 00:00+0300"]),
        ("0 12 31 * *", "Africa/Lagos", "2026-01-31T11:00Z", ["Tue 03-31 12:00+0100", "Sun 05-31 12:00+0100"]),
        ("0 12 L * *", "Africa/Lagos", "2028-02-01T00:00Z", ["Tue 02-29 12:00+0100", "Fri 03-31 12:00+0100"]),
        ("0 9 * * MON#1", "UTC", "2026-01-01T00:00Z", ["Mon 01-05 09:00+0000", "Mon 02-02 09:00+0000"]),
    ],
)  # fmt: skip
def test_times_that_are_skipped_repeated_or_rare(expression, zone, start, expected):
    assert following(expression, zone, start, len(expected)) == expected


def test_both_days_count_unless_one_of_them_starts_with_a_star():
    assert following("0 0 13 * 5", "UTC", "2026-02-10T00:00Z", 3) == [
        "Fri 02-13 00:00+0000", "Fri 02-20 00:00+0000", "Fri 02-27 00:00+0000",
    ]  # fmt: skip
    assert following("0 0 */13 * 5", "UTC", "2026-02-10T00:00Z", 1) == ["Fri 02-27 00:00+0000"]


@pytest.mark.parametrize(
    ("expression", "zone", "hours"),
    [
        ("0 8 * * 1-5", "Africa/Nairobi", 72),
        ("0 8 * * 1-5", "Europe/Berlin", 73),
        ("0 0,12 * * *", "Europe/Berlin", 13),
        ("30 1,2 * * *", "Europe/Berlin", 24),
        ("0 * * * *", "Europe/Berlin", 1),
        ("*/5 8-18 * * 1-5", "UTC", 61 + 5 / 60),
        ("* * * * *", "Australia/Lord_Howe", 1 / 60),
        ("0 0 1 1 *", "UTC", 365 * 24),
        ("0 0 29 2 *", "UTC", 1461 * 24),
    ],
)
def test_the_longest_gap_of_a_year_counts_weekends_and_changes_of_the_clocks(expression, zone, hours):
    assert Cron(expression, ZoneInfo(zone)).longest_gap(at("2025-11-05T12:00Z")) == pytest.approx(hours * 3600)


@settings(max_examples=30, deadline=None)
@given(FIELDS, st.sampled_from(PLACES))
def test_no_gap_is_longer_than_the_longest(fields, place):
    clock = minutes(*place, 2)
    fired = fire_times(fields, clock)
    assume(len(fired) > 1)
    longest = max((b - a).total_seconds() for a, b in itertools.pairwise(fired))
    begin = clock[0][0].timestamp()
    assert Cron(text(fields), ZoneInfo(place[0])).longest_gap(begin) >= longest


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 8 * * 1-5 0", "'0 8 * * 1-5 0' has 6 fields; cron has 5 (minute, hour, day-of-month, month, day-of-week)"),
        ("@daily", "'@daily' has 1 field; cron has 5 ("),
        ("", "'' has 0 fields"),
        ("0 24 * * *", "the hour of '0 24 * * *' is invalid: '24'"),
        ("60 0 * * *", "the minute of '60 0 * * *' is invalid: '60'"),
        ("0 0 32 * *", "the day-of-month of '0 0 32 * *' is invalid: '32'"),
        ("0 0 * JANUARY *", "the month of '0 0 * JANUARY *' is invalid: 'JANUARY'"),
        ("0 0 * * FRI-MON", "the day-of-week of '0 0 * * FRI-MON' is invalid: 'FRI-MON'"),
        ("*/0 0 * * *", "the minute of '*/0 0 * * *' is invalid: '*/0'"),
        ("0 7-7/2 * * *", "the hour of '0 7-7/2 * * *' is invalid: '7-7/2' has a step in a range of one value"),
        ("0 0 30 2 *", "'0 0 30 2 *' never fires: no such month has that day"),
        ("0 0 31 4,6 *", "'0 0 31 4,6 *' never fires: no such month has that day"),
        ("0 0 */29 2 1#5", "'0 0 */29 2 1#5' never fires"),
        ("9" * 5000 + " * * * *", "a text of 5008 characters is longer than 200 characters"),
        ("0 " * 300, "a text of 600 characters has 300 fields"),
    ],
)
def test_what_is_not_a_schedule_is_refused_with_the_reason(expression, said):
    with pytest.raises(CronError) as caught:
        Cron(expression)
    assert str(caught.value).startswith(said)


def test_a_time_that_every_change_skips_never_fires():
    with pytest.raises(CronError, match="never fires"):
        Cron("*/10 2 * 3 0L", BERLIN)
    assert Cron("30 2 * 3 0L", BERLIN).after(0) < math.inf, "at the moment of the change"


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60) | st.lists(st.text("*/,-#L0123456789MONJAW", max_size=5), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_a_schedule_or_refused(written):
    try:
        cron = Cron(written)
    except CronError:
        return
    assert cron.after(0) < math.inf


def test_schedules_are_equal_if_their_texts_and_zones_are():
    assert Cron("0 8 * * *", BERLIN) == Cron("0 8 * * *", ZoneInfo("Europe/Berlin"))
    assert len({Cron("0 8 * * *", BERLIN), Cron("0 8 * * *", BERLIN), Cron("0 8 * * *")}) == 2

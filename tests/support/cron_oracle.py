"""Cron's rules, minute by minute: slow, and written without the code under test."""

import itertools
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

MINUTE = timedelta(minutes=1)

# Where clocks change, with days around it: by an hour and by half of one, at 02:00 and at midnight, and never.
PLACES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Nairobi", "2026-03-01"),
    ("Africa/Lagos", "2028-02-29"),
    ("UTC", "2027-01-01"),
]


@lru_cache(maxsize=32)
def minutes(zone, day, days):
    """Every minute from some days before a day to as many after it: the moment, and what clocks show."""
    middle, zone = datetime.fromisoformat(day).replace(tzinfo=UTC), ZoneInfo(zone)
    moments = (middle + count * MINUTE for count in range(-days * 1440, days * 1440))
    return [(moment, moment.astimezone(zone)) for moment in moments]


def fire_times(fields, clock):
    """The moments among `clock` (as `minutes` has them) at which a schedule fires, but for the first one."""
    by_the_clock = any(fields[part][0].startswith("*") for part in (0, 1))
    fired = []
    for (_, before), (moment, shown) in itertools.pairwise(clock):
        if by_the_clock:
            fires = matches(fields, shown)
        else:
            fires = matches(fields, shown) and shown.fold == 0
            local = before.replace(tzinfo=None) + MINUTE
            while local < shown.replace(tzinfo=None):  # the clock was put forward
                fires = fires or matches(fields, local)
                local += MINUTE
        if fires:
            fired.append(moment)
    return fired


def matches(fields, local):
    (_, minutes), (_, hours), (dom, days), (_, months), (dow, weekdays) = fields
    if local.minute not in minutes or local.hour not in hours or local.month not in months:
        return False
    by_date, by_weekday = local.day in days, (local.weekday() + 1) % 7 in weekdays
    if dom.startswith("*") or dow.startswith("*"):
        return by_date and by_weekday
    return by_date or by_weekday


def _field(least, most, names=()):
    """Texts of a field, each with the values that it stands for."""
    value = st.integers(least, most)
    every = range(least, most + 1)
    pair = st.lists(value, min_size=2, max_size=2, unique=True).map(sorted)
    single = value.map(lambda one: (str(one), {one}))
    forms = [
        single,
        st.just(("*", set(every))),
        st.integers(1, 20).map(lambda step: (f"*/{step}", set(every[::step]))),
        pair.map(lambda ends: (f"{ends[0]}-{ends[1]}", set(range(ends[0], ends[1] + 1)))),
        st.tuples(pair, st.integers(1, 9)).map(
            lambda both: (f"{both[0][0]}-{both[0][1]}/{both[1]}", set(range(both[0][0], both[0][1] + 1, both[1])))
        ),
        st.lists(single, min_size=2, max_size=4).map(
            lambda some: (",".join(text for text, _ in some), {one for _, values in some for one in values})
        ),
    ]
    if names:
        named = st.sampled_from(sorted(names.items()))
        forms.append(named.map(lambda one: (one[0], {one[1]})))
    return st.one_of(*forms)


_MONTHS = {"JAN": 1, "feb": 2, "Mar": 3, "APR": 4, "JUN": 6, "OCT": 10, "DEC": 12}
_DAYS = {"sun": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "Sat": 6}
# cronsim counts 7 as a Sunday too, also in the values of `*`.
_weekday = _field(0, 7, _DAYS).map(lambda field: (field[0], {value % 7 for value in field[1]}))
# Most examples are about hours in which clocks change.
_night = [("0", {0}), ("1", {1}), ("2", {2}), ("0-4", set(range(5))), ("*/2", set(range(0, 24, 2))), ("1,3", {1, 3})]
_hour = st.one_of(_field(0, 23), st.sampled_from(_night))
_usual = st.just(("*", set(range(32))))
FIELDS = st.tuples(
    _field(0, 59), _hour, st.one_of(_usual, _field(1, 31)), st.one_of(_usual, _field(1, 12, _MONTHS)),
    st.one_of(_usual, _weekday),
)  # fmt: skip


def text(fields):
    return " ".join(written for written, _ in fields)

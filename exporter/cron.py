"""Cron schedules in a time zone, and their next times.

cronsim parses the five fields and iterates over local times. This module handles clock changes, by the rules of
Debian's cron (cron(8)), for changes of any size:

- A schedule at particular times (`30 2 * * *`) fires once for each of them. Skipped times fire at the moment of the
  change, once in total. A repeated time fires the first time only.
- If the minute or the hour starts with `*` (`*/10 2 * * *`), the schedule follows the wall clock: skipped times do not
  fire, and repeated times fire twice.

cronsim's own time zone support is not used: with it, the next time after the second 02:15 of an autumn night is the
first 02:30, and a change by half an hour (Lord Howe) loses times.
"""

from __future__ import annotations

import itertools
import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

DEFAULT_ZONE = ZoneInfo("UTC")
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_LONGEST_TEXT = 200
_ONE_WITH_STEP = re.compile(r"\b(\w+)-\1/")
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
# cronsim gives up after this many years.
_HORIZON = timedelta(days=50 * 366)
# Every schedule that fires does so in the 50 years from here on: 29 February is each weekday once in 28 years.
_REFERENCE = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_YEAR_SECONDS = 366 * 86400.0


class CronError(ValueError):
    """A schedule is invalid; the message says why, and callers prefix its location."""


class Cron:
    """A cron schedule in a time zone. Two are equal if their texts and zones are.

    Args:
        text: minute, hour, day-of-month, month and day-of-week, separated by blanks.
        zone: the time zone of the fields.

    Attributes:
        text, zone: as given.

    Raises:
        CronError: the text is not a schedule, or never fires.
    """

    __slots__ = ("_at_times", "_last", "_longest_in_a_day", "text", "zone")

    def __init__(self, text: str, zone: tzinfo = DEFAULT_ZONE) -> None:
        self.text = text
        self.zone = zone
        parsed = _parse(text)
        minute, hour = text.split()[:2]
        self._at_times = not minute.startswith("*") and not hour.startswith("*")
        # Without a clock change, every day on which it fires has the same times.
        times = [hour * 3600 + minute * 60 for hour in sorted(parsed.hours) for minute in sorted(parsed.minutes)]
        self._last = divmod(times[-1] // 60, 60)
        self._longest_in_a_day = float(max((b - a for a, b in itertools.pairwise(times)), default=0))
        if self.after(_REFERENCE) == math.inf:
            raise CronError(f"{text!r} never fires")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and (self.text, self.zone) == (other.text, other.zone)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Cron({self.text!r}, {self.zone})"

    def after(self, at: float) -> float:
        """Return the first time after a moment, both in epoch seconds; infinity if there is none for 50 years."""
        if at == math.inf:
            return at
        begin = datetime.fromtimestamp(math.floor(at), UTC)
        found = self._particular(begin) if self._at_times else self._on_the_wall(begin)
        return math.inf if found is None else found.timestamp()

    def longest_gap(self, at: float) -> float:
        """Return the longest gap between two consecutive times within a year of a moment, in seconds.

        Schedules that fire less often are followed for longer, for two gaps. Clock changes count.
        """
        time, gaps, longest = self.after(at), 0, 0.0
        while gaps < 2 or time < at + _YEAR_SECONDS:
            here = datetime.fromtimestamp(time, self.zone)
            hour, minute = self._last
            last = here.replace(hour=hour, minute=minute)
            # On a day without a clock change, the gaps between its first and last time are known.
            if last > here and last.utcoffset() == here.utcoffset() and _exists(last):
                time, longest = last.timestamp(), max(longest, self._longest_in_a_day)
            following = self.after(time)
            if following == math.inf:
                break
            time, gaps, longest = following, gaps + 1, max(longest, following - time)
        return longest

    def _particular(self, begin: datetime) -> datetime | None:
        """Return the first later moment: local times in order are moments in order."""
        for local in CronSim(self.text, begin.astimezone(self.zone).replace(tzinfo=None)):
            moment = first_moment(local, self.zone)
            if moment > begin:
                return moment
        return None

    def _on_the_wall(self, begin: datetime) -> datetime | None:
        """Return the first later moment: walk local times while the UTC offset stays the same, and restart at each
        change.
        """
        end = begin + _HORIZON
        begin += timedelta(seconds=1)
        while begin < end:
            offset = begin.astimezone(self.zone).utcoffset() or timedelta()
            start = (begin + offset - timedelta(seconds=1)).replace(tzinfo=None)
            local = next(CronSim(self.text, start), None)
            if local is None:
                return None
            moment = local.replace(tzinfo=UTC) - offset
            change = _change(begin, moment, self.zone)
            if change is None:
                return moment
            begin = change
        return None


def _parse(text: str) -> CronSim:
    fields = text.split()
    if len(fields) != len(_FIELDS):
        has = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
        raise CronError(f"{_short(text)} has {has}; cron has 5 ({', '.join(_FIELDS)})")
    if len(text) > _LONGEST_TEXT:
        raise CronError(f"{_short(text)} is longer than {_LONGEST_TEXT} characters")
    for name, field in zip(_FIELDS, fields, strict=True):
        if _ONE_WITH_STEP.search(field):  # cronsim would go on to the end: it reads `7-7/2` as `7/2`
            raise CronError(f"the {name} of {text!r} is invalid: {field!r} has a step in a range of one value")
    some_day = datetime(2000, 1, 1)  # noqa: DTZ001 - local times have no zone
    try:
        return CronSim(text, some_day)
    except CronSimError as error:
        wrong = str(error).removeprefix("Bad ")
    try:
        # 30 February: neither of its fields is wrong.
        CronSim(" ".join((*fields[:3], "*", fields[4])), some_day)
    except CronSimError:
        pass
    else:
        if wrong == "day-of-month":
            raise CronError(f"{text!r} never fires: no such month has that day")
    raise CronError(f"the {wrong} of {text!r} is invalid: {fields[_FIELDS.index(wrong)]!r}")


def _short(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_TEXT else f"a text of {len(text)} characters"


def _exists(aware: datetime) -> bool:
    """Return whether clocks show this local time: a zone that moves them forward skips some."""
    return aware.astimezone(UTC).astimezone(aware.tzinfo).replace(tzinfo=None) == aware.replace(tzinfo=None)


def first_moment(local: datetime, zone: tzinfo) -> datetime:
    """Return the moment when clocks first show a local time, or the moment of the change that skips it."""
    while not _exists(aware := local.replace(tzinfo=zone, fold=0)):
        local += _MINUTE
    return aware.astimezone(UTC)


def _change(begin: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment after `begin` and until `end` with another UTC offset than `begin`."""
    offset = begin.astimezone(zone).utcoffset()
    while begin < end:
        until = min(begin + _DAY, end)
        if until.astimezone(zone).utcoffset() != offset:
            while until - begin > timedelta(seconds=1):
                middle = begin + timedelta(seconds=(until - begin) // timedelta(seconds=2))
                if middle.astimezone(zone).utcoffset() == offset:
                    begin = middle
                else:
                    until = middle
            return until
        begin = until
    return None

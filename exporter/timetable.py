"""Timetables: a repository is due an interval after its last lookup, or at the next tick of a schedule.

Due times are the same for every replica and after every restart, because they depend only on the last lookup and the
repository's name. The last lookup counts for the tick before it, so a host that was suspended past some ticks looks up
once. After a failure, lookups are retried between these times with backoff.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from exporter.cron import Cron
from exporter.images import Repository
from exporter.reasons import Reason

# Repositories with the same interval drift apart, which spreads lookups over time: by a tenth of it, and by at most an
# hour, which the alert MojaloopImageLookupStale allows for.
_DRIFT, _MOST_DRIFT_SECONDS = 0.1, 3600.0
# The lookups of one tick are spread over a minute, or over half of the time to the next tick if that is less.
_SPREAD_SECONDS = 60.0
# Between the ticks of a schedule, retries and budgets use this interval, the default one.
_PACE_SECONDS = 3600.0
# The wait after the first failed lookup; it grows with each further failure.
_FIRST_RETRY_SECONDS = 10.0
# A reason that looks permanent: the wait grows faster, and beyond the interval.
LOOKS_PERMANENT = frozenset({Reason.NOT_FOUND, Reason.UNAUTHORIZED, *(reason for reason in Reason if reason.permanent)})
"""Reasons of failures that rarely end with time, but may end with another tag or credential."""
_LONGEST_RETRY_SECONDS = 86400.0
_LONGEST_RETRY_INTERVALS = 4


@dataclass(frozen=True, slots=True)
class Every:
    """An interval in seconds."""

    interval: float

    @property
    def longest(self) -> float:
        """Seconds between two regular lookups, without drift."""
        return self.interval

    @property
    def pace(self) -> float:
        """The interval for retries and budgets, in seconds."""
        return self.interval

    def due(self, repository: Repository, last: float) -> float:
        """Return when a repository is due after its last lookup; both in epoch seconds."""
        return last + self.interval + min(_DRIFT * self.interval, _MOST_DRIFT_SECONDS) * _share(repository)


@dataclass(slots=True)
class Ticks:
    """The ticks of a schedule, with its longest gap in seconds."""

    cron: Cron
    longest: float
    # A moment, the tick after it and the one after that: most repositories were looked up after the same tick.
    _known: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), compare=False, repr=False)

    @property
    def pace(self) -> float:
        """The interval for retries and budgets, in seconds: a weekly schedule retries within hours."""
        return min(self.longest, _PACE_SECONDS)

    def due(self, repository: Repository, last: float) -> float:
        """Return when a repository is due after its last lookup; both in epoch seconds."""
        begin, tick, following = self._known
        if not begin <= last < tick:
            tick = self.cron.after(last)
            following = self.cron.after(tick)
            self._known = last, tick, following
        return tick + _share(repository) * min(_SPREAD_SECONDS, (following - tick) / 2)


Timetable = Every | Ticks


def timetable(interval: float, cron: Cron | None, *, now: float) -> Timetable:
    """Return the timetable of a configuration: the schedule if there is one, otherwise the interval.

    Args:
        interval: seconds between two lookups of a repository.
        cron: the schedule.
        now: epoch seconds; the longest gap is that of the year from then on.
    """
    return Every(interval) if cron is None else Ticks(cron, cron.longest_gap(now))


def retry_wait(pace: float, reason: Reason, failures: int) -> float:
    """Return the seconds to wait after a failed lookup.

    Args:
        pace: of the timetable.
        reason: why it failed.
        failures: the number of consecutive failed lookups, at least 1.
    """
    growth, longest = 2.0, pace
    if reason in LOOKS_PERMANENT:
        growth = 4.0
        longest = max(longest, min(_LONGEST_RETRY_INTERVALS * longest, _LONGEST_RETRY_SECONDS))
    return min(longest, _FIRST_RETRY_SECONDS * growth ** min(failures - 1, 20))


def _share(repository: Repository) -> float:
    """Return a number from 0 up to 1 that depends only on the repository."""
    return zlib.crc32(str(repository).encode()) / 2**32

"""Upgrade windows: when a workload may be patched, and how much time is left. No I/O; the time is passed in.

A window opens at each time of its schedule and closes after its duration. The duration is real time, so a clock change
in between moves the end on the clock by an hour. The start is inclusive, the end exclusive. A freeze closes every
window. A workload that no window covers may never be patched.

Schedules only provide the first time after a moment. The last opening is found by starting one duration ago.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from exporter.cron import Cron
from exporter.telemetry import Telemetry
from exporter.workloads import WorkloadKey

LONGEST_SECONDS = 7 * 86400.0
"""The longest window, and how far ahead adjacent windows are joined."""
# How many openings to search for a window that is long enough: a year of nights.
_MOST_OPENINGS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An upgrade window.

    Attributes:
        name: as in metrics.
        cron: when it opens.
        duration: seconds.
        namespaces: patterns of the namespaces that it covers; empty for all.
        workloads: patterns of `NAMESPACE/KIND/NAME`, likewise; a workload must match both.
    """

    name: str
    cron: Cron
    duration: float
    namespaces: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()

    def covers(self, key: WorkloadKey) -> bool:
        """Return whether it covers a workload."""
        return _matches(key.namespace, self.namespaces) and _matches(str(key), self.workloads)

    def closes(self, now: float) -> float | None:
        """Return when it closes if nothing reopens it, in epoch seconds; None if it is closed. Ignores freezes."""
        start = self.cron.after(now - self.duration)
        return start + self.duration if start <= now else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A period in which every window is closed: from `start` (inclusive) to `end` (exclusive), in epoch seconds."""

    start: float
    end: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows and freezes."""

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def freeze(self, now: float) -> Freeze | None:
        """Return the freeze at a moment (epoch seconds, here and below)."""
        return next((freeze for freeze in self.freezes if freeze.start <= now < freeze.end), None)

    def is_open(self, window: Window, now: float) -> bool:
        """Return whether a window is open."""
        return self.freeze(now) is None and window.closes(now) is not None

    def next_opening(self, window: Window, now: float) -> float:
        """Return when a window opens after a moment, or reopens after a freeze; infinity if never.

        While it is open, this is the next time of its schedule.
        """
        ends = [freeze.end for freeze in self.freezes if freeze.end > now]
        found = [*ends, *(window.cron.after(begin) for begin in (now, *ends))]
        return min((at for at in found if at < math.inf and self.is_open(window, at)), default=math.inf)

    def covering(self, key: WorkloadKey) -> tuple[Window, ...]:
        """Return the windows for a workload; without any, it may never be patched."""
        return tuple(window for window in self.windows if window.covers(key))

    def open_for(self, key: WorkloadKey, now: float) -> tuple[Window, ...]:
        """Return the open windows for a workload."""
        return tuple(window for window in self.covering(key) if self.is_open(window, now))

    def remaining(self, key: WorkloadKey, now: float, *, enough: float = LONGEST_SECONDS) -> float:
        """Return how long a workload may still be patched: until the last of its windows closes, or a freeze begins.

        Windows that overlap or are adjacent count together.

        Args:
            key: the workload.
            now: epoch seconds.
            enough: the maximum number of seconds to look ahead.

        Returns:
            Seconds, at most `enough`; 0 if no window is open.
        """
        if self.freeze(now) is not None:
            return 0.0
        windows = self.covering(key)
        most = min((freeze.start for freeze in self.freezes if freeze.start > now), default=math.inf)
        most, end = min(most, now + enough), now
        while end < most:
            later = max((closes for window in windows if (closes := window.closes(end)) is not None), default=end)
            if later == end:
                break
            end = later
        return min(end, most) - now

    def next_start(self, key: WorkloadKey, now: float, *, reserve: float = 0.0) -> tuple[float, Window] | None:
        """Return the earliest time when a rollout of a workload may start.

        Args:
            key: the workload.
            now: epoch seconds.
            reserve: seconds that must remain at the start.

        Returns:
            The time, which is `now` if it may start now, and the window open at that time. None if there is none among
            the next openings.
        """
        windows, at = self.covering(key), now
        for _ in range(_MOST_OPENINGS):
            if (left := self.remaining(key, at, enough=max(reserve, 1.0))) > 0 and left >= reserve:
                return at, self.open_for(key, at)[0]
            # The remaining time only shrinks until the open windows close.
            at = min((self.next_opening(window, at + left) for window in windows), default=math.inf)
            if at == math.inf:
                break
        return None


def publish(calendar: Calendar, telemetry: Telemetry, *, clock: Callable[[], float]) -> None:
    """Publish these windows and no others. Their metrics are computed at each scrape, so they are never stale.

    Args:
        calendar: the windows.
        telemetry: has the metrics.
        clock: epoch seconds.
    """
    for gauge, value in ((telemetry.window_open, calendar.is_open), (telemetry.window_next, calendar.next_opening)):
        gauge.clear()
        for window in calendar.windows:
            gauge.labels(window.name).set_function(_at(clock, value, window))


def _at(clock: Callable[[], float], value: Callable[[Window, float], float], window: Window) -> Callable[[], float]:
    return lambda: float(value(window, clock()))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)

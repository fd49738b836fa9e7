"""Upgrade windows for the patcher: which one is open for a workload now, and when the next one opens.

Hundreds of approvals may wait, and each look asks for all of them. Their workloads share a few windows, so answers are
cached: for a second, or until the next window opens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from exporter.patcher.settings import Opening
from exporter.windows import Calendar, Window
from exporter.workloads import WorkloadKey

T = TypeVar("T")


class CalendarWindows:
    """The windows of a calendar.

    Args:
        calendar: windows and freezes.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._second = 0
        self._openings: dict[tuple[str, ...], Opening | None] = {}
        self._next: dict[tuple[str, ...], float] = {}

    def opening(self, key: WorkloadKey, now: float, /) -> Opening | None:
        """The window that is open for a workload."""
        second = math.floor(now)
        if second != self._second:
            self._second, self._openings = second, {}
        covering = self._calendar.covering(key)
        return _kept(self._openings, covering, lambda: self._opening(key, now))

    def next_opening(self, key: WorkloadKey, now: float, /) -> float | None:
        """When a window opens for a workload next."""
        covering = self._calendar.covering(key)
        if self._next.get(_names(covering), math.inf) <= now:
            self._next.clear()
        at = _kept(
            self._next,
            covering,
            lambda: min((self._calendar.next_opening(window, now) for window in covering), default=math.inf),
        )
        return None if at == math.inf else at

    def _opening(self, key: WorkloadKey, now: float) -> Opening | None:
        found = self._calendar.open_for(key, now)
        return Opening(found[0].name, self._calendar.remaining(key, now)) if found else None


def _names(windows: tuple[Window, ...]) -> tuple[str, ...]:
    return tuple(window.name for window in windows)


def _kept(known: dict[tuple[str, ...], T], windows: tuple[Window, ...], make: Callable[[], T]) -> T:
    names = _names(windows)
    if names not in known:
        known[names] = make()
    return known[names]

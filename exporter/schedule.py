"""Schedule due lookups fairly among namespaces. No I/O; time is passed in.

Each registry has a number of concurrent turns. Namespaces take turns round-robin, however much each has waiting, and
none gets all turns of a registry. A repository that several namespaces use is looked up in the first turn of any of
them. The lookups of a namespace per registry and interval are limited, because a registry's rate limit applies to the
whole exporter.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from exporter.images import Repository
from exporter.workloads import OPERATOR

# Larger steps back of the wall clock are noticed; small adjustments are not.
_STEP_SECONDS = 60.0
# How long a namespace without budget waits before its next try.
_BLOCKED_SECONDS = 1.0
# How long a repository waits for the turn of another namespace after a lookup that the operator's turn does not cover.
_SHARED_SECONDS = 10.0
# Outdated times stay in the heap until they are reached, or until there are this many more than needed.
_MOST_OUTDATED = 500


class Elapsed:
    """Elapsed seconds for deadlines: never going back, and at least as fast as either of two clocks.

    A monotonic clock does not count while its host is suspended, and a wall clock may be set back.
    """

    def __init__(self, *, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._seen = clock(), monotonic()
        self._offset = self._seen[0] - self._seen[1]
        self._total = 0.0

    def __call__(self) -> float:
        """Return the seconds since the object was created."""
        wall, steady = self._clock(), self._monotonic()
        self._total += max(wall - self._seen[0], steady - self._seen[1], 0.0)
        self._seen = wall, steady
        return self._total

    def set_back(self) -> float:
        """Return by how many seconds the wall clock was set back since the last call; 0 if only a few."""
        offset = self._clock() - self._monotonic()
        back, self._offset = self._offset - offset, offset
        return back if back >= _STEP_SECONDS else 0.0


@dataclass(slots=True)
class _Entry:
    """A repository: its users, and when it is due.

    Attributes:
        turn: the namespace whose turn its lookup uses.
        again: whether it is due again afterwards.
        asked: whether a lookup was charged in this turn.
        pause: earliest time when it is due after this turn.
    """

    namespaces: tuple[str, ...]
    due: float
    turn: str | None = None
    again: bool = False
    asked: bool = False
    pause: float = 0.0


@dataclass(slots=True)
class _Budget:
    """The remaining lookups of a namespace in a registry, refilled over time."""

    left: float
    at: float


@dataclass(slots=True)
class _Namespace:
    """The state of one namespace in one registry."""

    budget: _Budget
    waiting: dict[Repository, None] = field(default_factory=dict)
    running: int = 0
    served: int = 0
    blocked: bool = False


class Schedule:
    """The times and the order of lookups.

    Args:
        at_once: concurrent turns of one registry.
        most: lookups of one namespace in one registry per interval. Images named by the operator (`workloads.OPERATOR`)
            have no limit.
        interval: seconds for `most` lookups.
        on_blocked: called when a namespace has used up its lookups.
    """

    def __init__(self, *, at_once: int, most: int, interval: float, on_blocked: Callable[[str, str], None]) -> None:
        self._at_once = at_once
        # One turn of a registry is left for other namespaces, however long the lookups of one take.
        self._share = max(1, at_once - 1)
        self._most = float(most)
        self._interval = interval
        self._on_blocked = on_blocked
        self._entries: dict[Repository, _Entry] = {}
        # Repositories by due time; outdated entries are ignored.
        self._sleeping: list[tuple[float, int, Repository]] = []
        self._registries: dict[str, dict[str, _Namespace]] = {}
        self._count = 0

    def set_interval(self, interval: float) -> None:
        """Change the interval in which budgets fill up."""
        self._interval = interval

    def put(self, repository: Repository, *, namespaces: Collection[str], due: float) -> None:
        """Add a repository."""
        self._entries[repository] = _Entry(_users(namespaces), due)
        self._sleep(repository, due)

    def use(self, repository: Repository, namespaces: Collection[str]) -> None:
        """Change the users of a repository."""
        entry = self._entries[repository]
        if set(entry.namespaces) == set(_users(namespaces)):
            return
        waiting = self._unqueue(repository, entry)
        entry.namespaces = _users(namespaces)
        if waiting:
            self._sleep(repository, entry.due)

    def remove(self, repository: Repository) -> None:
        """Remove a repository; if it is being looked up, its turn ends."""
        entry = self._entries.pop(repository)
        self._unqueue(repository, entry)
        if entry.turn is not None:
            self._registries[repository.registry][entry.turn].running -= 1

    def expedite(self, repository: Repository, at: float) -> None:
        """Make a repository due no later than a time; if it is being looked up, it is due again afterwards."""
        entry = self._entries[repository]
        if entry.turn is not None:
            entry.again = True
        elif entry.due > at:
            entry.due = at
            self._sleep(repository, at)

    def reschedule(self, repository: Repository, due: float) -> None:
        """Change when a repository is due; if it is being looked up, `finish` sets that."""
        entry = self._entries[repository]
        if entry.turn is None:
            entry.due = due
            self._sleep(repository, due)

    def begin(self, now: float) -> list[Repository]:
        """Return the repositories whose turn begins now; `finish` ends it."""
        while self._sleeping and self._sleeping[0][0] <= now:
            due, _, repository = heapq.heappop(self._sleeping)
            entry = self._entries.get(repository)
            if entry is not None and entry.turn is None and entry.due == due:
                for name in entry.namespaces:
                    self._namespace(repository.registry, name, now).waiting[repository] = None
        begun: list[Repository] = []
        for registry, namespaces in self._registries.items():
            while (chosen := self._next(registry, namespaces, now)) is not None:
                begun.append(chosen)
        self._forget_idle(now)
        return begun

    def _next(self, registry: str, namespaces: dict[str, _Namespace], now: float) -> Repository | None:
        """Give a turn of a registry to the namespace that has fewest and has waited longest."""
        if sum(namespace.running for namespace in namespaces.values()) >= self._at_once:
            return None
        candidates = [
            name
            for name, namespace in namespaces.items()
            if namespace.waiting and namespace.running < self._share and self._may_ask(registry, name, now)
        ]
        if not candidates:
            return None
        name = min(candidates, key=lambda name: (namespaces[name].running, namespaces[name].served))
        namespace = namespaces[name]
        repository = next(iter(namespace.waiting))
        entry = self._entries[repository]
        self._unqueue(repository, entry)
        entry.turn, entry.asked, entry.pause = name, False, 0.0
        self._count += 1
        namespace.running, namespace.served = namespace.running + 1, self._count
        return repository

    def _may_ask(self, registry: str, name: str, now: float) -> bool:
        namespace = self._registries[registry][name]
        self._refill(namespace.budget, now)
        blocked = namespace.budget.left < 1 and name != OPERATOR
        if blocked and not namespace.blocked:
            self._on_blocked(registry, name)
        namespace.blocked = blocked
        return not blocked

    def charge(self, repository: Repository, now: float) -> bool:
        """Charge a lookup to the namespace whose turn it uses; return False if it must wait.

        Images named by the operator are looked up without a limit. If other namespaces use them too, a turn has one
        such lookup: additional needs of theirs, such as the publish times of many tags, are looked up in their own
        turns.
        """
        entry = self._entries.get(repository)
        if entry is None or entry.turn is None:
            return True
        if entry.turn == OPERATOR and entry.asked and len(entry.namespaces) > 1:
            entry.pause = now + _SHARED_SECONDS
            return False
        entry.asked = True
        if not self._may_ask(repository.registry, entry.turn, now):
            return False
        self._registries[repository.registry][entry.turn].budget.left -= 1
        return True

    def finish(self, repository: Repository, *, due: float) -> None:
        """End the turn of a repository, and set when it is due again."""
        entry = self._entries[repository]
        if entry.turn is not None:
            self._registries[repository.registry][entry.turn].running -= 1
        entry.turn = None
        due = max(due, entry.pause)
        if entry.again:
            entry.again, due = False, 0.0
        entry.due = due
        self._sleep(repository, due)

    def wait(self, now: float) -> float:
        """Return the seconds until `begin` may return something, if nothing else happens."""
        blocked = any(
            namespace.blocked and namespace.waiting
            for namespaces in self._registries.values()
            for namespace in namespaces.values()
        )
        sleeping = self._sleeping[0][0] - now if self._sleeping else float("inf")
        return max(0.0, min(sleeping, _BLOCKED_SECONDS if blocked else float("inf")))

    def _sleep(self, repository: Repository, due: float) -> None:
        self._count += 1
        heapq.heappush(self._sleeping, (due, self._count, repository))
        if len(self._sleeping) > 2 * len(self._entries) + _MOST_OUTDATED:
            self._sleeping = [
                (entry.due, number, one)
                for number, (one, entry) in enumerate(self._entries.items())
                if entry.turn is None
            ]
            heapq.heapify(self._sleeping)

    def _unqueue(self, repository: Repository, entry: _Entry) -> bool:
        """Remove a repository from the queues of its namespaces; return whether it was there."""
        namespaces = self._registries.get(repository.registry, {})
        found = False
        for name in entry.namespaces:
            if name in namespaces and repository in namespaces[name].waiting:
                del namespaces[name].waiting[repository]
                found = True
        return found

    def _namespace(self, registry: str, name: str, now: float) -> _Namespace:
        namespaces = self._registries.setdefault(registry, {})
        if name not in namespaces:
            namespaces[name] = _Namespace(_Budget(self._most, now))
        return namespaces[name]

    def _refill(self, budget: _Budget, now: float) -> None:
        budget.left = min(self._most, budget.left + (now - budget.at) * self._most / self._interval)
        budget.at = now

    def _forget_idle(self, now: float) -> None:
        """Remove namespaces that have nothing to look up and a full budget."""
        for registry, namespaces in list(self._registries.items()):
            for name, namespace in list(namespaces.items()):
                if not namespace.waiting and not namespace.running:
                    self._refill(namespace.budget, now)
                    if namespace.budget.left >= self._most:
                        del namespaces[name]
            if not namespaces:
                del self._registries[registry]


def _users(namespaces: Collection[str]) -> tuple[str, ...]:
    """Return the namespaces; without any, as for a reference on the command line, one without a name."""
    return tuple(namespaces) or (OPERATOR,)

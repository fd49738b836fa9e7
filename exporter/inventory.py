"""What runs now: the workloads that inputs put here, which of them changed, and how far each input has come.

State without I/O. The cluster's reflectors, the watch list and the manifests write, and the checker reads. All of them
run on one event loop, so nothing here needs a lock, and the state is consistent after each call of a writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from exporter.images import Repository
from exporter.workloads import Workload, WorkloadKey


class ScopeState(StrEnum):
    """How far one kind in one watched namespace has come."""

    PENDING = "pending"
    SYNCED = "synced"
    # It was listed, but for minutes neither a list nor a watch has worked.
    STALE = "stale"
    FORBIDDEN = "forbidden"
    NOT_INSTALLED = "not_installed"


class Inventory:
    """The workloads that run, by key.

    Attributes:
        changed: set on any change; whoever waits for it clears it.
        repositories: those that are looked up although no workload uses them; replaced as a whole.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._changes: set[WorkloadKey] = set()
        self._scopes: dict[tuple[str, str], ScopeState] = {}
        self.repositories: frozenset[Repository] = frozenset()

    def put(self, workload: Workload) -> None:
        """Add or replace a workload; an equal one changes nothing."""
        if self._workloads.get(workload.key) == workload:
            return
        self._workloads[workload.key] = workload
        self._note(workload.key)

    def remove(self, key: WorkloadKey) -> None:
        """Remove a workload; one that is not there changes nothing."""
        if self._workloads.pop(key, None) is not None:
            self._note(key)

    def set_repositories(self, repositories: frozenset[Repository]) -> None:
        """Set which repositories are looked up although no workload uses them."""
        if self.repositories != repositories:
            self.repositories = repositories
            self.changed.set()

    def note_all(self) -> None:
        """Count every workload as changed: what is judged of it depends on more than the workload."""
        self._changes.update(self._workloads)
        self.changed.set()

    def workloads(self) -> Mapping[WorkloadKey, Workload]:
        """A read-only view, which follows later changes."""
        return MappingProxyType(self._workloads)

    def take_changes(self) -> set[WorkloadKey]:
        """The keys that were changed or removed since the last call."""
        changes, self._changes = self._changes, set()
        return changes

    def set_scope(self, kind: str, watched_namespace: str, state: ScopeState) -> None:
        """Set how far a kind in a watched namespace (`*`: all) has come."""
        if self._scopes.get((kind, watched_namespace)) is not state:
            self._scopes[kind, watched_namespace] = state
            self.changed.set()

    def drop_scope(self, kind: str, watched_namespace: str) -> None:
        """Say that a kind is not watched there: a cluster need not have every kind."""
        if self._scopes.pop((kind, watched_namespace), None) is not None:
            self.changed.set()

    def scopes(self) -> Mapping[tuple[str, str], ScopeState]:
        """A read-only view of every (kind, watched namespace)."""
        return MappingProxyType(self._scopes)

    def synced(self) -> dict[str, bool]:
        """By watched namespace, whether all of its kinds are listed completely and followed."""
        synced: dict[str, bool] = {}
        for (_, namespace), state in self._scopes.items():
            synced[namespace] = synced.get(namespace, True) and state is ScopeState.SYNCED
        return synced

    def listed(self) -> bool:
        """Whether everything that is watched has been listed once, or is known not to be listable."""
        return bool(self._scopes) and ScopeState.PENDING not in self._scopes.values()

    def _note(self, key: WorkloadKey) -> None:
        self._changes.add(key)
        self.changed.set()

"""The inventory: the workloads from all inputs, their changes, and the progress of each input.

State without I/O. The cluster's reflectors, the watch list and the manifests write to it, and the checker reads it. All
of them run on one event loop, so no locks are needed, and the state is consistent after each write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from exporter.images import Repository
from exporter.workloads import Workload, WorkloadKey


class ScopeState(StrEnum):
    """The progress of one kind in one watched namespace."""

    PENDING = "pending"
    SYNCED = "synced"
    # It was listed, but for minutes all lists and watches have failed.
    STALE = "stale"
    FORBIDDEN = "forbidden"
    NOT_INSTALLED = "not_installed"


class Inventory:
    """The workloads by key.

    Attributes:
        changed: set on any change; cleared by its waiter.
        repositories: those to look up although no workload uses them; replaced on change.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._changes: set[WorkloadKey] = set()
        self._scopes: dict[tuple[str, str], ScopeState] = {}
        self.repositories: frozenset[Repository] = frozenset()

    def put(self, workload: Workload) -> None:
        """Add or replace a workload; a no-op if it is equal."""
        if self._workloads.get(workload.key) == workload:
            return
        self._workloads[workload.key] = workload
        self._note(workload.key)

    def remove(self, key: WorkloadKey) -> None:
        """Remove a workload, if present."""
        if self._workloads.pop(key, None) is not None:
            self._note(key)

    def set_repositories(self, repositories: frozenset[Repository]) -> None:
        """Set the repositories to look up although no workload uses them."""
        if self.repositories != repositories:
            self.repositories = repositories
            self.changed.set()

    def note_all(self) -> None:
        """Mark every workload as changed, because its verdict depends on more than the workload."""
        self._changes.update(self._workloads)
        self.changed.set()

    def workloads(self) -> Mapping[WorkloadKey, Workload]:
        """Return a live, read-only view."""
        return MappingProxyType(self._workloads)

    def take_changes(self) -> set[WorkloadKey]:
        """Return the keys that changed or were removed since the last call."""
        changes, self._changes = self._changes, set()
        return changes

    def set_scope(self, kind: str, watched_namespace: str, state: ScopeState) -> None:
        """Set the progress of a kind in a watched namespace (`*`: all)."""
        if self._scopes.get((kind, watched_namespace)) is not state:
            self._scopes[kind, watched_namespace] = state
            self.changed.set()

    def drop_scope(self, kind: str, watched_namespace: str) -> None:
        """Note that a kind is not watched there: a cluster need not have every kind."""
        if self._scopes.pop((kind, watched_namespace), None) is not None:
            self.changed.set()

    def scopes(self) -> Mapping[tuple[str, str], ScopeState]:
        """Return a read-only view by kind and watched namespace."""
        return MappingProxyType(self._scopes)

    def synced(self) -> dict[str, bool]:
        """Return for each watched namespace whether all of its kinds are listed and followed."""
        synced: dict[str, bool] = {}
        for (_, namespace), state in self._scopes.items():
            synced[namespace] = synced.get(namespace, True) and state is ScopeState.SYNCED
        return synced

    def listed(self) -> bool:
        """Return whether everything watched has been listed once, or is known not to be listable."""
        return bool(self._scopes) and ScopeState.PENDING not in self._scopes.values()

    def _note(self, key: WorkloadKey) -> None:
        self._changes.add(key)
        self.changed.set()

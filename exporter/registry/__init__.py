"""Registries: what is asked of them, and how they fail. The rest of the exporter knows no more of them than this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exporter.findings import Reason
from exporter.images import Repository


class RegistryError(Exception):
    """A registry did not answer, or not usably.

    Attributes:
        reason: from the closed list of the metric contract.
        retry_after: seconds to wait before the next request, where the registry said so.
    """

    def __init__(self, message: str, *, reason: Reason, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class TagList:
    """Every tag of a repository, all pages; or that nothing changed since the `etag` that was sent."""

    names: tuple[str, ...]
    etag: str | None
    not_modified: bool


class RegistryClient(Protocol):
    """What is asked of registries."""

    def lookup_repository(self, repository: Repository) -> Repository:
        """Where the tags of a repository are looked up; raises `RegistryError` where its registry is not allowed."""

    async def tags(self, repository: Repository, *, etag: str | None = None) -> TagList:
        """Every tag of a repository; raises `RegistryError`."""

    async def created(self, repository: Repository, tag: str) -> float | None:
        """When a tag was published, epoch seconds; None where nobody knows; raises `RegistryError`."""

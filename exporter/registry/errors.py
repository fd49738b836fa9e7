"""How registries fail, and what they answer: the rest of the exporter knows no more of them than this."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.reasons import Reason


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

"""What registries answer and how they fail: all that the rest of the exporter knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.limits import Limit
from exporter.reasons import Reason


class RegistryError(Exception):
    """A registry did not answer, or its answer is a refusal or invalid.

    Attributes:
        reason: from the closed list of the metric contract.
        retry_after: seconds to wait before the next request, if the registry asked for it.
        limit: the limit that was exceeded, if one was; it is counted with the failure.
    """

    def __init__(
        self, message: str, *, reason: Reason, retry_after: float | None = None, limit: Limit | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.limit = limit


def bad_answer(message: str, *, limit: Limit | None = None) -> RegistryError:
    """An error for an answer that is invalid, or exceeds a limit."""
    return RegistryError(message, reason=Reason.BAD_ANSWER, limit=limit)


@dataclass(frozen=True, slots=True)
class TagList:
    """Every tag of a repository, or the answer that nothing changed since the `etag` that was sent."""

    names: tuple[str, ...]
    etag: str | None
    not_modified: bool

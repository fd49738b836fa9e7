"""What registries answer and how they fail: all that the rest of the exporter knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.findings import Reason


class RegistryError(Exception):
    """A registry did not answer, or its answer is a refusal or invalid.

    Attributes:
        reason: from the closed list of the metric contract.
        retry_after: seconds to wait before the next request, if the registry asked for it.
    """

    def __init__(self, message: str, *, reason: Reason, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


def bad_answer(message: str) -> RegistryError:
    """An error for an answer that is invalid."""
    return RegistryError(message, reason=Reason.BAD_ANSWER)


@dataclass(frozen=True, slots=True)
class TagList:
    """Every tag of a repository, or the answer that nothing changed since the `etag` that was sent."""

    names: tuple[str, ...]
    etag: str | None
    not_modified: bool

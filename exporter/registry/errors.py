"""Results and failures of registry lookups."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.limits import Limit
from exporter.reasons import Reason


class RegistryError(Exception):
    """A registry did not respond, refused a request, or sent an invalid response.

    Attributes:
        reason: from the closed list of the metric contract.
        retry_after: seconds to wait before the next request, if the registry sent `Retry-After`.
        limit: the exceeded limit, if any; it is counted with the failure.
    """

    def __init__(
        self, message: str, *, reason: Reason, retry_after: float | None = None, limit: Limit | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.limit = limit


def bad_answer(message: str, *, limit: Limit | None = None) -> RegistryError:
    """Return an error for a response that is invalid or exceeds a limit."""
    return RegistryError(message, reason=Reason.BAD_ANSWER, limit=limit)


@dataclass(frozen=True, slots=True)
class TagList:
    """Every tag of a repository, or the result that nothing changed since the given `etag`."""

    names: tuple[str, ...]
    etag: str | None
    not_modified: bool

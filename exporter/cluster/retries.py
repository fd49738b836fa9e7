"""Backoff of failed watches, and whether a retry resumes or lists again."""

from __future__ import annotations

import random
from collections import Counter
from enum import StrEnum

from exporter.cluster.connection import ApiError, UnreachableError, UntrustedError

# Consecutive failures that are attributed to a starting API server.
STARTING_ATTEMPTS = 3


class Reason(StrEnum):
    """Why a watch was restarted."""

    ENDED = "ended"
    SILENT = "silent"
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_INSTALLED = "not_installed"
    BAD_ANSWER = "bad_answer"
    SERVER_ERROR = "server_error"


# Initial and maximum backoff in seconds. A refused connection is cheap, and an API server that is back should be
# noticed within seconds. One that returns errors is busy. Missing permissions are granted by people.
BACKOFF = {Reason.UNREACHABLE: (0.2, 3.0), Reason.UNTRUSTED: (0.5, 10.0), Reason.FORBIDDEN: (1.0, 60.0)}
BACKOFF_ELSE = (0.5, 30.0)


class Retries:
    """Number of failures of a reflector since it last worked.

    Failures are counted by reason, so a 410 after a long outage is followed by a list at once.
    """

    def __init__(self) -> None:
        self._attempts: Counter[Reason] = Counter()

    def clear(self) -> None:
        """Reset the counts after a success."""
        self._attempts.clear()

    def is_first(self, reason: Reason) -> bool:
        """Whether this has happened exactly once."""
        return self._attempts[reason] == 1

    def is_fleeting(self, reason: Reason, *, starting: bool) -> bool:
        """Whether a failed watch resumes from its resourceVersion.

        A new list would cost too much on an API server that has just come back.

        Args:
            reason: reason of this failure, which is not counted yet.
            starting: whether the API server was unreachable just before.
        """
        if reason in (Reason.FORBIDDEN, Reason.NOT_INSTALLED):
            # Just after its start, an API server has not loaded roles and resource definitions yet, and denies requests
            # that it will allow later.
            return starting and self._attempts[reason] < STARTING_ATTEMPTS
        if reason is Reason.SERVER_ERROR:
            return self._attempts[reason] < STARTING_ATTEMPTS
        return reason in (Reason.UNREACHABLE, Reason.UNTRUSTED, Reason.UNAUTHORIZED)

    def delay(self, reason: Reason, error: Exception | None = None) -> float:
        """Count a failure and return the backoff in seconds: exponential, with jitter, and at least `Retry-After`."""
        first, most = BACKOFF.get(reason, BACKOFF_ELSE)
        longest = min(most, first * 2.0 ** min(self._attempts[reason], 16))
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._attempts[reason] += 1
        if reason is Reason.EXPIRED and self.is_first(reason):
            return 0.0
        return max(delay, (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0)


def reason_of(error: Exception, *, custom: bool = False) -> Reason:
    """Return the reason of a failed list or watch. Only custom resources can be not installed."""
    if isinstance(error, UntrustedError):
        return Reason.UNTRUSTED
    if isinstance(error, UnreachableError):
        return Reason.UNREACHABLE
    if not isinstance(error, ApiError):
        return Reason.BAD_ANSWER
    if custom and error.status == 404:
        return Reason.NOT_INSTALLED
    return {401: Reason.UNAUTHORIZED, 403: Reason.FORBIDDEN, 410: Reason.EXPIRED}.get(error.status, Reason.SERVER_ERROR)

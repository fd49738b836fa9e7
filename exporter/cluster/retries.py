"""When a watch that broke is tried again, and whether from where it stood."""

from __future__ import annotations

import random
from collections import Counter
from enum import StrEnum

from exporter.cluster.connection import ApiError, UnreachableError, UntrustedError

# How many failures in a row, of those that an API server shows while it starts, count as its start.
STARTING_ATTEMPTS = 3


class Reason(StrEnum):
    """Why a watch was started again."""

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


# Seconds before the first attempt, and the most before any further one. A refused connection costs little, and an API
# server that is back should be seen within seconds; one that answers with errors is busy. Missing rights are given by
# people.
BACKOFF = {Reason.UNREACHABLE: (0.2, 3.0), Reason.UNTRUSTED: (0.5, 10.0), Reason.FORBIDDEN: (1.0, 60.0)}
BACKOFF_ELSE = (0.5, 30.0)


class Retries:
    """How often a reflector failed since it last worked.

    Counted by reason: after a long outage, an API server that answers 410 is listed at once.
    """

    def __init__(self) -> None:
        self._attempts: Counter[Reason] = Counter()

    def clear(self) -> None:
        """The reflector works."""
        self._attempts.clear()

    def is_first(self, reason: Reason) -> bool:
        """Whether this has happened once."""
        return self._attempts[reason] == 1

    def is_fleeting(self, reason: Reason, *, starting: bool) -> bool:
        """Whether a watch that could not begin is retried from where it was.

        A new list would cost too much on an API server that has just come back.

        Args:
            reason: of this failure, which is not counted yet.
            starting: whether the API server was unreachable just before.
        """
        if reason in (Reason.FORBIDDEN, Reason.NOT_INSTALLED):
            # For a moment after its start, an API server has not read the roles and resource definitions yet, and
            # refuses what it will permit later.
            return starting and self._attempts[reason] < STARTING_ATTEMPTS
        if reason is Reason.SERVER_ERROR:
            return self._attempts[reason] < STARTING_ATTEMPTS
        return reason in (Reason.UNREACHABLE, Reason.UNTRUSTED, Reason.UNAUTHORIZED)

    def delay(self, reason: Reason, error: Exception | None = None) -> float:
        """Count a failure and return the seconds to wait: longer each time, with jitter, and what the server asks."""
        first, most = BACKOFF.get(reason, BACKOFF_ELSE)
        longest = min(most, first * 2.0 ** min(self._attempts[reason], 16))
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._attempts[reason] += 1
        if reason is Reason.EXPIRED and self.is_first(reason):
            return 0.0
        return max(delay, (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0)


def reason_of(error: Exception, *, custom: bool = False) -> Reason:
    """The reason of a failed list or watch; only a kind that is a custom resource can be missing."""
    if isinstance(error, UntrustedError):
        return Reason.UNTRUSTED
    if isinstance(error, UnreachableError):
        return Reason.UNREACHABLE
    if not isinstance(error, ApiError):
        return Reason.BAD_ANSWER
    if custom and error.status == 404:
        return Reason.NOT_INSTALLED
    return {401: Reason.UNAUTHORIZED, 403: Reason.FORBIDDEN, 410: Reason.EXPIRED}.get(error.status, Reason.SERVER_ERROR)

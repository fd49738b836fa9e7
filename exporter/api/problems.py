"""Errors of the API as problem details for HTTP APIs (RFC 9457).

The kinds are a closed list. Their type is a URL in docs/api.md and a part of the API, so it never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from exporter.query import Refusal
from exporter.reasons import Reason

MEDIA = "application/problem+json"
_DOCUMENTATION = "https://github.com/mojaloop/mojaloop-image-patch-exporter/blob/main/docs/api.md#"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error response (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: last part of its type, and its heading in docs/api.md.
        status: HTTP status.
        title: short description, the same in every response.
    """

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The URL that identifies it."""
        return _DOCUMENTATION + self.name


INVALID_PARAMETER = Kind(name="invalid-parameter", status=400, title="A parameter is missing, repeated or unknown")
INVALID_REFERENCE = Kind(name="invalid-reference", status=400, title="Not an image reference")
INVALID_STRATEGY = Kind(name="invalid-strategy", status=400, title="Not a strategy")
UNAUTHORIZED = Kind(name="unauthorized", status=401, title="Authentication is required")
NOT_EXPOSED = Kind(name="not-exposed", status=403, title="The tags of a private repository are not public")
NO_SUCH_PATH = Kind(name="no-such-path", status=404, title="No such path")
NOT_WATCHED = Kind(name="not-watched", status=404, title="The repository is not watched")
NOT_FOUND = Kind(name="not-found", status=404, title="The registry does not have the image")
METHOD_NOT_ALLOWED = Kind(name="method-not-allowed", status=405, title="The method is not allowed")
NOT_A_VERSION = Kind(name="not-a-version", status=422, title="The tag is not a version")
NOT_LOOKED_UP = Kind(name="not-looked-up", status=503, title="The tags have not been looked up yet")
NOT_LISTED = Kind(name="not-listed", status=503, title="The watched resources have not been listed yet")

KINDS = (
    INVALID_PARAMETER,
    INVALID_REFERENCE,
    INVALID_STRATEGY,
    UNAUTHORIZED,
    NOT_EXPOSED,
    NO_SUCH_PATH,
    NOT_WATCHED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    NOT_A_VERSION,
    NOT_LOOKED_UP,
    NOT_LISTED,
)
OF_REFUSALS = MappingProxyType(
    {
        Refusal.INVALID_REFERENCE: INVALID_REFERENCE,
        Refusal.NOT_A_VERSION: NOT_A_VERSION,
        Refusal.NOT_EXPOSED: NOT_EXPOSED,
        Refusal.NOT_WATCHED: NOT_WATCHED,
        Refusal.NOT_FOUND: NOT_FOUND,
        Refusal.NOT_LOOKED_UP: NOT_LOOKED_UP,
    }
)


class ProblemError(Exception):
    """A request failed. The message is the detail.

    Attributes:
        kind: kind of the problem.
        reason: reason of the corresponding finding, if there is one.
        headers: additional response headers.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        reason: Reason | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.reason = reason
        self.headers = headers

    def document(self) -> Problem:
        """Return the problem as a response body."""
        kind = self.kind
        return Problem(type=kind.type, title=kind.title, status=kind.status, detail=str(self), reason=self.reason)

"""The HTTP API: lookups of images, and all findings as JSON.

Its operations are declared as data (`handlers.OPERATIONS`). A small dispatcher follows the declarations, and the
OpenAPI document is rendered from them. The server mounts the API as one route, on the metrics port or its own. The API
serves known state: no request to it causes a request to a registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from exporter.api import problems
from exporter.api.auth import Guard
from exporter.api.declare import Asked, Operation
from exporter.api.handlers import OPERATIONS, Handlers
from exporter.api.problems import ProblemError
from exporter.api.replies import Headers, Reply, send_reply
from exporter.logs import shown
from exporter.query import RefusedError
from exporter.telemetry import Telemetry

LINKS = {
    "/api/v1/findings": "findings, as JSON",
    "/api/v1/openapi.json": "the API, as an OpenAPI document",
}
"""API paths without parameters, for the page `/`, with a description of each."""
_ALLOW: Headers = ((b"allow", b"GET, HEAD, OPTIONS"),)
# The first lookup of an image takes seconds. A failed one is retried after 10 s.
_RETRY_AFTER: Headers = ((b"retry-after", b"10"),)
_PREFIXES = ("/api/v1/", "/images/")
_MOST_PARAMETERS = 20


class Api(BaseRoute):
    """The API as a route of the server.

    Args:
        handlers: handle the operations.
        guard: authenticates requests.
        telemetry: counts requests.
    """

    def __init__(self, handlers: Handlers, guard: Guard, *, telemetry: Telemetry) -> None:
        telemetry.watch_api(sorted({200, 204, 304, *(kind.status for kind in problems.KINDS)}))
        self._requests = telemetry.api_requests
        self._handlers = handlers
        self._guard = guard
        self._encode = msgspec.json.Encoder().encode
        self._fixed = {operation.path.encode(): operation for operation in OPERATIONS if "{" not in operation.path}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for the API."""
        ours = scope["type"] == "http" and scope["path"].startswith(_PREFIXES)
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the response to a request."""
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        try:
            reply = await self._answer(scope, headers)
        except RefusedError as error:
            reply = self._problem(ProblemError(problems.OF_REFUSALS[error.refusal], str(error), reason=error.reason))
        except ProblemError as error:
            reply = self._problem(error)
        known = [value for name, value in headers if name == b"if-none-match"]
        self._requests.labels(str(await send_reply(reply, send, known=known))).inc()

    async def _answer(self, scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        found = self._operation(scope["raw_path"])
        if found is None or not found[0].public:
            self._guard.check(headers)
        if found is None:
            raise ProblemError(problems.NO_SUCH_PATH, "see /api/v1/openapi.json for the available paths")
        operation, values = found
        if scope["method"] == "OPTIONS":
            return Reply(status=204, headers=_ALLOW)
        if scope["method"] not in ("GET", "HEAD"):
            raise ProblemError(problems.METHOD_NOT_ALLOWED, "use GET or HEAD", headers=_ALLOW)
        given = {**values, **_query(operation, scope["query_string"])}
        return await operation.handle(self._handlers, Asked(given, headers))

    def _operation(self, raw_path: bytes) -> tuple[Operation, dict[str, str]] | None:
        """Return the operation at a path, and the values of its path parameters."""
        if (operation := self._fixed.get(raw_path)) is not None:
            return operation, {}
        # A percent-encoded slash is not a separator (RFC 3986, section 2.2).
        segments = [unquote(segment) for segment in raw_path.decode("latin-1").split("/")]
        for operation in OPERATIONS:
            names = operation.path.split("/")
            if len(names) == len(segments) and all(map(_fits, names, segments)):
                pairs = zip(names, segments, strict=True)
                return operation, {name[1:-1]: value for name, value in pairs if name.startswith("{")}
        return None

    def _problem(self, error: ProblemError) -> Reply:
        headers = error.headers + (_RETRY_AFTER if error.kind.status == 503 else ())
        return Reply(
            parts=(self._encode(error.document()), b"\n"),
            status=error.kind.status,
            media=problems.MEDIA.encode(),
            headers=headers,
        )


def _fits(name: str, segment: str) -> bool:
    return bool(segment) if name.startswith("{") else name == segment


def _query(operation: Operation, query: bytes) -> dict[str, str]:
    """Return the values of an operation's query parameters."""
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, errors="replace", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError as error:
        raise ProblemError(problems.INVALID_PARAMETER, f"more than {_MOST_PARAMETERS} parameters") from error
    known = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "query"}
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in known:
            if name in given:
                raise ProblemError(problems.INVALID_PARAMETER, f"{name} is given twice")
            given[name] = value
        elif not operation.lenient:
            expected = f"; expected {', '.join(known)}" if known else ""
            raise ProblemError(problems.INVALID_PARAMETER, f"unknown parameter {shown(name)!r}{expected}")
    for name, parameter in known.items():
        if parameter.required and not given.get(name):
            raise ProblemError(problems.INVALID_PARAMETER, f"{name} is missing")
    return given

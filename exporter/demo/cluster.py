"""A stand-in for a cluster: the part of the Kubernetes API that exporter, patcher and kubectl use, over real HTTP.

It serves paginated lists of objects or their metadata, watches with bookmarks and `410 Gone`, and atomic JSON patches.
The tests send the same requests to a real API server. Optional kinds are served once they are installed.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.demo.discovery import discovery_routes
from exporter.demo.objects import APPROVALS, EVENTS, RESOURCES, SERVED, Document, Objects, apply_json_patch
from exporter.kinds import KINDS

_BOOKMARK_SECONDS = 5.0
# How many paginated lists may be open.
_KEPT_LISTS = 100
# The user of every request.
_USER = "demo"
# Characters of generated names.
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_TERM = re.compile(r"([^=!]+?)(==|=|!=)([^=!]*)")


class _RefusedError(Exception):
    """The request is refused with a `Status`."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.status: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        if details is not None:
            self.status["details"] = details


class StandInCluster(Objects):
    """An API server without a cluster.

    Args:
        token: the required Bearer token, if any. kubectl sends none over plain HTTP.

    Attributes:
        app: the ASGI application to serve.
    """

    def __init__(self, *, token: str | None = None) -> None:
        super().__init__()
        self._token = token
        self._closed = False
        # By token: the version of a list, and its remaining objects.
        self._lists: dict[str, tuple[int, list[Document]]] = {}
        self._list_numbers = count(1)
        self._installed = {kind for kind in (*KINDS.values(), EVENTS) if not kind.custom}
        routes = discovery_routes(lambda: self._installed)
        # kubectl requests the namespace of objects that it does not find.
        routes.append(Route("/api/v1/namespaces/{namespace}", self._namespace))
        whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        routes.append(Route(whoami, _self_subject_review, methods=["POST"]))
        for base in ("/api/{version}", "/apis/{group}/{version}"):
            many = f"{base}/namespaces/{{namespace}}/{{plural}}"
            routes += [
                Route(f"{base}/{{plural}}", self._many, methods=["GET"]),
                Route(many, self._many, methods=["GET"]),
                Route(many, self._create, methods=["POST"]),
                Route(f"{many}/{{name}}", self._one, methods=["GET", "PATCH", "DELETE"]),
                Route(f"{many}/{{name}}/status", self._status, methods=["GET", "PATCH"]),
            ]
        self._routes = Starlette(
            routes=routes, exception_handlers={_RefusedError: _refuse, HTTPException: _no_such_path}
        )
        self.app: ASGIApp = self._serve

    def write_kubeconfig(self, path: Path, address: str) -> None:
        """Write a kubeconfig for the address of the stand-in."""
        user = {} if self._token is None else {"token": self._token}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo", "cluster": {"server": address}}],
            "users": [{"name": "demo", "user": user}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo", "namespace": "mojaloop"}}],
            "current-context": "demo",
        }
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")

    def forget(self) -> None:
        """Drop all older changes and open lists, like etcd's compaction."""
        self._lists.clear()
        super().forget()

    def install(self, kind: str) -> None:
        """Serve a new kind, as if its definition was created."""
        self._installed.add(SERVED[kind])

    def uninstall(self, kind: str) -> None:
        """Stop serving a kind: delete its objects and end its watches."""
        plural = KINDS[kind].plural
        for thing in self.of(plural):
            self.remove(plural, thing["metadata"]["namespace"], thing["metadata"]["name"])
        self._installed.discard(KINDS[kind])
        self._wake()

    def close(self) -> None:
        """End the watches, which would block a server's shutdown."""
        self._closed = True
        self._wake()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._token is not None and (b"authorization", f"Bearer {self._token}".encode()) not in scope["headers"]:
            refusal = _RefusedError(401, "Unauthorized", "Unauthorized")
            await JSONResponse(refusal.status, status_code=401)(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    def _plural(self, request: Request) -> str:
        plural: str = request.path_params["plural"]
        kind = RESOURCES.get(plural)
        of = (request.path_params.get("group", ""), request.path_params["version"])
        if kind in self._installed and (kind.group, kind.version) == of:
            return plural
        if any(not other.custom and other.group == of[0] for other in self._installed):
            raise _RefusedError(404, "NotFound", "the server could not find the requested resource", {})
        raise HTTPException(404)

    async def _namespace(self, request: Request) -> Response:
        name = request.path_params["namespace"]
        if not any(thing["metadata"]["namespace"] == name for plural in RESOURCES for thing in self.of(plural)):
            raise _RefusedError(404, "NotFound", f'namespaces "{name}" not found', {"name": name, "kind": "namespaces"})
        return JSONResponse({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})

    async def _many(self, request: Request) -> Response:
        plural, selected = self._plural(request), _selected(request)
        if request.query_params.get("watch") in ("true", "1"):
            return self._watch(request, plural, selected)
        if token := request.query_params.get("continue"):
            if token not in self._lists:
                raise _RefusedError(410, "Expired", "The provided continue parameter is too old.")
            version, found = self._lists[token]
        else:
            version, found = self.version, [thing for thing in self.of(plural) if selected(thing)]
        metadata: Document = {"resourceVersion": str(version)}
        limit = _number(request, "limit") or len(found)
        if left := found[limit:]:
            metadata |= {"continue": f"list-{next(self._list_numbers)}", "remainingItemCount": len(left)}
            self._lists[metadata["continue"]] = (version, left)
            while len(self._lists) > _KEPT_LISTS:
                del self._lists[next(iter(self._lists))]
        convert, resource = _conversion(request), RESOURCES[plural]
        kind, api_version = f"{resource.name}List", resource.api_version
        if convert is _as_metadata:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = [convert(thing) for thing in found[:limit]]
        return JSONResponse({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})

    def _watch(self, request: Request, plural: str, selected: Callable[[Document], bool]) -> Response:
        asked = _number(request, "resourceVersion")
        # Without a version, a watch begins with the existing objects. kubectl's `sendInitialEvents` also needs a
        # bookmark at their end.
        initial = asked == 0 or request.query_params.get("sendInitialEvents") == "true"
        since = self.version if initial else asked
        if since < self.oldest:
            raise _RefusedError(410, "Expired", f"too old resource version: {since} ({self.oldest})")
        seconds = _number(request, "timeoutSeconds") or 300
        changes = self._changes(plural, selected, since=since, initial=initial, seconds=seconds)
        bookmarks = request.query_params.get("allowWatchBookmarks") in ("true", "1")
        convert = _conversion(request)

        async def lines() -> AsyncIterator[bytes]:
            async for event, thing in changes:
                if event in ("ERROR", "BOOKMARK"):
                    if event == "ERROR" or bookmarks:
                        yield _line(event, thing)
                else:
                    yield _line(event, convert(thing))

        return StreamingResponse(lines(), media_type="application/json")

    async def _changes(
        self, plural: str, selected: Callable[[Document], bool], *, since: int, initial: bool, seconds: float
    ) -> AsyncIterator[tuple[str, Document]]:
        """Yield the events of a watch until it times out."""
        loop = asyncio.get_running_loop()
        stands, end = since, loop.time() + seconds
        if initial:
            stands = self.version
            for thing in [thing for thing in self.of(plural) if selected(thing)]:
                yield "ADDED", thing
            yield "BOOKMARK", _bookmark(plural, stands, **{_INITIAL_EVENTS_END: "true"})
        while (left := end - loop.time()) > 0 and not self._closed and RESOURCES[plural] in self._installed:
            if stands < self.oldest:
                gone = _RefusedError(410, "Expired", f"too old resource version: {stands} ({self.oldest})")
                yield "ERROR", gone.status
                return
            changed, events = self.changed, self.since(stands)
            # A version from the future gets no events, as from a real API server.
            stands = max(stands, self.version)
            for event in events:
                if event.plural == plural and (seen := event.seen(selected)) is not None:
                    yield seen
            try:
                await asyncio.wait_for(changed.wait(), min(left, _BOOKMARK_SECONDS))
            except TimeoutError:
                if stands == self.version:
                    yield "BOOKMARK", _bookmark(plural, stands)

    async def _create(self, request: Request) -> Response:
        plural, namespace = self._plural(request), request.path_params["namespace"]
        document = await _body(request, "application/json")
        metadata = document.get("metadata") if isinstance(document, dict) else None
        if isinstance(metadata, dict) and not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = prefix + "".join(random.choices(_GENERATED, k=5))
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise _RefusedError(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        if self.get(plural, namespace, metadata["name"]) is not None:
            raise _about(409, "AlreadyExists", plural, metadata["name"], "already exists")
        metadata["namespace"] = namespace
        document |= {"kind": RESOURCES[plural].name, "apiVersion": RESOURCES[plural].api_version}
        if plural == APPROVALS.plural:
            document.pop("status", None)
        return JSONResponse(self.put(document), status_code=201)

    async def _one(self, request: Request) -> Response:
        plural, place = self._plural(request), (request.path_params["namespace"], request.path_params["name"])
        # Read the request before the object: nothing may happen between a patch's test and its change.
        operations = await _body(request, "application/json-patch+json") if request.method == "PATCH" else None
        thing = self.get(plural, *place)
        if thing is None:
            raise _about(404, "NotFound", plural, place[1], "not found")
        if request.method == "PATCH":
            patched = _patched(plural, thing, operations)
            if plural == APPROVALS.plural:
                # The status is a subresource, and the rest is immutable.
                if patched["spec"] != thing["spec"]:
                    raise _about(422, "Invalid", plural, place[1], "is immutable")
                patched = {**patched, "status": thing["status"]} if "status" in thing else _without_status(patched)
            return JSONResponse(patched if request.query_params.get("dryRun") == "All" else self.put(patched))
        if request.method == "DELETE":
            self.remove(plural, *place)
            details = {**_details(plural, place[1]), "uid": thing["metadata"]["uid"]}
            return JSONResponse(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            )
        return JSONResponse(_conversion(request)(thing))

    async def _status(self, request: Request) -> Response:
        """Update the status of an approval; for other kinds it follows from the specification."""
        plural, place = self._plural(request), (request.path_params["namespace"], request.path_params["name"])
        operations = await _body(request, "application/json-patch+json") if request.method == "PATCH" else None
        thing = self.get(plural, *place)
        if thing is None or plural != APPROVALS.plural:
            raise _about(404, "NotFound", plural, place[1], "not found")
        if request.method == "GET":
            return JSONResponse(thing)
        return JSONResponse(self.put({**thing, "status": _patched(plural, thing, operations).get("status", {})}))


async def _self_subject_review(_: Request) -> Response:
    """Return the user of the request, for `kubectl auth whoami`."""
    document = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}}
    return JSONResponse({**document, "status": {"userInfo": {"username": _USER}}}, status_code=201)


def _without_status(thing: Document) -> Document:
    return {key: value for key, value in thing.items() if key != "status"}


def _patched(plural: str, thing: Document, operations: Any) -> Document:
    if not isinstance(operations, list):
        raise _RefusedError(400, "BadRequest", "error decoding patch: it is not a list of operations")
    try:
        patched = apply_json_patch(thing, operations)
        metadata = patched["metadata"]
        same = all(patched[key] == thing[key] for key in ("apiVersion", "kind")) and all(
            metadata[key] == thing["metadata"][key] for key in ("name", "namespace")
        )
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        message = "the server rejected our request due to an error in our request"
        raise _RefusedError(422, "Invalid", message, {}) from error
    if not same:
        raise _RefusedError(400, "BadRequest", "the object does not match the one in the path")
    if metadata.get("resourceVersion") != thing["metadata"]["resourceVersion"]:
        raise _about(409, "Conflict", plural, metadata["name"], "has been modified")
    return patched


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name) or "0"
    if re.fullmatch(r"\d{1,18}", text) is None:
        raise _RefusedError(400, "BadRequest", f"{name} is not a number: {text}")
    return int(text)


def _selected(request: Request) -> Callable[[Document], bool]:
    """Return a filter for objects by namespace, and by selectors with `=`, `==` and `!=`."""
    terms: list[tuple[Callable[[Document, str], Any], str, bool, str]]
    terms = [(_label, *_term(text)) for text in _split(request, "labelSelector")]
    for text in _split(request, "fieldSelector"):
        path, equal, value = _term(text)
        known = ["metadata.name", "metadata.namespace"]
        if request.path_params["plural"] == "pods":
            known.append("status.phase")
        if path not in known:
            raise _RefusedError(400, "BadRequest", f'"{path}" is not a known field selector: only {", ".join(known)}')
        terms.append((_field, path, equal, value))
    namespace = request.path_params.get("namespace")

    def selected(thing: Document) -> bool:
        if namespace is not None and thing["metadata"]["namespace"] != namespace:
            return False
        return all((read(thing, key) == value) == equal for read, key, equal, value in terms)

    return selected


def _split(request: Request, name: str) -> list[str]:
    return [text for text in request.query_params.get(name, "").split(",") if text]


def _term(text: str) -> tuple[str, bool, str]:
    found = _TERM.fullmatch(text)
    if found is None:
        raise _RefusedError(400, "BadRequest", f"the stand-in supports only =, == and != in selectors: {text}")
    return found[1], found[2] != "!=", found[3]


def _label(thing: Document, key: str) -> Any:
    return thing["metadata"].get("labels", {}).get(key)


def _field(thing: Document, path: str) -> Any:
    parent, _, name = path.partition(".")
    return thing.get(parent, {}).get(name, "")


async def _body(request: Request, media: str) -> Any:
    if request.headers.get("content-type", "").partition(";")[0] != media:
        raise _RefusedError(415, "UnsupportedMediaType", f"the stand-in accepts only {media} here", {})
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise _RefusedError(400, "BadRequest", f"the body is not JSON: {error}") from error


def _conversion(request: Request) -> Callable[[Document], Document]:
    return _as_metadata if "as=PartialObjectMetadata" in request.headers.get("accept", "") else _whole


def _as_metadata(thing: Document) -> Document:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": thing["metadata"]}


def _whole(thing: Document) -> Document:
    return thing


def _bookmark(plural: str, version: int, **annotations: str) -> Document:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None, "annotations": annotations}
    return {"kind": RESOURCES[plural].name, "apiVersion": RESOURCES[plural].api_version, "metadata": metadata}


def _line(event: str, thing: Document) -> bytes:
    return json.dumps({"type": event, "object": thing}).encode() + b"\n"


def _details(plural: str, name: str) -> Document:
    group = RESOURCES[plural].group
    return {"name": name, **({"group": group} if group else {}), "kind": plural}


def _about(code: int, reason: str, plural: str, name: str, what: str) -> _RefusedError:
    group = RESOURCES[plural].group
    return _RefusedError(
        code, reason, f'{plural}{"." if group else ""}{group} "{name}" {what}', details=_details(plural, name)
    )


async def _refuse(_: Request, error: Exception) -> Response:
    status: Document = error.status if isinstance(error, _RefusedError) else {}
    return JSONResponse(status, status_code=status["code"])


async def _no_such_path(_: Request, error: Exception) -> Response:
    """Answer an unknown group without a `Status`, so a missing kind looks like any wrong path."""
    if getattr(error, "status_code", 404) == 405:
        refusal = _RefusedError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
        )
        return JSONResponse(refusal.status, status_code=405)
    return PlainTextResponse("404 page not found\n", status_code=404)

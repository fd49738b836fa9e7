"""A stand-in for a cluster: the part of the Kubernetes API that the exporter and `kubectl get`, `patch` and `delete` use, over real HTTP.

Lists in pages, metadata-only lists, watches with bookmarks and `410 Gone`, JSON patches that fail as a whole. Templates roll out at once:
a Deployment gets a ReplicaSet and running pods, as the controller manager and the kubelets of a real cluster would make them.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Document = dict[str, Any]
# By plural: the group, the kind, and `kubectl`'s short name.
RESOURCES = {
    "pods": ("", "Pod", "po"),
    "deployments": ("apps", "Deployment", "deploy"),
    "replicasets": ("apps", "ReplicaSet", "rs"),
    "statefulsets": ("apps", "StatefulSet", "sts"),
    "daemonsets": ("apps", "DaemonSet", "ds"),
    "cronjobs": ("batch", "CronJob", "cj"),
    "jobs": ("batch", "Job", "job"),
}
_PLURALS = {kind: plural for plural, (_, kind, _) in RESOURCES.items()}
_VERBS = ["create", "delete", "get", "list", "patch", "watch"]
_BOOKMARK_SECONDS = 5.0
# A watch from further back is 410 Gone, as after etcd's compaction.
_KEPT_EVENTS = 2000


class StandInCluster:
    """An API server without a cluster."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Document]] = {plural: {} for plural in RESOURCES}
        self._version = 1
        # Version, event, plural and object, the oldest first.
        self._events: list[tuple[int, str, str, Document]] = []
        self._oldest = 1
        self._changed = asyncio.Condition()
        routes = [
            Route("/version", _constant({"major": "1", "minor": "35", "gitVersion": "v1.35.0-standin"})),
            Route("/api", _constant({"kind": "APIVersions", "versions": ["v1"]})),
            Route("/apis", _constant(_groups())),
        ]
        for group in ("", "apps", "batch"):
            base = f"/apis/{group}/v1" if group else "/api/v1"
            routes.append(Route(base, _constant(_resources(group))))
            for plural, (of, _, _) in RESOURCES.items():
                if of == group:
                    path = f"{base}/namespaces/{{namespace}}/{plural}"
                    routes += [
                        Route(f"{base}/{plural}", self._many, methods=["GET"], name=plural),
                        Route(path, self._many, methods=["GET"], name=plural),
                        Route(path, self._create, methods=["POST"], name=plural),
                        Route(f"{path}/{{name}}", self._one, methods=["GET", "PATCH", "DELETE"], name=plural),
                    ]
        self.app = Starlette(routes=routes)

    def write_kubeconfig(self, path: Path, address: str) -> None:
        """A kubeconfig for the address that the stand-in answers at."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo", "cluster": {"server": address}}],
            "users": [{"name": "demo", "user": {}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo", "namespace": "mojaloop"}}],
            "current-context": "demo",
        }
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")

    async def put(self, document: Document) -> Document:
        """Create an object, or replace one; what it controls follows."""
        plural = _PLURALS[document["kind"]]
        metadata = document.setdefault("metadata", {})
        metadata.setdefault("namespace", "default")
        place = (metadata["namespace"], metadata["name"])
        before = self._objects[plural].get(place)
        stored = copy.deepcopy(document)
        self._version += 1
        stored["metadata"] |= {
            "uid": before["metadata"]["uid"] if before else str(uuid.uuid4()),
            "resourceVersion": str(self._version),
            "creationTimestamp": before["metadata"]["creationTimestamp"] if before else _now(),
        }
        generation = before["metadata"].get("generation", 1) if before else 1
        if before and before.get("spec") != stored.get("spec"):
            generation += 1
        if plural != "pods":
            stored["metadata"]["generation"] = generation
        _set_status(plural, stored)
        self._objects[plural][place] = stored
        await self._tell("MODIFIED" if before else "ADDED", plural, stored)
        if before is None or before.get("spec") != stored.get("spec"):
            await self._roll_out(plural, stored)
        return stored

    async def remove(self, plural: str, namespace: str, name: str) -> Document | None:
        """Delete an object and what it controls; returns it as it was."""
        gone = self._objects[plural].pop((namespace, name), None)
        if gone is not None:
            self._version += 1
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._version)}}
            await self._tell("DELETED", plural, gone)
            for other, objects in self._objects.items():
                for of_namespace, of_name in [p for p, o in objects.items() if _controlled_by(o, gone)]:
                    await self.remove(other, of_namespace, of_name)
        return gone

    async def forget(self) -> None:
        """Forget every older event, as etcd's compaction does."""
        async with self._changed:
            self._events.clear()
            self._oldest = self._version
            self._changed.notify_all()

    async def _roll_out(self, plural: str, thing: Document) -> None:
        spec, metadata = thing.get("spec", {}), thing["metadata"]
        template = spec.get("template")
        if template is None or plural not in ("deployments", "replicasets", "statefulsets", "daemonsets"):
            return
        if plural == "deployments":
            short = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
            name = f"{metadata['name']}-{short}"
            replicas = spec.get("replicas", 1)
            await self.put(_child(thing, "ReplicaSet", "apps/v1", name, {"replicas": replicas, "template": template}))
            for other in [o for o in self._objects["replicasets"].values() if _controlled_by(o, thing)]:
                if other["metadata"]["name"] != name and other["spec"]["replicas"]:
                    await self.put({**other, "spec": {**other["spec"], "replicas": 0}})
            return
        count = 2 if plural == "daemonsets" else spec.get("replicas", 1)
        for place in [p for p, o in self._objects["pods"].items() if _controlled_by(o, thing)]:
            await self.remove("pods", *place)
        for number in range(count):
            pod = _child(thing, "Pod", "v1", f"{metadata['name']}-{number}", template.get("spec", {}))
            pod["metadata"] |= {k: v for k, v in template.get("metadata", {}).items() if k in ("labels", "annotations")}
            await self.put(pod)

    async def _tell(self, event: str, plural: str, thing: Document) -> None:
        async with self._changed:
            self._events.append((self._version, event, plural, thing))
            if len(self._events) > _KEPT_EVENTS:
                del self._events[: _KEPT_EVENTS // 2]
                self._oldest = self._events[0][0] - 1
            self._changed.notify_all()

    # Requests.

    async def _many(self, request: Request) -> Response:
        plural, namespace = _plural(request), request.path_params.get("namespace")
        if request.query_params.get("watch") in ("true", "1"):
            return await self._watch(request, plural, namespace)
        found = [o for (of, _), o in sorted(self._objects[plural].items()) if namespace in (None, of)]
        metadata: Document = {"resourceVersion": str(self._version)}
        begin = int(request.query_params.get("continue") or 0)
        limit = int(request.query_params.get("limit") or 0)
        if limit and begin + limit < len(found):
            metadata["continue"] = str(begin + limit)
            metadata["remainingItemCount"] = len(found) - begin - limit
        page = found[begin : begin + limit] if limit else found
        group, kind, _ = RESOURCES[plural]
        if _metadata_only(request):
            items = [_as_metadata(thing) for thing in page]
            return JSONResponse(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata,
                    "items": items,
                }
            )
        version = f"{group}/v1" if group else "v1"
        return JSONResponse({"kind": f"{kind}List", "apiVersion": version, "metadata": metadata, "items": page})

    async def _watch(self, request: Request, plural: str, namespace: str | None) -> Response:
        asked = request.query_params.get("resourceVersion") or ""
        since = int(asked) if asked.isdecimal() and asked != "0" else self._version
        if since < self._oldest:
            return _failure(410, "Expired", f"too old resource version: {since} ({self._version})")
        convert = _as_metadata if _metadata_only(request) else _unchanged
        seconds = float(request.query_params.get("timeoutSeconds") or 300)
        bookmarks = request.query_params.get("allowWatchBookmarks") in ("true", "1")

        async def lines() -> AsyncIterator[bytes]:
            stands, end = since, asyncio.get_running_loop().time() + seconds
            while (left := end - asyncio.get_running_loop().time()) > 0:
                if stands < self._oldest:
                    yield _line("ERROR", _status(410, "Expired", "the watch stands behind what is kept"))
                    return
                for version, event, of, thing in list(self._events):
                    if version > stands and of == plural and namespace in (None, thing["metadata"]["namespace"]):
                        yield _line(event, convert(thing))
                stands = self._version
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _BOOKMARK_SECONDS)), self._changed:
                        while self._version == stands and stands >= self._oldest:
                            await self._changed.wait()
                        continue
                if bookmarks:
                    group, kind, _ = RESOURCES[plural]
                    metadata = {"resourceVersion": str(stands), "creationTimestamp": None}
                    of = f"{group}/v1" if group else "v1"
                    yield _line("BOOKMARK", {"kind": kind, "apiVersion": of, "metadata": metadata})

        return StreamingResponse(lines(), media_type="application/json")

    async def _create(self, request: Request) -> Response:
        plural, namespace = _plural(request), request.path_params["namespace"]
        document = await request.json()
        name = document.get("metadata", {}).get("name", "")
        if (namespace, name) in self._objects[plural]:
            return _failure(409, "AlreadyExists", f'{plural} "{name}" already exists')
        group, kind, _ = RESOURCES[plural]
        document |= {"kind": kind, "apiVersion": f"{group}/v1" if group else "v1"}
        document.setdefault("metadata", {})["namespace"] = namespace
        return JSONResponse(await self.put(document), status_code=201)

    async def _one(self, request: Request) -> Response:
        plural = _plural(request)
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        thing = self._objects[plural].get((namespace, name))
        if thing is None:
            return _failure(404, "NotFound", f'{plural} "{name}" not found')
        if request.method == "GET":
            return JSONResponse(thing)
        if request.method == "DELETE":
            await self.remove(plural, namespace, name)
            return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if request.headers.get("content-type", "").partition(";")[0] != "application/json-patch+json":
            return _failure(415, "UnsupportedMediaType", "the stand-in takes JSON patches (--type json) only")
        try:
            patched = apply_json_patch(thing, await request.json())
        except (LookupError, ValueError, TypeError) as error:
            return _failure(422, "Invalid", f"the server rejected our request due to an error in our request: {error}")
        return JSONResponse(await self.put(patched))


def apply_json_patch(document: Document, operations: list[Document]) -> Document:
    """A document with a JSON patch (RFC 6902: test, add, replace, remove) applied, whole or not at all.

    Raises:
        ValueError: a test fails, or an operation is not known.
        LookupError: a path leads nowhere.
    """
    changed = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target: Any = changed
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        key: Any = last
        if isinstance(target, list):
            key = len(target) if last == "-" else int(last)
        kind = operation["op"]
        if kind == "test":
            if target[key] != operation["value"]:
                raise ValueError(f"testing value {operation['path']} failed")
        elif kind == "add" and isinstance(target, list):
            target.insert(key, operation["value"])
        elif kind == "add":
            target[key] = operation["value"]
        elif kind == "replace":
            _ = target[key]
            target[key] = operation["value"]
        elif kind == "remove":
            del target[key]
        else:
            raise ValueError(f"the stand-in knows no operation {kind!r}")
    return changed


def _plural(request: Request) -> str:
    return next(part for part in request.url.path.split("/") if part in RESOURCES)


def _metadata_only(request: Request) -> bool:
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def _as_metadata(thing: Document) -> Document:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": thing["metadata"]}


def _unchanged(thing: Document) -> Document:
    return thing


def _line(event: str, thing: Document) -> bytes:
    return json.dumps({"type": event, "object": thing}).encode() + b"\n"


def _status(code: int, reason: str, message: str) -> Document:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": code}  # fmt: skip


def _failure(code: int, reason: str, message: str) -> Response:
    return JSONResponse(_status(code, reason, message), status_code=code)


def _constant(document: Document) -> Any:
    async def answer(_: Request) -> Response:
        return JSONResponse(document)

    return answer


def _groups() -> Document:
    versions = [
        {"name": group, "versions": [{"groupVersion": f"{group}/v1", "version": "v1"}], "preferredVersion": {"groupVersion": f"{group}/v1", "version": "v1"}}
        for group in ("apps", "batch")
    ]  # fmt: skip
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": versions}


def _resources(group: str) -> Document:
    resources = [
        {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "shortNames": [short], "verbs": _VERBS}
        for plural, (of, kind, short) in RESOURCES.items()
        if of == group
    ]  # fmt: skip
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/v1" if group else "v1",
        "resources": resources,
    }


def _child(owner: Document, kind: str, version: str, name: str, spec: Document) -> Document:
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": metadata["namespace"], "ownerReferences": [reference]},
        "spec": copy.deepcopy(spec),
    }


def _controlled_by(thing: Document, owner: Document) -> bool:
    return any(r["uid"] == owner["metadata"]["uid"] for r in thing["metadata"].get("ownerReferences", ()))


def _set_status(plural: str, thing: Document) -> None:
    """A status as it is once everything has rolled out."""
    spec, status = thing.get("spec", {}), thing.setdefault("status", {})
    if plural == "pods":
        status["phase"] = "Running"
        return
    status["observedGeneration"] = thing["metadata"]["generation"]
    if plural in ("deployments", "replicasets", "statefulsets"):
        count = spec.get("replicas", 1)
        status |= {"replicas": count, "updatedReplicas": count, "readyReplicas": count, "availableReplicas": count}
    elif plural == "daemonsets":
        status |= {
            "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2,
            "desiredNumberScheduled": 2,
            "numberReady": 2,
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

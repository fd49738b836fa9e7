"""An API server with controllers as a model: small and fast enough for thousands of histories.

It has what the patcher's safety rests on: resource versions, generations, JSON patches that are atomic, the status
subresource. What its controllers do depends on the image of the pod template. The real control plane shows the same
histories in tests/test_patcher_live.py, a few of them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exporter.cluster import ApiError
from exporter.patcher.patch import FIELD_MANAGER
from tests.support.approvals import BEFORE

_PATH = re.compile(
    r"/apis?/(?:[a-z0-9.-]+/)?v[0-9a-z]+(?:/namespaces/([a-z0-9-]+))?/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?"
)
CREATED = "2026-11-21T20:00:00Z"
TEMPLATES = {"cronjobs": ("spec", "jobTemplate", "spec", "template")}


@dataclass
class Patched:
    """A change of a workload's image: who made it, and what it was before and after."""

    workload: str
    by: str
    before: str
    after: str


@dataclass
class ModelCluster:
    """The cluster.

    Attributes:
        behaviours: by image, `never_ready` or `crashes`; any other image works.
        changes: every change of an image, in order.
        denied: methods and parts of paths that are answered with 403.
        blocked: whether evictions are answered with 429.
    """

    behaviours: dict[str, str] = field(default_factory=dict)
    changes: list[Patched] = field(default_factory=list)
    denied: list[tuple[str, str]] = field(default_factory=list)
    blocked: bool = False
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    made: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)
    version: int = 100
    uids: int = 0

    # What the tests do.

    def add(self, plural: str, document: dict[str, Any], *, namespace: str = "hub") -> dict[str, Any]:
        meta = document.setdefault("metadata", {})
        self.uids += 1
        meta.update({"namespace": namespace, "uid": meta.get("uid", f"uid-{self.uids}"), "generation": 1})
        meta.setdefault("creationTimestamp", CREATED)
        self.objects[plural, namespace, meta["name"]] = document
        self._bump(document)
        return document

    def get(self, plural: str, name: str, *, namespace: str = "hub") -> dict[str, Any]:
        return self.objects[plural, namespace, name]

    def edit(self, plural: str, name: str, change: Any, *, by: str = "somebody", namespace: str = "hub") -> None:
        """Change an object by a function, as a person with kubectl."""
        old = self.objects[plural, namespace, name]
        new = copy.deepcopy(old)
        change(new)
        self._store((plural, namespace, name), old, new, by=by)

    def remove(self, plural: str, name: str, *, namespace: str = "hub") -> None:
        del self.objects[plural, namespace, name]

    def image(self, plural: str = "deployments", name: str = "thing") -> str:
        return _image(plural, self.get(plural, name))

    def patches(self) -> list[tuple[str, str]]:
        """The patcher's own changes of images."""
        return [(change.before, change.after) for change in self.changes if change.by == FIELD_MANAGER]

    # What the patcher does.

    def handle(self, method: str, path: str, body: Any, params: dict[str, str]) -> Any:
        """Carry a request out; what is returned is the answer.

        Raises:
            ApiError: it is refused.
        """
        if any(method == verb and part in path for verb, part in self.denied):
            raise ApiError(403, f"{method} {path} is forbidden")
        found = _PATH.fullmatch(path)
        assert found, path
        namespace, plural, name, sub = found.groups()
        if path.startswith("/api/v1/namespaces/") and plural == "namespaces":
            return copy.deepcopy(self.objects.get(("namespaces", "", name)) or {"metadata": {"name": name}})
        if method == "GET" and name is None:
            items = [o for (p, ns, _), o in sorted(self.objects.items()) if p == plural and namespace in (None, ns)]
            return {"metadata": {"resourceVersion": str(self.version)}, "items": items}
        if method == "POST":
            return self._post(plural, str(namespace), name, sub, body)
        key = (plural, str(namespace), str(name))
        if key not in self.objects:
            raise ApiError(404, f"{plural} {name} not found")
        if method == "GET":
            return self.objects[key]
        assert method in ("PATCH", "PUT")
        old = self.objects[key]
        new = copy.deepcopy(body) if method == "PUT" else _apply(old, body)
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified")
        if sub == "status":
            new = {**copy.deepcopy(old), "status": new["status"]}
        if params.get("dryRun"):
            return new
        self._store(key, old, new, by=params.get("fieldManager", "somebody"))
        return copy.deepcopy(self.objects[key])

    def _post(self, plural: str, namespace: str, name: str | None, sub: str | None, body: Any) -> Any:
        if sub == "eviction":
            pod = self.objects.get((plural, namespace, str(name)))
            if pod is None:
                raise ApiError(404, f"pod {name} not found")
            if pod["metadata"]["uid"] != body["deleteOptions"]["preconditions"]["uid"]:
                raise ApiError(409, "the uid is another one")
            if self.blocked:
                raise ApiError(429, "Cannot evict pod as it would violate the pod's disruption budget.")
            del self.objects[plural, namespace, str(name)]
            return {"status": "Success"}
        key = (plural, namespace, body["metadata"]["name"])
        if key in self.objects:
            raise ApiError(409, "already exists")
        return copy.deepcopy(self.add(plural, copy.deepcopy(body), namespace=namespace))

    def _store(self, key: tuple[str, str, str], old: dict[str, Any], new: dict[str, Any], *, by: str) -> None:
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        plural = key[0]
        if plural in ("deployments", "statefulsets", "daemonsets", "cronjobs"):
            before, after = _image(plural, old), _image(plural, new)
            if before != after:
                self.changes.append(Patched(key[2], by, before, after))
        self.objects[key] = new
        self._bump(new)

    def _bump(self, document: dict[str, Any]) -> None:
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)

    # What controllers do.

    def settle(self, now: float = 0.0) -> None:
        """Let rollouts of images that work go through."""
        self.tick(now)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Let every controller act once."""
        for (plural, namespace, name), workload in list(self.objects.items()):
            if plural in ("deployments", "statefulsets", "daemonsets"):
                self._control(plural, namespace, name, workload, now)

    def _control(self, plural: str, namespace: str, name: str, workload: dict[str, Any], now: float) -> None:
        image, status, generation = (
            _image(plural, workload),
            workload.get("status", {}),
            workload["metadata"]["generation"],
        )
        wanted = workload["spec"].get("replicas", 1) if plural != "daemonsets" else 1
        behaviour = self.behaviours.get(image, "works")
        seen = status.get("observedGeneration") == generation
        same = status.get("image") == image
        began = status["began"] if same else now
        age = now - began
        if not same or (not seen and behaviour != "works"):
            updated, available = 0, wanted
            if same:
                updated, available = status.get("updated", 0), status.get("available", 0)
        elif behaviour == "works":
            updated = available = wanted
        elif behaviour == "never_ready":
            updated, available = min(1, wanted), max(0, wanted - 1)
        else:
            updated, available = wanted, 0 if age > 5 else wanted
        crashes = 1 if behaviour == "crashes" and age > 5 else 0
        conditions = []
        if plural == "deployments":
            late = behaviour == "never_ready" and age > workload["spec"].get("progressDeadlineSeconds", 600)
            conditions = [
                {"type": "Progressing", "status": "False" if late else "True", "reason": "Model", "message": ""}
            ]
        done = updated == available == wanted
        new = {
            "observedGeneration": generation, "image": image, "began": began, "updated": updated,
            "available": available, "replicas": wanted, "updatedReplicas": updated, "availableReplicas": available,
            "currentRevision": image if done else status.get("currentRevision", image), "updateRevision": image,
            "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated, "numberAvailable": available,
            "conditions": conditions,
        }  # fmt: skip
        if new != status:
            workload["status"] = new
            self._bump(workload)
        self._pods(plural, namespace, name, wanted, crashes)

    def _pods(self, plural: str, namespace: str, name: str, wanted: int, crashes: int) -> None:
        if self.made.get((plural, namespace, name)) == (wanted, crashes):
            return
        self.made[plural, namespace, name] = wanted, crashes
        kind = {"deployments": "ReplicaSet", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet"}[plural]
        owner = {"kind": kind, "name": f"{name}-1" if kind == "ReplicaSet" else name, "controller": True}
        for number in range(wanted):
            key = ("pods", namespace, f"{name}-{number}")
            labels = {"pod-template-hash": "1"}
            meta = {
                "name": key[2],
                "uid": f"pod-{number}",
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [owner],
            }
            status = {"phase": "Running", "containerStatuses": [{"restartCount": crashes}]}
            self.objects[key] = {"metadata": {**meta, "resourceVersion": "1"}, "status": status}


def workload(kind: str = "Deployment", *, image: str = BEFORE, replicas: int = 2, **spec: Any) -> dict[str, Any]:
    """A workload for the model, which has rolled out."""
    template = {"metadata": {"labels": {"app": "thing"}}, "spec": {"containers": [{"name": "main", "image": image}]}}
    if kind == "CronJob":
        return {"metadata": {"name": "thing"}, "spec": {"jobTemplate": {"spec": {"template": template}}, **spec}}
    selector = {"matchLabels": {"app": "thing"}}
    return {
        "metadata": {"name": "thing"},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def _template(plural: str, document: dict[str, Any]) -> dict[str, Any]:
    found = document
    for key in TEMPLATES.get(plural, ("spec", "template")):
        found = found[key]
    return found


def _image(plural: str, document: dict[str, Any]) -> str:
    return _template(plural, document)["spec"]["containers"][0]["image"]


def set_image(document: dict[str, Any], image: str) -> None:
    """Change the image of a Deployment's document."""
    _template("deployments", document)["spec"]["containers"][0]["image"] = image


def _apply(old: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """A JSON patch (RFC 6902), as far as the patcher uses it: atomic, and 422 where a test fails."""
    new = copy.deepcopy(old)
    for operation in operations:
        *parents, last = operation["path"].split("/")[1:]
        place: Any = new
        try:
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if operation["op"] == "test":
                if place[last] != operation["value"]:
                    raise LookupError(operation["path"])
            elif operation["op"] == "replace" and last not in place:
                raise LookupError(operation["path"])
            else:
                place[last] = copy.deepcopy(operation["value"])
        except (LookupError, ValueError) as error:
            raise ApiError(422, "the server rejected our request due to an error in our request") from error
    return new


class ModelTransport:
    """Requests to a model, as bytes."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.cluster = cluster

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media: str = "",
        params: Any = None,
        seconds: float = 0,
    ) -> bytes:
        sent = msgspec.json.decode(body) if body is not None else None
        return msgspec.json.encode(self.cluster.handle(method, path, sent, dict(params or {})))

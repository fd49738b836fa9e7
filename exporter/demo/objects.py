"""The objects of the stand-in cluster: their versions and changes, and the work of a cluster's controllers.

Nothing here awaits, so no other task sees a partial change.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.kinds import KINDS, Kind

Document = dict[str, Any]

# The other kinds that the patcher reads and writes.
APPROVALS = Kind(
    name="ImagePatchApproval", group="image-patch.mojaloop.io", version="v1alpha1", plural="imagepatchapprovals"
)
EVENTS = Kind(name="Event", group="", plural="events")
SERVED = {kind.name: kind for kind in (*KINDS.values(), APPROVALS, EVENTS)}
"""Every supported kind, by name."""
RESOURCES = {kind.plural: kind for kind in SERVED.values()}
# Older watches get 410 Gone, as after etcd's compaction.
_KEPT_EVENTS = 2000
_NODES = 2
# The kinds that the controller manager creates pods for. Argo's and OpenShift's controllers are missing.
_ROLLED_OUT = ("deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers")


class Event(NamedTuple):
    """A change: the object before (None if created) and after (None if deleted)."""

    version: int
    plural: str
    before: Document | None
    after: Document | None

    def seen(self, selected: Callable[[Document], bool]) -> tuple[str, Document] | None:
        """Return the change as seen by a watch with selectors: an object that no longer matches was deleted."""
        was = self.before is not None and selected(self.before)
        if self.after is not None and selected(self.after):
            return "MODIFIED" if was else "ADDED", self.after
        if was and self.before is not None:
            metadata = {**self.before["metadata"], "resourceVersion": str(self.version)}
            return "DELETED", {**self.before, "metadata": metadata}
        return None


class Objects:
    """The objects, and their last changes.

    Attributes:
        version: of the newest change; the source of resource versions.
        oldest: the version since which every change is known.
        changed: set at the next change, then replaced by a new one.
    """

    def __init__(self) -> None:
        self.version = 1
        self.oldest = 1
        self.changed = asyncio.Event()
        self._objects: dict[str, dict[tuple[str, str], Document]] = {plural: {} for plural in RESOURCES}
        self._events: list[Event] = []

    def get(self, plural: str, namespace: str, name: str) -> Document | None:
        """Return an object, which must not be changed in place."""
        return self._objects[plural].get((namespace, name))

    def of(self, plural: str) -> list[Document]:
        """Return all objects of a kind, sorted by namespace and name."""
        return [thing for _, thing in sorted(self._objects[plural].items())]

    def since(self, version: int) -> list[Event]:
        """Return the changes after a version that is not older than `oldest`."""
        return [event for event in self._events if event.version > version]

    def put(self, document: Document) -> Document:
        """Create or replace an object, and update those that it controls. An unchanged object keeps its version."""
        plural = SERVED[document["kind"]].plural
        stored = copy.deepcopy(document)
        metadata = stored.setdefault("metadata", {})
        place = (metadata.setdefault("namespace", "default"), metadata["name"])
        before = self._objects[plural].get(place)
        new: Document = {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 0, "resourceVersion": ""}
        metadata |= {key: (before["metadata"] if before else new)[key] for key in new}
        other_spec = before is None or before.get("spec") != stored.get("spec")
        metadata["generation"] += other_spec
        _set_status(plural, stored)
        if before is not None and stored == before:
            return before
        self._tell(plural, place, stored)
        if other_spec:
            self._roll_out(plural, stored)
        return stored

    def remove(self, plural: str, namespace: str, name: str) -> Document | None:
        """Delete an object and those that it controls, and return it."""
        gone = self._objects[plural].get((namespace, name))
        if gone is not None:
            self._tell(plural, (namespace, name), None)
            for other, objects in self._objects.items():
                for place in [place for place, thing in objects.items() if _controlled_by(thing, gone)]:
                    self.remove(other, *place)
        return gone

    def forget(self) -> None:
        """Drop all older changes, like etcd's compaction."""
        self._events.clear()
        self.oldest = self.version
        self._wake()

    def _tell(self, plural: str, place: tuple[str, str], after: Document | None) -> None:
        objects = self._objects[plural]
        before = objects.pop(place, None)
        self.version += 1
        if after is not None:
            after["metadata"]["resourceVersion"] = str(self.version)
            objects[place] = after
        self._events.append(Event(self.version, plural, before, after))
        if len(self._events) > _KEPT_EVENTS:
            del self._events[: _KEPT_EVENTS // 2]
            self.oldest = self._events[0].version - 1
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _roll_out(self, plural: str, thing: Document) -> None:
        """Create the ReplicaSet and pods of a template, like the controller manager. The pods run immediately."""
        spec, metadata = thing.get("spec", {}), thing["metadata"]
        template = spec.get("template")
        if template is None or plural not in _ROLLED_OUT:
            return
        if plural == "deployments":
            short = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
            name = f"{metadata['name']}-{short}"
            made = {key: spec[key] for key in ("selector", "template") if key in spec}
            self.put(_child(thing, "replicasets", name, {"replicas": spec.get("replicas", 1), **made}))
            for other in [one for one in self.of("replicasets") if _controlled_by(one, thing)]:
                if other["metadata"]["name"] != name and other["spec"]["replicas"]:
                    self.put({**other, "spec": {**other["spec"], "replicas": 0}})
            return
        for place in [place for place, pod in self._objects["pods"].items() if _controlled_by(pod, thing)]:
            self.remove("pods", *place)
        for number in range(_NODES if plural == "daemonsets" else spec.get("replicas", 1)):
            pod = _child(thing, "pods", f"{metadata['name']}-{number}", template.get("spec", {}))
            pod["metadata"] |= {k: v for k, v in template.get("metadata", {}).items() if k in ("labels", "annotations")}
            self.put(pod)


def apply_json_patch(document: Document, operations: list[Document]) -> Document:
    """Apply a JSON patch (RFC 6902: test, add, replace, remove) to a document, atomically.

    Raises:
        ValueError: a test fails, or an operation is unknown.
        LookupError: a path does not exist, or an operation is incomplete.
        TypeError: a path leads through a scalar.
    """
    changed = copy.deepcopy(document)
    for operation in operations:
        kind = operation["op"]
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target: Any = changed
        for part in parents:
            target = target[_key(target, part)]
        key = _key(target, last, adding=kind == "add")
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
            raise ValueError(f"the stand-in does not support operation {kind!r}")
    return changed


def _key(target: Any, part: str, *, adding: bool = False) -> Any:
    """Return the key or index for a part of a JSON pointer (RFC 6901)."""
    if not isinstance(target, list):
        return part
    if part == "-" and adding:
        return len(target)
    # Negative numbers count from the end, which no standard has but every API server does.
    size = len(target) + adding
    if re.fullmatch(r"-?(0|[1-9]\d{0,8})", part) is None or not -size <= int(part) < size:
        raise LookupError(f"no index {part} in a list of {len(target)}")
    return int(part) % size


def _child(owner: Document, plural: str, name: str, spec: Document) -> Document:
    metadata, resource = owner["metadata"], RESOURCES[plural]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": resource.api_version,
        "kind": resource.name,
        "metadata": {"name": name, "namespace": metadata["namespace"], "ownerReferences": [reference]},
        "spec": spec,
    }


def _controlled_by(thing: Document, owner: Document) -> bool:
    references = thing["metadata"].get("ownerReferences", ())
    return any(reference.get("uid") == owner["metadata"]["uid"] for reference in references)


def _set_status(plural: str, thing: Document) -> None:
    """Set the status after a complete rollout."""
    if RESOURCES[plural].name not in KINDS:
        return
    spec, status = thing.get("spec", {}), thing.setdefault("status", {})
    if plural == "pods":
        status.setdefault("phase", "Running")
    if plural not in _ROLLED_OUT:
        return
    status["observedGeneration"] = thing["metadata"]["generation"]
    count = spec.get("replicas", 1)
    if plural == "daemonsets":
        scheduled = ("currentNumberScheduled", "updatedNumberScheduled", "desiredNumberScheduled")
        status |= dict.fromkeys((*scheduled, "numberReady", "numberAvailable"), _NODES)
    else:
        status |= {"replicas": count, "readyReplicas": count, "availableReplicas": count}
        if not RESOURCES[plural].revision:
            status["updatedReplicas"] = count


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

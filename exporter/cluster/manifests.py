"""Workloads from manifests, such as the output of `helm template`, instead of a cluster.

Structs and rules are those of cluster objects. Every pod template in a custom resource counts, wherever it is.
Documents of other kinds are skipped. An unusable manifest is an error with its file, document, line and what to do,
because a CI gate that skips invalid input passes everything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from exporter import kinds
from exporter.cluster.decode import Object, PodMetadata
from exporter.cluster.documents import Document, ManifestError, contents, documents, hint, place
from exporter.cluster.templates import merge, to_workloads
from exporter.kinds import Kind
from exporter.places import Place, Places
from exporter.workloads import ContainerType, Workload, WorkloadKey, is_kind, is_object_name

__all__ = ["ManifestError", "contents", "read"]

_log = logging.getLogger(__name__)

_LISTS = {ContainerType.CONTAINER: "containers", ContainerType.INIT_CONTAINER: "initContainers"}


def read(names: Iterable[str], *, namespace: str = "default", places: Places | None = None) -> list[Workload]:
    """Return the workloads of manifests, in file order.

    Objects with the same name (a base and its overlay, Jobs of one `generateName`) become one workload with the
    containers of all, because it is unknown which of them will run.

    Args:
        names: files, folders (their `.yaml`, `.yml` and `.json` files at any depth), or `-` for standard input.
        namespace: namespace of objects without one.
        places: receives the location of each container.

    Raises:
        ManifestError: a file cannot be read, or is not a manifest.
    """
    found: dict[WorkloadKey, list[Workload]] = {}
    for name in names:
        for where, content in contents(name):
            some = False
            for workload, spec, document in _workloads(content, where, namespace):
                some = True
                found.setdefault(workload.key, []).append(workload)
                if places is not None:
                    _note(places, "" if name == "-" else where, workload, spec, document)
            if not some:
                _log.warning("%s: no workloads found", where)
    return [workload for parts in found.values() if (workload := _together(parts)).containers]


def _together(parts: list[Workload]) -> Workload:
    """Merge the parts with one name into a workload.

    Only annotations common to all parts are kept, so an `ignore` never covers the containers of another part.
    """
    declared = [part for part in parts if part.declared] or parts
    running = [part for part in declared if part.containers] or declared[:1]
    agreed = set(running[0].annotations).intersection(*(part.annotations for part in running[1:]))
    return replace(merge(running), annotations=tuple(sorted(agreed)))


def _note(places: Places, file: str, workload: Workload, spec: Any, document: Document) -> None:
    for container in workload.containers:
        written = spec[_LISTS[container.type]][container.position]
        places.add(workload.key, container, Place(file, document.images.get(id(written), document.line)))


def _workloads(content: bytes, where: str, namespace: str) -> Iterator[tuple[Workload, Any, Document]]:
    """Yield the workloads of a file, each with the pod specification as written, and its document."""
    for number, document in enumerate(documents(content, where), 1):
        at = place(where, number, document.line)
        if document.content is not None and not isinstance(document.content, dict):
            raise ManifestError(f"{at}: expected a mapping (a Kubernetes object)")
        for thing in _objects(document.content):
            name = thing.get("kind")
            if not isinstance(name, str):
                continue
            try:
                for workload, spec in _parts(name, thing, namespace):
                    yield workload, spec, document
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                raise ManifestError(f"{at}: invalid {name}: {error}{hint(content)}") from error


def _parts(name: str, thing: dict[str, Any], namespace: str) -> Iterator[tuple[Workload, Any]]:
    """Yield an object's contributions to workloads, if it runs any containers.

    Yields:
        A workload, and the pod specification as written; None if it has no containers.

    Raises:
        ValueError, TypeError, msgspec.ValidationError: the API server would reject the object.
    """
    version = thing.get("apiVersion")
    if version is None:
        if name in kinds.KINDS and "metadata" in thing:
            raise ValueError("apiVersion is missing")
        return
    metadata = dict(thing.get("metadata") or {})
    # The API server has not completed a generateName yet.
    metadata["name"] = metadata.get("name") or str(metadata.get("generateName") or "").rstrip("-.")
    metadata["namespace"] = metadata.get("namespace") or namespace
    if (kind := kinds.find(name, str(version))) is not None:
        parts = [{**thing, "metadata": metadata}]
    elif (kind := _custom(name, str(version))) is not None:
        parts = [{"metadata": metadata, "spec": {"template": found}} for found in _pod_templates(thing)]
    else:
        return
    for part in parts:
        annotations = msgspec.convert(part, PodMetadata).metadata.annotations if not kind.template else None
        for workload in to_workloads(kind, msgspec.convert(part, Object), pod_annotations=annotations):
            _check(workload)
            yield workload, _written_spec(part, kind) if workload.containers else None


def _written_spec(part: dict[str, Any], kind: Kind) -> Any:
    """Return the pod specification, at the path that `to_workloads` reads."""
    found: Any = part
    for key in (*kind.template, "spec"):
        found = found[key]
    return found


def _custom(name: str, version: str) -> Kind | None:
    """Return a kind for custom resources of this name, with the usual template path; None for built-in kinds."""
    group = version.rpartition("/")[0]
    return Kind(name=f"{name}.{group}", group=group, plural="", patchable=False) if "." in group else None


def _pod_templates(thing: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every pod template in a custom resource: containers with images, and the metadata next to them."""
    waiting = [value for key, value in reversed(thing.items()) if key not in ("metadata", "status")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif not isinstance(value, dict):
            continue
        elif _is_pod_spec(value.get("spec")):
            yield {key: value[key] for key in ("metadata", "spec") if key in value}
        elif _is_pod_spec(value):
            yield {"spec": value}
        else:
            waiting.extend(reversed(value.values()))


def _is_pod_spec(value: Any) -> bool:
    containers = value.get("containers") if isinstance(value, dict) else None
    return isinstance(containers, list) and any(
        isinstance(container, dict) and {"name", "image"} <= container.keys() for container in containers
    )


def _check(workload: Workload) -> None:
    """Refuse names that the exporter would ignore or could not judge."""
    key = workload.key
    if not is_kind(key.kind):
        raise ValueError(f"{key.kind!r} is not a kind")
    names = {
        "namespace": [key.namespace],
        "name": [key.name],
        "container's name": [c.name for c in workload.containers],
    }
    for what, texts in names.items():
        for text in texts:
            if not is_object_name(text):
                raise ValueError(f"{text!r} is not a {what}, expected lower case letters, digits, '-' and '.'")
    for container in workload.containers:
        if "{{" in container.image:
            raise ValueError(f"{container.image!r} is not an image")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the object of a document, or those of a list (`kind: List`)."""
    if not isinstance(document, dict):
        return
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        # Items of a typed list may omit apiVersion and kind.
        implied = {"apiVersion": document.get("apiVersion"), "kind": str(document["kind"]).removesuffix("List")}
        for item in items:
            if isinstance(item, dict):
                yield {**(implied if implied["kind"] else {}), **item}
    else:
        yield document

"""What `helm template` or a folder's YAML would run: manifests instead of a cluster.

The same structures and rules as for a cluster's objects; only the way in differs. Of a custom resource every pod
template counts, wherever it is. Documents of other kinds are passed over. What is not a usable manifest is an error
with its file, document, line and what to do: a gate in a pipeline that skips what it does not understand passes
everything.
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
    """The workloads of manifests, in the order in which they are there.

    What is there more than once (a base and its overlay, Jobs of one `generateName`) is one workload with the
    containers of all, because nobody knows which of them will run.

    Args:
        names: files, folders (whose `.yaml`, `.yml` and `.json` files are read, at any depth), or `-` for standard
            input.
        namespace: of objects that name none.
        places: is told where each container is.

    Raises:
        ManifestError: one cannot be read, or is not a manifest.
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
                _log.warning("%s: nothing in it runs containers", where)
    return [workload for parts in found.values() if (workload := _together(parts)).containers]


def _together(parts: list[Workload]) -> Workload:
    """One workload from all parts of one name.

    Only annotations that all agree on hold, so that no `ignore` covers the containers of another part.
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
    """The workloads of a file, each with the pod's specification as it is written, and its document."""
    for number, document in enumerate(documents(content, where), 1):
        at = place(where, number, document.line)
        if document.content is not None and not isinstance(document.content, dict):
            raise ManifestError(f"{at}: this is not a YAML mapping, as Kubernetes objects are")
        for thing in _objects(document.content):
            name = thing.get("kind")
            if not isinstance(name, str):
                continue
            try:
                for workload, spec in _parts(name, thing, namespace):
                    yield workload, spec, document
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                raise ManifestError(f"{at}: {name} is not valid: {error}{hint(content)}") from error


def _parts(name: str, thing: dict[str, Any], namespace: str) -> Iterator[tuple[Workload, Any]]:
    """What an object says about workloads; nothing if it runs nothing.

    Yields:
        A workload, and the pod's specification as it is written; None if it has no containers.

    Raises:
        ValueError: the API server would not accept it. TypeError, msgspec.ValidationError: likewise.
    """
    version = thing.get("apiVersion")
    if version is None:
        if name in kinds.KINDS and "metadata" in thing:
            raise ValueError("it has no apiVersion")
        return
    metadata = dict(thing.get("metadata") or {})
    # Names that the API server makes up are not known yet.
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
    """The pod's specification, at the path that `to_workloads` read it from."""
    found: Any = part
    for key in (*kind.template, "spec"):
        found = found[key]
    return found


def _custom(name: str, version: str) -> Kind | None:
    """A kind for custom resources of this name, with a template where most have theirs; None for built-in kinds."""
    group = version.rpartition("/")[0]
    return Kind(name=f"{name}.{group}", group=group, plural="", patchable=False) if "." in group else None


def _pod_templates(thing: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every pod template in a custom resource: what has containers with images, and the metadata next to it."""
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
    """Refuse what the exporter would leave out, or could not judge, only because of its names."""
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
    """The object of a document, or those of a list (`kind: List`)."""
    if not isinstance(document, dict):
        return
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        # The items of a typed list need not say what they are.
        implied = {"apiVersion": document.get("apiVersion"), "kind": str(document["kind"]).removesuffix("List")}
        for item in items:
            if isinstance(item, dict):
                yield {**(implied if implied["kind"] else {}), **item}
    else:
        yield document

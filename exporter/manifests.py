"""What `helm template` or a folder's YAML would run: manifests instead of a cluster.

The same structures and rules as for a cluster's objects; only the way in differs. Documents of other kinds are passed over, and what is
no usable manifest is an error with its file, document, line and what to do: a gate in a pipeline that skips what it does not understand
passes everything.

Files are anybody's. YAML's anchors and nesting are bounded, so that a small file costs neither memory nor the process.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from exporter.cluster.decode import Object, PodMetadata
from exporter.cluster.templates import GROUPS, merge, to_workload
from exporter.workloads import Workload, WorkloadKey, is_object_name

_log = logging.getLogger(__name__)
_ENDINGS = (".yaml", ".yml", ".json")
_KINDS = {"Pod": "", **GROUPS}
# libyaml is some ten times faster on the thousands of lines of a rendered chart.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Custom resource definitions, the deepest objects that there are, stay below 50. libyaml's recursion overflows the stack at some 50,000.
_DEPTH = 500
_RENDER = "; this is a chart's template: run `helm template` first"
# A date is text to Kubernetes, and a lone `=`, which stands in custom resource definitions, is nothing special.
_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Reads YAML as Kubernetes does, within bounds."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [resolver for resolver in resolvers if resolver[0] not in _TEXT]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            raise yaml.YAMLError(f"it is nested more than {_DEPTH} deep")
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        self._depth -= 1
        super().ascend_resolver()

    def flatten_mapping(self, node: Any) -> None:
        """Take merge keys (`<<`) in; what they repeat goes at once, or each level of them would multiply it."""
        before = node.value
        super().flatten_mapping(node)
        if node.value is not before:
            last = {
                (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)): (key, value)
                for key, value in node.value
            }
            node.value = list(last.values())


class ManifestError(Exception):
    """A file that cannot be read as manifests; the message says where, and what to do."""


def read(names: Iterable[str], *, namespace: str = "default") -> list[Workload]:
    """The workloads of manifests, in the order in which they stand there.

    What stands there more than once (a base and its overlay, Jobs of one `generateName`) is one workload with the containers of all, as
    nobody knows which of them will run.

    Args:
        names: files, folders (whose `.yaml`, `.yml` and `.json` files are read, at any depth), or `-` for standard input.
        namespace: of objects that name none.

    Raises:
        ManifestError: one cannot be read, or is no manifest.
    """
    found: dict[WorkloadKey, list[Workload]] = {}
    for name in names:
        for where, content in _contents(name):
            some = False
            for workload in _workloads(content, where, namespace):
                some = True
                found.setdefault(workload.key, []).append(workload)
            if not some:
                _log.warning("%s: nothing in it runs containers", where)
    return [_together(parts) for parts in found.values()]


def _together(parts: list[Workload]) -> Workload:
    """One workload from all that stands under its name; only annotations that all agree on hold, so that no `ignore` covers others."""
    running = [part for part in parts if part.containers] or parts[:1]
    agreed = set(running[0].annotations).intersection(*(part.annotations for part in running[1:]))
    return replace(merge(running), annotations=tuple(sorted(agreed)))


def _contents(name: str) -> Iterator[tuple[str, bytes]]:
    try:
        if name == "-":
            yield "standard input", sys.stdin.buffer.read()
        elif (folder := Path(name)).is_dir():
            files = sorted(file for file in folder.rglob("*") if file.suffix in _ENDINGS and file.is_file())
            if not files:
                raise ManifestError(f"{name}: no file in it ends in {', '.join(_ENDINGS)}")
            for file in files:
                yield str(file), file.read_bytes()
        else:
            yield name, Path(name).read_bytes()
    except OSError as error:
        raise ManifestError(f"{error.filename or name}: {error.strerror}") from error


def _workloads(content: bytes, where: str, namespace: str) -> Iterator[Workload]:
    for number, (line, document) in enumerate(_documents(content, where), 1):
        for thing in _objects(document):
            kind = thing.get("kind")
            if not isinstance(kind, str) or kind not in _KINDS:
                continue
            try:
                workload = _workload(kind, thing, namespace)
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                hint = _RENDER if b"{{" in content else ""
                raise ManifestError(f"{_place(where, number, line)}: this is no {kind}: {error}{hint}") from error
            if workload is not None:
                yield workload


def _workload(kind: str, thing: dict[str, Any], namespace: str) -> Workload | None:
    """The workload of an object; None where it runs nothing, or is another one's kind of this name.

    Raises:
        ValueError: the API server would not take it. TypeError, msgspec.ValidationError: likewise.
    """
    version = thing.get("apiVersion")
    if version is None and "metadata" in thing:
        raise ValueError("it has no apiVersion")
    if version is None or str(version).rpartition("/")[0] != _KINDS[kind]:
        return None
    metadata = dict(thing.get("metadata") or {})
    # Names that the API server makes up are not known yet.
    metadata["name"] = metadata.get("name") or str(metadata.get("generateName") or "").rstrip("-.")
    metadata["namespace"] = metadata.get("namespace") or namespace
    thing = {**thing, "metadata": metadata}
    annotations = msgspec.convert(thing, PodMetadata).metadata.annotations if kind == "Pod" else None
    workload = to_workload(kind, msgspec.convert(thing, Object), pod_annotations=annotations)
    if workload is not None:
        _check(workload)
    return workload


def _check(workload: Workload) -> None:
    """Refuse what would be left out, or unknown, for its names alone."""
    key = workload.key
    names = {
        "namespace": [key.namespace],
        "name": [key.name],
        "container's name": [c.name for c in workload.containers],
    }
    for what, texts in names.items():
        for text in texts:
            if not is_object_name(text):
                raise ValueError(f"{text!r} is no {what}, expected lower case letters, digits, '-' and '.'")
    for container in workload.containers:
        if "{{" in container.image:
            raise ValueError(f"{container.image!r} is no image")


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


def _place(where: str, document: int, line: int | None) -> str:
    """Where something is wrong; the only document of a file needs no number."""
    return where + (f", document {document}" if document > 1 else "") + (f", line {line}" if line is not None else "")


def _documents(content: bytes, where: str) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with its first line."""
    if content.lstrip()[:1] == b"{":
        # YAML takes nearly all of JSON, but no tabs before a key, and no surrogates.
        with contextlib.suppress(ValueError, RecursionError):
            documents = [(1, msgspec.json.decode(content))]
            yield from documents
            return
    number = 0
    try:
        loader = _Loader(content)
        try:
            while loader.check_node():
                number += 1
                node = loader.get_node()
                yield node.start_mark.line + 1, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(where, number, mark.line + 1 if mark is not None else None)
        hint = _RENDER if b"{{" in content else ""
        raise ManifestError(f"{place}: this is no YAML: {error.problem or error.context}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).partition("\n")[0]
        raise ManifestError(f"{_place(where, number, None)}: this is no YAML: {said}") from error

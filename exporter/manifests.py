"""What `helm template` or a folder's YAML would run: manifests instead of a cluster.

The same structures and rules as for a cluster's objects; only the way in differs. Documents of other kinds are passed over, and what is
no usable manifest is an error with its file, line and what to do: a gate in a pipeline that skips what it does not understand passes
everything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from exporter.cluster.decode import Object, PodMetadata
from exporter.cluster.templates import GROUPS, to_workload
from exporter.workloads import Workload

_log = logging.getLogger(__name__)
_ENDINGS = (".yaml", ".yml", ".json")
# libyaml is some ten times faster on the thousands of lines of a rendered chart.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestError(Exception):
    """A file that cannot be read as manifests; the message says where, and what to do."""


def read(names: Iterable[str], *, namespace: str = "default") -> Iterator[Workload]:
    """The workloads of manifests, in the order in which they stand there.

    Args:
        names: files, folders (whose `.yaml`, `.yml` and `.json` files are read, at any depth), or `-` for standard input.
        namespace: of objects that name none.

    Raises:
        ManifestError: one cannot be read, or is no manifest.
    """
    for name in names:
        for where, content in _contents(name):
            found = 0
            for workload in _workloads(content, where, namespace):
                found += 1
                yield workload
            if not found:
                _log.warning("%s: nothing in it runs containers", where)


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
    for line, document in _documents(content, where):
        for thing in _objects(document):
            kind = thing.get("kind")
            group = str(thing.get("apiVersion", "")).rpartition("/")[0]
            if not isinstance(kind, str) or GROUPS.get(kind, "" if kind == "Pod" else None) != group:
                continue
            try:
                metadata = dict(thing.get("metadata") or {})
                # Names that the API server makes up are not known yet.
                metadata["name"] = metadata.get("name") or str(metadata.get("generateName") or "").rstrip("-.")
                metadata["namespace"] = metadata.get("namespace") or namespace
                thing = {**thing, "metadata": metadata}  # noqa: PLW2901 - the object, made whole
                annotations = msgspec.convert(thing, PodMetadata).metadata.annotations if kind == "Pod" else None
                workload = to_workload(kind, msgspec.convert(thing, Object), pod_annotations=annotations)
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                raise ManifestError(f"{where}, document of line {line}: this is no {kind}: {error}") from error
            if workload is not None:
                yield workload


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


def _documents(content: bytes, where: str) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with its first line."""
    try:
        loader = _Loader(content)
        try:
            while loader.check_node():
                node = loader.get_node()
                yield node.start_mark.line + 1, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        hint = "; this is a chart's template: run `helm template` first" if b"{{" in content else ""
        raise ManifestError(f"{place}: this is no YAML: {error.problem or error.context}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: this is no YAML: {str(error).partition(chr(10))[0]}") from error

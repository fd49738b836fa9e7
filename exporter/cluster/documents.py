"""The documents of YAML and JSON files, each with the line that it begins at.

Files may come from anybody. YAML's anchors and nesting are bounded, so that a small file costs neither memory nor the
process.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

_ENDINGS = (".yaml", ".yml", ".json")
# libyaml is some ten times faster on the thousands of lines of a rendered chart.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Custom resource definitions, the deepest objects that exist, stay below 50. libyaml's recursion overflows the stack
# at some 50,000.
_DEPTH = 500
# A date is text to Kubernetes, and a lone `=`, which custom resource definitions contain, is nothing special.
_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")

_NOT_JSON: Any = object()


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
        """Resolve merge keys (`<<`).

        What they repeat is dropped at once, because each level of them would multiply it.
        """
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


def contents(name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a folder at any depth, a file, or standard input for `-`, each with its content.

    Raises:
        ManifestError: one cannot be read, or the folder has none.
    """
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


def place(where: str, document: int, line: int | None) -> str:
    """Where something is wrong; the only document of a file needs no number."""
    return where + (f", document {document}" if document > 1 else "") + (f", line {line}" if line is not None else "")


def hint(content: bytes) -> str:
    """What to do about a file that is wrong, if its content tells."""
    return "; this is a chart's template: run `helm template` first" if b"{{" in content else ""


def documents(content: bytes, where: str) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with its first line.

    Raises:
        ManifestError: it is neither YAML nor JSON, or nested too deep.
    """
    if content.lstrip()[:1] == b"{":
        # YAML accepts nearly all of JSON, but no tabs before a key, and no surrogates.
        document = _NOT_JSON
        with contextlib.suppress(ValueError, RecursionError):
            document = msgspec.json.decode(content)
        if document is not _NOT_JSON:
            yield 1, document
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
        line = mark.line + 1 if mark is not None else None
        what = f"{error.problem or error.context}{hint(content)}"
        raise ManifestError(f"{place(where, number, line)}: this is not valid YAML: {what}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = str(error).partition("\n")[0]
        raise ManifestError(f"{place(where, number, None)}: this is not valid YAML: {what}") from error

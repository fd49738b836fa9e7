"""Documents of YAML and JSON files, with line numbers of the documents and their images.

A pipeline checks files before anyone has reviewed them. Limits on file size, nesting and alias expansion keep a small
file cheap in time and memory.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import yaml

from exporter.logs import shown
from exporter.yaml_numbers import NUMBERS, decimal_resolvers

_ENDINGS = (".yaml", ".yml", ".json")
# libyaml is about ten times faster on the thousands of lines of a rendered chart.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A rendered chart has about 10 MiB.
_LARGEST_FILE = 64 << 20
# A value takes PyYAML about 1 KiB. The API server accepts objects of 1.5 MiB, which have about 100,000 values.
_MOST_VALUES = 500_000
# Manifests rarely use aliases, and then for a few labels.
_MOST_REPEATED = 100_000
# Custom resource definitions are the deepest objects in use and stay below 50. libyaml's recursion overflows the stack
# at about 50,000.
_DEPTH = 500
# Kubernetes treats a date as text. A lone `=`, which occurs in custom resource definitions, has no special meaning.
_TAG = "tag:yaml.org,2002:"
_TEXT = _TAG + "str"
_PLAIN = (_TAG + "timestamp", _TAG + "value")

_NOT_JSON: Any = object()


class Document(NamedTuple):
    """A document of a file.

    Attributes:
        line: its first line, from 1.
        content: its value.
        images: line of the `image` value of each mapping that has one, by `id` of the mapping. Empty for JSON.
    """

    line: int
    content: Any
    images: Mapping[int, int]


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Loader that reads YAML like Kubernetes, within limits."""

    yaml_implicit_resolvers = decimal_resolvers(_SafeLoader, without=_PLAIN)
    _depth = 0
    _values = 0

    def get_document(self) -> yaml.Node:
        """Return the next document without constructing it."""
        self._values = 0
        self.images: dict[int, int] = {}
        root: yaml.Node = self.get_node()
        _refuse_repetition(root, self._values)
        return root

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self._depth += 1
        self._values += 1
        if self._depth > _DEPTH:
            raise _LimitError(f"nested more than {_DEPTH} levels deep", current_node)
        if self._values > _MOST_VALUES:
            raise _LimitError(
                f"the document has more than {_MOST_VALUES:,} values; split it, or use JSON", current_node
            )
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        self._depth -= 1
        super().ascend_resolver()

    def flatten_mapping(self, node: Any) -> None:
        """Resolve merge keys (`<<`).

        Duplicates are dropped at once, because each level of merge keys would multiply them. Numeric keys become text,
        as in Kubernetes. Python's hash of numbers is not secret, so an attacker could make them collide.
        """
        before = node.value
        super().flatten_mapping(node)
        for key, _ in node.value:
            if key.tag in NUMBERS:
                key.tag = _TEXT
        if node.value is not before:
            last = {
                (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)): (key, value)
                for key, value in node.value
            }
            node.value = list(last.values())


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    """Construct a mapping and record the line of its image. Nodes know their lines, values do not."""
    constructed: dict[Any, Any] = {}
    yield constructed
    constructed.update(loader.construct_mapping(node))
    for key, value in node.value:
        if key.value == "image":
            loader.images[id(constructed)] = value.start_mark.line + 1


_Loader.add_constructor(_TAG + "map", _mapping)


class _LimitError(yaml.MarkedYAMLError):
    """Valid YAML that exceeds a limit."""

    def __init__(self, problem: str, node: yaml.Node | None) -> None:
        super().__init__(problem=problem, problem_mark=None if node is None else node.start_mark)


def _constructor(construct: Callable[[_Loader, yaml.Node], Any]) -> Callable[[_Loader, yaml.Node], Any]:
    """Wrap a constructor so that its errors name the problem and the line. PyYAML's raise arbitrary exceptions."""

    def constructed(loader: _Loader, node: yaml.Node) -> Any:
        try:
            if node.tag not in NUMBERS or ":" not in node.value:
                return construct(loader, node)
            problem = "a base 60 number"
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            problem = f"not of the type {node.tag.removeprefix(_TAG)}"
        raise yaml.MarkedYAMLError(problem=f"{shown(repr(node.value))} is {problem}", problem_mark=node.start_mark)

    return constructed


for _type in ("binary", "bool", "float", "int", "null", "timestamp"):
    _Loader.add_constructor(_TAG + _type, _constructor(_SafeLoader.yaml_constructors[_TAG + _type]))


def _refuse_repetition(root: yaml.Node, values: int) -> None:
    """Refuse a document that contains itself or whose aliases expand too far.

    Args:
        root: root node of the document.
        values: number of nodes, counting repeated ones once.

    Raises:
        _LimitError: names the first node that is too large with its aliases expanded.
    """
    # Expanded size and depth of each finished collection.
    sizes: dict[yaml.Node, tuple[int, int]] = {}
    above: set[yaml.Node] = set()
    todo = [(root, False)]
    while todo:
        node, finished = todo.pop()
        if node in sizes:
            continue
        parts = _parts(node)
        inner = [part for part in parts if not isinstance(part, yaml.ScalarNode)]
        if finished or not inner:
            above.discard(node)
            known = [sizes[part] for part in inner]
            count = 1 + len(parts) - len(inner) + sum(count for count, _ in known)
            depth = 1 + max((depth for _, depth in known), default=1)
            if count > values + _MOST_REPEATED:
                raise _LimitError(f"aliases repeat more than {_MOST_REPEATED:,} values", node)
            if depth > _DEPTH:
                raise _LimitError(f"with aliases expanded, nested more than {_DEPTH} levels deep", node)
            sizes[node] = count, depth
        elif node in above:
            raise _LimitError("an alias refers to a value that contains it", node)
        else:
            above.add(node)
            todo.append((node, True))
            todo.extend((part, False) for part in inner)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for entry in node.value for part in entry]
    return node.value if isinstance(node, yaml.SequenceNode) else []


class ManifestError(Exception):
    """A file is not a usable manifest. The message says where, and what to do."""


def contents(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of a file, of a folder's files at any depth, or of standard input for `-`.

    Raises:
        ManifestError: a file cannot be read or is too large, or the folder has none.
    """
    try:
        if name == "-":
            if sys.stdin is None:  # Python sets it to None if it was closed before the start
                raise ManifestError("standard input is closed")
            yield "standard input", _read("standard input", sys.stdin.buffer)
        elif (folder := Path(name)).is_dir():
            files = sorted(file for file in folder.rglob("*") if file.suffix in _ENDINGS and file.is_file())
            if not files:
                raise ManifestError(f"{name}: no files ending in {', '.join(_ENDINGS)}")
            for file in files:
                yield str(file), _read_file(file)
        else:
            yield name, _read_file(Path(name))
    except OSError as error:
        raise ManifestError(f"{error.filename or name}: {error.strerror}") from error


def _read_file(path: Path) -> bytes:
    with path.open("rb") as opened:
        return _read(str(path), opened)


def _read(name: str, opened: IO[bytes]) -> bytes:
    content = opened.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ManifestError(f"{name}: larger than {_LARGEST_FILE >> 20} MiB; split it")
    return content


def place(where: str, document: int, line: int | None) -> str:
    """Return a location for an error. The only document of a file has no number."""
    return where + (f", document {document}" if document > 1 else "") + (f", line {line}" if line is not None else "")


def hint(content: bytes) -> str:
    """Return advice for an invalid file, if its content suggests any."""
    return "; this is a Helm template, run `helm template` first" if b"{{" in content else ""


def documents(content: bytes, where: str) -> Iterator[Document]:
    """Yield the documents of a file.

    Raises:
        ManifestError: the file is neither YAML nor JSON, or exceeds a limit.
    """
    if content.lstrip()[:1] == b"{":
        # YAML accepts almost all JSON, but no tabs before a key and no surrogates.
        document = _NOT_JSON
        with contextlib.suppress(ValueError, RecursionError):
            document = msgspec.json.decode(content)
        if document is not _NOT_JSON:
            yield Document(1, document, {})
            return
    number = 0
    try:
        loader = _Loader(content)
        try:
            while loader.check_node():
                number += 1
                node = loader.get_document()
                yield Document(node.start_mark.line + 1, loader.construct_document(node), loader.images)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        kind = "" if isinstance(error, _LimitError) else "invalid YAML: "
        raise ManifestError(
            f"{place(where, number, line)}: {kind}{error.problem or error.context}{hint(content)}"
        ) from error
    except RecursionError as error:
        raise ManifestError(f"{place(where, number, None)}: keys or merge keys are nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        what = str(error).partition("\n")[0]
        raise ManifestError(f"{place(where, number, None)}: invalid YAML: {what}") from error

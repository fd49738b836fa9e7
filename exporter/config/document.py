"""A YAML document with the line of every value, so every error can name the place of the mistake.

Only what a configuration needs is accepted: mappings with string keys, lists and plain values, in one document of at
most 1 MiB and 50 levels. Aliases, merge keys and tags are refused: with aliases a small file can expand to gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import yaml

from exporter.cron import DEFAULT_ZONE
from exporter.yaml_numbers import decimal_resolvers

_LARGEST_FILE = 1 << 20
# The deepest key, a list in an entry of `registries`, is at level 4.
_DEEPEST = 50
_LONGEST_SHOWN = 60
_MERGE = "tag:yaml.org,2002:merge"


class ConfigurationError(Exception):
    """An invalid configuration. The message names the place, what was found and what is expected.

    Attributes:
        line: line of the file, from 1; 0 if there is none.
    """

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place in the document.

    Attributes:
        value: a plain value; a dict from (key, line), read by `entries`; or a list of (value, line), read by `items`.
        where: the file, environment variable or option.
        line: from 1; None if the source has no lines.
        path: path of the key, such as `registries.ghcr.io.allow`; empty at the top level.
        files: whether files named by the value must exist.
        zone: time zone of local times without one: the key `timezone`.
    """

    value: Any
    where: str
    line: int | None
    path: str = ""
    files: bool = True
    zone: ZoneInfo = DEFAULT_ZONE

    def wrong(self, expected: str, *, found: str | None = None) -> NoReturn:
        """Reject the value.

        Args:
            expected: description of a valid value.
            found: description of the value, if the value itself must not be shown.

        Raises:
            ConfigurationError: always.
            ConfigurationError: always.
        """
        self.refuse(f"found {found or _shown(self.value)}, expected {expected}")

    def refuse(self, problem: str) -> NoReturn:
        """Raise a `ConfigurationError` that starts with the place of the value."""
        place = self.where if self.line is None else f"{self.where}, line {self.line}"
        raise ConfigurationError(f"{place}: {self.path or 'top level'}: {problem}", line=self.line or 0)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Yield the entries of a mapping."""
        if not isinstance(self.value, dict):
            self.wrong("a mapping")
        for (name, line), value in self.value.items():
            shown = printable(name)
            path = f"{self.path}.{shown}" if self.path else shown
            yield name, replace(self, value=value, line=line, path=path)

    def items(self) -> Iterator[Node]:
        """Yield the items of a list."""
        if not isinstance(self.value, list):
            self.wrong("a list")
        for number, (value, line) in enumerate(self.value):
            yield replace(self, value=value, line=line, path=f"{self.path}[{number}]")


def _shown(value: Any) -> str:
    """Format a value for an error. Only the length of a long one is shown: it may be a secret in the wrong place."""
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a huge number"
    return text if len(text) <= _LONGEST_SHOWN else f"a value of {len(text)} characters"


def printable(name: str) -> str:
    """Format a key for an error: on one line, and shortened."""
    text = name if name.isprintable() else repr(name)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def content_of(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        ConfigurationError: the file cannot be read, or is too large.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; expected a readable file") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}: larger than {_LARGEST_FILE} bytes")
    return content


def read_content(content: bytes, path: Path) -> Node:
    """Parse the content of a file.

    Raises:
        ConfigurationError: it is not valid YAML.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: invalid UTF-8", line=line) from error
    return read(text, str(path))


def read(text: str, where: str) -> Node:
    """Parse a YAML text. The value of an empty one is None.

    Args:
        text: YAML.
        where: name of its source in errors.

    Raises:
        ConfigurationError: it is not valid YAML.
    """

    def invalid(line: int | None, why: str) -> ConfigurationError:
        place = where if line is None else f"{where}, line {line}"
        return ConfigurationError(f"{place}: invalid YAML: {why}", line=line or 0)

    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            return Node(None, where, None) if root is None else Node(_plain(loader, root, where), where, 1)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise invalid(None if mark is None else mark.line + 1, why) from error
    except yaml.reader.ReaderError as error:
        raise invalid(text.count("\n", 0, error.position) + 1, "an unprintable character") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and tags."""

    yaml_implicit_resolvers = decimal_resolvers(yaml.SafeLoader)
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            refused = "aliases"
        elif getattr(event, "tag", None) is not None:
            refused = "tags"
        else:
            self._depth += 1
            if self._depth > _DEEPEST:
                problem = f"nested more than {_DEEPEST} levels deep"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
            node = super().compose_node(parent, index)
            self._depth -= 1
            return node
        raise yaml.MarkedYAMLError(problem=f"{refused} are not supported", problem_mark=event.start_mark)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if node.tag == _MERGE:
        raise yaml.MarkedYAMLError(problem="merge keys are not supported", problem_mark=node.start_mark)
    try:
        return loader.construct_object(node)
    except (ValueError, OverflowError) as error:  # 2026-02-31 looks like a date
        problem = "not a valid date or number; put it in quotes"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


def _plain(loader: yaml.SafeLoader, node: yaml.Node, where: str) -> Any:
    """Return the Python value of a node. Keys of mappings and items of lists keep their lines (see `Node.value`)."""
    if isinstance(node, yaml.SequenceNode):
        return [(_plain(loader, item, where), item.start_mark.line + 1) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node)
    entries: dict[tuple[str, int], Any] = {}
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = _scalar(loader, key) if isinstance(key, yaml.ScalarNode) else None
        if not isinstance(name, str):
            raise ConfigurationError(f"{where}, line {line}: a key is not a string; put it in quotes", line=line)
        if name in seen:
            twice = f"{printable(name)}: duplicate key, first on line {seen[name]}"
            raise ConfigurationError(f"{where}, line {line}: {twice}", line=line)
        seen[name] = line
        entries[name, line] = _plain(loader, value, where)
    return entries

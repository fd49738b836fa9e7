"""Loading of a `Configuration` from a file, environment variables and command-line options.

A variable overrides the file, and its value is YAML too. Everything is checked, including overridden values. The error
with the lowest line number is reported.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from exporter.config import parsers
from exporter.config.document import ConfigurationError, Node, content_of, printable, read, read_content
from exporter.config.globs import Globs
from exporter.config.key import ENVIRONMENT_PREFIX, FILE_VARIABLE, Key
from exporter.config.model import Configuration
from exporter.config.schema import KEYS, STATE_FOLDER
from exporter.config.suggest import closest
from exporter.cron import DEFAULT_ZONE
from exporter.registry import DEFAULT_ENTRIES

_KEYS = {tuple(key.name.split(".")): key for key in KEYS}


def load(
    path: Path | None,
    environment: Mapping[str, str],
    *,
    files: bool = True,
    unread: Collection[str] = (),
    content: bytes | None = None,
) -> Configuration:
    """Load the configuration from a file and the environment.

    Args:
        path: path of the file; None if there is none.
        environment: variables by name.
        files: whether files named by the configuration must exist.
        unread: keys whose files this process never reads, so they need not exist.
        content: content of the file, if it was read already (`document.content_of`).

    Raises:
        ConfigurationError: something in it is wrong.
    """
    values: dict[str, Any] = {}
    nodes: dict[str, Node] = {}
    errors: list[ConfigurationError] = []
    written = [*(() if path is None else _from_file(path, content)), *_from_environment(environment)]
    zone = _zone(written)
    for parts, node in written:
        try:
            key = _key(parts, node)
            if key is None or (node.value is None and node.line is not None):
                continue  # a key without a value is not set
            value = key.parse(replace(node, files=files and key.name not in unread, zone=zone))
        except ConfigurationError as error:
            errors.append(error)
            continue
        if parts[-1] in ("include", "exclude"):
            value = replace(values.get(key.field, Globs()), **{parts[-1]: value})
        values[key.field] = value
        nodes[key.field] = node
    if not errors:
        _check_together(values, nodes)
    if errors:
        # Errors in the file precede those in the environment, which have no line.
        raise min(errors, key=lambda error: error.line or math.inf)
    if "state_dir" not in values:
        values["state_dir"] = _default_state_dir(environment)
    if (common := values.get("ca_file")) is not None:
        entries = values.get("registries", DEFAULT_ENTRIES)
        values["registries"] = tuple(replace(entry, ca_file=entry.ca_file or common) for entry in entries)
    return Configuration(**values)


def _check_together(values: Mapping[str, Any], nodes: Mapping[str, Node]) -> None:
    """Reject combinations of keys that need or exclude each other."""
    if values.get("kubernetes") is False and not values.get("watch"):
        nodes["kubernetes"].wrong(
            "at least one image under watch, or kubernetes.enabled: true; otherwise there is nothing to watch"
        )
    if "interval" in nodes and "schedule" in nodes:
        nodes["interval"].refuse("conflicts with schedule, which replaces it; remove one of the two")


def differing(before: Configuration, after: Configuration) -> tuple[Key, ...]:
    """Return the keys whose values differ."""
    return tuple(key for key in KEYS if key.of(before) != key.of(after))


def parse_option(name: str, text: str, *, option: str | None = None) -> Any:
    """Parse a key's value from a command-line option, by default the option of the key's name.

    Raises:
        ConfigurationError: the value is invalid.
    """
    named = option or f"--{name.replace('_', '-')}"
    return _KEYS[tuple(name.split("."))].parse(Node(text, named, None, name))


def _zone(written: Iterable[tuple[tuple[str, ...], Node]]) -> ZoneInfo:
    """Return the time zone for parsing the other keys. An error in it is reported together with all others."""
    zone = DEFAULT_ZONE
    for parts, node in written:
        if parts == ("timezone",) and node.value is not None:
            with contextlib.suppress(ConfigurationError):
                zone = parsers.timezone(node)
    return zone


def _default_state_dir(environment: Mapping[str, str]) -> Path:
    # XDG Base Directory Specification 0.8: a path that is not absolute is ignored.
    state, home = Path(environment.get("XDG_STATE_HOME", "")), Path(environment.get("HOME", ""))
    if not state.is_absolute():
        try:
            state = (home if home.is_absolute() else Path("~").expanduser()) / ".local" / "state"
        except RuntimeError as error:
            raise ConfigurationError("state_dir: no home directory for its default; set a path") from error
    return state / STATE_FOLDER


def _key(parts: tuple[str, ...], node: Node) -> Key | None:
    """Return the key of that name; None for an empty group."""
    if parts in _KEYS:
        return _KEYS[parts]
    if any(parts == known[:-1] for known in _KEYS):
        return None if node.value is None else node.wrong("a mapping")
    group, _, inner = parts[0].partition(".")
    if parts[1:] == () and (group, inner) in _KEYS:
        node.refuse(f"unknown key; write {inner} under {group}")
    siblings = {".".join(known[: len(parts)]) for known in _KEYS if known[: len(parts) - 1] == parts[:-1]}
    return node.refuse(f"unknown key{closest('.'.join(parts), siblings)}")


def _from_file(path: Path, content: bytes | None) -> Iterator[tuple[tuple[str, ...], Node]]:
    root = read_content(content_of(path) if content is None else content, path)
    if root.value is None:  # an empty file, or comments alone
        return
    groups = {known[0] for known in _KEYS if len(known) > 1}
    for name, node in root.entries():
        if name in groups and isinstance(node.value, dict):
            for inner, leaf in node.entries():
                yield (name, inner), leaf
        else:
            yield (name,), node


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], Node]]:
    known = {key.variable: key.name for key in KEYS}
    # Kubernetes sets variables with the address of every Service in the namespace, and one may be named `image-patch`.
    services = [variable.removesuffix("SERVICE_HOST") for variable in environment if variable.endswith("_SERVICE_HOST")]
    foreign = tuple(service + suffix for service in services for suffix in ("SERVICE_", "PORT"))
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in known and variable.startswith(foreign):
            continue
        where = f"environment variable {printable(variable)}"
        if variable not in known:
            raise ConfigurationError(f"{where}: unknown key{closest(variable, known)}")
        node = read(environment[variable], where)
        value = "" if node.value is None else node.value
        name = known[variable]
        yield tuple(name.split(".")), replace(node, value=value, line=None, path=name)

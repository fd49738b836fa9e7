"""The configuration: one YAML file and the environment, whose values are YAML as well and go before the file.

Every key is declared once, in `KEYS` and `REGISTRY_KEYS`; the loader and the README's tables are made of them. What is wrong is said with
file, line, key, what was found and what is expected, the first error by line; nothing is guessed and nothing is passed over.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NoReturn

import httpx
import yaml

from exporter.checker import Settings
from exporter.cluster import KINDS
from exporter.images import InvalidReferenceError, is_host, parse_repository
from exporter.registry import DEFAULT_ENTRIES, Api, RegistryEntry
from exporter.versions import Strategy
from exporter.workloads import WorkloadKey, is_object_name

ENVIRONMENT_PREFIX = "IMAGE_PATCH_"
_LARGEST_FILE = 1 << 20
_LONGEST_SHOWN = 60
_SHORTEST_INTERVAL = 60.0
_STRATEGIES = {"patch": Strategy.PATCH, "bugfix": Strategy.PATCH, "minor": Strategy.MINOR, "major": Strategy.MAJOR}
# As Prometheus writes durations.
_DURATION = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", re.ASCII)
# `fnmatch` takes a bracket that nothing closes for itself; here it is a mistake.
_GLOB = re.compile(r"(?:[^\[\]]|\[!?[^\[\]]+\])+")
_MAGIC = frozenset("*?[")


class ConfigurationError(Exception):
    """A configuration that cannot be obeyed; the message says where, what was found and what is expected.

    Attributes:
        line: of the file, from 1; 0 where there is none.
    """

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Globs:
    """What is taken in and what is left out, by shell patterns; the latter goes before."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, text: str) -> bool:
        """Whether a text is taken in; without `include`, everything is."""
        return (not self.include or any(fnmatchcase(text, glob) for glob in self.include)) and not any(
            fnmatchcase(text, glob) for glob in self.exclude
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the exporter does; the fields are the keys of `KEYS`, read."""

    listen: tuple[str, int] = ("0.0.0.0", 9877)
    state_dir: Path | None = None
    strategy: Strategy = Strategy.PATCH
    interval: float = 3600.0
    proxy: str | None = None
    ca_file: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    kinds: tuple[str, ...] = ()
    namespaces: Globs = Globs()
    workloads: Globs = Globs()
    images: Globs = Globs()
    registries: tuple[RegistryEntry, ...] = DEFAULT_ENTRIES
    log_level: str = "info"
    log_format: str = "text"

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces to list one by one, where all are named exactly; none is the whole cluster."""
        named = self.namespaces.include
        if any(_MAGIC & set(glob) for glob in named):
            return ()
        # One that is left out as well needs no rights; leaving out all of them must not end in the whole cluster.
        return tuple(name for name in named if self.namespaces.takes(name)) or named

    def selects(self, key: WorkloadKey) -> bool:
        """Whether a workload is judged."""
        return self.namespaces.takes(key.namespace) and self.workloads.takes(str(key))

    def settings(self) -> Settings:
        """What the checker needs to know."""
        return Settings(
            strategy=self.strategy, interval=self.interval, selects=self.selects, selects_image=self.images.takes
        )


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with the place that it stands at."""

    value: Any
    where: str
    line: int | None
    path: str = ""

    def wrong(self, expected: str, *, found: str | None = None) -> NoReturn:
        self.refuse(f"found {found or _shown(self.value)}, expected {expected}")

    def refuse(self, what: str) -> NoReturn:
        place = self.where if self.line is None else f"{self.where}, line {self.line}"
        raise ConfigurationError(f"{place}: {self.path or 'the file'}: {what}", line=self.line or 0)

    def entries(self) -> Iterator[tuple[str, _Node]]:
        """The entries of a mapping."""
        if not isinstance(self.value, dict):
            self.wrong("a mapping")
        for (name, line), value in self.value.items():
            yield name, _Node(value, self.where, line, f"{self.path}.{_named(name)}" if self.path else _named(name))

    def items(self) -> Iterator[_Node]:
        """The items of a list."""
        if not isinstance(self.value, list):
            self.wrong("a list")
        for number, (value, line) in enumerate(self.value):
            yield _Node(value, self.where, line, f"{self.path}[{number}]")


def _shown(value: Any) -> str:
    """A value as errors show it; a long one is not shown, as nobody knows what was pasted there."""
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing"}
    if type(value) in kinds:
        return kinds[type(value)]
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a huge number"
    return text if len(text) <= _LONGEST_SHOWN else f"{len(text)} characters"


def _named(name: str) -> str:
    """A key as errors show it: on one line, and not endless."""
    text = name if name.isprintable() else repr(name)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


# Parsers: from a node to a value, or an error that says what is expected.

Parser = Callable[[_Node], Any]


def _text(node: _Node) -> str:
    if not isinstance(node.value, str) or not node.value.strip():
        node.wrong("a text")
    if not node.value.isprintable():  # line breaks, NUL, halves of surrogate pairs: in no name, path or address
        node.wrong("a text of printable characters")
    return str(node.value)


def _path(node: _Node) -> Path:
    try:
        return Path(_text(node)).expanduser()
    except RuntimeError:
        node.wrong("a path; nobody knows the home folder that this one begins with")


def _optional_path(node: _Node) -> Path | None:
    return None if node.value in ("", None) else _path(node)


def _flag(node: _Node) -> bool:
    if not isinstance(node.value, bool):
        node.wrong("true or false")
    return bool(node.value)


def _one_of(*words: str) -> Parser:
    def parse(node: _Node) -> str:
        if node.value not in words or not isinstance(node.value, str):
            node.wrong(f"one of {', '.join(words)}")
        return str(node.value)

    return parse


def _list_of(parse: Parser) -> Parser:
    return lambda node: tuple(parse(item) for item in node.items())


def _listen(node: _Node) -> tuple[str, int]:
    host, colon, port = node.value.rpartition(":") if isinstance(node.value, str) else ("", "", "")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = not host or (is_host(host) and (plain != host or ":" not in host))
    if not colon or not known or not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        node.wrong("HOST:PORT, such as 0.0.0.0:9877 or [::1]:9877")
    return plain, int(port)


def _strategy(node: _Node) -> Strategy:
    return _STRATEGIES[_one_of(*_STRATEGIES)(node)]


def _interval(node: _Node) -> float:
    match = _DURATION.fullmatch(node.value) if isinstance(node.value, str) and node.value else None
    if match is None:
        node.wrong("a duration, such as 30m, 1h or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    duration = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if duration < _SHORTEST_INTERVAL:
        node.wrong("1m or more: registries count requests")
    return duration


def _url(node: _Node) -> str:
    text = node.value if isinstance(node.value, str) else ""
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        url, host = httpx.URL(), ""
    if (
        url.scheme not in ("http", "https")
        or not is_host(f"[{host}]" if ":" in host else host)
        or not 0 < (1 if url.port is None else url.port) < 65536
        or url.query
        or url.fragment
    ):
        # A proxy's address may hold a password.
        node.wrong("an address, such as http://proxy.example:3128", found="something else")
    return text


def _endpoint(node: _Node) -> str:
    text = _url(node)
    if httpx.URL(text).userinfo:
        node.wrong("an address alone; username_file and password_file hold credentials", found="credentials")
    return text


def _kinds(node: _Node) -> tuple[str, ...]:
    kinds: tuple[str, ...] = _list_of(_one_of(*KINDS))(node)
    if not kinds:
        node.wrong(f"some of {', '.join(KINDS)}")
    return kinds


def _networks(node: _Node) -> tuple[IPv4Network | IPv6Network, ...]:
    def parse(item: _Node) -> IPv4Network | IPv6Network:
        try:
            return ip_network(_text(item))
        except ValueError:
            item.wrong("a network without host bits, such as 10.0.0.0/8")

    return tuple(parse(item) for item in node.items())


def _hosts(node: _Node) -> tuple[str, ...]:
    def parse(item: _Node) -> str:
        text = _text(item).lower()
        if not is_host(text):
            item.wrong("a host, such as auth.example.org")
        return text

    return tuple(parse(item) for item in node.items())


def _host_globs(node: _Node) -> tuple[str, ...]:
    def parse(item: _Node) -> str:
        if not is_host(_text(item).replace("*", "x").replace("?", "x")):
            item.wrong("a host or a pattern of hosts, such as *.pkg.dev")
        return str(item.value)

    return tuple(parse(item) for item in node.items())


def _globs(fits: Callable[[str], bool], expected: str) -> Parser:
    """Patterns; one that can never match is a mistake, as what it should take in or leave out is not."""

    def parse(item: _Node) -> str:
        text = _text(item)
        if not _GLOB.fullmatch(text) or not fits(text):
            item.wrong(expected)
        return text

    return _list_of(parse)


def _fits_namespaces(glob: str) -> bool:
    return is_object_name(re.sub(r"[*?]|\[[^/]*?\]", "x", glob))


def _fits_workloads(glob: str) -> bool:
    return "*" in glob or glob.count("/") == 2


def _fits_images(glob: str) -> bool:
    host, _, path = glob.partition("/")
    name = f"{host}/x/x" if _MAGIC & set(path) else glob
    try:
        return bool(_MAGIC & set(host)) or str(parse_repository(name)) == name
    except InvalidReferenceError:
        return False


_NAMESPACES = _globs(_fits_namespaces, "a namespace or a pattern of namespaces, such as hub-*")
_WORKLOADS = _globs(_fits_workloads, "a pattern over NAMESPACE/KIND/NAME, such as mojaloop/Job/*")
_IMAGES = _globs(_fits_images, "a pattern over repositories with their registry, such as docker.io/mojaloop/*")


def _place_of_images(node: _Node) -> str:
    """A host, or a host and the first parts of paths; as `RegistryEntry.name` is."""
    text = _text(node)
    host, slash, rest = text.partition("/")
    try:
        place = parse_repository(f"{host.lower()}/x" if not slash else f"{host.lower()}/{rest}/x")
    except InvalidReferenceError:
        place = None
    if place is None or not ("." in host or ":" in host or host == "localhost"):
        node.wrong("a registry as images name it, such as ghcr.io, or a part of one, such as ghcr.io/hub/mirror")
    return str(place).removesuffix("/library/x").removesuffix("/x")


def _registries(node: _Node) -> tuple[RegistryEntry, ...]:
    entries = {entry.name: entry for entry in DEFAULT_ENTRIES}
    parsers = {key.name: key.parse for key in REGISTRY_KEYS}
    seen: set[str] = set()
    for name, item in node.entries():
        place = _place_of_images(replace(item, value=name))
        if place in seen:
            item.wrong(f"one entry for {place}", found="another one")
        seen.add(place)
        said: dict[str, Any] = {}
        for key, value in item.entries() if item.value is not None else ():
            if key not in parsers:
                value.refuse(f"there is no such key{_closest(key, parsers)}")
            said[key] = parsers[key](value)
        entry = replace(entries.get(place, RegistryEntry(name=place)), **said)
        if (entry.username_file is None) != (entry.password_file is None):
            item.wrong("username_file and password_file together", found="one of them")
        if entry.username_file is not None and entry.docker_config_file is not None:
            item.wrong("username_file and password_file, or docker_config_file", found="both")
        entries[place] = entry
    return tuple(entries.values())


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: dotted, as errors name it.
        default: as the README shows it.
        help: one sentence.
        parse: from what was written to the value.
        field: of `Configuration`.
    """

    name: str
    default: str
    help: str
    parse: Parser
    field: str = ""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()


KEYS = (
    Key("listen", "0.0.0.0:9877", 'Where to answer HTTP; in YAML, `"[::1]:9877"` needs its quotes.', _listen, "listen"),
    Key("state_dir", "$XDG_STATE_HOME/mojaloop-image-patch-exporter", "The folder that keeps the tags known so far over a restart; empty keeps them in memory.", _optional_path, "state_dir"),
    Key("strategy", "patch", "How far `mojaloop_image_patch_available` looks: `patch` (or `bugfix`), `minor`, `major`.", _strategy, "strategy"),
    Key("interval", "1h", "The time between two lookups of a repository, at least `1m`.", _interval, "interval"),
    Key("proxy", "none", "An HTTP proxy for registries; it has to refuse addresses that are not public by itself.", _url, "proxy"),
    Key("ca_file", "none", "Certificates (PEM) to trust beside the usual ones, for every registry whose entry names none of its own.", _path, "ca_file"),
    Key("kubernetes.kubeconfig", "as kubectl", "How to reach the cluster from outside of it.", _path, "kubeconfig"),
    Key("kubernetes.context", "the current one", "A context of the kubeconfig.", _text, "context"),
    Key("kubernetes.kinds", ", ".join(KINDS), "The kinds to watch; each must be there. By default ReplicationController, Rollout and DeploymentConfig are optional (see Permissions). Pods of a kind that is left out are not judged, unless it is one of these three.", _kinds, "kinds"),
    Key("namespaces.include", "all", "Namespaces (globs). Exact names alone are listed one by one, so that rights in them are enough.", _NAMESPACES, "namespaces"),
    Key("namespaces.exclude", "none", "Namespaces (globs) to leave out.", _NAMESPACES, "namespaces"),
    Key("workloads.include", "all", "Workloads, as globs over `NAMESPACE/KIND/NAME`.", _WORKLOADS, "workloads"),
    Key("workloads.exclude", "none", "Workloads to leave out, likewise.", _WORKLOADS, "workloads"),
    Key("images.include", "all", "Images, as globs over the repository with its registry, such as `docker.io/mojaloop/*`.", _IMAGES, "images"),
    Key("images.exclude", "none", "Images to leave out, likewise.", _IMAGES, "images"),
    Key("registries", ", ".join(entry.name for entry in DEFAULT_ENTRIES), "What may be done with each registry, see below; entries are merged into those that are there by default.", _registries, "registries"),
    Key("log.level", "info", "`debug`, `info`, `warning` or `error`.", _one_of("debug", "info", "warning", "error"), "log_level"),
    Key("log.format", "text", "`text` or `json`; one event a line.", _one_of("text", "json"), "log_format"),
)  # fmt: skip
REGISTRY_KEYS = (
    Key("allow", "true", "Whether the registry is contacted at all; `false` takes a default away.", _flag),
    Key("insecure", "false", "Plain HTTP.", _flag),
    Key("ca_file", "none", "Certificates (PEM) to trust beside the usual ones.", _path),
    Key("username_file", "none", "A file with the user name; read again whenever it is used.", _path),
    Key("password_file", "none", "A file with the password or access token, likewise.", _path),
    Key("docker_config_file", "none", "Docker's `config.json`, as in a Secret of type `kubernetes.io/dockerconfigjson`.", _path),
    Key("api", "oci", "`oci`, or `dockerhub` to ask Docker Hub's own API for publish times.", lambda node: Api(_one_of(*Api)(node))),
    Key("token_hosts", "none", "Hosts of token services that may be asked beside the registry itself.", _hosts),
    Key("mirror_of", "none", "The registry, or part of one, that it mirrors: tags are looked up there.", _place_of_images),
    Key("allow_private", "none", "Networks (CIDR) that are not public and may be contacted for it.", _networks),
    Key("redirect_hosts", "none", "Hosts (globs) that it may redirect to; blobs may come from any public host.", _host_globs),
    Key("endpoint", "https://HOST", "The address to ask in its place, as of a pull-through cache.", _endpoint),
    Key("hub_endpoint", "https://hub.docker.com", "The address of Docker Hub's own API.", _endpoint),
)  # fmt: skip


def load(path: Path | None, environment: Mapping[str, str]) -> Configuration:
    """The configuration of a file (None: there is none) and the environment.

    Raises:
        ConfigurationError: something in it is wrong.
    """
    said = [*(() if path is None else _from_file(path)), *_from_environment(environment)]
    values: dict[str, Any] = {}
    errors: list[ConfigurationError] = []
    for parts, node in said:
        try:
            key = _key(parts, node)
            if key is None or (node.value is None and node.line is not None):
                continue  # what says nothing changes nothing
            value = key.parse(node)
        except ConfigurationError as error:
            errors.append(error)
            continue
        if parts[-1] in ("include", "exclude"):
            value = replace(values.get(key.field, Globs()), **{parts[-1]: value})
        values[key.field] = value
    if errors:
        # The file's before the environment's, which have no line.
        raise min(errors, key=lambda error: error.line or math.inf)
    if "state_dir" not in values:
        values["state_dir"] = _default_state_dir(environment)
    if (common := values.get("ca_file")) is not None:
        entries = values.get("registries", DEFAULT_ENTRIES)
        values["registries"] = tuple(replace(entry, ca_file=entry.ca_file or common) for entry in entries)
    return Configuration(**values)


def parse_option(name: str, text: str) -> Any:
    """A key's value as a command line gives it.

    Raises:
        ConfigurationError: it is wrong.
    """
    (key,) = (key for key in KEYS if key.name == name)
    return key.parse(_Node(text, f"--{name.replace('_', '-')}", None, name))


def _default_state_dir(environment: Mapping[str, str]) -> Path:
    # XDG Base Directory Specification 0.8: a path that is not absolute is ignored.
    state, home = Path(environment.get("XDG_STATE_HOME", "")), Path(environment.get("HOME", ""))
    if not state.is_absolute():
        try:
            state = (home if home.is_absolute() else Path("~").expanduser()) / ".local" / "state"
        except RuntimeError as error:
            raise ConfigurationError("state_dir: found no home folder for its default, expected a path") from error
    return state / "mojaloop-image-patch-exporter"


def _key(parts: tuple[str, ...], node: _Node) -> Key | None:
    """The key of that name; None for a group that says nothing."""
    keys = {tuple(key.name.split(".")): key for key in KEYS}
    if parts in keys:
        return keys[parts]
    if any(parts == known[:-1] for known in keys):
        return None if node.value is None else node.wrong("a mapping")
    group, _, inner = parts[0].partition(".")
    if parts[1:] == () and (group, inner) in keys:
        node.refuse(f"there is no such key; write {inner} under {group}")
    siblings = {".".join(known[: len(parts)]) for known in keys if known[: len(parts) - 1] == parts[:-1]}
    return node.refuse(f"there is no such key{_closest('.'.join(parts), siblings)}")


def _from_file(path: Path) -> Iterator[tuple[tuple[str, ...], _Node]]:
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}, expected a file that can be read") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}: larger than {_LARGEST_FILE} bytes")
    try:
        root = _read(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: this is no UTF-8", line=line) from error
    if root.value is None:  # an empty file, or comments alone
        return
    groups = {key.name.partition(".")[0] for key in KEYS if "." in key.name}
    for name, node in root.entries():
        if name in groups and isinstance(node.value, dict):
            for inner, leaf in node.entries():
                yield (name, inner), leaf
        else:
            yield (name,), node


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], _Node]]:
    known = {key.variable: key.name for key in KEYS}
    # Kubernetes puts the address of every Service of the namespace into its containers; one may be called `image-patch`.
    services = [variable.removesuffix("SERVICE_HOST") for variable in environment if variable.endswith("_SERVICE_HOST")]
    foreign = tuple(service + what for service in services for what in ("SERVICE_", "PORT"))
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or (variable not in known and variable.startswith(foreign)):
            continue
        where = f"environment variable {_named(variable)}"
        if variable not in known:
            raise ConfigurationError(f"{where}: there is no such key{_closest(variable, known)}")
        node = _read(environment[variable], where)
        value = "" if node.value is None else node.value
        name = known[variable]
        yield tuple(name.split(".")), replace(node, value=value, line=None, path=name)


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:_LONGEST_SHOWN], sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


class _Loader(yaml.SafeLoader):
    """YAML without aliases and tags: a configuration needs none, and aliases let a small file stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            refused = "aliases"
        elif getattr(event, "tag", None) is not None:
            refused = "tags"
        else:
            return super().compose_node(parent, index)
        raise yaml.MarkedYAMLError(problem=f"{refused} are not taken", problem_mark=event.start_mark)


def _read(text: str, where: str) -> _Node:
    def no_yaml(line: int | None, why: str) -> ConfigurationError:
        place = where if line is None else f"{where}, line {line}"
        return ConfigurationError(f"{place}: this is no YAML: {why}", line=line or 0)

    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            return _Node(None, where, None) if root is None else _Node(_plain(loader, root, where), where, 1)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise no_yaml(None if mark is None else mark.line + 1, str(error.problem or error.context)) from error
    except yaml.reader.ReaderError as error:
        raise no_yaml(text.count("\n", 0, error.position) + 1, "a character that is not printable") from error
    except RecursionError as error:
        raise no_yaml(None, "too deep") from error


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node)
    except (ValueError, OverflowError) as error:  # what looks like a date or a number, and is none
        raise yaml.MarkedYAMLError(
            problem="a date or number that is none; put it in quotes",
            problem_mark=node.start_mark,
        ) from error


def _plain(loader: yaml.SafeLoader, node: yaml.Node, where: str) -> Any:
    """Python values; keys of mappings and items of lists keep their lines."""
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
            raise ConfigurationError(f"{where}, line {line}: a key is no text; put it in quotes", line=line)
        if name in seen:
            twice = f"{_named(name)} stands there twice, first in line {seen[name]}"
            raise ConfigurationError(f"{where}, line {line}: {twice}", line=line)
        seen[name] = line
        entries[name, line] = _plain(loader, value, where)
    return entries

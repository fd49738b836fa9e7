"""The configuration: one YAML file and the environment, whose values are YAML as well and go before the file.

Every key is declared once, in `KEYS` and `REGISTRY_KEYS`; the loader and the README's tables are made of them. What is wrong is said with
file, line, key, what was found and what is expected; nothing is guessed and nothing is passed over.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
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
from exporter.registry import DEFAULT_POLICIES, Api, RegistryPolicy
from exporter.versions import Strategy
from exporter.workloads import WorkloadKey

ENVIRONMENT_PREFIX = "IMAGE_PATCH_"
_LARGEST_FILE = 1 << 20
_LONGEST_SHOWN = 60
_SHORTEST_INTERVAL = 60.0
_STRATEGIES = {"patch": Strategy.PATCH, "bugfix": Strategy.PATCH, "minor": Strategy.MINOR, "major": Strategy.MAJOR}
# As Prometheus writes durations.
_DURATION = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", re.ASCII)


class ConfigurationError(Exception):
    """A configuration that cannot be obeyed; the message says where, what was found and what is expected."""


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
    kubeconfig: Path | None = None
    context: str | None = None
    kinds: tuple[str, ...] = KINDS
    namespaces: Globs = Globs()
    workloads: Globs = Globs()
    images: Globs = Globs()
    registries: tuple[RegistryPolicy, ...] = DEFAULT_POLICIES
    log_level: str = "info"
    log_format: str = "text"

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces to list one by one, where all are named exactly; none is the whole cluster."""
        return () if any(set(glob) & set("*?[") for glob in self.namespaces.include) else self.namespaces.include

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
        kinds = {dict: "a mapping", list: "a list", type(None): "nothing"}
        shown = found or kinds.get(type(self.value)) or repr(self.value)
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}..."
        place = self.where if self.line is None else f"{self.where}, line {self.line}"
        raise ConfigurationError(f"{place}: {self.path or 'the file'}: found {shown}, expected {expected}")

    def entries(self) -> Iterator[tuple[str, _Node]]:
        """The entries of a mapping."""
        if not isinstance(self.value, dict):
            self.wrong("a mapping")
        for (name, line), value in self.value.items():
            yield name, _Node(value, self.where, line, f"{self.path}.{name}" if self.path else name)

    def items(self) -> Iterator[_Node]:
        """The items of a list."""
        if not isinstance(self.value, list):
            self.wrong("a list")
        for number, (value, line) in enumerate(self.value):
            yield _Node(value, self.where, line, f"{self.path}[{number}]")


# Parsers: from a node to a value, or an error that says what is expected.

Parser = Callable[[_Node], Any]


def _text(node: _Node) -> str:
    if not isinstance(node.value, str) or not node.value.strip():
        node.wrong("a text")
    return str(node.value)


def _path(node: _Node) -> Path:
    return Path(_text(node)).expanduser()


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
    host, colon, port = str(node.value).rpartition(":")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (
        not colon
        or not re.fullmatch("[0-9]{1,5}", port, re.ASCII)
        or int(port) > 65535
        or (":" in plain) != (plain != host)
    ):
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
    text = _text(node)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        # A proxy's address may hold a password.
        node.wrong("an address, such as http://proxy.example:3128", found="something else")
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
        except ValueError as error:
            item.wrong(f"a network, such as 10.0.0.0/8 ({error})")

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


def _place_of_images(node: _Node) -> str:
    """A host, or a host and the first parts of paths; as `RegistryPolicy.name` is."""
    text = _text(node)
    host, slash, rest = text.partition("/")
    try:
        place = parse_repository(f"{host.lower()}/x" if not slash else f"{host.lower()}/{rest}/x")
    except InvalidReferenceError:
        place = None
    if place is None or not ("." in host or ":" in host or host == "localhost"):
        node.wrong("a registry as images name it, such as ghcr.io, or a part of one, such as ghcr.io/hub/mirror")
    return str(place).removesuffix("/library/x").removesuffix("/x")


def _registries(node: _Node) -> tuple[RegistryPolicy, ...]:
    policies = {policy.name: policy for policy in DEFAULT_POLICIES}
    parsers = {key.name: key.parse for key in REGISTRY_KEYS}
    for name, entry in node.entries():
        place = _place_of_images(replace(entry, value=name))
        said: dict[str, Any] = {}
        for key, value in entry.entries() if entry.value is not None else ():
            if key not in parsers:
                value.wrong(f"no such key{_closest(key, parsers)}", found="it")
            said[key] = parsers[key](value)
        policy = replace(policies.get(place, RegistryPolicy(name=place)), **said)
        if (policy.username_file is None) != (policy.password_file is None):
            entry.wrong("username_file and password_file together", found="one of them")
        if policy.username_file is not None and policy.docker_config_file is not None:
            entry.wrong("username_file and password_file, or docker_config_file", found="both")
        policies[place] = policy
    return tuple(policies.values())


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
    Key("listen", "0.0.0.0:9877", "Where to answer HTTP.", _listen, "listen"),
    Key("state_dir", "$XDG_STATE_HOME/mojaloop-image-patch-exporter", "The folder that keeps the tags known so far over a restart; empty keeps them in memory.", _optional_path, "state_dir"),
    Key("strategy", "patch", "How far `mojaloop_image_patch_available` looks: `patch` (or `bugfix`), `minor`, `major`.", _strategy, "strategy"),
    Key("interval", "1h", "The time between two lookups of a repository, at least `1m`.", _interval, "interval"),
    Key("proxy", "none", "An HTTP proxy for registries; it has to refuse addresses that are not public by itself.", _url, "proxy"),
    Key("kubernetes.kubeconfig", "as kubectl", "How to reach the cluster from outside of it.", _path, "kubeconfig"),
    Key("kubernetes.context", "the current one", "A context of the kubeconfig.", _text, "context"),
    Key("kubernetes.kinds", ", ".join(KINDS), "The kinds to watch; pods of a kind that is left out are not judged.", _kinds, "kinds"),
    Key("namespaces.include", "all", "Namespaces (globs). Exact names alone are listed one by one, so that rights in them are enough.", _list_of(_text), "namespaces"),
    Key("namespaces.exclude", "none", "Namespaces (globs) to leave out.", _list_of(_text), "namespaces"),
    Key("workloads.include", "all", "Workloads, as globs over `NAMESPACE/KIND/NAME`.", _list_of(_text), "workloads"),
    Key("workloads.exclude", "none", "Workloads to leave out, likewise.", _list_of(_text), "workloads"),
    Key("images.include", "all", "Images, as globs over the repository with its registry, such as `docker.io/mojaloop/*`.", _list_of(_text), "images"),
    Key("images.exclude", "none", "Images to leave out, likewise.", _list_of(_text), "images"),
    Key("registries", ", ".join(policy.name for policy in DEFAULT_POLICIES), "What may be done with each registry, see below; entries are merged into those that are there by default.", _registries, "registries"),
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
    Key("endpoint", "https://HOST", "The address to ask in its place, as of a pull-through cache.", _url),
    Key("hub_endpoint", "https://hub.docker.com", "The address of Docker Hub's own API.", _url),
)  # fmt: skip


def load(path: Path | None, environment: Mapping[str, str]) -> Configuration:
    """The configuration of a file (None: there is none) and the environment.

    Raises:
        ConfigurationError: something in it is wrong.
    """
    said = {} if path is None else _from_file(path)
    said.update(_from_environment(environment))
    values: dict[str, Any] = {"state_dir": _default_state_dir(environment)}
    for key in KEYS:
        if key.name not in said:
            continue
        value = key.parse(said[key.name])
        _, _, part = key.name.partition(".")
        if part in ("include", "exclude"):
            value = replace(values.get(key.field, Globs()), **{part: value})
        values[key.field] = value
    return Configuration(**values)


def parse_option(name: str, text: str) -> Any:
    """A key's value as a command line gives it.

    Raises:
        ConfigurationError: it is wrong.
    """
    (key,) = (key for key in KEYS if key.name == name)
    return key.parse(_Node(text, f"--{name.replace('_', '-')}", None, name))


def _default_state_dir(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "mojaloop-image-patch-exporter"


def _from_file(path: Path) -> dict[str, _Node]:
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}: larger than {_LARGEST_FILE} bytes")
    root = _read(content, str(path))
    if root.value is None:  # an empty file, or comments alone
        return {}
    known = {key.name for key in KEYS}
    groups = {name.partition(".")[0] for name in known if "." in name}
    said: dict[str, _Node] = {}
    for name, node in root.entries():
        if name in groups:
            for inner, leaf in node.entries() if node.value is not None else ():
                said[f"{name}.{inner}"] = leaf
        else:
            said[name] = node
    for name, node in said.items():
        if name not in known:
            node.wrong(f"no such key{_closest(name, known | groups)}", found="it")
    return {name: node for name, node in said.items() if node.value is not None}


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Node]:
    known = {key.variable: key.name for key in KEYS}
    said: dict[str, _Node] = {}
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in known:
            raise ConfigurationError(
                f"environment variable {variable}: there is no such key{_closest(variable, known)}"
            )
        node = _read(environment[variable].encode("utf-8", "surrogateescape"), f"environment variable {variable}")
        value = "" if node.value is None else node.value
        said[known[variable]] = replace(node, value=value, line=None, path=known[variable])
    return said


def _closest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a configuration needs none, and they let a small file stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _read(content: bytes, where: str) -> _Node:
    try:
        loader = _Loader(content)
        try:
            root = loader.get_single_node()
            return _Node(None, where, None) if root is None else _Node(_plain(loader, root, where), where, 1)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        raise ConfigurationError(f"{place}: this is no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: this is no YAML: {str(error).partition(chr(10))[0]}") from error


def _plain(loader: yaml.SafeLoader, node: yaml.Node, where: str) -> Any:
    """Python values; keys of mappings and items of lists keep their lines."""
    if isinstance(node, yaml.SequenceNode):
        return [(_plain(loader, item, where), item.start_mark.line + 1) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    entries: dict[tuple[str, int], Any] = {}
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = loader.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
        if not isinstance(name, str):
            raise ConfigurationError(f"{where}, line {line}: a key is no text; put it in quotes")
        if name in seen:
            raise ConfigurationError(f"{where}, line {line}: {name} stands there twice, first in line {seen[name]}")
        seen[name] = line
        entries[name, line] = _plain(loader, value, where)
    return entries

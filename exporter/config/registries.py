"""The key `registries`: one entry per registry, merged into the default entry of the same name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from exporter.config import parsers
from exporter.config.document import Node
from exporter.config.key import Key, default_of
from exporter.config.suggest import closest
from exporter.registry import DEFAULT_ENTRIES, REGISTRY_KINDS, RegistryEntry


def _key(name: str, parse: Callable[[Node], Any], help_: str, *, unset: str = "none") -> Key:
    value = default_of(RegistryEntry, name)
    return Key(name=name, field=name, value=value, help=help_, parse=parse, unset=unset)


REGISTRY_KEYS = (
    _key("allow", parsers.flag, "Whether to allow requests to the registry. `false` disables a default registry."),
    _key("insecure", parsers.flag, "Use plain HTTP."),
    _key(
        "ca_file",
        parsers.certificates,
        "File with additional trusted CA certificates (PEM).",
    ),
    _key(
        "username_file",
        parsers.file,
        "File with the user name, read again for every use. Credentials apply to every repository under the entry's "
        "name, whichever workload uses it. To restrict them, name the entry after a path prefix, such as "
        "`ghcr.io/mojaloop`. Other repositories of the registry are then looked up without credentials.",
    ),
    _key("password_file", parsers.file, "File with the password or access token, read again for every use."),
    _key(
        "docker_config_file",
        parsers.file,
        "Docker's `config.json`, as in a Secret of type `kubernetes.io/dockerconfigjson`. Its credentials apply like "
        "those of `username_file`.",
    ),
    _key(
        "allow_annotations",
        parsers.flag,
        "Whether the annotation `image` may refer to repositories of this entry although it has credentials. With "
        "`true`, anyone who can write a workload can learn the newest tags of every repository that the credentials "
        "can read. Without credentials, annotations are always allowed.",
    ),
    _key(
        "expose_tags",
        parsers.flag,
        "Whether the [HTTP API](api.md) returns tags of this entry although it has credentials and `api.token_file` "
        "is not set. Without credentials it always does.",
    ),
    _key(
        "api",
        parsers.one_of(*REGISTRY_KINDS),
        "`oci`, or `dockerhub` to read publish times from Docker Hub's own API.",
    ),
    _key(
        "token_hosts",
        parsers.hosts,
        "Additional hosts of token services that may receive token requests. The registry's own host always may.",
    ),
    _key(
        "mirror_of",
        parsers.registry_name,
        "The registry that it mirrors, or a path prefix in one. Tags are looked up there.",
    ),
    _key("allow_private", parsers.networks, "Private networks (CIDR) in which requests to the registry are allowed."),
    _key(
        "redirect_hosts",
        parsers.host_globs,
        "Hosts (globs) that it may redirect to. Redirects of blobs may go to any public host.",
    ),
    _key(
        "endpoint",
        parsers.endpoint,
        "URL to send requests to instead, such as that of a pull-through cache.",
        unset="https://HOST",
    ),
    _key("hub_endpoint", parsers.endpoint, "URL of Docker Hub's own API."),
)


def parse_registries(node: Node) -> tuple[RegistryEntry, ...]:
    """Parse the key and merge it into the default entries."""
    entries = {entry.name: entry for entry in DEFAULT_ENTRIES}
    known = {key.name: key.parse for key in REGISTRY_KEYS}
    seen: set[str] = set()
    for name, item in node.entries():
        place = parsers.registry_name(replace(item, value=name))
        if place in seen:
            item.wrong(f"one entry for {place}", found="a second one")
        seen.add(place)
        given: dict[str, Any] = {}
        for key, value in item.entries() if item.value is not None else ():
            if key not in known:
                value.refuse(f"unknown key{closest(key, known)}")
            given[key] = known[key](value)
        entry = replace(entries.get(place) or _new(place), **given)
        if (entry.username_file is None) != (entry.password_file is None):
            item.wrong("username_file and password_file together", found="only one of them")
        if entry.username_file is not None and entry.docker_config_file is not None:
            item.wrong("either username_file and password_file, or docker_config_file", found="both")
        entries[place] = entry
    return tuple(entries.values())


def _new(place: str) -> RegistryEntry:
    """Return the entry that a place's keys are merged into: for a path prefix, its host's default entry.

    A mirror is not such a default, because the path prefix is part of what it mirrors.
    """
    host = place.partition("/")[0]
    default = next((entry for entry in DEFAULT_ENTRIES if entry.name == host and entry.mirror_of is None), None)
    return RegistryEntry(name=place) if default is None else replace(default, name=place)

"""What may be done with each registry: pure, and decided before anything is sent.

Only registries that an entry allows are contacted: anyone who can create a pod chooses the host name in its image. An entry is for a host
(`quay.io`), or for a part of one (`ghcr.io/hub/mirror`), where another registry is mirrored under a prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import httpx

from exporter.images import DOCKER_HUB, InvalidReferenceError, Repository, parse_repository
from exporter.reasons import Reason
from exporter.registry.errors import RegistryError

# Docker Hub's registry does not answer under the name that its images carry.
_HUB_ENDPOINT = "https://registry-1.docker.io"
_HUB_API = "https://hub.docker.com"


class Api(StrEnum):
    """What a registry speaks beside the OCI distribution API."""

    OCI = "oci"
    DOCKERHUB = "dockerhub"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """What may be done with a registry, and how; the keys of `registries:` in the configuration.

    Attributes:
        name: the host as images carry it, with its port where they do, or a host and the first parts of paths.
        allow: whether it is contacted at all.
        insecure: plain HTTP.
        ca_file: certificates (PEM) to trust for it, beside the usual ones.
        username_file, password_file: files with the credentials; read again whenever they are used.
        docker_config_file: Docker's `config.json`, as in a Secret of type `kubernetes.io/dockerconfigjson`.
        api: `dockerhub` asks Docker Hub's own API when a tag was published.
        token_hosts: hosts of token services that may be asked, beside the registry's own.
        mirror_of: the registry (or part of one) whose images it mirrors; tags are looked up there.
        allow_private: networks that are not public and may be contacted for it.
        redirect_hosts: hosts (globs) that it may redirect to, and for which `allow_private` holds too; blobs may come from any public host.
        endpoint: the address to ask in place of `https://HOST`, as of a pull-through cache.
        hub_endpoint: the address of Docker Hub's own API.
    """

    name: str
    allow: bool = True
    insecure: bool = False
    ca_file: Path | None = None
    username_file: Path | None = None
    password_file: Path | None = None
    docker_config_file: Path | None = None
    api: Api = Api.OCI
    token_hosts: tuple[str, ...] = ()
    mirror_of: str | None = None
    allow_private: tuple[IPv4Network | IPv6Network, ...] = ()
    redirect_hosts: tuple[str, ...] = ()
    endpoint: str | None = None
    hub_endpoint: str = _HUB_API
    base: httpx.URL = field(init=False)

    def __post_init__(self) -> None:
        host = self.name.partition("/")[0]
        address = self.endpoint or (
            _HUB_ENDPOINT if host == DOCKER_HUB else f"http{'' if self.insecure else 's'}://{host}"
        )
        object.__setattr__(self, "base", httpx.URL(address.rstrip("/")))

    def may_send_token_requests_to(self, url: httpx.URL) -> bool:
        """Whether a token service that a registry names may be asked, credentials or not."""
        if url.scheme != "https" and not (self.insecure or self.base.scheme == "http"):
            return False
        own = url.host == self.base.host and url.port == self.base.port
        return own or url.host in self.token_hosts or url.netloc.decode() in self.token_hosts

    def may_redirect_to(self, host: str) -> bool:
        """Whether a host is among those that the entry names for redirects."""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.redirect_hosts)

    def private_networks(self, host: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks that are not public and may be contacted under a host name."""
        hosts = {self.base.host, httpx.URL(self.hub_endpoint).host, *(t.partition(":")[0] for t in self.token_hosts)}
        return self.allow_private if host in hosts or self.may_redirect_to(host) else ()


class RegistryEntries:
    """The entries of all registries; the longest name that fits an image is the one that holds."""

    def __init__(self, entries: Iterable[RegistryEntry]) -> None:
        self._by_name = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[RegistryEntry]:
        return iter(self._by_name.values())

    def of(self, repository: Repository) -> RegistryEntry:
        """The entry for a repository.

        Raises:
            RegistryError: `registry_not_allowed`, there is none or it says no.
        """
        name = str(repository)
        while name:
            entry = self._by_name.get(name)
            if entry is not None:
                if not entry.allow:
                    break
                return entry
            name = name.rpartition("/")[0]
        raise RegistryError(
            f"the registry {repository.registry} is not allowed; name it under registries",
            reason=Reason.REGISTRY_NOT_ALLOWED,
        )

    def lookup_repository(self, repository: Repository) -> Repository:
        """Where the tags of a repository are looked up: its own place, or that which it mirrors.

        Raises:
            RegistryError: `registry_not_allowed`; or `not_found`, where a mirror's path stands for nothing.
        """
        for _ in range(len(self._by_name) + 1):
            entry = self.of(repository)
            if entry.mirror_of is None:
                return repository
            rest = str(repository).removeprefix(entry.name).lstrip("/")
            try:
                repository = parse_repository(f"{entry.mirror_of}/{rest}")
            except InvalidReferenceError as error:
                raise RegistryError(f"{repository} mirrors nothing: {error}", reason=Reason.NOT_FOUND) from error
        raise RegistryError(f"{repository}: the entries for it mirror one another", reason=Reason.REGISTRY_NOT_ALLOWED)


DEFAULT_ENTRIES = (
    RegistryEntry(name=DOCKER_HUB, api=Api.DOCKERHUB, token_hosts=("auth.docker.io",)),
    RegistryEntry(name="ghcr.io"),
    RegistryEntry(name="quay.io"),
    # It redirects everything, tag lists too, to the nearest of Google's regions.
    RegistryEntry(name="registry.k8s.io", redirect_hosts=("*.pkg.dev",)),
    RegistryEntry(name="gcr.io"),
    RegistryEntry(name="mirror.gcr.io", mirror_of=DOCKER_HUB),
    RegistryEntry(name="public.ecr.aws"),
)

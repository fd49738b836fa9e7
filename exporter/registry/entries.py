"""What may be done with each registry, decided before anything is sent; no I/O.

Only registries that an entry allows are contacted: anyone who can create a pod chooses the host name in its image. An
entry is for a host (`quay.io`), or for a path prefix (`ghcr.io/hub/mirror`) under which another registry is mirrored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import httpx

from exporter.images import DOCKER_HUB, InvalidReferenceError, Repository, parse_repository
from exporter.reasons import Reason
from exporter.registry import urls
from exporter.registry.errors import RegistryError

# Docker Hub's registry has another host name than its images.
_HUB_ENDPOINT = "https://registry-1.docker.io"
_HUB_API = "https://hub.docker.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """What may be done with a registry, and how; the keys of `registries:` in the configuration.

    Attributes:
        name: the host as image references have it, with a port if they do, or a host and a path prefix.
        allow: whether it may be contacted.
        insecure: whether it is contacted by plain HTTP.
        ca_file: certificates (PEM) to trust for it, in addition to public certificate authorities.
        username_file, password_file: files with the credentials, read again for every use.
        docker_config_file: Docker's `config.json`, as in a Secret of type `kubernetes.io/dockerconfigjson`.
        allow_annotations: whether annotations may lead to its repositories although it has credentials.
        expose_tags: whether the HTTP API names its tags to anybody although it has credentials.
        api: the kind of registry, a key of `REGISTRY_KINDS`.
        token_hosts: hosts of token services that may be asked, in addition to the registry's own.
        mirror_of: the registry, or path prefix in one, whose images it mirrors; tags are looked up there.
        allow_private: private networks in which it may be contacted.
        redirect_hosts: hosts (globs) that it may redirect to, also within `allow_private`; blobs may come from any
            public host.
        endpoint: the URL to send requests to instead of `https://HOST`, such as that of a pull-through cache.
        hub_endpoint: the URL of Docker Hub's own API.
        base: the URL that requests are sent to.
    """

    name: str
    allow: bool = True
    insecure: bool = False
    ca_file: Path | None = None
    username_file: Path | None = None
    password_file: Path | None = None
    docker_config_file: Path | None = None
    allow_annotations: bool = False
    expose_tags: bool = False
    api: str = "oci"
    token_hosts: tuple[str, ...] = ()
    mirror_of: str | None = None
    allow_private: tuple[IPv4Network | IPv6Network, ...] = ()
    redirect_hosts: tuple[str, ...] = ()
    endpoint: str | None = None
    hub_endpoint: str = _HUB_API
    base: httpx.URL = field(init=False)

    def __post_init__(self) -> None:
        own = _HUB_ENDPOINT if self.host == DOCKER_HUB else f"http{'' if self.insecure else 's'}://{self.host}"
        object.__setattr__(self, "base", httpx.URL((self.endpoint or own).rstrip("/")))

    @property
    def host(self) -> str:
        """The host as image references have it, and metrics of registries too."""
        return self.name.partition("/")[0]

    @property
    def has_credentials(self) -> bool:
        """Whether its requests are sent with credentials."""
        return self.username_file is not None or self.docker_config_file is not None

    def may_send_token_requests_to(self, url: httpx.URL) -> bool:
        """Whether a token service that the registry names may be asked, with or without credentials."""
        if url.scheme != "https" and not (self.insecure or self.base.scheme == "http"):
            return False
        host = urls.host(url)
        own = host == urls.host(self.base) and url.port == self.base.port
        return own or host in self.token_hosts or url.netloc.decode() in self.token_hosts

    def may_redirect_to(self, host: str) -> bool:
        """Whether a host is one of `redirect_hosts`."""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.redirect_hosts)

    def private_networks(self, host: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """The private networks that may be contacted by a host name."""
        own = (urls.host(self.base), urls.host(httpx.URL(self.hub_endpoint)))
        hosts = {*own, *(t.partition(":")[0] for t in self.token_hosts)}
        return self.allow_private if host in hosts or self.may_redirect_to(host) else ()


class RegistryEntries:
    """The entries of all registries. The entry with the longest matching name applies to an image."""

    def __init__(self, entries: Iterable[RegistryEntry]) -> None:
        self._by_name = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[RegistryEntry]:
        return iter(self._by_name.values())

    def of(self, repository: Repository) -> RegistryEntry:
        """The entry for a repository.

        Raises:
            RegistryError: `registry_not_allowed`, there is none or it is disabled.
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
            f"the registry {repository.registry} is not allowed; to allow it, add it to the configuration: "
            f'registries: {{"{repository.registry}": {{allow: true}}}}',
            reason=Reason.REGISTRY_NOT_ALLOWED,
        )

    def lookup_repository(self, repository: Repository) -> Repository:
        """The repository whose tags are looked up: the given one, or the one that it mirrors.

        Raises:
            RegistryError: `registry_not_allowed`; or `not_found`, if the path in a mirror is not a repository.
        """
        for _ in range(len(self._by_name) + 1):
            entry = self.of(repository)
            if entry.mirror_of is None:
                return repository
            rest = str(repository).removeprefix(entry.name).lstrip("/")
            try:
                repository = parse_repository(f"{entry.mirror_of}/{rest}")
            except InvalidReferenceError as error:
                raise RegistryError(
                    f"{repository} does not mirror a repository: {error}", reason=Reason.NOT_FOUND
                ) from error
        raise RegistryError(f"{repository}: its entries mirror each other", reason=Reason.REGISTRY_NOT_ALLOWED)


DEFAULT_ENTRIES = (
    RegistryEntry(name=DOCKER_HUB, api="dockerhub", token_hosts=("auth.docker.io",)),
    RegistryEntry(name="ghcr.io"),
    RegistryEntry(name="quay.io"),
    # It redirects every request, also for tag lists, to the nearest of Google's regions.
    RegistryEntry(name="registry.k8s.io", redirect_hosts=("*.pkg.dev",)),
    RegistryEntry(name="gcr.io"),
    RegistryEntry(name="mirror.gcr.io", mirror_of=DOCKER_HUB),
    RegistryEntry(name="public.ecr.aws"),
)

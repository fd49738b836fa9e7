"""Settings of each registry, applied before any request is sent. No I/O.

Only registries that an entry allows are contacted, because anyone who can create a pod chooses the host in its image.
An entry is for a host (`quay.io`), or for a path prefix (`ghcr.io/hub/mirror`) that mirrors another registry.
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

# Docker Hub's registry has a different host name than its images.
_HUB_ENDPOINT = "https://registry-1.docker.io"
_HUB_API = "https://hub.docker.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """Settings of a registry: the keys of `registries:` in the configuration.

    Attributes:
        name: the host as in image references, with a port if they have one, or a host and a path prefix.
        allow: whether to allow requests to it.
        insecure: whether to use plain HTTP.
        ca_file: additional trusted CA certificates (PEM).
        username_file, password_file: files with the credentials, read again for every use.
        docker_config_file: Docker's `config.json`, as in a Secret of type `kubernetes.io/dockerconfigjson`.
        allow_annotations: whether annotations may refer to its repositories although it has credentials.
        expose_tags: whether the HTTP API returns its tags to anyone although it has credentials.
        api: kind of the registry, a key of `REGISTRY_KINDS`.
        token_hosts: hosts of token services that may receive token requests, in addition to the registry's own host.
        mirror_of: the registry, or path prefix in one, whose images it mirrors; tags are looked up there.
        allow_private: private networks in which requests to it are allowed.
        redirect_hosts: hosts (globs) that it may redirect to, also within `allow_private`; redirects of blobs may go to
            any public host.
        endpoint: URL to send requests to instead of `https://HOST`, such as that of a pull-through cache.
        hub_endpoint: URL of Docker Hub's own API.
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
        """The host as in image references and in metrics of registries."""
        return self.name.partition("/")[0]

    @property
    def has_credentials(self) -> bool:
        """Whether its requests are sent with credentials."""
        return self.username_file is not None or self.docker_config_file is not None

    def may_send_token_requests_to(self, url: httpx.URL) -> bool:
        """Whether a token service named by the registry may receive requests, with or without credentials."""
        if url.scheme != "https" and not (self.insecure or self.base.scheme == "http"):
            return False
        host = urls.host(url)
        own = host == urls.host(self.base) and url.port == self.base.port
        return own or host in self.token_hosts or url.netloc.decode() in self.token_hosts

    def may_redirect_to(self, host: str) -> bool:
        """Whether a host is one of `redirect_hosts`."""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.redirect_hosts)

    def private_networks(self, host: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return the private networks in which a host may be contacted."""
        own = (urls.host(self.base), urls.host(httpx.URL(self.hub_endpoint)))
        hosts = {*own, *(t.partition(":")[0] for t in self.token_hosts)}
        return self.allow_private if host in hosts or self.may_redirect_to(host) else ()


class RegistryEntries:
    """The entries of all registries. The longest matching name applies to an image."""

    def __init__(self, entries: Iterable[RegistryEntry]) -> None:
        self._by_name = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[RegistryEntry]:
        return iter(self._by_name.values())

    def of(self, repository: Repository) -> RegistryEntry:
        """Return the entry for a repository.

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
        """Return the repository whose tags are looked up: the given one, or the one that it mirrors.

        Raises:
            RegistryError: `registry_not_allowed`; or `not_found`, the path in a mirror is not a repository.
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
    # It redirects every request, including those for tag lists, to the nearest Google region.
    RegistryEntry(name="registry.k8s.io", redirect_hosts=("*.pkg.dev",)),
    RegistryEntry(name="gcr.io"),
    RegistryEntry(name="mirror.gcr.io", mirror_of=DOCKER_HUB),
    RegistryEntry(name="public.ecr.aws"),
)

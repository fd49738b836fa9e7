"""Parse image references by the grammar of the OCI distribution specification v1.1.1.

A pod template holds references of the form `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`. The specification gives the grammar of
`<name>` and of tags ("Pulling manifests"); the OCI image specification v1.1.1 gives that of digests ("Digests"). The
split of a name into host and path, and the default host, are conventions of container runtimes
(distribution/reference): the first part is a host if it contains a dot or a colon, or is `localhost`.

Anything else raises `InvalidReferenceError`. This is a security boundary: the parts of a reference become label values,
and label values end up in shell commands that people paste.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
# Other names of Docker Hub, which container runtimes accept.
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})

# OCI distribution specification v1.1.1, "Pulling manifests".
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# OCI image specification v1.1.1, "Digests", with the two registered algorithms.
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])(?::[0-9]{{1,5}})?")
# The specification bounds host and name together: "many clients impose a limit of 255 characters".
_NAME_LIMIT = 255


class InvalidReferenceError(ValueError):
    """An image reference is invalid; the message says which part, and why."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry: `docker.io` and `library/redis`.

    Attributes:
        registry: the host in lower case, with its port if one was written.
        path: the name within the registry.
    """

    registry: str
    path: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image reference.

    Attributes:
        written: the text in the template, which patch and rollback commands use.
        name: the part before tag and digest, as written (`redis`, `docker.io/library/redis`).
        repository: normalised (`redis` is `docker.io/library/redis`).
        tag: None if none was written.
        digest: `sha256:...`, or None.
    """

    written: str
    name: str
    repository: Repository
    tag: str | None
    digest: str | None


def parse(text: str) -> Reference:
    """Parse an image reference like a container runtime.

    Raises:
        InvalidReferenceError: it does not match the grammar.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidReferenceError(f"{text!r}: the part after @ is not a sha256 or sha512 digest")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag_or_none = rest, None
    else:
        name, tag_or_none = head, tag
        if not _TAG.fullmatch(tag):
            raise InvalidReferenceError(f"{text!r}: {tag!r} is not a tag (letters, digits, '_', '.', '-'; at most 128)")
    return Reference(text, name, parse_repository(name), tag_or_none, digest if at else None)


def parse_repository(name: str) -> Repository:
    """Parse a repository name without tag and digest, such as `redis` or `quay.io/cilium/cilium`.

    Raises:
        InvalidReferenceError: it does not match the grammar.
    """
    if len(name) > _NAME_LIMIT:
        raise InvalidReferenceError(f"{name[:40]!r}...: the name is longer than {_NAME_LIMIT} characters")
    first, slash, remainder = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first.lower(), remainder
    else:
        host, path = DOCKER_HUB, name
    if not is_host(host):
        raise InvalidReferenceError(f"{name!r}: {host!r} is not a host name with an optional port")
    if host in _HUB_ALIASES:
        host = DOCKER_HUB
    if not _PATH.fullmatch(path):
        raise InvalidReferenceError(
            f"{name!r}: {path!r} is not a repository name (lower case letters, digits, '.', '_', '-', '/')"
        )
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return Repository(host, path)


def is_host(text: str) -> bool:
    """Return whether a text can start a reference: a host or a bracketed IPv6 address, with or without a port."""
    if not _HOST.fullmatch(text):
        return False
    port = text.rpartition(":")[2] if not text.endswith("]") and ":" in text else "1"
    return 0 < int(port) < 65536


def is_tag(text: str) -> bool:
    """Return whether a text matches the specification's grammar of tags; registries may send anything."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether a text matches the specification's grammar of digests, with a registered algorithm."""
    return _DIGEST.fullmatch(text) is not None

"""Kinds of registries, and how each provides tags and publish times.

A new kind is a module with a class that has the methods of `RegistryKind`, and a line in `REGISTRY_KINDS`. The session
that a kind sends its requests with handles what all registries have in common: concurrency, timeouts, redirects,
authentication, rate limits and counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from exporter.registry.errors import TagList
from exporter.registry.kinds.distribution import Distribution
from exporter.registry.kinds.dockerhub import DockerHub
from exporter.registry.session import Session


class RegistryKind(Protocol):
    """A kind of registry. Its lookups are about the repository of a session."""

    async def list_tags(self, session: Session, *, etag: str | None) -> TagList:
        """Return every tag, without duplicates.

        Args:
            session: session to send requests with.
            etag: ETag of the known list, for a conditional request; None requests the list.

        Raises:
            RegistryError: there was no complete and valid response.
        """

    async def publish_time(self, session: Session, tag: str) -> float | None:
        """Return the epoch seconds at which a tag was published; None if the registry does not know.

        Raises:
            RegistryError: there was no valid response.
        """


# By the value of the key `api` in a registry's entry.
REGISTRY_KINDS: Mapping[str, RegistryKind] = MappingProxyType({"oci": Distribution(), "dockerhub": DockerHub()})

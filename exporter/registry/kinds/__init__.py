"""The kinds of registries: how each is asked for tags and publish times.

A new kind is a module with a class that has the methods of `RegistryKind`, and a line in `REGISTRY_KINDS`. Everything
that registries have in common (turns, time limits, redirects, authentication, rate limits, counting) is in the session
that a kind sends its requests with.
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
    """What a kind of registry can be asked about the repository of a session."""

    async def list_tags(self, session: Session, *, etag: str | None) -> TagList:
        """Every tag, without duplicates.

        Args:
            session: to send requests with.
            etag: of the list that is known, to ask whether it is still the same; None asks for the list.

        Raises:
            RegistryError: there was no complete and valid answer.
        """

    async def publish_time(self, session: Session, tag: str) -> float | None:
        """When a tag was published, in epoch seconds; None if the registry does not know.

        Raises:
            RegistryError: there was no valid answer.
        """


# By the word that the key `api` of a registry's entry has for it.
REGISTRY_KINDS: Mapping[str, RegistryKind] = MappingProxyType({"oci": Distribution(), "dockerhub": DockerHub()})

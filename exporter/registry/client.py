"""Questions to registries: which tags a repository has, and when one of them was published.

How a registry is asked depends on its kind (`kinds`). Here a question gets its turn and its time limit, and a failure
is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from exporter import __version__, lean  # noqa: F401 - lean before httpx

import httpx  # isort: skip

from exporter.findings import Reason
from exporter.images import Repository, is_tag
from exporter.registry.auth import RegistryAuth
from exporter.registry.entries import RegistryEntries, RegistryEntry
from exporter.registry.errors import RegistryError, TagList
from exporter.registry.kinds import REGISTRY_KINDS, RegistryKind
from exporter.registry.network import Resolve, is_private_literal, resolve
from exporter.registry.session import Session
from exporter.registry.transport import Limits, Transport
from exporter.telemetry import Telemetry

_USER_AGENT = f"mojaloop-image-patch-exporter/{__version__}"


@dataclass(frozen=True, slots=True)
class _Registry:
    """What is kept of one entry from question to question."""

    kind: RegistryKind
    auth: RegistryAuth
    turns: asyncio.Semaphore
    closed_until: dict[str, float]


class RegistryClient:
    """Asks registries, as far as their entries allow; used as an async context manager.

    Args:
        entries: the entries, one for each registry.
        telemetry: where requests and failures are counted.
        limits: on the requests to one registry and on its answers.
        proxy: the URL of an HTTP proxy, trusted to refuse private addresses; None connects directly.
        clock: epoch seconds.
        resolve: how host names are resolved.
    """

    def __init__(
        self,
        entries: Iterable[RegistryEntry],
        *,
        telemetry: Telemetry,
        limits: Limits | None = None,
        proxy: str | None = None,
        clock: Callable[[], float] = time.time,
        resolve: Resolve = resolve,
    ) -> None:
        self._entries = RegistryEntries(entries)
        self._telemetry = telemetry
        self._limits = limits or Limits()
        self._clock = clock
        self._registries = {
            entry.name: _Registry(
                REGISTRY_KINDS[entry.api], RegistryAuth(entry), asyncio.Semaphore(self._limits.concurrency), {}
            )
            for entry in self._entries
        }
        timeout = httpx.Timeout(self._limits.read, connect=self._limits.connect, pool=None)
        self._http = httpx.AsyncClient(
            transport=Transport(telemetry=telemetry, limits=self._limits, proxy=proxy, resolve=resolve),
            trust_env=False,
            timeout=timeout,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip"},
        )
        for entry in self._entries:
            if entry.allow and entry.mirror_of is None:
                telemetry.watch_registry(entry.host)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def lookup_repository(self, repository: Repository) -> Repository:
        """The repository whose tags are looked up: another one for a mirror.

        Raises:
            RegistryError: `registry_not_allowed`; or `private_address`, the host is a private address.
        """
        found = self._entries.lookup_repository(repository)
        entry = self._entries.of(found)
        if is_private_literal(entry.base.host, allowed=entry.private_networks(entry.base.host)):
            raise RegistryError(
                f"{entry.base.host} is a private address; add its network to allow_private",
                reason=Reason.PRIVATE_ADDRESS,
            )
        return found

    async def tags(self, repository: Repository, *, etag: str | None = None) -> TagList:
        """Every tag of a repository. Names that are not valid tags are left out: names end up in labels and commands.

        Args:
            repository: as `lookup_repository` returned it.
            etag: of the list that is known, to ask whether it is still the same.

        Raises:
            RegistryError: there was no complete and valid answer.
        """
        async with self._question(repository) as (kind, session):
            found = await kind.list_tags(session, etag=etag)
        return replace(found, names=tuple(filter(is_tag, found.names)))

    async def created(self, repository: Repository, tag: str) -> float | None:
        """When a tag was published, in epoch seconds; None if its registry does not know.

        Args:
            repository: as `lookup_repository` returned it.
            tag: one of its tags.

        Raises:
            RegistryError: there was no valid answer.
        """
        async with self._question(repository) as (kind, session):
            return await kind.publish_time(session, tag)

    @asynccontextmanager
    async def _question(self, repository: Repository) -> AsyncIterator[tuple[RegistryKind, Session]]:
        """One question to a registry, in its turn and within its time limit; its failure is counted."""
        entry = self._entries.of(repository)
        registry = self._registries[entry.name]
        session = Session(
            repository=repository,
            entry=entry,
            limits=self._limits,
            now=self._clock,
            http=self._http,
            auth=registry.auth,
            closed_until=registry.closed_until,
            telemetry=self._telemetry,
        )
        async with registry.turns:
            try:
                async with asyncio.timeout(self._limits.lookup):
                    yield registry.kind, session
            except TimeoutError as error:
                message = f"no complete answer within {self._limits.lookup:.0f} s"
                failure = RegistryError(message, reason=Reason.UNREACHABLE)
                self._count(entry, failure)
                raise failure from error
            except RegistryError as error:
                self._count(entry, error)
                raise

    def _count(self, entry: RegistryEntry, error: RegistryError) -> None:
        self._telemetry.registry_failures.labels(entry.host, error.reason.value).inc()

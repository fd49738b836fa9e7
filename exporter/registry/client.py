"""Lookups in registries: the tags of a repository, and the publish time of one of them.

The requests depend on the kind of registry (`kinds`). This module gives each lookup its turn, byte budget and timeout,
and counts failures. This is one of the two places that catch any exception: a bug that the responses for one repository
trigger must not stop the lookups of all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import httpx

from exporter import __version__
from exporter.images import Repository, is_tag
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import urls
from exporter.registry.addresses import is_private_literal
from exporter.registry.auth import RegistryAuth
from exporter.registry.budget import Budget
from exporter.registry.entries import RegistryEntries, RegistryEntry
from exporter.registry.errors import RegistryError, TagList, bad_answer
from exporter.registry.headers import is_sendable_etag
from exporter.registry.kinds import REGISTRY_KINDS, RegistryKind
from exporter.registry.network import Resolve
from exporter.registry.session import ClosedHosts, Session
from exporter.registry.transport import Limits, Transport
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)

_USER_AGENT = f"mojaloop-image-patch-exporter/{__version__}"
# Checking this many names takes about 2 ms. More are checked in a thread.
_MANY = 10_000
# Anyone who can create a workload can name any number of registries.
_MOST_REFUSED = 100


@dataclass(slots=True)
class _Generation:
    """The state between two calls of `configure`. Lookups that started before keep the previous one.

    Attributes:
        entries: one entry per registry.
        registries: state of each registry, by the entry's name.
        http: connections to all registries.
        users: number of lookups in progress.
    """

    entries: RegistryEntries
    registries: Mapping[str, _Registry]
    http: httpx.AsyncClient
    users: int = 0


@dataclass(frozen=True, slots=True)
class _Registry:
    """State of one entry, kept across lookups."""

    kind: RegistryKind
    auth: RegistryAuth
    turns: asyncio.Semaphore
    large: asyncio.Semaphore
    closed: ClosedHosts


class RegistryClient:
    """Client of registries, within the limits of their entries. Use it as an async context manager.

    Args:
        entries: one entry per registry.
        telemetry: counts requests and failures.
        limits: limits on the requests to one registry and on its responses.
        proxy: URL of an HTTP proxy, trusted to refuse private addresses; None connects directly.
        clock: returns epoch seconds.
        resolve: resolves host names; None uses the system's resolver, in threads of each registry.
    """

    def __init__(
        self,
        entries: Iterable[RegistryEntry],
        *,
        telemetry: Telemetry,
        limits: Limits | None = None,
        proxy: str | None = None,
        clock: Callable[[], float] = time.time,
        resolve: Resolve | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits or Limits()
        self._clock = clock
        self._resolve = resolve
        # Registries whose refusal was logged. Workloads are evaluated in one thread.
        self._refused: set[str] = set()
        self._large = asyncio.Semaphore(Limit.LARGE_LOOKUPS.most)
        self._generation = self._begin(entries, proxy)

    def _begin(self, entries: Iterable[RegistryEntry], proxy: str | None) -> _Generation:
        allowed = RegistryEntries(entries)
        for entry in allowed:
            if entry.allow and entry.mirror_of is None:
                self._telemetry.watch_registry(entry.host)
        registries = {
            entry.name: _Registry(
                kind=REGISTRY_KINDS[entry.api],
                auth=RegistryAuth(entry),
                turns=asyncio.Semaphore(self._limits.concurrency),
                large=asyncio.Semaphore(1),
                closed=ClosedHosts(),
            )
            for entry in allowed
        }
        http = httpx.AsyncClient(
            transport=Transport(telemetry=self._telemetry, limits=self._limits, proxy=proxy, resolve=self._resolve),
            trust_env=False,
            timeout=httpx.Timeout(self._limits.read, connect=self._limits.connect, pool=None),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip"},
            event_hooks={"response": [_release]},
        )
        return _Generation(allowed, registries, http)

    async def configure(self, entries: Iterable[RegistryEntry], *, proxy: str | None = None) -> None:
        """Use other entries from now on. The arguments are those of the class.

        Lookups in progress, or waiting for their turn, end as they began.
        """
        before, self._generation = self._generation, self._begin(entries, proxy)
        # Log refused registries again, with what to add.
        self._refused = set()
        if not before.users:
            await before.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._generation.http.aclose()

    @property
    def entries(self) -> RegistryEntries:
        """The current entries."""
        return self._generation.entries

    def lookup_repository(self, repository: Repository, instead: Repository | None = None) -> Repository:
        """Return the repository whose tags are looked up. For a mirror, that is the mirrored one.

        Args:
            repository: repository of a container's image.
            instead: repository in the workload's annotation `image`, if there is one.

        Raises:
            RegistryError: `registry_not_allowed`; or `private_address`, the host is a private address. What to add to
                the configuration is logged once per registry.
        """
        try:
            return self._lookup_repository(repository, instead)
        except RegistryError as error:
            registry = (instead or repository).registry
            if registry not in self._refused and len(self._refused) < _MOST_REFUSED:
                self._refused.add(registry)
                _log.warning("%s", error)
            raise

    def _lookup_repository(self, repository: Repository, instead: Repository | None) -> Repository:
        entries = self._generation.entries
        found = entries.lookup_repository(instead or repository)
        entry = entries.of(found)
        host = urls.host(entry.base)
        if is_private_literal(host, allowed=entry.private_networks(host)):
            raise RegistryError(
                f"{host} is a private address; add its network to allow_private", reason=Reason.PRIVATE_ADDRESS
            )
        if instead is not None and entry.has_credentials and not entry.allow_annotations:
            raise RegistryError(
                f"the annotation image refers to {found}, whose registry has credentials;"
                " set allow_annotations in its entry to permit it",
                reason=Reason.REGISTRY_NOT_ALLOWED,
            )
        return found

    async def tags(self, repository: Repository, *, etag: str | None = None) -> TagList:
        """Return every tag of a repository, like `listing`, for callers that keep the list.

        Raises:
            RegistryError: there was no complete and valid response.
        """
        async with self.listing(repository, etag=etag) as found:
            return found

    @asynccontextmanager
    async def listing(self, repository: Repository, *, etag: str | None = None) -> AsyncIterator[TagList]:
        """Yield every tag of a repository. Other large lists wait until the context is closed.

        Names that are not valid tags are dropped, because names end up in labels and commands.

        Args:
            repository: result of `lookup_repository`.
            etag: ETag of the known list, for a conditional request.

        Raises:
            RegistryError: there was no complete and valid response.
        """
        async with self._turn(repository) as (kind, session):
            async with self._question(session):
                found = await kind.list_tags(session, etag=_sendable(etag))
                many = len(found.names) > _MANY
                names = await asyncio.to_thread(_valid, found.names) if many else _valid(found.names)
            yield replace(found, names=names, etag=_sendable(found.etag))

    async def created(self, repository: Repository, tag: str) -> float | None:
        """Return the epoch seconds at which a tag was published; None if its registry does not know.

        Args:
            repository: result of `lookup_repository`.
            tag: one of its tags.

        Raises:
            RegistryError: there was no valid response.
        """
        async with self._turn(repository) as (kind, session), self._question(session):
            return await kind.publish_time(session, tag)

    @asynccontextmanager
    async def _turn(self, repository: Repository) -> AsyncIterator[tuple[RegistryKind, Session]]:
        """Wait for a turn at a registry. This bounds the number of its responses in memory."""
        generation = self._generation
        entry = generation.entries.of(repository)
        registry = generation.registries[entry.name]
        async with self._using(generation), registry.turns, AsyncExitStack() as held:
            session = Session(
                repository=repository,
                entry=entry,
                limits=self._limits,
                now=self._clock,
                http=generation.http,
                auth=registry.auth,
                closed=registry.closed,
                budget=Budget(
                    (registry.large, self._large),
                    held,
                    most=self._limits.bytes,
                    exceeded=lambda: self._telemetry.exceeded(Limit.LARGE_LOOKUPS),
                ),
                telemetry=self._telemetry,
            )
            yield registry.kind, session

    @asynccontextmanager
    async def _using(self, generation: _Generation) -> AsyncIterator[None]:
        generation.users += 1
        try:
            yield
        finally:
            generation.users -= 1
            if generation is not self._generation and not generation.users:
                await generation.http.aclose()

    @asynccontextmanager
    async def _question(self, session: Session) -> AsyncIterator[None]:
        """Apply the timeout of a lookup, and turn any failure into one counted `RegistryError`."""
        try:
            async with asyncio.timeout(self._limits.lookup):
                yield
        except TimeoutError as error:
            message = f"no complete response within {self._limits.lookup:.0f} s"
            failure = RegistryError(message, reason=Reason.UNREACHABLE, limit=Limit.LOOKUP_SECONDS)
            self._count(session, failure)
            raise failure from error
        except RegistryError as error:
            self._count(session, error)
            raise
        except MemoryError:
            raise
        except Exception as error:
            # No response may end the process: lookups of other repositories continue.
            _log.exception("%s: unexpected error, please report it", session.repository)
            self._telemetry.unexpected_errors.labels("registry").inc()
            failure = bad_answer(f"unexpected error ({type(error).__name__}); see the traceback in the log")
            self._count(session, failure)
            raise failure from error

    def _count(self, session: Session, error: RegistryError) -> None:
        self._telemetry.registry_failures.labels(session.entry.host, error.reason.value).inc()
        if error.limit is not None:
            self._telemetry.exceeded(error.limit)


async def _release(answer: httpx.Response) -> None:
    """Break a response's reference cycle, so that its memory is freed with its last reference."""
    # httpx's stream refers back to the response. The cycle would keep the body until the garbage collector runs.
    answer.stream = httpx.ByteStream(b"")


def _sendable(etag: str | None) -> str | None:
    # Stored ETags are checked too: an earlier version stored any text.
    return etag if etag is not None and is_sendable_etag(etag) else None


def _valid(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(is_tag, names))

"""Questions to registries: which tags a repository has, and when one of them was published.

How a registry is asked depends on its kind (`kinds`). Here a question gets its turn, its budget of bytes and its time
limit, and a failure is counted. This is one of the two boundaries where any error is caught: a defect that one
repository's answers run into must not end the lookups of all others.
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
# So many names are checked within some 2 ms; more of them in a thread.
_MANY = 10_000
# Anybody who can create a workload can name any number of registries.
_MOST_REFUSED = 100


@dataclass(slots=True)
class _Generation:
    """What holds from one `configure` to the next. Questions that began before it ends go on with what they began with.

    Attributes:
        entries: the entries, one for each registry.
        registries: by the entry's name.
        http: the connections of all of them.
        users: how many questions use it.
    """

    entries: RegistryEntries
    registries: Mapping[str, _Registry]
    http: httpx.AsyncClient
    users: int = 0


@dataclass(frozen=True, slots=True)
class _Registry:
    """What is kept of one entry from question to question."""

    kind: RegistryKind
    auth: RegistryAuth
    turns: asyncio.Semaphore
    large: asyncio.Semaphore
    closed: ClosedHosts


class RegistryClient:
    """Asks registries, as far as their entries allow; used as an async context manager.

    Args:
        entries: the entries, one for each registry.
        telemetry: where requests and failures are counted.
        limits: on the requests to one registry and on its answers.
        proxy: the URL of an HTTP proxy, trusted to refuse private addresses; None connects directly.
        clock: epoch seconds.
        resolve: how host names are resolved; None is by the system, in threads of each registry.
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
        # What was logged; the evaluations of workloads ask, in one thread.
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
        """Ask by other entries from now on; the arguments are those of the class.

        Questions that are being asked, or that wait for their turn, end as they began.
        """
        before, self._generation = self._generation, self._begin(entries, proxy)
        # A registry that is refused now is logged again, with what to add.
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
        """The entries that are in force."""
        return self._generation.entries

    def lookup_repository(self, repository: Repository, instead: Repository | None = None) -> Repository:
        """The repository whose tags are looked up: another one for a mirror.

        Args:
            repository: of a container's image.
            instead: what the annotation `image` of its workload names, if it has one.

        Raises:
            RegistryError: `registry_not_allowed`; or `private_address`, the host is a private address. What to add to
                the configuration is logged once for each registry.
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
                f"the annotation image leads to {found}, whose registry has credentials;"
                " add allow_annotations to its entry to permit it",
                reason=Reason.REGISTRY_NOT_ALLOWED,
            )
        return found

    async def tags(self, repository: Repository, *, etag: str | None = None) -> TagList:
        """Every tag of a repository, as `listing` has it, for callers that keep it.

        Raises:
            RegistryError: there was no complete and valid answer.
        """
        async with self.listing(repository, etag=etag) as found:
            return found

    @asynccontextmanager
    async def listing(self, repository: Repository, *, etag: str | None = None) -> AsyncIterator[TagList]:
        """Every tag of a repository, for the time that the context is open: large lists wait for each other meanwhile.

        Names that are not valid tags are left out: names end up in labels and commands.

        Args:
            repository: as `lookup_repository` returned it.
            etag: of the list that is known, to ask whether it is still the same.

        Raises:
            RegistryError: there was no complete and valid answer.
        """
        async with self._turn(repository) as (kind, session):
            async with self._question(session):
                found = await kind.list_tags(session, etag=_sendable(etag))
                many = len(found.names) > _MANY
                names = await asyncio.to_thread(_valid, found.names) if many else _valid(found.names)
            yield replace(found, names=names, etag=_sendable(found.etag))

    async def created(self, repository: Repository, tag: str) -> float | None:
        """When a tag was published, in epoch seconds; None if its registry does not know.

        Args:
            repository: as `lookup_repository` returned it.
            tag: one of its tags.

        Raises:
            RegistryError: there was no valid answer.
        """
        async with self._turn(repository) as (kind, session), self._question(session):
            return await kind.publish_time(session, tag)

    @asynccontextmanager
    async def _turn(self, repository: Repository) -> AsyncIterator[tuple[RegistryKind, Session]]:
        """A turn at a registry, which bounds how many of its answers are in memory."""
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
        """The time limit of a lookup, and the boundary around it: any failure is one counted `RegistryError`."""
        try:
            async with asyncio.timeout(self._limits.lookup):
                yield
        except TimeoutError as error:
            message = f"no complete answer within {self._limits.lookup:.0f} s"
            failure = RegistryError(message, reason=Reason.UNREACHABLE, limit=Limit.LOOKUP_SECONDS)
            self._count(session, failure)
            raise failure from error
        except RegistryError as error:
            self._count(session, error)
            raise
        except MemoryError:
            raise
        except Exception as error:
            # No answer may end the process: other repositories go on.
            _log.exception("%s: an unexpected error, please report it", session.repository)
            self._telemetry.unexpected_errors.labels("registry").inc()
            failure = bad_answer(f"an unexpected error ({type(error).__name__}); the log has its traceback")
            self._count(session, failure)
            raise failure from error

    def _count(self, session: Session, error: RegistryError) -> None:
        self._telemetry.registry_failures.labels(session.entry.host, error.reason.value).inc()
        if error.limit is not None:
            self._telemetry.exceeded(error.limit)


async def _release(answer: httpx.Response) -> None:
    """Make an answer free with its last reference."""
    # httpx's stream refers back to its answer. In that cycle the body stays in memory until the garbage collector runs.
    answer.stream = httpx.ByteStream(b"")


def _sendable(etag: str | None) -> str | None:
    # Also of what is stored: an earlier version stored any text.
    return etag if etag is not None and is_sendable_etag(etag) else None


def _valid(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(is_tag, names))

"""One kind in one namespace (or all): listed, then watched, for ever.

What is held changes only by what the API server said: nothing vanishes while it is unreachable, and a new list replaces
the old one after all of its pages have arrived.

etcd restored from a backup is the hard case: the API server answers a resourceVersion from the future with 200 and
silence. So a watch that ended without an event or a bookmark proves nothing and is followed by a list, and after any
interruption the server first has to show that it has not gone back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from exporter.cluster.aggregator import ObjectRef, WorkloadAggregator
from exporter.cluster.connection import (
    ApiError,
    Connection,
    TooLargeError,
    UnreachableError,
)
from exporter.cluster.credentials import ClusterConfigurationError
from exporter.cluster.decode import (
    IdentityMetadata,
    MalformedError,
    decode_event,
    decode_failure,
    decode_identity,
    decode_message,
    decode_page,
)
from exporter.cluster.paging import read_list
from exporter.cluster.reading import ObjectRevision, Reading, Source, weigh
from exporter.cluster.retries import Reason, Retries, reason_of
from exporter.inventory import Inventory, ScopeState
from exporter.kinds import Kind
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.workloads import WorkloadKey

log = logging.getLogger(__name__)

WATCH_SECONDS = (240, 300)
# Bookmarks come about every minute; a connection that is silent for longer than this is dead.
SILENCE_SECONDS = 150.0
# A watch that lasted this long ended for no fault.
LIVELY_SECONDS = 30.0
# How soon a kind that was not installed is looked for again: somebody may install it at any time.
RECHECK_SECONDS = 180.0
# An API server that restarts or moves is back within this time, as a rule.
STALE_SECONDS = 300.0
# Several lists may expire in the middle of their pages while etcd is compacted; more than this is another fault.
LIST_ATTEMPTS = 3
# Objects of a list that are put before other tasks run.
PUT_TOGETHER = 200

_METADATA_ACCEPT = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

# Why a kind cannot be listed, however often we ask: somebody has to give rights, or install it.
UNLISTED = frozenset({Reason.FORBIDDEN, Reason.NOT_INSTALLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchContext:
    """What the reflectors of a cluster share."""

    connection: Connection
    inventory: Inventory
    aggregator: WorkloadAggregator
    telemetry: Telemetry
    clock: Callable[[], float]
    exclude: Callable[[WorkloadKey], bool]
    fetching: asyncio.Semaphore
    silence: float = SILENCE_SECONDS
    watch_seconds: tuple[float, float] = WATCH_SECONDS
    recheck: float = RECHECK_SECONDS
    stale: float = STALE_SECONDS
    most_objects: int = Limit.NAMESPACE_OBJECTS.most
    most_pages: int = Limit.LIST_PAGES.most
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Reflector:
    """One kind in one watched namespace, `*` for all.

    Args:
        kind: what to list and watch.
        watched_namespace: where.
        required: whether `mojaloop_exporter_synced` has to wait for it, although the kind is optional.
        context: what it shares with the others.
    """

    def __init__(self, *, kind: Kind, watched_namespace: str, required: bool = True, context: WatchContext) -> None:
        self.kind = kind
        self.watched_namespace = watched_namespace
        self._required = required or not kind.optional
        self._context = context
        self._path = kind.path(watched_namespace)
        # The uid and generation of what we hold: a change of status alone does not need the specification again.
        self._held: dict[ObjectRef, ObjectRevision] = {}
        # The containers that we hold, by namespace.
        self._weights: Counter[str] = Counter()
        self._source = Source(
            kind=kind,
            connection=context.connection,
            aggregator=context.aggregator,
            telemetry=context.telemetry,
            exclude=context.exclude,
            fetching=context.fetching,
            held=self._held,
            most=context.most_objects,
        )
        self._version: str | None = None
        # Whether objects were refused or unreadable since the last list.
        self._incomplete = False
        # Whether the API server was unreachable since `_version` was right: it may have come back with an older etcd,
        # or still be starting.
        self._doubtful = False
        # When a list or a watch last worked, on the loop's clock.
        self._worked = asyncio.get_running_loop().time()
        self._retries = Retries()
        self._unlisted: Reason | None = None
        for reason in Reason:
            context.telemetry.watch_restarts.labels(kind.name, reason.value)
        self._say(ScopeState.PENDING)

    async def run(self) -> NoReturn:
        """List and watch until cancelled; only a defect of the exporter raises an exception."""
        while True:
            credentials = self._context.connection.credentials_generation
            try:
                if self._version is None:
                    await self.list_once()
                elif self._doubtful:
                    await self._check(self._version)
                self._doubtful = False
                began = asyncio.get_running_loop().time()
                reason = await self._watch()
                if asyncio.get_running_loop().time() - began > LIVELY_SECONDS:
                    self._retries.clear()
                if self._incomplete:
                    self._version = None
                # A server (or a proxy) that ends every watch at once must not be asked without pause.
                delay = self._retries.delay(reason)
            except (ApiError, UnreachableError, MalformedError) as error:
                reason = reason_of(error, custom=self.kind.custom)
                delay = await self._fail(reason, error, credentials)
            if self._required or reason is not Reason.NOT_INSTALLED:
                self._context.telemetry.watch_restarts.labels(self.kind.name, reason.value).inc()
            await self._context.sleep(delay)

    async def _fail(self, reason: Reason, error: Exception, credentials: int) -> float:
        """Do what a failure asks for, and return the seconds to wait.

        Args:
            reason: of the failure.
            error: the failure.
            credentials: `credentials_generation` of the connection before the request.
        """
        self._doubtful |= reason in (Reason.UNREACHABLE, Reason.UNTRUSTED)
        fleeting = self._retries.is_fleeting(reason, starting=self._doubtful)
        if not fleeting:
            self._version = None
        delay = self._retries.delay(reason, error)
        if reason not in UNLISTED:
            await self._note(reason, error, credentials)
            self._find_stale(error)
        elif not fleeting:
            self.unlist(reason, error)
            delay = self._context.recheck if reason is Reason.NOT_INSTALLED else delay
        return delay

    async def list_once(self) -> None:
        """Read the complete list.

        Raises:
            ApiError: the server refused.
            UnreachableError: the server did not answer.
            MalformedError: its answer makes no sense.
        """
        for attempt in range(1, LIST_ATTEMPTS + 1):
            reading = Reading(self._source, Counter())
            try:
                version = await self._read_list(reading)
            except ApiError as error:
                if error.status != 410 or attempt == LIST_ATTEMPTS:
                    raise
            else:
                break
        aggregator = self._context.aggregator
        # What is new comes first: between the steps a workload never has fewer containers than before and after.
        for number, (ref, (revision, workloads)) in enumerate(reading.parts.items(), 1):
            aggregator.put(ref, workloads)
            self._held[ref] = revision
            if number % PUT_TOGETHER == 0:
                aggregator.publish()
                await asyncio.sleep(0)
        self._forget(self._held.keys() - reading.parts.keys())
        self._weights, self._incomplete = reading.weights, reading.incomplete
        self._version = version
        self._worked = asyncio.get_running_loop().time()
        self._context.telemetry.last_sync.labels(self.kind.name).set(self._context.clock())
        self._unlisted = None
        self._say(ScopeState.SYNCED)

    def unlist(self, reason: Reason, error: Exception) -> None:
        """Note, and log once, that the kind cannot be listed: `reason` is one of `UNLISTED`.

        What is known about a required kind stays, because missing rights say nothing about what runs. An optional kind
        is no longer watched, and what it controls is judged instead.
        """
        if self._unlisted is reason:
            return
        self._unlisted = reason
        forbidden = reason is Reason.FORBIDDEN
        place = (self.kind.name, self.watched_namespace)
        if self._required:
            log.warning(
                "%s %s in namespace %s: %s",
                "not permitted to list or watch" if forbidden else "cannot find",
                *place,
                error,
            )
            self._say(ScopeState.FORBIDDEN if forbidden else ScopeState.NOT_INSTALLED)
            return
        if forbidden:
            log.info("%s in namespace %s is not watched, we are not permitted to: %s", *place, error)
        else:
            watched = self._context.inventory.scopes().get(place) is ScopeState.SYNCED
            level = logging.INFO if watched else logging.DEBUG
            log.log(level, "%s in namespace %s is not watched, it is not installed", *place)
        self._forget(set(self._held))
        self._weights.clear()
        self._context.inventory.drop_scope(*place)
        self._context.telemetry.forbidden.labels(*place).set(1 if forbidden else 0)

    async def _read_list(self, reading: Reading) -> str:
        async def take(items: Sequence[msgspec.Raw]) -> None:
            await reading.take((self._ref(decode_identity(raw)), raw) for raw in items)

        version = await read_list(
            self._context.connection,
            self._path,
            params=self._selector(),
            accept=self._accept(many=True),
            take=take,
            telemetry=self._context.telemetry,
            most_pages=self._context.most_pages,
        )
        await reading.fetch()
        return version

    def _forget(self, refs: set[ObjectRef]) -> None:
        for ref in refs:
            self._context.aggregator.put(ref, ())
            self._held.pop(ref, None)
        self._context.aggregator.publish()

    async def _check(self, version: str) -> None:
        """Ask whether the API server is at our version or a later one: etcd may have been restored from a backup.

        Raises:
            ApiError: 410 if it is at an earlier version, or its versions cannot be compared.
        """
        params = {"limit": "1", **self._selector()}
        async with self._context.connection.get(self._path, params=params, accept=self._accept(many=True)) as body:
            newest = (await decode_message(decode_page, body)).metadata.resource_version
        if _is_before(newest, version) is not False:
            raise _gone_back(newest, version)

    async def _watch(self) -> Reason:
        """Follow the changes until the watch ends and return how; `_version` is None where a list has to follow."""
        # At random, so that not all reflectors come back at once.
        seconds = int(random.uniform(*self._context.watch_seconds))  # noqa: S311
        began = asyncio.get_running_loop().time()
        stood = self._version or ""
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "resourceVersion": stood,
            **self._selector(),
        }
        async with self._context.connection.stream(
            self._path, params=params, accept=self._accept(many=False), silence=self._context.silence
        ) as batches:
            # Until this watch has said something, nothing shows that the server knows our version.
            self._version = None
            try:
                async for lines in batches:
                    version = await self._take(lines) or stood
                    if _is_before(version, stood):
                        raise _gone_back(version, stood)
                    self._version = stood = version
                    self._worked = asyncio.get_running_loop().time()
                    self._retries.clear()
            except TooLargeError:
                self._context.telemetry.exceeded(Limit.ANSWER)
                raise
        # A server that shuts down ends its watches early, and behind its address another may answer next.
        self._doubtful = asyncio.get_running_loop().time() - began < seconds - 1
        return Reason.SILENT if self._version is None else Reason.ENDED

    async def _take(self, lines: Sequence[bytes]) -> str:
        """Apply the events that arrived together, the last of each object, and return the version of the last one."""
        version = ""
        last: dict[ObjectRef, msgspec.Raw | None] = {}
        for line in lines:
            event = await decode_message(decode_event, line)
            if event.type == "ERROR":
                self._version = None
                failure = decode_failure(event.object)
                raise ApiError(failure.code, failure.message)
            identity = decode_identity(event.object)
            version = identity.resource_version or version
            if event.type != "BOOKMARK":
                last[self._ref(identity)] = None if event.type == "DELETED" else event.object
        reading = Reading(self._source, self._weights.copy())
        await reading.take((ref, raw) for ref, raw in last.items() if raw is not None)
        await reading.fetch()
        self._incomplete |= reading.incomplete
        for ref in last:
            revision, workloads = reading.parts.get(ref, (None, ()))
            self._weights[ref.namespace] += weigh(workloads) - weigh(self._context.aggregator.get(ref))
            self._context.aggregator.put(ref, workloads)
            if revision is not None:
                self._held[ref] = revision
            else:
                self._held.pop(ref, None)
        self._context.aggregator.publish()
        return version

    def _ref(self, identity: IdentityMetadata) -> ObjectRef:
        return ObjectRef(self.kind.name, identity.namespace, identity.name)

    def _selector(self) -> dict[str, str]:
        return {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"} if not self.kind.template else {}

    def _accept(self, *, many: bool) -> str:
        if not self.kind.metadata_only:
            return "application/json"
        return _METADATA_ACCEPT.format("List" if many else "")

    async def _note(self, reason: Reason, error: Exception, credentials: int) -> None:
        """Log a failure, and read credentials and certificates again where they may be the cause."""
        if reason in (Reason.UNAUTHORIZED, Reason.UNTRUSTED):
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            what = "TLS with the API server fails" if reason is Reason.UNTRUSTED else "the API server refused us"
            log.log(level, "%s, reading credentials and certificates again: %s", what, error)
            try:
                await self._context.connection.read_credentials(refused=credentials)
            except ClusterConfigurationError as unreadable:  # a plugin may fail, a file may be written at this moment
                log.warning("%s", unreadable)
        elif reason is Reason.EXPIRED:
            log.info("%s in namespace %s are listed again: %s", self.kind.name, self.watched_namespace, error)
        else:
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            log.log(level, "the watch of %s in namespace %s broke: %s", self.kind.name, self.watched_namespace, error)

    def _find_stale(self, error: Exception) -> None:
        """Say that a kind is no longer followed if nothing has worked for minutes; the next list ends that.

        What is known about it stays. The rules hold alerts while a kind is not synced.
        """
        seconds = asyncio.get_running_loop().time() - self._worked
        place = (self.kind.name, self.watched_namespace)
        if seconds < self._context.stale or self._context.inventory.scopes().get(place) is not ScopeState.SYNCED:
            return
        log.warning("%s in namespace %s: no list or watch has worked for %.0f s: %s", *place, seconds, error)
        self._version = None
        self._say(ScopeState.STALE)

    def _say(self, state: ScopeState) -> None:
        self._context.inventory.set_scope(self.kind.name, self.watched_namespace, state)
        gauge = self._context.telemetry.forbidden.labels(self.kind.name, self.watched_namespace)
        gauge.set(1 if state is ScopeState.FORBIDDEN else 0)


def _is_before(version: str, other: str) -> bool | None:
    """Whether a resource version is older than another, None where they do not compare.

    They are decimal numbers that compare ("Resource versions", Kubernetes API concepts, 1.35), and were etcd's
    revisions before. Both have at most 64 bits.
    """
    numbers = [int(text) for text in (version, other) if text.isascii() and text.isdecimal() and len(text) <= 20]
    return numbers[0] < numbers[1] if len(numbers) == 2 else None


def _gone_back(version: str, stood: str) -> ApiError:
    return ApiError(
        410, f"resource version {version[:40]!r} does not follow {stood[:40]!r}; was etcd restored from a backup?"
    )

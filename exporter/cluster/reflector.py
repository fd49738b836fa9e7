"""Reflector of one kind in one namespace (or all): lists it, then watches it, forever.

The state changes only when the API server reports a change. Nothing disappears while the server is unreachable, and a
new list replaces the old one only after all of its pages have arrived.

The hard case is etcd restored from a backup: the API server answers a watch from a future resourceVersion with 200 and
then stays silent. A watch that ends without an event or a bookmark therefore proves nothing and is followed by a list.
After any interruption, the server first has to prove that it has not gone back.
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
# Bookmarks arrive about every minute, so a connection that is silent for longer than this is dead.
SILENCE_SECONDS = 150.0
# A watch that lasted this long did not end because of a fault.
LIVELY_SECONDS = 30.0
# Interval of checks for a kind that was not installed. It may be installed at any time.
RECHECK_SECONDS = 180.0
# An API server that restarts or moves is usually back within this time.
STALE_SECONDS = 300.0
# Several lists may expire between pages while etcd is compacted. More than this is another fault.
LIST_ATTEMPTS = 3
# Objects of a list processed before yielding to other tasks.
PUT_TOGETHER = 200

_METADATA_ACCEPT = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

# Reasons that retries do not fix: someone has to grant permissions, or install the kind.
UNLISTED = frozenset({Reason.FORBIDDEN, Reason.NOT_INSTALLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchContext:
    """Context that the reflectors of a cluster share."""

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
    """Reflector of one kind in one watched namespace, `*` for all.

    Args:
        kind: kind to list and watch.
        watched_namespace: namespace to list and watch.
        required: whether `mojaloop_exporter_synced` has to wait for an optional kind.
        context: context shared with the other reflectors.
    """

    def __init__(self, *, kind: Kind, watched_namespace: str, required: bool = True, context: WatchContext) -> None:
        self.kind = kind
        self.watched_namespace = watched_namespace
        self._required = required or not kind.optional
        self._context = context
        self._path = kind.path(watched_namespace)
        # uid and generation of held objects: a status change does not need the specification again.
        self._held: dict[ObjectRef, ObjectRevision] = {}
        # Held containers by namespace.
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
        # Whether the API server was unreachable since `_version` was valid. It may have come back with an older etcd,
        # or still be starting.
        self._doubtful = False
        # Time of the last successful list or watch, on the loop's clock.
        self._worked = asyncio.get_running_loop().time()
        self._retries = Retries()
        self._unlisted: Reason | None = None
        for reason in Reason:
            context.telemetry.watch_restarts.labels(kind.name, reason.value)
        self._say(ScopeState.PENDING)

    async def run(self) -> NoReturn:
        """List and watch until cancelled. Only a bug in the exporter raises an exception."""
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
                # Back off from a server or proxy that ends every watch at once.
                delay = self._retries.delay(reason)
            except (ApiError, UnreachableError, MalformedError) as error:
                reason = reason_of(error, custom=self.kind.custom)
                delay = await self._fail(reason, error, credentials)
            if self._required or reason is not Reason.NOT_INSTALLED:
                self._context.telemetry.watch_restarts.labels(self.kind.name, reason.value).inc()
            await self._context.sleep(delay)

    async def _fail(self, reason: Reason, error: Exception, credentials: int) -> float:
        """Handle a failure and return the seconds to wait.

        Args:
            reason: reason of the failure.
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
            ApiError: the server refused a request.
            UnreachableError: the server did not respond.
            MalformedError: a response is invalid.
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
        # Add new objects first, so a workload never has fewer containers in between than before and after.
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
        """Record, and log once, that the kind cannot be listed. `reason` is one of `UNLISTED`.

        A required kind keeps its state, because missing permissions say nothing about its workloads. An optional kind
        is no longer watched, and the objects that it controls are judged instead.
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
            log.info("not watching %s in namespace %s: not permitted: %s", *place, error)
        else:
            watched = self._context.inventory.scopes().get(place) is ScopeState.SYNCED
            level = logging.INFO if watched else logging.DEBUG
            log.log(level, "not watching %s in namespace %s: not installed", *place)
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
        """Check that the API server is not behind our resourceVersion: etcd may have been restored from a backup.

        Raises:
            ApiError: 410 if the server is at an earlier version, or the versions are not comparable.
        """
        params = {"limit": "1", **self._selector()}
        async with self._context.connection.get(self._path, params=params, accept=self._accept(many=True)) as body:
            newest = (await decode_message(decode_page, body)).metadata.resource_version
        if _is_before(newest, version) is not False:
            raise _gone_back(newest, version)

    async def _watch(self) -> Reason:
        """Watch until the watch ends and return the reason. `_version` is None if a list has to follow."""
        # Jitter, so that reflectors do not reconnect at the same time.
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
            # Until the first event or bookmark, nothing proves that the server knows our version.
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
        # A server that shuts down ends its watches early, and another server may respond at its address next.
        self._doubtful = asyncio.get_running_loop().time() - began < seconds - 1
        return Reason.SILENT if self._version is None else Reason.ENDED

    async def _take(self, lines: Sequence[bytes]) -> str:
        """Apply the last event of each object in a batch and return the batch's last resourceVersion."""
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
        """Log a failure, and reload credentials and certificates if they may be the cause."""
        if reason in (Reason.UNAUTHORIZED, Reason.UNTRUSTED):
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            what = "TLS with the API server failed" if reason is Reason.UNTRUSTED else "our credentials were rejected"
            log.log(level, "%s; reloading credentials and certificates: %s", what, error)
            try:
                await self._context.connection.read_credentials(refused=credentials)
            except ClusterConfigurationError as unreadable:  # a plugin may fail, or a file may be half written
                log.warning("%s", unreadable)
        elif reason is Reason.EXPIRED:
            log.info("relisting %s in namespace %s: %s", self.kind.name, self.watched_namespace, error)
        else:
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            log.log(level, "watch of %s in namespace %s failed: %s", self.kind.name, self.watched_namespace, error)

    def _find_stale(self, error: Exception) -> None:
        """Mark a kind as stale if nothing has worked for minutes. The next successful list ends that.

        Its state stays. The rules hold alerts while a kind is not synced.
        """
        seconds = asyncio.get_running_loop().time() - self._worked
        place = (self.kind.name, self.watched_namespace)
        if seconds < self._context.stale or self._context.inventory.scopes().get(place) is not ScopeState.SYNCED:
            return
        log.warning("%s in namespace %s: no successful list or watch for %.0f s: %s", *place, seconds, error)
        self._version = None
        self._say(ScopeState.STALE)

    def _say(self, state: ScopeState) -> None:
        self._context.inventory.set_scope(self.kind.name, self.watched_namespace, state)
        gauge = self._context.telemetry.forbidden.labels(self.kind.name, self.watched_namespace)
        gauge.set(1 if state is ScopeState.FORBIDDEN else 0)


def _is_before(version: str, other: str) -> bool | None:
    """Whether a resourceVersion is older than another, or None if they are not comparable.

    They are comparable decimal numbers ("Resource versions", Kubernetes API concepts, 1.35), and were etcd revisions
    before. Both have at most 64 bits.
    """
    numbers = [int(text) for text in (version, other) if text.isascii() and text.isdecimal() and len(text) <= 20]
    return numbers[0] < numbers[1] if len(numbers) == 2 else None


def _gone_back(version: str, stood: str) -> ApiError:
    return ApiError(
        410, f"resource version {version[:40]!r} does not follow {stood[:40]!r}; was etcd restored from a backup?"
    )

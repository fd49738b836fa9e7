"""One kind in one namespace (or all): listed whole, then watched, for ever.

What is held only changes by what the API server said: while it is away nothing vanishes, and a new list replaces the
old one in one step once all of its pages are there.

etcd restored from a backup is the hard case, as a resourceVersion from the future is answered with 200 and silence.
Hence a watch that ended without event or bookmark proves nothing and is followed by a list, and after any interruption
the server first has to show that it has not gone back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import msgspec

from exporter.cluster.aggregator import ObjectRef, WorkloadAggregator
from exporter.cluster.connection import ApiError, ClusterConfigurationError, Connection, UnreachableError
from exporter.cluster.decode import (
    ListMetadata,
    Object,
    decode_event,
    decode_failure,
    decode_metadata,
    decode_object,
    decode_page,
    decode_pod_metadata,
    decode_raw_page,
)
from exporter.cluster.retries import Reason, Retries, reason_of
from exporter.cluster.templates import is_covered, to_workloads, workload_keys
from exporter.inventory import Inventory, ScopeState
from exporter.kinds import Kind
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey

log = logging.getLogger(__name__)

PAGE_ITEMS = 500
WATCH_SECONDS = (240, 300)
# Bookmarks come about every minute; a connection that says less than this is dead.
SILENCE_SECONDS = 150.0
# A watch that lasted this long ended for no fault.
LIVELY_SECONDS = 30.0
# How soon a kind that was not installed is looked for again: somebody may install it at any time.
RECHECK_SECONDS = 180.0
# Several lists may expire in the middle of their pages while etcd is compacted; more than this is a fault of another
# kind.
LIST_ATTEMPTS = 3

_METADATA_ACCEPT = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class ObjectRevision(NamedTuple):
    """Which object of a name, and which of its specifications: one that is made anew begins at generation 1 again."""

    uid: str
    generation: int


Parts = dict[ObjectRef, tuple[ObjectRevision, tuple[Workload, ...]]]

_NOTHING: tuple[ObjectRevision, tuple[Workload, ...]] = (ObjectRevision("", 0), ())
# What a kind cannot be listed for, however often we ask: somebody has to give rights, or install it.
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
        # By what we hold, its uid and generation: a change of status alone does not need the specification again.
        self._held: dict[ObjectRef, ObjectRevision] = {}
        self._version: str | None = None
        # Whether the API server was away since `_version` was right: it may have come back with an older etcd, or
        # still be starting.
        self._doubtful = False
        self._retries = Retries()
        self._unlisted: Reason | None = None
        for reason in Reason:
            context.telemetry.watch_restarts.labels(kind.name, reason.value)
        self._say(ScopeState.PENDING)

    async def run(self) -> NoReturn:
        """List and watch for ever; only what is a fault of ours is raised."""
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
                # A server (or a proxy) that ends every watch at once must not be asked without pause.
                delay = self._retries.delay(reason)
            except (ApiError, UnreachableError, msgspec.MsgspecError) as error:
                reason = reason_of(error, custom=self.kind.custom)
                self._doubtful |= reason is Reason.UNREACHABLE
                fleeting = self._retries.is_fleeting(reason, starting=self._doubtful)
                if not fleeting:
                    self._version = None
                delay = self._retries.delay(reason, error)
                if reason not in UNLISTED:
                    await self._note(reason, error, credentials)
                elif not fleeting:
                    self.unlist(reason, error)
                    delay = self._context.recheck if reason is Reason.NOT_INSTALLED else delay
            if self._required or reason is not Reason.NOT_INSTALLED:
                self._context.telemetry.watch_restarts.labels(self.kind.name, reason.value).inc()
            await self._context.sleep(delay)

    async def list_once(self) -> None:
        """Take in the whole list.

        Raises:
            ApiError: the server refused.
            UnreachableError: the server did not answer.
            msgspec.MsgspecError: its answer makes no sense.
        """
        for attempt in range(1, LIST_ATTEMPTS + 1):
            try:
                version, parts = await self._pages()
            except ApiError as error:
                if error.status != 410 or attempt == LIST_ATTEMPTS:
                    raise
            else:
                break
        aggregator = self._context.aggregator
        for ref in self._held.keys() - parts.keys():
            aggregator.put(ref, ())
        for ref, (_, workloads) in parts.items():
            aggregator.put(ref, workloads)
        self._held = {ref: revision for ref, (revision, _) in parts.items()}
        self._version = version
        self._context.telemetry.last_sync.labels(self.kind.name).set(self._context.clock())
        self._unlisted = None
        self._say(ScopeState.SYNCED)

    def unlist(self, reason: Reason, error: Exception) -> None:
        """Take note, and log once, that the kind cannot be listed: `reason` is one of `UNLISTED`.

        What is known of a required kind stays, because rights that went prove nothing about what runs. An optional
        kind is no longer watched, and what it controls is judged instead.
        """
        if self._unlisted is reason:
            return
        self._unlisted = reason
        forbidden = reason is Reason.FORBIDDEN
        place = (self.kind.name, self.watched_namespace)
        if self._required:
            log.warning(
                "%s %s in namespace %s: %s", "may not list or watch" if forbidden else "cannot find", *place, error
            )
            self._say(ScopeState.FORBIDDEN if forbidden else ScopeState.NOT_INSTALLED)
            return
        if forbidden:
            log.info("%s in namespace %s is not watched, we are not permitted to: %s", *place, error)
        else:
            watched = self._context.inventory.scopes().get(place) is ScopeState.SYNCED
            level = logging.INFO if watched else logging.DEBUG
            log.log(level, "%s in namespace %s is not watched, it is not installed", *place)
        for ref in self._held:
            self._context.aggregator.put(ref, ())
        self._held.clear()
        self._context.inventory.drop_scope(*place)
        self._context.telemetry.forbidden.labels(*place).set(1 if forbidden else 0)

    async def _pages(self) -> tuple[str, Parts]:
        params = {"limit": str(PAGE_ITEMS), **self._selector()}
        parts: Parts = {}
        while True:
            body = await self._context.connection.get(self._path, params=params, accept=self._accept(many=True))
            metadata, things = self._page(body)
            found = await self._parts(things)
            parts.update((ref, part) for ref, part in found.items() if part[1])
            if not metadata.continue_:
                return metadata.resource_version, parts
            params["continue"] = metadata.continue_

    def _page(self, body: bytes) -> tuple[ListMetadata, Sequence[Object]]:
        if not self.kind.custom:
            page = decode_page(body)
            return page.metadata, page.items or ()
        raw = decode_raw_page(body)
        return raw.metadata, [self._object(item) for item in raw.items or ()]

    def _object(self, raw: msgspec.Raw) -> Object:
        """An object of a watch or a list.

        A definition may let anybody write anything into a custom resource: one that we cannot read counts as one
        without a template.
        """
        try:
            return decode_object(raw)
        except msgspec.ValidationError as error:
            if not self.kind.custom:
                raise
            metadata = decode_metadata(raw).metadata
            log.warning("cannot read %s %s/%s: %s", self.kind.name, metadata.namespace, metadata.name, error)
            return Object(metadata=metadata)

    async def _check(self, version: str) -> None:
        """Ask whether the API server still has what came before: etcd may have been restored from a backup.

        Raises:
            ApiError: 410 where it stands before where we stood, or speaks of versions that cannot be compared.
        """
        params = {"limit": "1", **self._selector()}
        body = await self._context.connection.get(self._path, params=params, accept=self._accept(many=True))
        newest = decode_raw_page(body).metadata.resource_version
        if _is_before(newest, version) is not False:
            raise _gone_back(newest, version)

    async def _watch(self) -> Reason:
        """Follow the changes until the watch ends, and say how; `_version` is None where a list has to follow."""
        # At random, so that the reflectors do not all come back at once.
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
            # Until this watch has said something, nothing shows that it stands on firm ground.
            self._version = None
            async for lines in batches:
                version = await self._take(lines) or stood
                if _is_before(version, stood):
                    raise _gone_back(version, stood)
                self._version = stood = version
                self._retries.clear()
        # A server that shuts down ends its watches early, and behind its address another may answer next.
        self._doubtful = asyncio.get_running_loop().time() - began < seconds - 1
        return Reason.SILENT if self._version is None else Reason.ENDED

    async def _take(self, lines: Iterable[bytes]) -> str:
        """Apply the events that arrived together, the last of each object, and say where the watch stands."""
        version = ""
        last: dict[ObjectRef, Object | None] = {}
        for line in lines:
            event = decode_event(line)
            if event.type == "ERROR":
                self._version = None
                failure = decode_failure(event.object)
                raise ApiError(failure.code, failure.message)
            thing = self._object(event.object)
            version = thing.metadata.resource_version or version
            if event.type != "BOOKMARK":
                last[self._ref(thing)] = None if event.type == "DELETED" else thing
        parts = await self._parts([thing for thing in last.values() if thing is not None])
        for ref in last:
            revision, workloads = parts.get(ref, _NOTHING)
            self._context.aggregator.put(ref, workloads)
            if workloads:
                self._held[ref] = revision
            else:
                self._held.pop(ref, None)
        return version

    async def _parts(self, things: Sequence[Object]) -> Parts:
        """What each object contributes, with its revision; specifications are fetched where no template covers them."""
        parts: Parts = {}
        missing: list[ObjectRef] = []
        for thing in things:
            if is_covered(self.kind, thing.metadata):
                continue
            if all(self._context.exclude(key) for key in workload_keys(self.kind, thing.metadata)):
                continue
            ref, revision = self._ref(thing), _revision(thing)
            if not self.kind.metadata_only:
                parts[ref] = (revision, self._kept(to_workloads(self.kind, thing)))
            elif revision.generation and self._held.get(ref) == revision:
                parts[ref] = (revision, self._context.aggregator.get(ref))
            else:
                missing.append(ref)
        if missing:
            fetched = await asyncio.gather(*(self._fetch(ref) for ref in missing), return_exceptions=True)
            for ref, answer in zip(missing, fetched, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                parts[ref] = answer
        return parts

    async def _fetch(self, ref: ObjectRef) -> tuple[ObjectRevision, tuple[Workload, ...]]:
        async with self._context.fetching:
            try:
                body = await self._context.connection.get(f"{self.kind.path(ref.namespace)}/{ref.name}")
            except ApiError as error:
                if error.status == 404:  # gone meanwhile; the watch will say so too
                    return _NOTHING
                raise
        thing = decode_object(body)
        annotations = decode_pod_metadata(body).metadata.annotations if not self.kind.template else None
        return _revision(thing), self._kept(to_workloads(self.kind, thing, pod_annotations=annotations))

    def _kept(self, workloads: tuple[Workload, ...]) -> tuple[Workload, ...]:
        return tuple(workload for workload in workloads if not self._context.exclude(workload.key))

    def _ref(self, thing: Object) -> ObjectRef:
        return ObjectRef(self.kind.name, thing.metadata.namespace, thing.metadata.name)

    def _selector(self) -> dict[str, str]:
        return {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"} if not self.kind.template else {}

    def _accept(self, *, many: bool) -> str:
        if not self.kind.metadata_only:
            return "application/json"
        return _METADATA_ACCEPT.format("List" if many else "")

    async def _note(self, reason: Reason, error: Exception, credentials: int) -> None:
        """Do and say what a failure asks for."""
        if reason is Reason.UNAUTHORIZED:
            log.warning("the API server refused our credentials, reading them again: %s", error)
            try:
                await self._context.connection.read_credentials(refused=credentials)
            except ClusterConfigurationError as unreadable:  # a plugin may fail for a while, a file may be half written
                log.warning("%s", unreadable)
        elif reason is Reason.EXPIRED:
            log.info("%s in namespace %s are listed again: %s", self.kind.name, self.watched_namespace, error)
        else:
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            log.log(level, "the watch of %s in namespace %s broke: %s", self.kind.name, self.watched_namespace, error)

    def _say(self, state: ScopeState) -> None:
        self._context.inventory.set_scope(self.kind.name, self.watched_namespace, state)
        gauge = self._context.telemetry.forbidden.labels(self.kind.name, self.watched_namespace)
        gauge.set(1 if state is ScopeState.FORBIDDEN else 0)


def _revision(thing: Object) -> ObjectRevision:
    return ObjectRevision(thing.metadata.uid, thing.metadata.generation)


def _is_before(version: str, other: str) -> bool | None:
    """Whether a resource version is older than another, None where they do not compare.

    They are decimal numbers that compare ("Resource versions", Kubernetes API concepts, 1.35); etcd's revisions were
    no others before.
    """
    return int(version) < int(other) if version.isdecimal() and other.isdecimal() else None


def _gone_back(version: str, stood: str) -> ApiError:
    return ApiError(410, f"resource version {version!r} does not follow {stood!r}; was etcd restored from a backup?")

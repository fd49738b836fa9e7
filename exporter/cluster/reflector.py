"""One kind in one namespace (or all): listed whole, then watched, for ever.

What is held only changes by what the API server said: while it is away nothing vanishes, and a new list replaces the old one in
one step once all of its pages are there.

etcd restored from a backup is the hard case, as a resourceVersion from the future is answered with 200 and silence. Hence a watch
that ended without event or bookmark proves nothing and is followed by a list, and after any interruption the server first has to
show that it has not gone back.
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
    Object,
    decode_event,
    decode_failure,
    decode_object,
    decode_page,
    decode_pod_metadata,
)
from exporter.cluster.retries import Reason, Retries, reason_of
from exporter.cluster.templates import GROUPS, is_covered, to_workload, workload_key
from exporter.inventory import Inventory, ScopeState
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey

log = logging.getLogger(__name__)

# Of these we list metadata only: a hub has thousands, and nearly all are covered by a template.
METADATA_ONLY = frozenset({"ReplicaSet", "Pod"})
KINDS = (*GROUPS, "Pod")

PAGE_ITEMS = 500
WATCH_SECONDS = (240, 300)
# Bookmarks come about every minute; a connection that says less than this is dead.
SILENCE_SECONDS = 150.0
# A watch that lasted this long ended for no fault.
LIVELY_SECONDS = 30.0
# Several lists may expire in the middle of their pages while etcd is compacted; more than this is a fault of another kind.
LIST_ATTEMPTS = 3

_METADATA_ACCEPT = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class ObjectRevision(NamedTuple):
    """Which object of a name, and which of its specifications: one that is made anew begins at generation 1 again."""

    uid: str
    generation: int


_NO_REVISION = ObjectRevision("", 0)


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
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Reflector:
    """One kind in one watched namespace, `*` for all."""

    def __init__(self, *, kind: str, watched_namespace: str, context: WatchContext) -> None:
        self.kind = kind
        self.watched_namespace = watched_namespace
        self._context = context
        self._path = _path(kind, watched_namespace)
        self._metadata_only = kind in METADATA_ONLY
        # By what we hold, its uid and generation: a change of status alone does not need the specification again.
        self._held: dict[ObjectRef, ObjectRevision] = {}
        self._version: str | None = None
        # Whether the API server was away since `_version` was right: it may have come back with an older etcd, or still be starting.
        self._doubtful = False
        self._retries = Retries()
        for reason in Reason:
            context.telemetry.watch_restarts.labels(kind, reason.value)
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
                reason = reason_of(error)
                self._doubtful |= reason is Reason.UNREACHABLE
                fleeting = self._retries.is_fleeting(reason, starting=self._doubtful)
                if not fleeting:
                    self._version = None
                delay = self._retries.delay(reason, error)
                if reason is not Reason.FORBIDDEN or not fleeting:
                    await self._note(reason, error, credentials)
            self._context.telemetry.watch_restarts.labels(self.kind, reason.value).inc()
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
            aggregator.put(ref, None)
        for ref, (_, part) in parts.items():
            aggregator.put(ref, part)
        self._held = {ref: revision for ref, (revision, _) in parts.items()}
        self._version = version
        self._context.telemetry.last_sync.labels(self.kind).set(self._context.clock())
        self._say(ScopeState.SYNCED)

    def forbidden(self, error: ApiError) -> None:
        """Say, once, that rights are missing. What was known stays: rights that went prove nothing about what runs."""
        if self._context.inventory.scopes()[self.kind, self.watched_namespace] is not ScopeState.FORBIDDEN:
            log.warning("may not list or watch %s in namespace %s: %s", self.kind, self.watched_namespace, error)
            self._say(ScopeState.FORBIDDEN)

    async def _pages(self) -> tuple[str, dict[ObjectRef, tuple[ObjectRevision, Workload]]]:
        params = {"limit": str(PAGE_ITEMS), **self._selector()}
        parts: dict[ObjectRef, tuple[ObjectRevision, Workload]] = {}
        while True:
            page = decode_page(
                await self._context.connection.get(self._path, params=params, accept=self._accept(many=True))
            )
            found = await self._parts(page.items or ())
            parts.update((ref, (revision, part)) for ref, (revision, part) in found.items() if part is not None)
            if not page.metadata.continue_:
                return page.metadata.resource_version, parts
            params["continue"] = page.metadata.continue_

    async def _check(self, version: str) -> None:
        """Ask whether the API server still has what came before: etcd may have been restored from a backup.

        Raises:
            ApiError: 410 where it stands before where we stood, or speaks of versions that cannot be compared.
        """
        params = {"limit": "1", **self._selector()}
        body = await self._context.connection.get(self._path, params=params, accept=self._accept(many=True))
        newest = decode_page(body).metadata.resource_version
        if _is_before(newest, version) is not False:
            raise _gone_back(newest, version)

    async def _watch(self) -> Reason:
        """Follow the changes until the watch ends, and say how; `_version` is None where a list has to follow."""
        seconds = int(random.uniform(*self._context.watch_seconds))  # noqa: S311 - keeps reflectors from coming back all at once
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
            thing = decode_object(event.object)
            version = thing.metadata.resource_version or version
            if event.type != "BOOKMARK":
                last[self._ref(thing)] = None if event.type == "DELETED" else thing
        parts = await self._parts([thing for thing in last.values() if thing is not None])
        for ref in last:
            revision, part = parts.get(ref, (_NO_REVISION, None))
            self._context.aggregator.put(ref, part)
            if part is None:
                self._held.pop(ref, None)
            else:
                self._held[ref] = revision
        return version

    async def _parts(self, things: Sequence[Object]) -> dict[ObjectRef, tuple[ObjectRevision, Workload | None]]:
        """What each object contributes, with its revision; specifications are fetched where no template covers them."""
        parts: dict[ObjectRef, tuple[ObjectRevision, Workload | None]] = {}
        missing: list[ObjectRef] = []
        for thing in things:
            if is_covered(self.kind, thing.metadata) or self._context.exclude(workload_key(self.kind, thing.metadata)):
                continue
            ref, revision = self._ref(thing), _revision(thing)
            if not self._metadata_only:
                parts[ref] = (revision, to_workload(self.kind, thing))
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

    async def _fetch(self, ref: ObjectRef) -> tuple[ObjectRevision, Workload | None]:
        async with self._context.fetching:
            try:
                body = await self._context.connection.get(f"{_path(self.kind, ref.namespace)}/{ref.name}")
            except ApiError as error:
                if error.status == 404:  # gone meanwhile; the watch will say so too
                    return _NO_REVISION, None
                raise
        thing = decode_object(body)
        annotations = decode_pod_metadata(body).metadata.annotations if self.kind == "Pod" else None
        return _revision(thing), to_workload(self.kind, thing, pod_annotations=annotations)

    def _ref(self, thing: Object) -> ObjectRef:
        return ObjectRef(self.kind, thing.metadata.namespace, thing.metadata.name)

    def _selector(self) -> dict[str, str]:
        return {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"} if self.kind == "Pod" else {}

    def _accept(self, *, many: bool) -> str:
        if not self._metadata_only:
            return "application/json"
        return _METADATA_ACCEPT.format("List" if many else "")

    async def _note(self, reason: Reason, error: Exception, credentials: int) -> None:
        """Do and say what a failure asks for."""
        if isinstance(error, ApiError) and reason is Reason.FORBIDDEN:
            self.forbidden(error)
        elif reason is Reason.UNAUTHORIZED:
            log.warning("the API server refused our credentials, reading them again: %s", error)
            try:
                await self._context.connection.read_credentials(refused=credentials)
            except ClusterConfigurationError as unreadable:  # a plugin may fail for a while, a file may be half written
                log.warning("%s", unreadable)
        elif reason is Reason.EXPIRED:
            log.info("%s in namespace %s are listed anew: %s", self.kind, self.watched_namespace, error)
        else:
            level = logging.WARNING if self._retries.is_first(reason) else logging.DEBUG
            log.log(level, "the watch of %s in namespace %s broke: %s", self.kind, self.watched_namespace, error)

    def _say(self, state: ScopeState) -> None:
        self._context.inventory.set_scope(self.kind, self.watched_namespace, state)
        gauge = self._context.telemetry.forbidden.labels(self.kind, self.watched_namespace)
        gauge.set(1 if state is ScopeState.FORBIDDEN else 0)


def _revision(thing: Object) -> ObjectRevision:
    return ObjectRevision(thing.metadata.uid, thing.metadata.generation)


def _is_before(version: str, other: str) -> bool | None:
    """Whether a resource version is older than another, None where they do not compare.

    They are decimal numbers that compare ("Resource versions", Kubernetes API concepts, 1.35); etcd's revisions were no others before.
    """
    return int(version) < int(other) if version.isdecimal() and other.isdecimal() else None


def _gone_back(version: str, stood: str) -> ApiError:
    return ApiError(410, f"resource version {version!r} does not follow {stood!r}; was etcd restored from a backup?")


def _path(kind: str, namespace: str) -> str:
    root = f"/apis/{GROUPS[kind]}/v1" if kind in GROUPS else "/api/v1"
    plural = f"{kind.lower()}s"
    return f"{root}/{plural}" if namespace == "*" else f"{root}/namespaces/{namespace}/{plural}"

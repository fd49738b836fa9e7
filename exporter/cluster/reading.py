"""From the objects of a list or a watch to what each contributes to workloads.

One object that cannot be read does not hide the others. It keeps what it contributed before: a defect of ours, or an
object that makes no sense, must not make an alert resolve. It is logged and counted, and read again with the next list.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from exporter.cluster.aggregator import ObjectRef, WorkloadAggregator
from exporter.cluster.connection import ApiError, Connection, TooLargeError
from exporter.cluster.decode import Object, decode_message, decode_metadata, decode_object, decode_pod_metadata
from exporter.cluster.templates import is_covered, to_workloads, workload_keys
from exporter.kinds import Kind
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey

log = logging.getLogger(__name__)

# Bytes of objects that are decoded before other tasks run: about a millisecond.
SLICE_BYTES = 2**18
# Specifications that are asked for together; how many are fetched at a time is up to the semaphore `fetching`.
FETCHED_TOGETHER = 64


class ObjectRevision(NamedTuple):
    """Which object of a name, and which of its specifications: a new object begins with generation 1 again."""

    uid: str
    generation: int


Parts = dict[ObjectRef, tuple[ObjectRevision, tuple[Workload, ...]]]

UNKNOWN = ObjectRevision("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where objects of a kind come from and go to.

    Attributes:
        kind: of the objects.
        connection: for specifications that a list of metadata does not have.
        aggregator: what each object contributed so far.
        telemetry: where refused and unreadable objects are counted.
        exclude: whether a workload is not of interest.
        fetching: how many specifications are fetched at a time.
        held: the revision of each object that contributes.
        most: the containers of all objects in a namespace.
    """

    kind: Kind
    connection: Connection
    aggregator: WorkloadAggregator
    telemetry: Telemetry
    exclude: Callable[[WorkloadKey], bool]
    fetching: asyncio.Semaphore
    held: Mapping[ObjectRef, ObjectRevision]
    most: int = Limit.NAMESPACE_OBJECTS.most


@dataclass(slots=True)
class Reading:
    """The objects of one list, or of events that arrived together.

    Attributes:
        source: of the objects.
        weights: the containers of all objects by namespace, including those held before where events are read.
        parts: what each object contributes; objects that contribute nothing are left out.
        incomplete: objects were refused or could not be read.
    """

    source: Source
    weights: Counter[str]
    parts: Parts = field(default_factory=dict)
    incomplete: bool = False
    _missing: list[ObjectRef] = field(default_factory=list)

    async def take(self, objects: Iterable[tuple[ObjectRef, msgspec.Raw]]) -> None:
        """Read objects as they were listed."""
        size = 0
        for ref, raw in objects:
            try:
                self._read(ref, raw)
            except Exception as error:  # noqa: BLE001 - one object stays one object
                self._skip(ref, error)
            size += len(raw)
            if size >= SLICE_BYTES:
                size = 0
                await asyncio.sleep(0)

    async def fetch(self) -> None:
        """Fetch the specifications of objects that only their metadata was listed of.

        Raises:
            ApiError: the server refused.
            UnreachableError: the server did not answer.
        """
        while self._missing:
            refs, self._missing = self._missing[:FETCHED_TOGETHER], self._missing[FETCHED_TOGETHER:]
            answers = await asyncio.gather(*(self._fetch(ref) for ref in refs), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer

    def _read(self, ref: ObjectRef, raw: msgspec.Raw) -> None:
        kind, source = self.source.kind, self.source
        thing = self._object(ref, raw)
        if is_covered(kind, thing.metadata):
            return
        if all(source.exclude(key) for key in workload_keys(kind, thing.metadata)):
            return
        revision = _revision(thing)
        if not kind.metadata_only:
            self._add(ref, revision, to_workloads(kind, thing))
        elif revision.generation and source.held.get(ref) == revision:
            self._keep(ref)
        else:
            self._missing.append(ref)

    def _object(self, ref: ObjectRef, raw: msgspec.Raw) -> Object:
        """An object of a watch or a list.

        A definition may accept anything in a custom resource: one that is not valid counts as one without a template,
        and is judged by what it controls.
        """
        try:
            return decode_object(raw)
        except msgspec.ValidationError as error:
            if not self.source.kind.custom:
                raise
            metadata = decode_metadata(raw).metadata
            log.warning("cannot read %s %s/%s: %s", *ref, error)
            return Object(metadata=metadata)

    async def _fetch(self, ref: ObjectRef) -> None:
        source = self.source
        async with source.fetching:
            try:
                async with source.connection.get(f"{source.kind.path(ref.namespace)}/{ref.name}") as body:
                    try:
                        thing = await decode_message(decode_object, body)
                        # A pod has no template: its own annotations count.
                        metadata = None if source.kind.template else decode_pod_metadata(body).metadata
                        annotations = metadata.annotations if metadata is not None else None
                        self._add(ref, _revision(thing), to_workloads(source.kind, thing, pod_annotations=annotations))
                    except Exception as error:  # noqa: BLE001 - one object stays one object
                        self._skip(ref, error)
            except TooLargeError as error:
                source.telemetry.exceeded(Limit.ANSWER)
                self._skip(ref, error)
            except ApiError as error:
                if error.status != 404:  # it was deleted in the meantime; the watch will say so too
                    raise

    def _add(self, ref: ObjectRef, revision: ObjectRevision, workloads: tuple[Workload, ...]) -> None:
        source = self.source
        known = source.aggregator.get(ref)
        level = logging.DEBUG if any(workload.limit_exceeded for workload in known) else logging.WARNING
        kept = tuple(self._bounded(workload, level) for workload in workloads if not source.exclude(workload.key))
        if not kept:
            return
        weight = weigh(kept)
        if not known and self.weights[ref.namespace] + weight > source.most:
            source.telemetry.exceeded(Limit.NAMESPACE_OBJECTS)
            if not self.incomplete:
                log.warning("%s %s/%s is left out: its namespace has too many objects of this kind", *ref)
            self.incomplete = True
            return
        self.weights[ref.namespace] += weight
        # The same value, not an equal one, so that a list does not hold everything twice.
        self.parts[ref] = revision, known if kept == known else kept

    def _bounded(self, workload: Workload, level: int) -> Workload:
        limit = workload.exceeded()
        if limit is None:
            return workload
        self.source.telemetry.exceeded(limit)
        log.log(level, "%s is not judged: a limit is exceeded (%s %s)", workload.key, f"{limit.most:,}", limit.unit)
        return workload.refused()

    def _keep(self, ref: ObjectRef) -> None:
        """Let an object contribute what it contributed before."""
        known = self.source.aggregator.get(ref)
        if known:
            self.weights[ref.namespace] += weigh(known)
            self.parts[ref] = self.source.held.get(ref, UNKNOWN), known

    def _skip(self, ref: ObjectRef, error: Exception) -> None:
        self.source.telemetry.unexpected_errors.labels("cluster").inc()
        # One traceback is enough where all objects of a list have the same fault.
        level = logging.DEBUG if self.incomplete else logging.ERROR
        log.log(level, "cannot read %s %s/%s; what is known about it is kept", *ref, exc_info=error)
        self.incomplete = True
        self._keep(ref)


def weigh(workloads: tuple[Workload, ...]) -> int:
    """What an object counts towards `Limit.NAMESPACE_OBJECTS`: its containers, at least 1."""
    return sum(max(1, len(workload.containers)) for workload in workloads)


def _revision(thing: Object) -> ObjectRevision:
    return ObjectRevision(thing.metadata.uid, thing.metadata.generation)

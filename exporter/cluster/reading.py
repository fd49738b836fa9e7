"""Contributions to workloads, read from the objects of a list or a watch.

An unreadable object does not hide the others. It keeps its previous contribution, because neither a bug of ours nor an
invalid object may resolve an alert. It is logged, counted, and read again by the next list.
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

# Bytes of objects decoded before yielding to other tasks: about a millisecond.
SLICE_BYTES = 2**18
# Specifications requested per batch. The semaphore `fetching` limits the concurrent requests.
FETCHED_TOGETHER = 64


class ObjectRevision(NamedTuple):
    """An object's uid and generation. A new object of the same name starts at generation 1 again."""

    uid: str
    generation: int


Parts = dict[ObjectRef, tuple[ObjectRevision, tuple[Workload, ...]]]

UNKNOWN = ObjectRevision("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The context in which a kind's objects are read.

    Attributes:
        kind: kind of the objects.
        connection: fetches specifications that a metadata list does not have.
        aggregator: holds the previous contribution of each object.
        telemetry: counts refused and unreadable objects.
        exclude: whether to ignore a workload.
        fetching: limits concurrent fetches of specifications.
        held: revision of each object that contributes.
        most: limit on the containers of all objects in a namespace.
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
    """The objects of one list, or of one batch of events.

    Attributes:
        source: context of the objects.
        weights: containers of all objects by namespace, for events including those held before.
        parts: contribution of each object. Objects without one are left out.
        incomplete: whether objects were refused or could not be read.
    """

    source: Source
    weights: Counter[str]
    parts: Parts = field(default_factory=dict)
    incomplete: bool = False
    _missing: list[ObjectRef] = field(default_factory=list)

    async def take(self, objects: Iterable[tuple[ObjectRef, msgspec.Raw]]) -> None:
        """Read listed objects."""
        size = 0
        for ref, raw in objects:
            try:
                self._read(ref, raw)
            except Exception as error:  # noqa: BLE001 - an invalid object must not affect the others
                self._skip(ref, error)
            size += len(raw)
            if size >= SLICE_BYTES:
                size = 0
                await asyncio.sleep(0)

    async def fetch(self) -> None:
        """Fetch the specifications of objects that were listed by metadata only.

        Raises:
            ApiError: the server refused a request.
            UnreachableError: the server did not respond.
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
        """Decode an object of a watch or a list.

        A definition may accept anything in a custom resource. An invalid one counts as one without a template, and is
        judged by what it controls.
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
                        # A pod has no template, so its own annotations count.
                        metadata = None if source.kind.template else decode_pod_metadata(body).metadata
                        annotations = metadata.annotations if metadata is not None else None
                        self._add(ref, _revision(thing), to_workloads(source.kind, thing, pod_annotations=annotations))
                    except Exception as error:  # noqa: BLE001 - an invalid object must not affect the others
                        self._skip(ref, error)
            except TooLargeError as error:
                source.telemetry.exceeded(Limit.ANSWER)
                self._skip(ref, error)
            except ApiError as error:
                if error.status != 404:  # deleted in the meantime; the watch will report it too
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
                log.warning("ignoring %s %s/%s: its namespace has too many objects of this kind", *ref)
            self.incomplete = True
            return
        self.weights[ref.namespace] += weight
        # Reuse the same value, so that a list does not hold everything twice.
        self.parts[ref] = revision, known if kept == known else kept

    def _bounded(self, workload: Workload, level: int) -> Workload:
        limit = workload.exceeded()
        if limit is None:
            return workload
        self.source.telemetry.exceeded(limit)
        log.log(level, "%s is not judged: it exceeds the limit of %s %s", workload.key, f"{limit.most:,}", limit.unit)
        return workload.refused()

    def _keep(self, ref: ObjectRef) -> None:
        """Keep the previous contribution of an object."""
        known = self.source.aggregator.get(ref)
        if known:
            self.weights[ref.namespace] += weigh(known)
            self.parts[ref] = self.source.held.get(ref, UNKNOWN), known

    def _skip(self, ref: ObjectRef, error: Exception) -> None:
        self.source.telemetry.unexpected_errors.labels("cluster").inc()
        # One traceback is enough if all objects of a list have the same fault.
        level = logging.DEBUG if self.incomplete else logging.ERROR
        log.log(level, "cannot read %s %s/%s; keeping its last known state", *ref, exc_info=error)
        self.incomplete = True
        self._keep(ref)


def weigh(workloads: tuple[Workload, ...]) -> int:
    """Return an object's weight towards `Limit.NAMESPACE_OBJECTS`: its containers, at least 1."""
    return sum(max(1, len(workload.containers)) for workload in workloads)


def _revision(thing: Object) -> ObjectRevision:
    return ObjectRevision(thing.metadata.uid, thing.metadata.generation)

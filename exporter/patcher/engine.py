"""The loop of the patcher: read the cluster, take the one step that `decide` returns, and read again.

No decision depends on anything remembered from an earlier step. The approvals are listed again before every step, so
work by a second patcher is seen before anything is changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from exporter import kinds
from exporter.cluster import ApiError, UnreachableError
from exporter.cluster.decode import MalformedError, decode_object
from exporter.cluster.templates import to_workloads
from exporter.kinds import Kind
from exporter.patcher.api import Api
from exporter.patcher.approvals import Approval, Reason, State, Status, moment, with_conditions
from exporter.patcher.audit import Audit, event
from exporter.patcher.board import Board
from exporter.patcher.decide import decide
from exporter.patcher.health import RULES
from exporter.patcher.judge import refusal
from exporter.patcher.objects import Pod, WorkloadObject, decode_workload
from exporter.patcher.settings import Settings, Windows
from exporter.patcher.starting import SEND_SECONDS, closed, forbidden, held, rejected
from exporter.patcher.steps import Evict, Gates, Look, Observed, Patch, Step, Write, case_of
from exporter.patcher.tags import Tags
from exporter.patcher.telemetry import PatcherTelemetry
from exporter.patcher.watching import blocked
from exporter.workloads import Workload, WorkloadKey

_log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
# During a rollout: a pod that crashes and comes back should not go unnoticed.
WATCHING_SECONDS = 2.0
MOST_BACKOFF_SECONDS = 30.0
# How many other approvals are looked at between two looks at a rollout.
_BETWEEN = 10
# Errors of the API server that may go away if the request is sent again. 409 is not a failure: somebody was faster.
_PASSING = frozenset({401, 408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the engine needs.

    Attributes:
        api: sends requests to the API server.
        tags: looks up tags in registries.
        windows: when a workload may be patched.
        settings: the rules.
        telemetry: the patcher's own metrics.
        audit: writes the audit lines.
        clock: epoch seconds.
        identity: the name of this process.
    """

    api: Api
    tags: Tags
    windows: Windows
    settings: Settings
    telemetry: PatcherTelemetry
    audit: Audit
    clock: Callable[[], float]
    identity: str


class Engine:
    """Carries out approvals, one workload at a time.

    Args:
        parts: what it needs.
        poll: the seconds between two looks while no rollout is watched and there is nothing to do.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self, parts: Parts, *, poll: float = POLL_SECONDS, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._parts = parts
        self._poll = poll
        self._sleep = sleep
        self._failures = 0

    def configure(self, *, settings: Settings, windows: Windows) -> None:
        """Use new rules and windows from the next look on."""
        self._parts = replace(self._parts, settings=settings, windows=windows)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            delay = await self.cycle()
            await self._sleep(delay)

    async def cycle(self) -> float:
        """Look at every approval once; returns the seconds to wait before the next look."""
        parts = self._parts
        try:
            approvals = await parts.api.approvals()
        except (ApiError, UnreachableError, MalformedError) as error:
            _log.warning("cannot list approvals: %s", error)
            return self._backoff(error)
        board = Board(approvals, stop_on_failure=parts.settings.stop_on_failure)
        parts.telemetry.show(approvals, now=parts.clock())
        parts.telemetry.stopped.set(bool(board.stopped_by))
        return await self._turns(board)

    async def _turns(self, board: Board) -> float:
        """Take a step for each approval, until the next one depends on what was written; returns as `cycle`."""
        failure: Exception | None = None
        written, watching = 0, bool(board.active)
        for approval in board.open:
            if board.active and written >= _BETWEEN and not approval.status.state.active:
                break
            try:
                state = await self._step(approval, board)
            except (ApiError, UnreachableError, MalformedError) as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return 0.0
                _log.warning("%s: %s", approval, error)
                failure = error
                watching = watching and not approval.status.state.active
            except Exception as error:  # noqa: BLE001 - the other approvals go on
                _log.exception("%s: an unexpected error, please report it", approval)
                failure = error
                watching = watching and not approval.status.state.active
            else:
                if state is not None and (state.active or approval.status.state.active):
                    return 0.0
                written += state is not None
        if failure is not None:
            # An approval that fails, such as one in a namespace without permissions, must not slow down the watch of a
            # rollout elsewhere.
            return self._backoff(failure, most=WATCHING_SECONDS if watching else MOST_BACKOFF_SECONDS)
        self._failures = 0
        if written:
            return 0.0
        return min(self._poll, WATCHING_SECONDS) if board.active else self._poll

    def _backoff(self, error: Exception, *, most: float = MOST_BACKOFF_SECONDS) -> float:
        self._failures += 1
        self._parts.telemetry.failures.inc()
        asked = error.retry_after if isinstance(error, ApiError) else None
        return max(asked or 0.0, min(self._poll * 2.0 ** min(self._failures - 1, 8), most))

    async def _step(self, approval: Approval, board: Board) -> State | None:
        """Take the next step of an approval; returns its new state if something was changed."""
        state = approval.status.state
        seen = Observed(approval=approval, workload=None, gates=self._gates(approval, board), now=self._parts.clock())
        if state is State.WAITING and (step := held(seen, self._parts.settings)) is not None:
            return await self._execute(seen, step)
        if board.active and state is State.WAITING:
            return None
        try:
            seen = await self._observe(seen)
        except ApiError as error:
            if error.status != 403:
                raise
            return await self._execute(seen, forbidden(seen, f"The patcher lacks a permission ({error})."))
        return await self._execute(seen, decide(seen, self._parts.settings))

    def _gates(self, approval: Approval, board: Board) -> Gates:
        now, windows = self._parts.clock(), self._parts.windows
        key = _key(approval)
        opening = windows.opening(key, now)
        return Gates(
            opening=opening,
            next_opening=windows.next_opening(key, now) if opening is None else None,
            busy=board.busy(approval),
            stopped_by=board.stopped_by,
        )

    async def observe(self, approval: Approval, board: Board) -> Observed:
        """Read everything about an approval as it is now."""
        gates = self._gates(approval, board)
        return await self._observe(Observed(approval=approval, workload=None, gates=gates, now=self._parts.clock()))

    async def _observe(self, seen: Observed) -> Observed:
        approval, api = seen.approval, self._parts.api
        namespace, ref, state = approval.metadata.namespace, approval.spec.workload, approval.status.state
        kind = _kind(approval)
        if kind is None:
            return seen
        starting = state in (State.NEW, State.WAITING, State.APPLYING)
        if starting:
            seen = replace(seen, gates=replace(seen.gates, namespace_stopped=await api.is_stopped(namespace)))
        workload, known = await self._workload(kind, namespace, ref.name)
        pods: list[Pod] = []
        if not starting and workload is not None and kind.name != "CronJob":
            # The workload is read after the pods: a crash in between then shows in the workload.
            pods = await self._pods(kind, namespace, workload)
            workload, known = await self._workload(kind, namespace, ref.name)
        seen = replace(seen, workload=workload, known=known, pods=pods, now=self._parts.clock())
        if known is None or not starting or not _asks(seen, self._parts.settings):
            return seen
        return replace(seen, tag=await self._parts.tags.answer(approval, known))

    async def _workload(self, kind: Kind, namespace: str, name: str) -> tuple[WorkloadObject | None, Workload | None]:
        body = await self._parts.api.workload(kind, namespace, name)
        if body is None:
            return None, None
        found = (workload for workload in to_workloads(kind, decode_object(body)) if workload.declared)
        return decode_workload(body), next(found, None)

    async def _pods(self, kind: Kind, namespace: str, workload: WorkloadObject) -> list[Pod]:
        pods = await self._parts.api.pods(namespace, workload.spec.selector.text)
        return [
            pod
            for pod in pods
            if pod.metadata.deletion_timestamp is None and pod.belongs_to(kind.name, workload.metadata.name)
        ]

    async def _execute(self, seen: Observed, step: Step) -> State | None:
        match step:
            case Write(status):
                return await self._write(seen, status)
            case Patch(operations):
                return await self._patch(seen, operations)
            case Evict(pods):
                return await self._evict(seen, pods)
            case Look():
                return None

    async def _write(self, seen: Observed, status: Status) -> State:
        approval, parts = seen.approval, self._parts
        before, now = approval.status, moment(seen.now)
        status = with_conditions(status, before.conditions, now)
        await parts.api.write_status(approval, status)
        if (status.state, status.reason) != (before.state, before.reason):
            parts.audit.note(approval, status, now=datetime.fromtimestamp(seen.now, UTC))
        if status.state is not before.state:
            if status.state.final:
                parts.telemetry.count(status.state, seen.since(status.patched) if status.patched else None)
            await self._announce(approval, status, now)
        return status.state

    async def _announce(self, approval: Approval, status: Status, now: Any) -> None:
        kind = _kind(approval)
        told = event(approval, status, kind=kind, now=now, identity=self._parts.identity)
        if told is None:
            return
        try:
            await self._parts.api.create_event(approval.metadata.namespace, told)
        except (ApiError, UnreachableError) as error:
            _log.warning("%s: cannot create an Event: %s", approval, error)

    async def _patch(self, seen: Observed, operations: Any) -> State | None:
        approval, kind = seen.approval, _kind(seen.approval)
        attempt = approval.status.attempt
        if kind is None or attempt is None:
            return None
        if approval.status.state is State.APPLYING:
            # Reading took time. By now another patcher may have concluded that no patch is on its way.
            late = self._parts.clock() - attempt.time.timestamp()
            if late > SEND_SECONDS:
                return approval.status.state
        try:
            await self._parts.api.patch(kind, approval.metadata.namespace, approval.spec.workload.name, operations)
        except ApiError as error:
            if error.status in _PASSING or error.status in (404, 409):
                raise
            # The images are tested before the version. So 422 may mean that the workload is already patched: by another
            # patcher, or by an earlier request of this one that seemed to be lost.
            workload, _ = await self._workload(kind, approval.metadata.namespace, approval.spec.workload.name)
            if workload is None or workload.metadata.resource_version != attempt.resource_version:
                return approval.status.state
            reason = Reason.FORBIDDEN if error.status == 403 else Reason.PATCH_REJECTED
            return await self._execute(seen, rejected(seen, reason, f"The API server refused the patch: {error}"))
        return approval.status.state

    async def _evict(self, seen: Observed, pods: tuple[Pod, ...]) -> State | None:
        namespace = seen.approval.metadata.namespace
        for pod in pods:
            try:
                await self._parts.api.evict(namespace, pod)
            except ApiError as error:
                if error.status in (404, 409):  # it is gone, or another pod of its name is there
                    continue
                if error.status not in (403, 429):
                    raise
                text = f"Pod {pod.metadata.name} blocks the rollback and cannot be evicted: {error}"
                return await self._execute(seen, blocked(seen, text))
            _log.info("%s: evicted pod %s/%s", seen.approval, namespace, pod.metadata.name)
        return None


def _asks(seen: Observed, settings: Settings) -> bool:
    """Whether to ask the registry: for a new approval, and when a rollout could start."""
    if refusal(case_of(seen, settings, starting=False)) is not None:
        return False
    return seen.approval.status.state is State.NEW or closed(seen, settings) is None


def _key(approval: Approval) -> WorkloadKey:
    ref = approval.spec.workload
    return WorkloadKey(approval.metadata.namespace, ref.published, ref.name)


def _kind(approval: Approval) -> Kind | None:
    ref = approval.spec.workload
    row = kinds.find(ref.kind, f"{ref.group}/v1" if ref.group else "v1")
    return row if row is not None and row.name in RULES else None

"""`patcher --dry-run`: what the patcher would do with each approval, and when. Nothing is changed.

If a rollout would start now, its patch is sent to the API server as a dry run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from msgspec.structs import replace as with_fields

from exporter.cluster import ApiError
from exporter.patcher.approvals import Approval, State, Status
from exporter.patcher.board import Board
from exporter.patcher.decide import decide
from exporter.patcher.engine import Engine, Parts
from exporter.patcher.patch import operations
from exporter.patcher.steps import Observed, Write, kind_of


async def preview(parts: Parts) -> AsyncIterator[str]:
    """A line for each approval that has not ended, in the order of their execution.

    Raises:
        ApiError: approvals cannot be listed.
        UnreachableError: the API server does not answer.
    """
    approvals = await parts.api.approvals()
    board = Board(approvals, stop_on_failure=parts.settings.stop_on_failure)
    engine = Engine(parts)
    if not board.open:
        yield "There is no approval that has not ended."
    for approval in board.open:
        yield f"{approval}: {approval.workload} {approval.spec.from_} to {approval.spec.to}: " + await _said(
            parts, engine, approval, board
        )


async def _said(parts: Parts, engine: Engine, approval: Approval, board: Board) -> str:
    if approval.status.state.active:
        return f"{approval.status.state.value}: {approval.status.message}"
    try:
        # Judged first as a new approval, so that everything is checked, and then as a waiting one that could start.
        seen = await engine.observe(replace_status(approval, Status()), board)
    except ApiError as error:
        return f"unknown: {error}"
    first = decide(seen, parts.settings)
    if not isinstance(first, Write) or first.status.state is State.REFUSED:
        return _text(first.status) if isinstance(first, Write) else "nothing"
    step = decide(replace(seen, approval=replace_status(approval, first.status)), parts.settings)
    if not isinstance(step, Write) or step.status.state is not State.APPLYING:
        return _text(first.status)
    return await _checked(parts, seen, step.status)


async def _checked(parts: Parts, seen: Observed, status: Status) -> str:
    """Whether the API server would accept the patch."""
    approval, kind = seen.approval, kind_of(seen)
    if seen.workload is None or status.attempt is None:
        return "nothing"
    patch = operations(kind, seen.workload, status.changes, attempt=status.attempt)
    try:
        await parts.api.patch(kind, approval.metadata.namespace, approval.spec.workload.name, patch, dry_run=True)
    except ApiError as error:
        return f"would start now in window {status.window}, but the API server refuses the patch: {error}"
    return f"would start now in window {status.window}; the API server accepts the patch"


def replace_status(approval: Approval, status: Status) -> Approval:
    """An approval with another status."""
    return with_fields(approval, status=status)


def _text(status: Status) -> str:
    does = "would be refused" if status.state is State.REFUSED else "would wait"
    return f"{does} ({status.reason}): {status.message}"

"""All approvals at one moment, and the order in which they are carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.patcher.approvals import Approval, State


class Board:
    """The approvals as they were listed.

    Args:
        approvals: all of them.
        stop_on_failure: whether a failure stops the queue until somebody acknowledges it.

    Attributes:
        active: those whose rollout has started; normally at most one.
        open: those that have not ended: active ones first, then new ones, then those that wait, oldest first.
        stopped_by: a failed approval that stops the queue, as text; empty if none does.
    """

    def __init__(self, approvals: Iterable[Approval], *, stop_on_failure: bool) -> None:
        ordered = sorted(approvals, key=lambda approval: approval.order)
        self.active = [approval for approval in ordered if approval.status.state.active]
        new = [approval for approval in ordered if approval.status.state is State.NEW]
        waiting = [approval for approval in ordered if approval.status.state is State.WAITING]
        self.open = [*self.active, *new, *waiting]
        failed = (str(one) for one in ordered if one.status.state.failed and not one.acknowledged)
        self.stopped_by = next(failed, "") if stop_on_failure else ""

    def busy(self, approval: Approval) -> str:
        """Another approval whose rollout has started, as text; empty if there is none."""
        others = (str(one) for one in self.active if one.metadata.uid != approval.metadata.uid)
        return next(others, "")

"""The next step of one approval, decided from the cluster's state alone. Pure.

A step is either one request that changes something, or a pause. What the next process needs after a crash is written to
the approval's status first: before the patch is sent, `Applying` names the version of the workload that it may change.
So the images of the workload show whether the patch has happened, and a patch that is still on its way is rejected once
the workload has another version.

A rollout that has started is finished, even if its window closes or patching is stopped. Until its patch is sent, an
approval can still return to waiting.
"""

from __future__ import annotations

from exporter.patcher.approvals import State
from exporter.patcher.settings import Settings
from exporter.patcher.starting import applying, waiting
from exporter.patcher.steps import Look, Observed, Step
from exporter.patcher.watching import ended, rolling_back, rolling_out, soaking


def decide(seen: Observed, settings: Settings) -> Step:
    """The next step of an approval.

    Args:
        seen: what is known about it.
        settings: the rules.
    """
    state = seen.approval.status.state
    if state.final:
        return Look()
    if state in (State.NEW, State.WAITING):
        return waiting(seen, settings)
    if state is State.APPLYING:
        return applying(seen, settings)
    if (end := ended(seen)) is not None:
        return end
    if state is State.ROLLING_OUT:
        return rolling_out(seen, settings)
    if state is State.SOAKING:
        return soaking(seen, settings)
    return rolling_back(seen, settings)

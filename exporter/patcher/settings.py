"""The patcher's settings, and its view of upgrade windows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.versions import Strategy
from exporter.workloads import WorkloadKey

# A failure there can take the cluster down, so a pattern that happens to match it is not enough.
SYSTEM_NAMESPACE = "kube-system"


class Windows(Protocol):
    """When a workload may be patched."""

    def opening(self, key: WorkloadKey, now: float, /) -> Opening | None:
        """The window that is open for a workload; None if there is none, or during a freeze."""

    def next_opening(self, key: WorkloadKey, now: float, /) -> float | None:
        """When the next window opens for a workload, in epoch seconds; None if that is unknown."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A window that is open.

    Attributes:
        window: its name.
        seconds_left: until it ends, or a freeze begins.
    """

    window: str
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The rules that apply to every approval.

    Attributes:
        patching: whether new rollouts may start.
        strategy: for workloads whose annotations do not set one.
        soak: the seconds that a workload has to stay healthy after its rollout.
        deadline: the seconds without progress after which a rollout has failed, or a rollback is stuck. A Deployment
            has its own deadline.
        grace: the seconds after the deadline in which the controller can still report the failure itself.
        reserve: the seconds that a window must have left when a rollout starts; None computes them.
        stop_on_failure: whether a failure stops the queue until somebody acknowledges it.
        evict: whether broken pods of a StatefulSet with `OrderedReady` are evicted after a rollback.
        expiry: the seconds after which an approval without `expires` expires.
        selects: whether the configuration selects a workload.
        named_namespaces: the namespaces that the configuration names exactly, without a pattern.
        own_release: the Helm release of the patcher itself, as NAMESPACE/NAME, or empty.
        verified: whether the API server ensures that `approvedBy` created the approval.
    """

    patching: bool = True
    strategy: Strategy = Strategy.PATCH
    soak: float = 300.0
    deadline: float = 600.0
    grace: float = 60.0
    reserve: float | None = None
    stop_on_failure: bool = True
    evict: bool = False
    expiry: float = 7 * 86400.0
    selects: Callable[[WorkloadKey], bool] = lambda _: True
    named_namespaces: Collection[str] = ()
    own_release: str = ""
    verified: bool = False

    def permits(self, key: WorkloadKey) -> bool:
        """Whether a workload may be patched."""
        named = key.namespace != SYSTEM_NAMESPACE or SYSTEM_NAMESPACE in self.named_namespaces
        return named and self.selects(key)

"""What an operator decides about the patcher, and what its parts are told about the moment."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.versions import Strategy
from exporter.workloads import WorkloadKey

# Whatever is wrong there ends the cluster, so nobody patches it by a pattern that happens to match.
SYSTEM_NAMESPACE = "kube-system"


class Windows(Protocol):
    """When a workload may be patched."""

    def opening(self, key: WorkloadKey, now: float, /) -> Opening | None:
        """The window that is open for a workload; None if there is none, or a freeze forbids it."""

    def next_opening(self, key: WorkloadKey, now: float, /) -> float | None:
        """When a window opens for a workload next, in epoch seconds; None if that is not known."""


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
    """The rules that hold for every approval.

    Attributes:
        patching: whether new rollouts may begin.
        strategy: of workloads whose annotations name none.
        soak: the seconds that a workload has to stay healthy after its rollout.
        deadline: the seconds without progress after which a rollout has failed, and a rollback is stuck. A Deployment
            has a deadline of its own.
        grace: the seconds that a controller has to report a failure itself, after which we no longer wait for that.
        reserve: the seconds of a window that have to be left when a rollout begins; None computes them.
        stop_on_failure: whether nothing more begins after a failure until somebody acknowledges it.
        evict: whether broken pods of a StatefulSet with `OrderedReady` are evicted after a rollback.
        expiry: the seconds after which an approval ends that names no time.
        selects: whether a workload may be patched at all.
        named_namespaces: the namespaces that the configuration names exactly.
        own_release: the Helm release of the patcher itself, as NAMESPACE/NAME, or empty.
        verified: whether the API server makes sure that `approvedBy` is who created the approval.
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

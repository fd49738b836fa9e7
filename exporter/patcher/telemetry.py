"""The patcher's own metrics. Its page has none of the exporter's: they would look like a second exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from exporter import __version__
from exporter.patcher.approvals import Approval, State
from exporter.telemetry import Telemetry

_LABELS = ("namespace", "workload_kind", "workload", "tag", "state")
# From the patch to the end: minutes, mostly of soak.
_BUCKETS = (10, 30, 60, 120, 300, 420, 600, 900, 1800, 3600)
# The results that `mojaloop_patcher_patches_total` counts.
RESULTS = {
    State.APPLIED: "applied",
    State.ROLLED_BACK: "rolled_back",
    State.REFUSED: "refused",
    State.FAILED: "failed",
}


class PatcherTelemetry(Telemetry):
    """The patcher's own metrics in `registry`. Those of the registry client are not exposed.

    Attributes:
        working: whether the approvals have been read once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Gauge(
            "mojaloop_patcher_build_info", "The running version; always 1.", ["version"], registry=self.registry
        )
        info.labels(__version__).set(1)
        self.working = False
        self._approvals: tuple[tuple[str, ...], ...] = ()
        self.registry.register(self)
        # The exporter exposes these too, under the same names: both read the same configuration.
        reloads = self.config_last_reload_successful, self.config_last_reload_success, self.config_reloads
        for shared in (self.window_open, self.window_next, *reloads):
            self.registry.register(shared)
        self.patches = Counter(
            "mojaloop_patcher_patches",
            "Approvals that this process brought to an end, by result.",
            ["result"],
            registry=self.registry,
        )
        for result in RESULTS.values():
            self.patches.labels(result)
        self.duration = Histogram(
            "mojaloop_patcher_patch_duration_seconds",
            "Time from the patch of a workload to the end of its approval, soak or rollback included.",
            ["result"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        for state in (State.APPLIED, State.ROLLED_BACK, State.FAILED):
            self.duration.labels(RESULTS[state])
        self.leading = Gauge(
            "mojaloop_patcher_leading", "1 while this replica works, 0 while another does.", registry=self.registry
        )
        self.looked = Gauge(
            "mojaloop_patcher_last_look_timestamp_seconds",
            "When the approvals were last read.",
            registry=self.registry,
        )
        self.stopped = Gauge(
            "mojaloop_patcher_queue_stopped",
            "1 while a failed approval that nobody has acknowledged stops the queue.",
            registry=self.registry,
        )
        self.failures = Counter(
            "mojaloop_patcher_failures",
            "Steps that failed, and were tried again.",
            registry=self.registry,
        )

    def show(self, approvals: Iterable[Approval], *, now: float) -> None:
        """Publish the state of every approval, as read now."""
        self.working = True
        self.looked.set(now)
        # A failure that was acknowledged should not be alerted about again.
        shown = (one for one in approvals if not (one.status.state.failed and one.acknowledged))
        self._approvals = tuple(sorted({_values(approval) for approval in shown}))

    def count(self, state: State, seconds: float | None) -> None:
        """Count an approval that ended.

        Args:
            state: a final one.
            seconds: since the patch; None if there was none.
        """
        self.patches.labels(RESULTS[state]).inc()
        if seconds is not None:
            self.duration.labels(RESULTS[state]).observe(seconds)

    def describe(self) -> Iterator[Metric]:
        """The family that `collect` yields."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The approvals as samples."""
        family = self._family()
        for values in self._approvals:
            family.add_metric(values, 1)
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "mojaloop_image_patch_approval", "1 for the state that an approval is in.", labels=_LABELS
        )


def _values(approval: Approval) -> tuple[str, ...]:
    ref, state = approval.spec.workload, approval.status.state
    return approval.metadata.namespace, ref.published, ref.name, approval.spec.to, state.value or State.WAITING.value

"""The configuration as the exporter uses it. Defaults are set here only; docs/configuration.md shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.checker import Settings
from exporter.config.globs import Globs
from exporter.cron import DEFAULT_ZONE, Cron
from exporter.registry import DEFAULT_ENTRIES, RegistryEntry
from exporter.versions import Strategy
from exporter.watchlist import WatchedImage
from exporter.windows import Calendar, Freeze, Window
from exporter.workloads import WorkloadKey

# The checker has defaults of its own, for whoever uses it without a configuration.
_CHECKER = Settings()
_ALL = Globs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the exporter does; `schema.KEYS` says which key sets which field.

    Attributes:
        listen: a host (empty: all addresses) and a port.
        api_listen: likewise for the HTTP API; None answers it at `listen`.
        api_token_file: holds the token without which the API answers nobody; None answers everybody.
        state_dir: where the known tags are kept over a restart; None keeps them in memory. `load` has a default for it.
        watch: images to watch in addition to what runs in the cluster; no filter applies to them.
        strategy: of containers whose annotations name none.
        interval: seconds between two lookups of a repository, if there is no schedule.
        schedule: when repositories are looked up.
        timezone: of the schedule, of windows and of freezes, as far as they name none.
        windows: when workloads may be patched.
        freezes: when none may.
        proxy: the URL of an HTTP proxy for registries.
        ca_file: further trusted certificates (PEM), which `load` puts into entries without a `ca_file` of their own.
        kubernetes: whether a cluster is watched; without one, `watch` names at least one image.
        kubeconfig, context: how to reach the cluster; None is what kubectl would use.
        kinds: kinds to watch, each required; none: every kind, the optional ones where they are installed.
        namespaces, workloads, images: what is judged.
        registries: what may be done with each registry.
        page_enabled: whether `/` is the page of the findings.
        approve_commands: whether findings have a command that approves a patch.
        patching: whether the patcher may begin new rollouts.
        patcher_soak, patcher_deadline, patcher_reserve, patcher_expiry: seconds, as in the keys `patcher.soak` etc.;
            without a reserve it is computed for each workload.
        patcher_on_failure, patcher_statefulset_recovery: as the keys.
        patcher_lease_namespace, patcher_lease_name: of the Lease; without a namespace, that of the pod.
        patcher_own_release: the patcher's own Helm release, NAMESPACE/NAME.
        patcher_verified_approvers: whether the API server checks who approves.
        log_level, log_format: as the keys `log.level` and `log.format`.
    """

    listen: tuple[str, int] = ("0.0.0.0", 9877)
    api_listen: tuple[str, int] | None = None
    api_token_file: Path | None = None
    state_dir: Path | None = None
    watch: tuple[WatchedImage, ...] = ()
    strategy: Strategy = _CHECKER.strategy
    interval: float = _CHECKER.interval
    schedule: Cron | None = _CHECKER.schedule
    timezone: ZoneInfo = DEFAULT_ZONE
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    proxy: str | None = None
    ca_file: Path | None = None
    kubernetes: bool = True
    kubeconfig: Path | None = None
    context: str | None = None
    kinds: tuple[str, ...] = ()
    namespaces: Globs = _ALL
    workloads: Globs = _ALL
    images: Globs = _ALL
    registries: tuple[RegistryEntry, ...] = DEFAULT_ENTRIES
    page_enabled: bool = True
    approve_commands: bool = False
    patching: bool = True
    patcher_soak: float = 300.0
    patcher_deadline: float = 600.0
    patcher_reserve: float | None = None
    patcher_expiry: float = 7 * 86400.0
    patcher_on_failure: str = "stop"
    patcher_statefulset_recovery: str = "none"
    patcher_lease_namespace: str | None = None
    patcher_lease_name: str = "mojaloop-image-patcher"
    patcher_own_release: str | None = None
    patcher_verified_approvers: bool = False
    log_level: str = "info"
    log_format: str = "text"

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces to list one by one, if all included ones are named exactly; empty is the whole cluster."""
        return self.namespaces.exact

    def selects(self, key: WorkloadKey) -> bool:
        """Whether a workload is judged; what the watch list or the command line names always is."""
        return not key.namespace or (self.namespaces.takes(key.namespace) and self.workloads.takes(str(key)))

    def approvable(self, key: WorkloadKey) -> bool:
        """Whether a command that approves a patch of a workload is shown: without a window nothing would follow."""
        return self.approve_commands and any(window.covers(key) for window in self.windows)

    def settings(self) -> Settings:
        """What the checker needs to know."""
        return Settings(
            strategy=self.strategy,
            interval=self.interval,
            schedule=self.schedule,
            selects=self.selects,
            selects_image=self.images.takes,
            approvable=self.approvable,
        )

    def calendar(self) -> Calendar:
        """When workloads may be patched."""
        return Calendar(self.windows, self.freezes)

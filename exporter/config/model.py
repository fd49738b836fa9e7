"""The configuration as the exporter uses it. Defaults are only set here; docs/configuration.md shows them."""

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

# The checker has its own defaults, for use without a configuration.
_CHECKER = Settings()
_ALL = Globs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The exporter's configuration. `schema.KEYS` maps keys to fields.

    Attributes:
        listen: a host (empty: all addresses) and a port.
        api_listen: likewise for the HTTP API; None serves it at `listen`.
        api_token_file: file with the API's bearer token; None disables authentication.
        state_dir: directory that persists the known tags; None keeps them in memory. `load` sets a default.
        watch: images to watch in addition to the cluster; no filter applies to them.
        strategy: strategy of containers without an annotation for it.
        interval: seconds between lookups of a repository, if there is no schedule.
        schedule: times at which repositories are looked up.
        timezone: default time zone of the schedule, windows and freezes.
        windows: times at which workloads may be patched.
        freezes: times at which none may be patched.
        proxy: URL of an HTTP proxy for registries.
        ca_file: additional trusted CA certificates (PEM); `load` copies it to entries without a `ca_file`.
        kubernetes: whether to watch a cluster; otherwise `watch` has at least one image.
        kubeconfig, context: cluster access; None uses kubectl's default.
        kinds: kinds to watch, all required; if empty, every kind, and optional ones only if they are installed.
        namespaces, workloads, images: filters of what is judged.
        registries: settings of each registry.
        page_enabled: whether `/` serves the findings page.
        approve_commands: whether findings include a command that approves a patch.
        patching: whether the patcher may start new rollouts.
        patcher_soak, patcher_deadline, patcher_reserve, patcher_expiry: seconds, see the keys `patcher.soak` etc.;
            without a reserve it is computed for each workload.
        patcher_on_failure, patcher_statefulset_recovery: see the keys.
        patcher_lease_namespace, patcher_lease_name: the Lease; its default namespace is that of the pod.
        patcher_own_release: the patcher's own Helm release, NAMESPACE/NAME.
        patcher_verified_approvers: whether the API server verifies approvers.
        log_level, log_format: see the keys `log.level` and `log.format`.
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
        """Return the namespaces to list separately; empty (the whole cluster) unless all included names are exact."""
        return self.namespaces.exact

    def selects(self, key: WorkloadKey) -> bool:
        """Whether a workload is judged. Images of the watch list or the command line always are."""
        return not key.namespace or (self.namespaces.takes(key.namespace) and self.workloads.takes(str(key)))

    def approvable(self, key: WorkloadKey) -> bool:
        """Whether to show the command that approves a patch of a workload: without a window it would have no effect."""
        return self.approve_commands and any(window.covers(key) for window in self.windows)

    def settings(self) -> Settings:
        """Return the checker's settings."""
        return Settings(
            strategy=self.strategy,
            interval=self.interval,
            schedule=self.schedule,
            selects=self.selects,
            selects_image=self.images.takes,
            approvable=self.approvable,
        )

    def calendar(self) -> Calendar:
        """Return the windows and freezes of workloads."""
        return Calendar(self.windows, self.freezes)

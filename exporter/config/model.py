"""The configuration as the exporter uses it. Its defaults are the only ones; the README's are rendered from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.checker import Settings
from exporter.config.globs import Globs
from exporter.registry import DEFAULT_ENTRIES, RegistryEntry
from exporter.versions import Strategy
from exporter.workloads import WorkloadKey

# The checker has defaults of its own, for whoever uses it without a configuration.
_CHECKER = Settings()
_ALL = Globs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the exporter does; `schema.KEYS` says which key sets which field.

    Attributes:
        listen: a host (empty: all addresses) and a port.
        state_dir: where the known tags are kept over a restart; None keeps them in memory. `load` has a default for it.
        strategy: of containers whose annotations name none.
        interval: seconds between two lookups of a repository.
        proxy: the URL of an HTTP proxy for registries.
        ca_file: further trusted certificates (PEM), which `load` puts into entries without a `ca_file` of their own.
        kubeconfig, context: how to reach the cluster; None is what kubectl would use.
        kinds: kinds to watch, each required; none: every kind, the optional ones where they are installed.
        namespaces, workloads, images: what is judged.
        registries: what may be done with each registry.
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
    state_dir: Path | None = None
    strategy: Strategy = _CHECKER.strategy
    interval: float = _CHECKER.interval
    proxy: str | None = None
    ca_file: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    kinds: tuple[str, ...] = ()
    namespaces: Globs = _ALL
    workloads: Globs = _ALL
    images: Globs = _ALL
    registries: tuple[RegistryEntry, ...] = DEFAULT_ENTRIES
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
        """Whether a workload is judged."""
        return self.namespaces.takes(key.namespace) and self.workloads.takes(str(key))

    def settings(self) -> Settings:
        """What the checker needs to know."""
        return Settings(
            strategy=self.strategy, interval=self.interval, selects=self.selects, selects_image=self.images.takes
        )

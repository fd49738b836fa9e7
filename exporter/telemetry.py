"""The exporter's own metrics, `mojaloop_exporter_*`: one instance per process, passed to the other parts.

Counters start at 0 for every allowed registry and reason, because `rate` misses the first failure of a counter that
appears with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from exporter import __version__
from exporter.limits import Limit
from exporter.reasons import REQUEST_FAILURES


class Telemetry:
    """The exporter's own metrics in a registry of their own (`registry`)."""

    def __init__(self) -> None:
        # Nobody uses the creation times of counters, and they would double the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.build_info = Gauge(
            "mojaloop_exporter_build_info", "The running version; always 1.", ["version"], registry=self.registry
        )
        self.build_info.labels(__version__).set(1)
        self.registry_requests = Counter(
            "mojaloop_exporter_registry_requests",
            "HTTP requests to a registry or on its behalf.",
            ["registry"],
            registry=self.registry,
        )
        self.registry_failures = Counter(
            "mojaloop_exporter_registry_failures",
            "Lookups that failed, by reason.",
            ["registry", "reason"],
            registry=self.registry,
        )
        self.registry_duration = Histogram(
            "mojaloop_exporter_registry_request_duration_seconds",
            "Duration of requests to a registry, including the response.",
            ["registry"],
            buckets=(0.1, 0.5, 1, 5, 10, 30),
            registry=self.registry,
        )
        self.ratelimit_remaining = Gauge(
            "mojaloop_exporter_registry_ratelimit_remaining",
            "Requests left, as last reported by the registry.",
            ["registry"],
            registry=self.registry,
        )
        self.lookup_interval = Gauge(
            "mojaloop_exporter_lookup_interval_seconds",
            "The longest time between two regular lookups of a repository: the interval, or the longest gap of the "
            "schedule in a year.",
            registry=self.registry,
        )
        self.window_open = Gauge(
            "mojaloop_upgrade_window_open",
            "1 while an upgrade window is open, otherwise 0; computed when it is scraped.",
            ["window"],
            registry=self.registry,
        )
        self.window_next = Gauge(
            "mojaloop_upgrade_window_next_timestamp_seconds",
            "When an upgrade window opens next; computed when it is scraped.",
            ["window"],
            registry=self.registry,
        )
        self.watch_restarts = Counter(
            "mojaloop_exporter_kubernetes_watch_restarts",
            "Watches that ended and were restarted.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.forbidden = Gauge(
            "mojaloop_exporter_kubernetes_forbidden",
            "1 while a kind cannot be listed in a watched namespace (* is all) because of missing permissions.",
            ["kind", "watched_namespace"],
            registry=self.registry,
        )
        self.last_sync = Gauge(
            "mojaloop_exporter_kubernetes_last_sync_timestamp_seconds",
            "When a kind was last listed completely.",
            ["kind"],
            registry=self.registry,
        )
        self.containers = Gauge(
            "mojaloop_exporter_containers", "Containers by state.", ["state"], registry=self.registry
        )
        for state in ("judged", "unknown", "ignored"):
            self.containers.labels(state)
        self.catalogue_repositories = Gauge(
            "mojaloop_exporter_catalogue_repositories", "Repositories whose tags are known.", registry=self.registry
        )
        self.catalogue_resets = Counter(
            "mojaloop_exporter_catalogue_resets",
            "Times a damaged catalogue was set aside and replaced by an empty one.",
            registry=self.registry,
        )
        self.catalogue_writable = Gauge(
            "mojaloop_exporter_catalogue_writable",
            "0 while the directory of the catalogue is not writable and the catalogue is kept in memory, otherwise 1.",
            registry=self.registry,
        )
        self.catalogue_writable.set(1)
        self.event_loop_lag = Gauge(
            "mojaloop_exporter_event_loop_lag_seconds",
            "Highest lag of the event loop within the last minute: scrapes and probes waited this long.",
            registry=self.registry,
        )
        self.limits_exceeded = Counter(
            "mojaloop_exporter_limits_exceeded",
            "Times that input was refused because it exceeded a limit (docs/security.md).",
            ["limit"],
            registry=self.registry,
        )
        for limit in Limit:
            self.limits_exceeded.labels(limit.label)
        self.api_requests = Counter(
            "mojaloop_exporter_api_requests",
            "Requests to the HTTP API that were answered, by status code.",
            ["code"],
            registry=self.registry,
        )
        self.unexpected_errors = Counter(
            "mojaloop_exporter_unexpected_errors",
            "Responses of a registry or objects of the cluster that triggered a bug in the exporter; the log has the "
            "traceback.",
            ["source"],
            registry=self.registry,
        )
        for source in ("registry", "cluster"):
            self.unexpected_errors.labels(source)

        self.config_last_reload_successful = Gauge(
            "mojaloop_exporter_config_last_reload_successful",
            "0 if the configuration file was invalid or unreadable at the last load, so the previous one stays in "
            "effect; otherwise 1.",
            registry=self.registry,
        )
        self.config_last_reload_success = Gauge(
            "mojaloop_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully, at startup or while running.",
            registry=self.registry,
        )
        self.config_reloads = Counter(
            "mojaloop_exporter_config_reloads",
            "Reloads of the configuration file, by result.",
            ["result"],
            registry=self.registry,
        )
        for result in ("success", "failure"):
            self.config_reloads.labels(result)

    def config_loaded(self, at: float) -> None:
        """Record a successful load of the configuration, at epoch seconds."""
        self.config_last_reload_successful.set(1)
        self.config_last_reload_success.set(at)

    def watch_api(self, codes: Iterable[int]) -> None:
        """Start the counters of these status codes at 0."""
        for code in codes:
            self.api_requests.labels(str(code))

    def exceeded(self, limit: Limit) -> None:
        """Count input that was refused because it exceeded a limit."""
        self.limits_exceeded.labels(limit.label).inc()

    def watch_registry(self, host: str) -> None:
        """Start the counters of an allowed registry at 0."""
        self.registry_requests.labels(host)
        self.registry_duration.labels(host)
        for reason in REQUEST_FAILURES:
            self.registry_failures.labels(host, reason.value)

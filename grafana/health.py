"""The dashboard about the exporter itself: its watches, its registries, and its scrapes."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, EXPORTER, JOB, board
from grafana.panels import GOOD, NEUTRAL, OVERDUE, Column, Panel, Steps, lines, number, rows

_AT = 'cluster=~"$cluster",job=~"$job"'
_TARGET = "cluster, job, instance"
_BAD: Steps = ((None, GOOD), (1, OVERDUE))
# The number of samples of each metric on the page of a target, and the number that Prometheus keeps.
_ON_PAGE = f"max by ({_TARGET}, metric) (mojaloop_exporter_samples{{{_AT}}})"
_KEPT = f"""
    sum by ({_TARGET}, metric) (
      label_replace(
        count by ({_TARGET}, __name__) ({{__name__=~"mojaloop_(image|workload)_.+",{_AT}}}),
        "metric", "$1", "__name__", "(.+)"
      )
    )
"""


def build() -> models.Dashboard:
    """Build the dashboard."""
    return board(
        EXPORTER,
        "Mojaloop image patches: exporter",
        "Health of the exporter: its watches, the responses of its registries, and whether its metrics arrive.",
        variables=(CLUSTER, JOB),
        panels=(*_numbers(), *_registries(), *_cluster(), *_process(), *_safety(), *_configuration(), _samples()),
    )


def _numbers() -> tuple[Panel, ...]:
    return (
        number(
            "Exporters",
            "Processes that Prometheus scrapes.",
            f"count(mojaloop_exporter_build_info{{{_AT}}}) or vector(0)",
            steps=((None, OVERDUE), (1, GOOD)),
            width=3,
        ),
        number(
            "Not synced",
            "Watched namespaces (* counts as one) and watch lists that are not completely listed and followed, most "
            "often because permissions are missing. Unreachable registries do not count here.",
            f"count(max by (cluster, watched_namespace) (mojaloop_exporter_synced{{{_AT}}}) == 0) or vector(0)",
            width=3,
        ),
        number(
            "Forbidden",
            "Kinds that the exporter is not permitted to list.",
            f"""
            count(
              max by (cluster, kind, watched_namespace) (mojaloop_exporter_kubernetes_forbidden{{{_AT}}}) == 1
            )
            or vector(0)
            """,
            width=3,
        ),
        number(
            "Catalogue resets",
            "How often a damaged catalogue was set aside since each process started.",
            f"sum(mojaloop_exporter_catalogue_resets_total{{{_AT}}}) or vector(0)",
            width=3,
        ),
        number(
            "Labels changed",
            "Exporters whose labels the scrape renames or overwrites. It needs honor_labels, and no enforced namespace "
            "label. Exporters older than this dashboard count, too.",
            f"""
            count(
              group by ({_TARGET}) (mojaloop_exporter_synced{{{_AT}}})
              unless on ({_TARGET}) mojaloop_exporter_scrape_check{{namespace="kept",container="kept"}}
            )
            or vector(0)
            """,
            steps=_BAD,
            width=3,
        ),
        number(
            "Samples dropped",
            "Samples that the exporters publish and Prometheus drops. Check the relabelings and limits of the scrape.",
            f"sum(clamp_min({_ON_PAGE} - ({_KEPT} or {_ON_PAGE} * 0), 0)) or vector(0)",
            steps=_BAD,
            width=3,
        ),
        number(
            "Invalid configurations",
            "Exporters that could not load their changed configuration file. The previous one stays in effect, and the "
            "logs say what is wrong.",
            f"""
            count(min by ({_TARGET}) (mojaloop_exporter_config_last_reload_successful{{{_AT}}}) == 0)
            or vector(0)
            """,
            steps=_BAD,
            width=3,
        ),
        number(
            "Lookup interval",
            "The longest time between two regular lookups of a repository, by configuration. MojaloopImageLookupStale "
            "waits for 4 hours more.",
            f"max(mojaloop_exporter_lookup_interval_seconds{{{_AT}}})",
            unit="s",
            steps=((None, NEUTRAL),),
            no_value="unknown",
            width=3,
        ),
    )


def _last_hour(counter: str, labels: str) -> str:
    """Return the increase of a counter in the hour before each point, without zeros.

    The rate is summed up by the minute: Grafana's linter accepts only the range $__rate_interval, which is too short
    for hourly events.
    """
    return f"""
        60 * sum_over_time(
          sum by ({labels}) (rate({counter}{{{_AT}}}[$__rate_interval]))[1h:1m]
        ) > 0
    """


def _registries() -> tuple[Panel, ...]:
    return (
        lines(
            "Requests to registries",
            "Requests per second, by registry.",
            (
                f"sum by (registry) (rate(mojaloop_exporter_registry_requests_total{{{_AT}}}[$__rate_interval]))",
                "{{registry}}",
            ),
            unit="reqps",
        ),
        lines(
            "Failures in the last hour",
            "Failed lookups in the hour before each point, by registry and reason. Empty means none.",
            (
                _last_hour("mojaloop_exporter_registry_failures_total", "registry, reason"),
                "{{registry}} {{reason}}",
            ),
        ),
        lines(
            "Duration of a request",
            "The 95th percentile, by registry. Empty while nothing is requested.",
            (
                f"""
                histogram_quantile(0.95,
                  sum by (registry, le) (
                    rate(mojaloop_exporter_registry_request_duration_seconds_bucket{{{_AT}}}[$__rate_interval])
                  )
                ) >= 0
                """,
                "{{registry}}",
            ),
            unit="s",
        ),
        lines(
            "Rate limit remaining",
            "Remaining requests, as last reported by the registry.",
            (
                f"min by (registry) (mojaloop_exporter_registry_ratelimit_remaining{{{_AT}}})",
                "{{registry}}",
            ),
        ),
    )


def _cluster() -> tuple[Panel, ...]:
    return (
        lines(
            "Watch restarts in the last hour",
            "Watches that were restarted in the hour before each point, by kind and reason.",
            (
                _last_hour("mojaloop_exporter_kubernetes_watch_restarts_total", "kind, reason"),
                "{{kind}} {{reason}}",
            ),
        ),
        lines(
            "Containers",
            "By state.",
            (f"max by (state) (mojaloop_exporter_containers{{{_AT}}})", "{{state}}"),
        ),
        lines(
            "Age of the last list",
            "How long ago each kind was last listed completely. A watch continues from there, so age is not a fault.",
            (
                f"time() - min by (kind) (mojaloop_exporter_kubernetes_last_sync_timestamp_seconds{{{_AT}}})",
                "{{kind}}",
            ),
            unit="s",
        ),
    )


def _process() -> tuple[Panel, ...]:
    def of_exporters(metric: str) -> str:
        return f"max by (instance) ({metric}{{{_AT}}} and on (instance, job) mojaloop_exporter_build_info)"

    return (
        lines(
            "Memory",
            "Resident memory, by process.",
            (of_exporters("process_resident_memory_bytes"), "{{instance}}"),
            unit="bytes",
        ),
        lines(
            "Duration of a scrape",
            "Scrape duration in seconds, by process.",
            (of_exporters("scrape_duration_seconds"), "{{instance}}"),
            unit="s",
        ),
        lines(
            "Samples of a scrape",
            "All samples of the page, by process.",
            (of_exporters("scrape_samples_scraped"), "{{instance}}"),
        ),
    )


def _safety() -> tuple[Panel, ...]:
    return (
        lines(
            "Limits exceeded in the last hour",
            "Input that was refused in the hour before each point, by limit. docs/security.md describes each limit.",
            (_last_hour("mojaloop_exporter_limits_exceeded_total", "limit"), "{{limit}}"),
        ),
        lines(
            "Unexpected errors in the last hour",
            "Responses of registries and objects of the cluster that triggered a bug in the exporter, in the hour "
            "before each point. Its log has the tracebacks; please report them.",
            (_last_hour("mojaloop_exporter_unexpected_errors_total", "source"), "{{source}}"),
        ),
        lines(
            "Lag of the event loop",
            "The longest delay within a minute, by process. Scrapes and probes waited this long.",
            (f"max by (instance) (mojaloop_exporter_event_loop_lag_seconds{{{_AT}}})", "{{instance}}"),
            unit="s",
        ),
        lines(
            "Catalogue not writable",
            "1 while a process cannot write its state directory, most often because the disk is full. It continues in "
            "memory, and a restart loses the changes since.",
            (f"1 - min by (instance) (mojaloop_exporter_catalogue_writable{{{_AT}}})", "{{instance}}"),
        ),
    )


def _configuration() -> tuple[Panel, ...]:
    return (
        lines(
            "Reloads in the last hour",
            "Reloads of the configuration file in the hour before each point, by result.",
            (_last_hour("mojaloop_exporter_config_reloads_total", "result"), "{{result}}"),
        ),
        lines(
            "Age of the configuration",
            "How long ago each process last loaded its configuration file successfully. Replicas with different ages "
            "use different files.",
            (
                f"""
                time() - max by (instance) (
                  mojaloop_exporter_config_last_reload_success_timestamp_seconds{{{_AT}}}
                )
                """,
                "{{instance}}",
            ),
            unit="s",
        ),
    )


def _samples() -> Panel:
    return rows(
        "Samples by metric",
        "The number of samples of each metric on the page of an exporter, and the number that Prometheus keeps.",
        {
            "page": _ON_PAGE,
            "kept": _KEPT,
            "dropped": f"{_ON_PAGE} - ({_KEPT} or {_ON_PAGE} * 0) > 0",
        },
        columns={
            "cluster": "Cluster",
            "job": "Job",
            "instance": "Exporter",
            "metric": "Metric",
            "page": "On the page",
            "kept": "Kept",
            "dropped": Column(title="Dropped", steps=_BAD),
        },
        sort_by="Dropped",
        height=10,
    )

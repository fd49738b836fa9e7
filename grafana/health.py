"""Whether the exporter itself works: what it watches, what its registries answer, and what a scrape costs."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, EXPORTER, JOB, board
from grafana.panels import GOOD, OVERDUE, lines, number

_AT = 'cluster=~"$cluster",job=~"$job"'


def build() -> models.Dashboard:
    """The dashboard."""
    return board(
        EXPORTER,
        "Mojaloop image patches: exporter",
        "Whether the exporter knows everything that it watches, and what its registries and its cluster answer.",
        variables=(CLUSTER, JOB),
        panels=(
            number(
                "Exporters",
                "Processes that were scraped.",
                f"count(mojaloop_exporter_build_info{{{_AT}}}) or vector(0)",
                steps=((None, OVERDUE), (1, GOOD)),
                width=6,
            ),
            number(
                "Not synced",
                "Watched namespaces of which something is not known.",
                f"""
                count(max by (cluster, watched_namespace) (mojaloop_exporter_synced{{{_AT}}}) == 0) or vector(0)
                """,
                width=6,
            ),
            number(
                "Forbidden",
                "Kinds that may not be listed.",
                f"""
                count(
                  max by (cluster, kind, watched_namespace) (mojaloop_exporter_kubernetes_forbidden{{{_AT}}}) == 1
                )
                or vector(0)
                """,
                width=6,
            ),
            number(
                "Catalogue resets",
                "Times a damaged catalogue was set aside, since each process began.",
                f"sum(mojaloop_exporter_catalogue_resets_total{{{_AT}}}) or vector(0)",
                width=6,
            ),
            lines(
                "Requests to registries",
                "Requests a second, by registry.",
                (
                    f"""
                    sum by (registry) (rate(mojaloop_exporter_registry_requests_total{{{_AT}}}[$__rate_interval]))
                    """,
                    "{{registry}}",
                ),
                unit="reqps",
            ),
            lines(
                "Failures",
                "Failed lookups a second, by registry and reason.",
                (
                    f"""
                    sum by (registry, reason) (
                      rate(mojaloop_exporter_registry_failures_total{{{_AT}}}[$__rate_interval])
                    ) > 0
                    or vector(0)
                    """,
                    "{{registry}} {{reason}}",
                ),
                unit="reqps",
            ),
            lines(
                "Time of a request",
                "The 95th percentile, by registry.",
                (
                    f"""
                    histogram_quantile(0.95,
                      sum by (registry, le) (
                        rate(mojaloop_exporter_registry_request_duration_seconds_bucket{{{_AT}}}[$__rate_interval])
                      )
                    ) >= 0
                    or vector(0)
                    """,
                    "{{registry}}",
                ),
                unit="s",
            ),
            lines(
                "Rate limit left",
                "Requests left, as the registry said last.",
                (
                    f"min by (registry) (mojaloop_exporter_registry_ratelimit_remaining{{{_AT}}})",
                    "{{registry}}",
                ),
            ),
            lines(
                "Watch restarts",
                "Watches that were started anew a second, by kind and reason.",
                (
                    f"""
                    sum by (kind, reason) (
                      rate(mojaloop_exporter_kubernetes_watch_restarts_total{{{_AT}}}[$__rate_interval])
                    ) > 0
                    or vector(0)
                    """,
                    "{{kind}} {{reason}}",
                ),
                unit="ops",
            ),
            lines(
                "Containers",
                "By state.",
                (f"max by (state) (mojaloop_exporter_containers{{{_AT}}})", "{{state}}"),
            ),
            lines(
                "Age of the last list",
                "How long ago each kind was last listed whole; a watch goes on from there.",
                (
                    f"time() - min by (kind) (mojaloop_exporter_kubernetes_last_sync_timestamp_seconds{{{_AT}}})",
                    "{{kind}}",
                ),
                unit="s",
            ),
            lines(
                "Memory",
                "Resident, by process.",
                (
                    f"""
                    max by (instance) (
                      process_resident_memory_bytes{{{_AT}}} and on (instance, job) mojaloop_exporter_build_info
                    )
                    """,
                    "{{instance}}",
                ),
                unit="bytes",
            ),
            lines(
                "Cost of a scrape",
                "Seconds that Prometheus waited, by process.",
                (
                    f"""
                    max by (instance) (
                      scrape_duration_seconds{{{_AT}}} and on (instance, job) mojaloop_exporter_build_info
                    )
                    """,
                    "{{instance}}",
                ),
                unit="s",
            ),
            lines(
                "Samples of a scrape",
                "By process.",
                (
                    f"""
                    max by (instance) (
                      scrape_samples_scraped{{{_AT}}} and on (instance, job) mojaloop_exporter_build_info
                    )
                    """,
                    "{{instance}}",
                ),
            ),
        ),
    )

"""Many clusters in one Grafana."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, FLEET, TO_OVERVIEW, board
from grafana.panels import lines, rows
from grafana.promql import CONTAINER

_AT = 'cluster=~"$cluster"'


def build() -> models.Dashboard:
    """The dashboard."""
    return board(
        FLEET,
        "Mojaloop image patches: fleet",
        "Many clusters in one Grafana, by their cluster label; without one, everything is one cluster without a name.",
        variables=(CLUSTER,),
        panels=(
            rows(
                "Clusters",
                "The worst first. A cluster's name leads to its overview.",
                {
                    "missing": f"""
                        count by (cluster) (
                          count by (cluster, namespace, workload_kind, workload) (
                            mojaloop:image_patch_missing{{{_AT},workload!=""}}
                          )
                        )
                        or count by (cluster) (mojaloop_exporter_synced{{{_AT}}}) * 0
                    """,
                    "lag": f"max by (cluster) (cluster:mojaloop_image_patch_lag_seconds:max{{{_AT}}})",
                    "ratio": f"max by (cluster) (cluster:mojaloop_image_patch_compliance:ratio{{{_AT}}})",
                    "unknown": f"""
                        count by (cluster) (
                          max by (cluster, {CONTAINER}) (mojaloop_image_status_unknown{{{_AT}}})
                        )
                    """,
                },
                names={
                    "cluster": "Cluster",
                    "missing": "Workloads that miss a patch",
                    "lag": "Worst lag",
                    "ratio": "Within 14 days",
                    "unknown": "Unknown",
                },
                units={"Worst lag": "s", "Within 14 days": "percentunit"},
                links={"Cluster": TO_OVERVIEW},
                sort_by="Worst lag",
            ),
            lines(
                "Within 14 days",
                "The share of judged containers that miss no patch for longer than 14 days, by cluster.",
                (f"max by (cluster) (cluster:mojaloop_image_patch_compliance:ratio{{{_AT}}})", "{{cluster}}"),
                unit="percentunit",
            ),
            lines(
                "Worst lag",
                "By cluster.",
                (
                    f"max by (cluster) (cluster:mojaloop_image_patch_lag_seconds:max{{{_AT}}}) or vector(0)",
                    "{{cluster}}",
                ),
                unit="s",
            ),
        ),
    )

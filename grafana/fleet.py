"""The dashboard for many clusters in one Grafana."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, FLEET, TO_OVERVIEW, board
from grafana.panels import Column, lines, rows
from grafana.promql import CONTAINER_LABELS, WORKLOAD_LABELS, missing

_AT = 'cluster=~"$cluster"'
_LAG = f"cluster:mojaloop_image_patch_lag_seconds:max{{{_AT}}}"
_RATIO = f"cluster:mojaloop_image_patch_compliance:ratio{{{_AT}}}"
# Clusters without missing patches or unknown containers are at 0.
_ZERO = f"group by (cluster) (mojaloop_exporter_synced{{{_AT}}}) * 0"


def build() -> models.Dashboard:
    """Build the dashboard."""
    return board(
        FLEET,
        "Mojaloop image patches: fleet",
        "Many clusters in one Grafana, by their cluster label. Without that label, everything is one unnamed cluster.",
        variables=(CLUSTER,),
        panels=(
            rows(
                "Clusters",
                "The worst first. Click on a cluster for its overview.",
                {
                    "missing": f"""
                        count by (cluster) (group by ({WORKLOAD_LABELS}) ({missing(_AT)}))
                        or {_ZERO}
                    """,
                    "lag": f"max by (cluster) ({_LAG})",
                    "ratio": f"max by (cluster) ({_RATIO})",
                    "unknown": f"""
                        count by (cluster) (
                          group by (cluster, {CONTAINER_LABELS}) (mojaloop_image_status_unknown{{{_AT}}})
                        )
                        or {_ZERO}
                    """,
                },
                columns={
                    "cluster": Column(title="Cluster", link=TO_OVERVIEW),
                    "missing": "Workloads that miss a patch",
                    "lag": Column(title="Worst lag", unit="s"),
                    "ratio": Column(title="Not overdue", unit="percentunit"),
                    "unknown": "Unknown",
                },
                sort_by="Worst lag",
            ),
            lines(
                "Not overdue",
                "The share of judged containers that are not overdue by the rules, by cluster.",
                (f"max by (cluster) ({_RATIO})", "{{cluster}}"),
                unit="percentunit",
            ),
            lines(
                "Worst lag",
                "By cluster.",
                (f"max by (cluster) ({_LAG}) or {_ZERO}", "{{cluster}}"),
                unit="s",
            ),
        ),
    )

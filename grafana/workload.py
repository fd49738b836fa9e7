"""One workload: what runs, since when, and which commands to paste."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CAME_OUT, CLUSTER, NAMESPACE, PATCHED, WORKLOAD, WORKLOAD_NAME, board
from grafana.panels import LAG_STEPS, alert_list, lines, note, rows, states
from grafana.promql import AT, RUNNING

_AT = f'{AT},workload=~"$workload"'


def build() -> models.Dashboard:
    """The dashboard."""
    return board(
        WORKLOAD,
        "Mojaloop image patches: workload",
        "One workload: its containers, their tags over time, and the alerts with the commands to paste.",
        variables=(CLUSTER, NAMESPACE, WORKLOAD_NAME),
        events=(CAME_OUT, PATCHED),
        time_from="now-7d",
        panels=(
            rows(
                "Containers",
                "Every container with its reference as written. Behind is empty where it cannot be judged.",
                {
                    "info": f"max by ({RUNNING}, reference) (mojaloop_image_info{{{_AT}}})",
                    "behind": f"max by ({RUNNING}) (mojaloop_image_patch_releases_behind{{{_AT}}})",
                    "lag": f"""
                        max by ({RUNNING}) (
                          time() - mojaloop:image_patch_since_timestamp_seconds{{{_AT}}}
                          and on ({RUNNING}) mojaloop:image_patch_missing
                        )
                    """,
                    "newest": f"max by ({RUNNING}, latest_tag) (mojaloop_image_patch_available{{{_AT}}})",
                },
                names={
                    "cluster": "Cluster",
                    "namespace": "Namespace",
                    "workload_kind": "Kind",
                    "workload": "Workload",
                    "container": "Container",
                    "reference": "Reference",
                    "latest_tag": "Newest patch",
                    "behind": "Behind",
                    "lag": "Lag",
                },
                units={"Lag": "s"},
                colors={"Lag": LAG_STEPS},
                sort_by="Lag",
                height=8,
            ),
            states(
                "Tags over time",
                "Which tags ran when; 1 is running.",
                f"max by (container, tag) (mojaloop_image_info{{{_AT}}})",
                "{{container}} {{tag}}",
            ),
            rows(
                "Alerts that fire",
                "The alerts of this workload; the commands to paste are in their annotations.",
                {
                    "firing": f"""
                        count by (alertname, severity, namespace, workload, image, tag) (
                          ALERTS{{{_AT},alertstate="firing",alertname=~"MojaloopImage.+"}}
                        )
                    """
                },
                names={
                    "alertname": "Alert",
                    "severity": "Severity",
                    "namespace": "Namespace",
                    "workload": "Workload",
                    "image": "Image",
                    "tag": "Running",
                },
                height=10,
                width=16,
            ),
            alert_list(
                "Commands to paste",
                "The alerts with their annotations: patch_command, rollback_command, "
                "and in the description what to do beside them, or instead.",
                {
                    "alertInstanceLabelFilter": '{workload=~"$workload",namespace=~"$namespace"}',
                    "datasource": "${datasource}",
                    "groupMode": "default",
                    "maxItems": 20,
                    "sortOrder": 3,
                    "stateFilter": {"firing": True, "pending": False, "noData": False, "normal": False, "error": True},
                    "viewMode": "list",
                },
                width=8,
                height=10,
            ),
            note(
                "How to paste",
                "What the commands do, and when they do nothing.",
                """
                `patch_command` and `rollback_command` stand in the alert, in its message, and in `/api/v1/findings` of
                the exporter; they are the same text. Each tests what it finds before it changes anything: *The request is
                invalid* means that it has grown stale and changed nothing.
                """,
            ),
            lines(
                "Releases behind",
                "Newer patch releases than the one that runs, by container.",
                (f"max by (container) (mojaloop_image_patch_releases_behind{{{_AT}}})", "{{container}}"),
            ),
            lines(
                "Rollout incomplete",
                "1 while pods of an older template still run.",
                (
                    f"max by (workload) (mojaloop_workload_rollout_incomplete{{{_AT}}}) or vector(0)",
                    "{{workload}}",
                ),
            ),
        ),
    )

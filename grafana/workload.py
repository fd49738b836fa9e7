"""The dashboard of one workload: its tags, their history, and commands to paste."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, KIND, NAMESPACE, WORKLOAD, WORKLOAD_NAME, board, events
from grafana.panels import NAMESPACE_COLUMN, NONE_IS_GOOD, Column, Panel, alert_list, lines, note, rows, states
from grafana.promql import AT, FINDING_LABELS, RUNNING_LABELS, WORKLOAD_LABELS, joined, lag, missing

_AT = f'{AT},workload=~"$workload"'


def build() -> models.Dashboard:
    """Build the dashboard."""
    return board(
        WORKLOAD,
        "Mojaloop image patches: workload",
        "One workload: its containers, the commands to paste, its alerts, and its tags over time.",
        variables=(CLUSTER, NAMESPACE, KIND, WORKLOAD_NAME),
        marks=events(_AT, approvals=_AT),
        time_from="now-7d",
        panels=(_containers(), _commands(), _how_to(), _approvals(), *_alerts(), *_over_time()),
    )


def _containers() -> Panel:
    return rows(
        "Containers",
        "Every container with its reference as written. Newest patch and Behind are empty if it cannot be judged.",
        {
            "reference": f"group by ({RUNNING_LABELS}, reference) (mojaloop_image_info{{{_AT}}})",
            # If replicas differ, the one that knows most releases.
            "behind": f"""
                topk by ({RUNNING_LABELS}) (1,
                  max by ({RUNNING_LABELS}, latest_tag) (
                    mojaloop_image_patch_releases_behind{{{_AT}}}
                    * ignoring (latest_tag) group_right ()
                    (mojaloop_image_patch_available{{{_AT}}} >= bool 0)
                  )
                )
            """,
            "lag": f"""
                group by ({RUNNING_LABELS}) (mojaloop_image_patch_available{{{_AT}}} == 1)
                * on ({FINDING_LABELS}) group_left ()
                {lag(_AT)}
            """,
        },
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "workload_kind": "Kind",
            "workload": "Workload",
            "container": "Container",
            "reference": "Reference",
            "latest_tag": "Newest patch",
            "behind": "Behind",
            "lag": Column(title="Lag", unit="s", steps=NONE_IS_GOOD),
        },
        sort_by="Lag",
        height=8,
    )


def _commands() -> Panel:
    return rows(
        "Commands to paste",
        "For each image and tag that misses a patch: the command, its rollback, and what to do instead if no "
        "command would last. The eye icon in a cell shows the full text for copying. The texts match the alerts.",
        {
            "finding": f"""
                group by ({FINDING_LABELS}, latest_tag, behind, patch_command, rollback_command, advice) (
                  {missing(_AT)}
                )
            """
        },
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "workload_kind": "Kind",
            "workload": "Workload",
            "image": "Image",
            "tag": "Running",
            "latest_tag": "Newest patch",
            "behind": Column(title="Behind", number=True, width=80),
            "patch_command": Column(title="Patch command", inspect=True),
            "rollback_command": Column(title="Rollback command", inspect=True),
            "advice": Column(title="Advice", inspect=True),
        },
        sort_by="Behind",
        height=9,
    )


def _how_to() -> Panel:
    return note(
        "How to paste",
        "How the commands work, and when they change nothing.",
        """
        Each command checks the current image before it changes anything. If kubectl prints *The request is invalid*,
        the command is outdated and has changed nothing. Use the new one from this page. The same commands are in the
        alerts, in their messages, and in `/api/v1/findings` of the exporter. If a command is empty, Advice says why.
        """,
    )


def _approvals() -> Panel:
    return rows(
        "Approved patches",
        "The approvals for this workload, and their progress. Failed ones stay until somebody acknowledges or deletes "
        "them.",
        {"approved": f"group by ({WORKLOAD_LABELS}, tag, state) (mojaloop_image_patch_approval{{{_AT}}})"},
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "workload_kind": "Kind",
            "workload": "Workload",
            "tag": "Approved tag",
            "state": "State",
        },
        height=6,
        no_value="No patch is approved, or the patcher is not installed.",
    )


def _alerts() -> tuple[Panel, ...]:
    return (
        rows(
            "Firing alerts",
            "The firing alerts of this workload.",
            {
                "firing": f"""
                    group by (cluster, alertname, severity, namespace, workload, image, tag) (
                      ALERTS{{{_AT},alertstate="firing",alertname=~"MojaloopImage.+"}}
                    )
                """
            },
            columns={
                "alertname": "Alert",
                "severity": "Severity",
                "cluster": "Cluster",
                "namespace": NAMESPACE_COLUMN,
                "workload": "Workload",
                "image": "Image",
                "tag": "Running",
            },
            height=10,
            width=16,
        ),
        alert_list(
            "Annotations of the alerts",
            "The same alerts with their texts and links, from every data source with alerts in Grafana: "
            "the list cannot follow the variables Data source and Cluster. It has no watched images.",
            # Grafana does not interpolate variables in `datasource`. Without it, all data sources are listed. Not every
            # version anchors the filter's expressions. A missing label matches nothing there, so a filter by cluster
            # would hide all alerts without a `cluster` label.
            {
                "alertInstanceLabelFilter": '{namespace=~"^${namespace:regex}$",workload=~"^${workload:regex}$"}',
                "alertName": "MojaloopImage",
                "dashboardAlerts": False,
                "groupMode": "default",
                "maxItems": 20,
                "sortOrder": 3,  # by importance
                "stateFilter": {"firing": True, "pending": False, "noData": False, "normal": False, "error": True},
                "viewMode": "list",
            },
            width=8,
            height=10,
        ),
    )


def _over_time() -> tuple[Panel, ...]:
    return (
        states(
            "Tags over time",
            "Tags over time; 1 means that the tag was running.",
            joined(
                f"max by (workload, container, tag) (mojaloop_image_info{{{_AT}}})",
                "container",
                "workload",
                "container",
            ),
            "{{container}} {{tag}}",
        ),
        lines(
            "Releases behind",
            "Patch releases newer than the running one, by container.",
            (
                joined(
                    f"max by (workload, container) (mojaloop_image_patch_releases_behind{{{_AT}}})",
                    "container",
                    "workload",
                    "container",
                ),
                "{{container}}",
            ),
        ),
        lines(
            "Rollout incomplete",
            "1 while pods of an older template still run, by workload.",
            (
                joined(
                    f"""
                    max by (namespace, workload) (mojaloop_workload_rollout_incomplete{{{_AT}}})
                    or group by (namespace, workload) (mojaloop_image_info{{{_AT}}}) * 0
                    """,
                    "workload",
                    "namespace",
                    "workload",
                ),
                "{{workload}}",
            ),
        ),
    )

"""The overview dashboard: how far the hub is behind, at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import (
    CLUSTER,
    IMAGE,
    KIND,
    NAMESPACE,
    OVERVIEW,
    SCOPE,
    TO_IMAGE,
    TO_WORKLOAD,
    board,
    events,
    scoped,
)
from grafana.panels import (
    GOOD,
    NAMESPACE_COLUMN,
    NEUTRAL,
    NONE_IS_GOOD,
    OVERDUE,
    RATIO_STEPS,
    Column,
    Panel,
    lines,
    number,
    rows,
)
from grafana.promql import (
    AT,
    CONTAINER_LABELS,
    FINDING_LABELS,
    IN_NAMESPACE,
    WORKLOAD_LABELS,
    lag,
    missing,
    named,
    overdue,
    upgrade,
)

_AT = f'{AT},image=~"$image"'
_WORKLOADS = f"group by ({WORKLOAD_LABELS}) ({missing(_AT)})"
_SUPERSEDED = f'mojaloop_image_upgrade_available{{{_AT},strategy="minor"}} == 1'
_UNKNOWN = f"group by (cluster, {CONTAINER_LABELS}, reason) (mojaloop_image_status_unknown{{{_AT}}})"
# Namespaces without missing patches are at 0. The recorded series is small, and has no image to select by.
_ZERO = f"group by (namespace) (namespace:mojaloop_image_containers:judged{{{IN_NAMESPACE}}}) * 0"


def build() -> models.Dashboard:
    """Build the dashboard."""
    return board(
        OVERVIEW,
        "Mojaloop image patches",
        "Which workloads of the hub miss a patch release of their image, for how long, "
        "and which images run on a line that a newer release has superseded.",
        variables=(CLUSTER, NAMESPACE, KIND, IMAGE),
        marks=events(_AT, approvals=AT),
        panels=(*_numbers(), _to_patch(), *_over_time(), _superseded(), _unknown(), _windows(), _approvals()),
    )


def _numbers() -> tuple[Panel, ...]:
    return (
        number(
            "Workloads that miss a patch",
            "Workloads with a container whose image has a newer patch release.",
            f"count({_WORKLOADS}) or vector(0)",
        ),
        number(
            "Worst lag",
            "How long ago the oldest missed patch was published, or first seen if its publish time is unknown.",
            f"max({lag(_AT)}) or vector(0)",
            unit="s",
        ),
        number(
            "Median lag",
            "Half of the images of workloads that miss a patch have missed it for longer.",
            f"quantile(0.5, {lag(_AT)}) or vector(0)",
            unit="s",
        ),
        number(
            "Not overdue",
            "The share of judged containers for which MojaloopImagePatchOverdue is neither pending nor firing. "
            "Unknown containers are not counted.",
            f"""
            1 - (
              count(
                group by (cluster, {CONTAINER_LABELS}) (
                  mojaloop_image_patch_available{{{_AT}}} == 1
                  and on ({FINDING_LABELS}) {overdue(_AT)}
                )
              )
              or vector(0)
            )
            / count(group by (cluster, {CONTAINER_LABELS}) (mojaloop_image_patch_available{{{_AT}}}))
            """,
            unit="percentunit",
            steps=RATIO_STEPS,
            no_value="nothing judged",
            decimals=1,
        ),
        number(
            "Superseded lines",
            "Images on a line for which a newer minor release exists, by namespace. Mojaloop rarely backports fixes to "
            "older lines, so an image that misses no patch there may still miss fixes.",
            f"count(group by (cluster, namespace, image) ({_SUPERSEDED})) or vector(0)",
        ),
        number(
            "Unknown containers",
            "Containers that cannot be judged. Unknown does not mean up to date.",
            f"count(group by (cluster, {CONTAINER_LABELS}) ({_UNKNOWN})) or vector(0)",
        ),
    )


def _to_patch() -> Panel:
    return rows(
        "What to patch",
        "Every image and tag of a workload that misses a patch, the longest missed first. "
        "Overdue is the state of the alert. Click on a workload for its commands.",
        {
            "finding": scoped(f"group by ({FINDING_LABELS}, latest_tag, behind) ({missing(_AT)})"),
            "lag": lag(_AT),
            "overdue": f"group by ({FINDING_LABELS}) ({overdue(_AT)})",
            "owner": f"""
                group by ({FINDING_LABELS}, manager) (
                  {missing(_AT)}
                  * on ({WORKLOAD_LABELS}) group_left (manager)
                  topk by ({WORKLOAD_LABELS}) (1,
                    group by ({WORKLOAD_LABELS}, manager) (mojaloop_workload_managed_by{{{AT}}})
                  )
                )
            """,
            "newer_minor": f"{upgrade('minor', at=_AT, by=FINDING_LABELS)} and on ({FINDING_LABELS}) {missing(_AT)}",
            "newer_major": f"{upgrade('major', at=_AT, by=FINDING_LABELS)} and on ({FINDING_LABELS}) {missing(_AT)}",
        },
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "workload_kind": "Kind",
            "workload": Column(title="Workload", link=TO_WORKLOAD),
            "image": Column(title="Image", link=TO_IMAGE),
            "tag": "Running",
            "latest_tag": "Newest patch",
            "behind": Column(title="Behind", number=True),
            "lag": Column(title="Lag", unit="s", steps=NONE_IS_GOOD),
            "overdue": Column(title="Overdue", words={1: ("overdue", OVERDUE)}),
            "manager": "Managed by",
            "minor": "Newer minor",
            "major": "Newer major",
            "scope": SCOPE,
        },
        sort_by="Lag",
    )


def _over_time() -> tuple[Panel, ...]:
    return (
        lines(
            "Workloads that miss a patch",
            "By namespace, over time.",
            (named(f"count by (namespace) ({_WORKLOADS}) or {_ZERO}"), "{{namespace}}"),
            stacked=True,
        ),
        lines(
            "Worst lag",
            "By namespace, over time.",
            (named(f"max by (namespace) ({lag(_AT)}) or {_ZERO}"), "{{namespace}}"),
            unit="s",
        ),
    )


def _superseded() -> Panel:
    return rows(
        "Superseded lines",
        "Images and tags for which a newer minor release exists, with the number of containers.",
        {
            "containers": f"""
                count by (cluster, namespace, image, tag, latest_tag) (
                  group by (cluster, {CONTAINER_LABELS}, image, tag, latest_tag) ({_SUPERSEDED})
                )
            """
        },
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "image": Column(title="Image", link=TO_IMAGE),
            "tag": "Running",
            "latest_tag": "Newest minor",
            "containers": "Containers",
        },
        sort_by="Containers",
        height=8,
        width=12,
    )


def _unknown() -> Panel:
    return rows(
        "Unknown, by reason",
        "Containers that cannot be judged, by reason.",
        {"containers": f"count by (cluster, namespace, reason) ({_UNKNOWN})"},
        columns={
            "cluster": "Cluster",
            "namespace": NAMESPACE_COLUMN,
            "reason": "Reason",
            "containers": "Containers",
        },
        sort_by="Containers",
        height=8,
        width=12,
    )


def _approvals() -> Panel:
    each = f"group by ({WORKLOAD_LABELS}, tag, state) (mojaloop_image_patch_approval{{{AT}}})"
    return lines(
        "Approved patches",
        "The number of approvals in each state. The patcher works on one at a time. Failed ones count until somebody "
        "acknowledges or deletes them. The variable Image does not select them.",
        (f"count by (state) ({each})", "{{state}}"),
        height=6,
        stacked=True,
    )


def _windows() -> Panel:
    return rows(
        "Upgrade windows",
        "The configured upgrade windows: whether each is open, and when it opens next.",
        {
            "open": 'max by (cluster, window) (mojaloop_upgrade_window_open{cluster=~"$cluster"})',
            # Grafana reads times in milliseconds.
            "next": """
                1000 * min by (cluster, window) (mojaloop_upgrade_window_next_timestamp_seconds{cluster=~"$cluster"})
            """,
        },
        columns={
            "cluster": "Cluster",
            "window": "Window",
            "open": Column(title="Now", words={1: ("open", GOOD), 0: ("closed", NEUTRAL)}),
            "next": Column(title="Opens next", unit="dateTimeFromNow"),
        },
        height=6,
        no_value="No upgrade window is configured.",
    )

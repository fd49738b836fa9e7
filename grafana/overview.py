"""How far the hub is behind, at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CAME_OUT, CLUSTER, IMAGE, NAMESPACE, OVERVIEW, PATCHED, TO_IMAGE, TO_WORKLOAD, board
from grafana.panels import LAG_STEPS, RATIO_STEPS, lines, number, rows
from grafana.promql import AT, CONTAINER, MISSING, RUNNING

_WORKLOADS = f"count by (cluster, namespace, workload_kind, workload) ({MISSING})"
_BEHIND = f'mojaloop:image_patch_releases_behind{{{AT},image=~"$image"}}'


def _upgrade(strategy: str) -> str:
    """The newest release of a newer line as a label that is named after the strategy."""
    return f"""
        max by (cluster, {CONTAINER}, image, tag, {strategy}) (
          label_replace(
            max by (cluster, {CONTAINER}, image, tag, latest_tag) (
              mojaloop_image_upgrade_available{{{AT},strategy="{strategy}"}} == 1
            ), "{strategy}", "$1", "latest_tag", "(.+)"
          )
        )
        and on ({RUNNING}) mojaloop:image_patch_releases_behind
    """


def build() -> models.Dashboard:
    """The dashboard."""
    return board(
        OVERVIEW,
        "Mojaloop image patches",
        "Which workloads of the hub miss a patch release of their image, for how long, and what no patch will help.",
        variables=(CLUSTER, NAMESPACE, IMAGE),
        events=(CAME_OUT, PATCHED),
        panels=(
            number(
                "Workloads that miss a patch",
                "Workloads with a container whose image has a newer patch release.",
                f"count({_WORKLOADS}) or vector(0)",
            ),
            number(
                "Worst lag",
                "How long the longest missed patch has been published, or known where that is not known.",
                f"max(namespace:mojaloop_image_patch_lag_seconds:max{{{AT}}}) or vector(0)",
                unit="s",
                steps=LAG_STEPS,
            ),
            number(
                "Median lag",
                "Half of the containers that miss a patch have missed it for longer.",
                f"""
                quantile(0.5, (
                  time() - mojaloop:image_patch_since_timestamp_seconds{{{AT}}}
                  and on ({RUNNING}) mojaloop:image_patch_missing
                ))
                or vector(0)
                """,
                unit="s",
                steps=LAG_STEPS,
            ),
            number(
                "Within 14 days",
                "The share of judged containers that miss no patch for longer than 14 days. "
                "What is unknown is not counted.",
                f"""
                1 - sum(namespace:mojaloop_image_containers:overdue{{{AT}}})
                / sum(namespace:mojaloop_image_containers:judged{{{AT}}})
                """,
                unit="percentunit",
                steps=RATIO_STEPS,
                no_value="nothing judged",
                decimals=1,
            ),
            number(
                "Superseded lines",
                "Images of which a newer minor release exists. "
                "A line that is superseded gets no patches: none missing there is not safe.",
                f"""
                count(count by (cluster, namespace, image) (
                  mojaloop_image_upgrade_available{{{AT},strategy="minor"}} == 1
                ))
                or vector(0)
                """,
            ),
            number(
                "Unknown containers",
                "Containers that cannot be judged. Unknown is not up to date.",
                f"count(max by (cluster, {CONTAINER}) (mojaloop_image_status_unknown{{{AT}}})) or vector(0)",
            ),
            rows(
                "What to patch",
                "Every container that misses a patch, the longest missed first. "
                "A workload's name leads to its commands.",
                {
                    "behind": f"max by (cluster, {CONTAINER}, image, tag, latest_tag) ({_BEHIND})",
                    "lag": f"""
                        max by (cluster, {CONTAINER}, image, tag) (
                          time() - mojaloop:image_patch_since_timestamp_seconds{{{AT},image=~"$image"}}
                          and on ({RUNNING}) mojaloop:image_patch_releases_behind
                        )
                    """,
                    "managed": f"max by (cluster, {CONTAINER}, image, tag, manager) ({_BEHIND})",
                    "minor_": _upgrade("minor"),
                    "major_": _upgrade("major"),
                },
                names={
                    "cluster": "Cluster",
                    "namespace": "Namespace",
                    "workload_kind": "Kind",
                    "workload": "Workload",
                    "container": "Container",
                    "image": "Image",
                    "tag": "Running",
                    "latest_tag": "Newest patch",
                    "behind": "Behind",
                    "lag": "Lag",
                    "manager": "Managed by",
                    "minor": "Next minor",
                    "major": "Next major",
                },
                units={"Lag": "s"},
                colors={"Lag": LAG_STEPS},
                links={"Workload": TO_WORKLOAD, "Image": TO_IMAGE},
                sort_by="Lag",
            ),
            lines(
                "Workloads that miss a patch",
                "By namespace, over time.",
                (f"count by (namespace) ({_WORKLOADS}) or vector(0)", "{{namespace}}"),
                stacked=True,
            ),
            lines(
                "Worst lag",
                "By namespace, over time.",
                (
                    f"max by (namespace) (namespace:mojaloop_image_patch_lag_seconds:max{{{AT}}}) or vector(0)",
                    "{{namespace}}",
                ),
                unit="s",
            ),
            rows(
                "Superseded lines",
                "Images of which a newer minor release exists, and how many containers run on the old line.",
                {
                    "containers": f"""
                        count by (cluster, namespace, image, latest_tag) (
                          max by (cluster, {CONTAINER}, image, latest_tag) (
                            mojaloop_image_upgrade_available{{{AT},strategy="minor",image=~"$image"}} == 1
                          )
                        )
                    """
                },
                names={
                    "cluster": "Cluster",
                    "namespace": "Namespace",
                    "image": "Image",
                    "latest_tag": "Newest minor",
                    "containers": "Containers",
                },
                links={"Image": TO_IMAGE},
                sort_by="Containers",
                height=8,
                width=12,
            ),
            rows(
                "Unknown, and why",
                "Containers that cannot be judged, by reason.",
                {
                    "containers": f"""
                        count by (cluster, namespace, reason) (
                          max by (cluster, {CONTAINER}, reason) (mojaloop_image_status_unknown{{{AT}}})
                        )
                    """
                },
                names={
                    "cluster": "Cluster",
                    "namespace": "Namespace",
                    "reason": "Reason",
                    "containers": "Containers",
                },
                sort_by="Containers",
                height=8,
                width=12,
            ),
        ),
    )

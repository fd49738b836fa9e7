"""The dashboard by image: versions in use, and the newest ones."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, IMAGE, IMAGES, KIND, NAMESPACE, board
from grafana.panels import GOOD, MISSED, NAMESPACE_COLUMN, NEUTRAL, OVERDUE, Column, number, rows
from grafana.promql import AT, WORKLOAD_LABELS, upgrade

_AT = f'{AT},image=~"$image"'
_INFO = f"mojaloop_image_info{{{_AT}}}"
_IN_USE = "cluster, namespace, image, tag"


def build() -> models.Dashboard:
    """Build the dashboard."""
    return board(
        IMAGES,
        "Mojaloop image patches: images",
        "By image: the versions in use, mixed versions, the newest versions, and the age of the last lookup.",
        variables=(CLUSTER, NAMESPACE, KIND, IMAGE),
        panels=(
            number(
                "Images",
                "Repositories of running images.",
                f"count(group by (image) ({_INFO})) or vector(0)",
                steps=((None, NEUTRAL),),
                width=6,
            ),
            number(
                "Mixed",
                "Images that run with several tags in one namespace.",
                f"""
                count(
                  count by (cluster, namespace, image) (group by ({_IN_USE}) ({_INFO})) > 1
                )
                or vector(0)
                """,
                width=6,
            ),
            number(
                "Oldest lookup",
                "The age of the oldest last lookup of a repository.",
                """
                max(
                  time() - max by (cluster, image) (
                    mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster",image=~"$image"}
                  )
                )
                or vector(0)
                """,
                unit="s",
                steps=((None, GOOD), (7200, MISSED), (21600, OVERDUE)),
                width=6,
            ),
            number(
                "Never judged",
                "Images without a judged container.",
                f"""
                count(
                  group by (image) ({_INFO})
                  unless on (image) group by (image) (mojaloop_image_patch_available{{{_AT}}})
                )
                or vector(0)
                """,
                width=6,
            ),
            rows(
                "Versions in use",
                "Every image and tag with the number of workloads. Several tags of an image in a namespace are "
                "a mix, but the services of a release are tested together. Newer minor and major are releases of a "
                "newer line, or empty.",
                {
                    "workloads": f"""
                        count by ({_IN_USE}) (
                          group by ({WORKLOAD_LABELS}, image, tag) ({_INFO})
                        )
                    """,
                    "tags": f"""
                        group by ({_IN_USE}) ({_INFO})
                        * on (cluster, namespace, image) group_left ()
                        count by (cluster, namespace, image) (group by ({_IN_USE}) ({_INFO}))
                    """,
                    "newest": f"group by ({_IN_USE}, latest_tag) (mojaloop_image_patch_available{{{_AT}}})",
                    "newer_minor": upgrade("minor", at=_AT, by=_IN_USE),
                    "newer_major": upgrade("major", at=_AT, by=_IN_USE),
                },
                columns={
                    "cluster": "Cluster",
                    "namespace": NAMESPACE_COLUMN,
                    "image": "Image",
                    "tag": "Running",
                    "workloads": "Workloads",
                    "tags": Column(title="Tags here", steps=((None, GOOD), (2, MISSED))),
                    "latest_tag": "Newest patch",
                    "minor": "Newer minor",
                    "major": "Newer major",
                },
                sort_by="Tags here",
                height=14,
            ),
            rows(
                "Lookups",
                "When the tags of each repository were last looked up.",
                {
                    "age": """
                        time() - max by (cluster, registry, image) (
                          mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster",image=~"$image"}
                        )
                    """
                },
                columns={
                    "cluster": "Cluster",
                    "registry": "Registry",
                    "image": "Image",
                    "age": Column(title="Age", unit="s"),
                },
                sort_by="Age",
                height=10,
            ),
        ),
    )

"""By image: which versions are in use, and what the newest is."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.board import CLUSTER, IMAGE, IMAGES, NAMESPACE, board
from grafana.panels import GOOD, MISSED, NEUTRAL, OVERDUE, number, rows
from grafana.promql import AT

_AT = f'{AT},image=~"$image"'
_INFO = f"mojaloop_image_info{{{_AT}}}"
_IN_USE = "cluster, namespace, image, tag"


def build() -> models.Dashboard:
    """The dashboard."""
    return board(
        IMAGES,
        "Mojaloop image patches: images",
        "By image: the versions in use, where several are mixed, what is newest, and when it was looked up.",
        variables=(CLUSTER, NAMESPACE, IMAGE),
        panels=(
            number(
                "Images",
                "Repositories that run.",
                f"count(count by (image) ({_INFO})) or vector(0)",
                steps=((None, NEUTRAL),),
                width=6,
            ),
            number(
                "Mixed",
                "Images that run at several tags in one namespace.",
                f"""
                count(
                  count by (cluster, namespace, image) (count by ({_IN_USE}) ({_INFO})) > 1
                )
                or vector(0)
                """,
                width=6,
            ),
            number(
                "Oldest lookup",
                "How long ago the repository was looked up that waited longest.",
                """
                max(
                  time() - max by (cluster, image) (mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster"})
                )
                or vector(0)
                """,
                unit="s",
                steps=((None, GOOD), (7200, MISSED), (21600, OVERDUE)),
                width=6,
            ),
            number(
                "Never judged",
                "Images of which no container is judged.",
                f"""
                count(
                  count by (image) ({_INFO}) unless on (image) count by (image) (mojaloop_image_patch_available)
                )
                or vector(0)
                """,
                width=6,
            ),
            rows(
                "Versions in use",
                "Every image and tag with the number of workloads. "
                "More than one tag in a namespace is mixed: the services of one release are tested together.",
                {
                    "workloads": f"""
                        count by ({_IN_USE}) (
                          max by (cluster, namespace, workload_kind, workload, image, tag) ({_INFO})
                        )
                    """,
                    "tags": f"""
                        max by ({_IN_USE}) ({_INFO})
                        * on (cluster, namespace, image) group_left ()
                        count by (cluster, namespace, image) (count by ({_IN_USE}) ({_INFO}))
                    """,
                    "newest": f"max by ({_IN_USE}, latest_tag) (mojaloop_image_patch_available{{{_AT}}})",
                    "minor_": f"""
                        max by ({_IN_USE}, minor) (
                          label_replace(
                            max by ({_IN_USE}, latest_tag) (
                              mojaloop_image_upgrade_available{{{_AT},strategy="minor"}}
                            ), "minor", "$1", "latest_tag", "(.+)"
                          )
                        )
                    """,
                },
                names={
                    "cluster": "Cluster",
                    "namespace": "Namespace",
                    "image": "Image",
                    "tag": "Running",
                    "workloads": "Workloads",
                    "tags": "Tags here",
                    "latest_tag": "Newest patch",
                    "minor": "Newest minor",
                },
                colors={"Tags here": ((None, GOOD), (2, MISSED))},
                sort_by="Tags here",
                height=14,
            ),
            rows(
                "Lookups",
                "When each repository's tags were looked up last.",
                {
                    "age": """
                        time() - max by (cluster, registry, image) (
                          mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster",image=~"$image"}
                        )
                    """
                },
                names={"cluster": "Cluster", "registry": "Registry", "image": "Image", "age": "Age"},
                units={"Age": "s"},
                sort_by="Age",
                height=10,
            ),
        ),
    )

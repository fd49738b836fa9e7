"""PromQL shared by several dashboards: label lists, selectors and formatting.

Every query merges the exporter's replicas before it counts containers or workloads (`group by` or `max by` the
contract's labels), so a second exporter changes no number. The selectors also work without a `cluster` label, because
All is `.*`, which matches an absent label.
"""

from __future__ import annotations

import re

# The labels of a container in the metric contract, without and with its running image.
CONTAINER_LABELS = "namespace, workload_kind, workload, container, container_type"
RUNNING_LABELS = f"cluster, {CONTAINER_LABELS}, image, tag"
# The labels of a workload, and of the subject of an alert: an image and tag of a workload.
WORKLOAD_LABELS = "cluster, namespace, workload_kind, workload"
FINDING_LABELS = f"{WORKLOAD_LABELS}, image, tag"
# Selectors for the variables Cluster and Namespace, and Kind if a metric has it. Watched images have no namespace and
# the kind `Image`, so Namespace must be All for them.
IN_NAMESPACE = 'cluster=~"$cluster",namespace=~"$namespace"'
AT = f'{IN_NAMESPACE},workload_kind=~"$kind"'
# Shown instead of a namespace.
WATCHED = "(watched images)"


def missing(at: str) -> str:
    """Return a query for findings that miss a patch, which the rules keep while the exporter is unavailable.

    Its labels `latest_tag`, `behind`, `patch_command`, `rollback_command` and `advice` come from one replica of the
    exporter. The value is a time without meaning here. The rules' marker is a sample without labels.
    """
    return f'mojaloop:workload_patch_missing{{{at},workload!=""}}'


def lag(at: str) -> str:
    """Return a query for the seconds since the first missed patch of each finding was published, or first seen."""
    return f"""
        max by ({FINDING_LABELS}) (
          clamp_min(time() - mojaloop:workload_patch_since_timestamp_seconds{{{at}}}, 0)
          and on ({FINDING_LABELS}) mojaloop:workload_patch_missing
        )
    """


def overdue(at: str) -> str:
    """Return a query for overdue findings, from the alert, because only the alert knows the threshold."""
    return f'ALERTS{{{at},alertname="MojaloopImagePatchOverdue"}}'


def upgrade(strategy: str, *, at: str, by: str) -> str:
    """Return a query for the newest release of a newer line, as a label named after the strategy (`minor`, `major`)."""
    return f"""
        topk by ({by}) (1,
          group by ({by}, {strategy}) (
            label_replace(
              mojaloop_image_upgrade_available{{{at},strategy="{strategy}"}} == 1,
              "{strategy}", "$1", "latest_tag", "(.+)"
            )
          )
        )
    """


def named(expr: str) -> str:
    """Replace an empty namespace by a text, for legends."""
    return f'label_replace({expr}, "namespace", "{WATCHED}", "namespace", "")'


def joined(expr: str, label: str, *parts: str) -> str:
    """Join several labels into one, such as `hub/ledger`, without slashes for empty ones."""
    names = ", ".join(f'"{part}"' for part in parts)
    return f'label_replace(label_join({expr}, "{label}", "/", {names}), "{label}", "$1", "{label}", "/?(.*?)/?")'


def one_line(expr: str) -> str:
    """Format a multi-line query as one line without spaces inside parentheses."""
    return re.sub(r"(?<=\() | (?=\))", "", " ".join(expr.split()))

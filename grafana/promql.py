"""What the queries of several dashboards share: label lists, selectors, and how a query is written to JSON.

Every query merges the exporter's replicas before it counts containers or workloads (`group by` or `max by` the
contract's labels), so that a second exporter changes no number. The selectors also work without a `cluster` label:
All is `.*`, which an absent label matches.
"""

from __future__ import annotations

import re

# The labels of one container in the metric contract, without and with the image that it runs.
CONTAINER_LABELS = "namespace, workload_kind, workload, container, container_type"
RUNNING_LABELS = f"cluster, {CONTAINER_LABELS}, image, tag"
# The labels of a workload, and of what an alert is about: an image and tag that a workload runs.
WORKLOAD_LABELS = "cluster, namespace, workload_kind, workload"
FINDING_LABELS = f"{WORKLOAD_LABELS}, image, tag"
# What the variables Cluster and Namespace select, and Kind where a metric has it. Watched images have no namespace and
# the kind `Image`: Namespace can only be All for them.
IN_NAMESPACE = 'cluster=~"$cluster",namespace=~"$namespace"'
AT = f'{IN_NAMESPACE},workload_kind=~"$kind"'
# What is shown where a namespace would be.
WATCHED = "(watched images)"


def missing(at: str) -> str:
    """The findings that miss a patch, held by the rules while the exporter is unavailable.

    Its labels `latest_tag`, `behind`, `patch_command`, `rollback_command` and `advice` come from one replica of the
    exporter. Its value is a time and means nothing here; the sample without labels is the rules' own mark.
    """
    return f'mojaloop:workload_patch_missing{{{at},workload!=""}}'


def lag(at: str) -> str:
    """Seconds since the first missed patch of each finding was published, or was first seen."""
    return f"""
        max by ({FINDING_LABELS}) (
          clamp_min(time() - mojaloop:workload_patch_since_timestamp_seconds{{{at}}}, 0)
          and on ({FINDING_LABELS}) mojaloop:workload_patch_missing
        )
    """


def overdue(at: str) -> str:
    """The findings that the rules call overdue. The alert is the only place that knows the installation's threshold."""
    return f'ALERTS{{{at},alertname="MojaloopImagePatchOverdue"}}'


def upgrade(strategy: str, *, at: str, by: str) -> str:
    """The newest release of a newer line, `minor` or `major`, as a label that is named after the strategy."""
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
    """Series with a text in the place of an empty namespace, for legends."""
    return f'label_replace({expr}, "namespace", "{WATCHED}", "namespace", "")'


def joined(expr: str, label: str, *parts: str) -> str:
    """Series with a label of several ones, such as `hub/ledger`, without the slash of one that is empty."""
    names = ", ".join(f'"{part}"' for part in parts)
    return f'label_replace(label_join({expr}, "{label}", "/", {names}), "{label}", "$1", "{label}", "/?(.*?)/?")'


def one_line(expr: str) -> str:
    """A query that is written on several lines, as one line without spaces inside parentheses."""
    return re.sub(r"(?<=\() | (?=\))", "", " ".join(expr.split()))

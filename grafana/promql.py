"""What the queries of several dashboards share: label lists, selectors, and how a query is written to JSON.

Every query merges the exporter's replicas before it counts containers or workloads (`max by` or `count by` the
contract's labels), so that a second exporter changes no number. The selectors also work without a `cluster` label:
All is `.*`, which an absent label matches.
"""

from __future__ import annotations

import re

# The labels of one container in the metric contract, without and with the image that it runs.
CONTAINER = "namespace, workload_kind, workload, container, container_type"
RUNNING = f"cluster, {CONTAINER}, image, tag"
# What the variables Cluster and Namespace select.
AT = 'cluster=~"$cluster",namespace=~"$namespace"'

MISSING = f'mojaloop:image_patch_missing{{{AT},workload!=""}}'


def one_line(expr: str) -> str:
    """A query that is written on several lines, as one line without spaces inside parentheses."""
    return re.sub(r"(?<=\() | (?=\))", "", " ".join(expr.split()))

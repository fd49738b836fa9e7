"""What untrusted input may cost at most: one table of every limit that somebody outside the exporter can run into.

What exceeds a limit is refused and counted in `mojaloop_exporter_limits_exceeded_total{limit}`; everything else goes
on. The table in docs/security.md is generated from this one.
"""

from __future__ import annotations

from enum import Enum


class Limit(Enum):
    """A limit: the label value `limit`, the highest accepted number, its unit, and what is refused.

    Attributes:
        label: the value of the label `limit`.
        most: the highest number that is accepted.
        unit: what is counted, and per what.
        refused: what happens to input that exceeds the limit.
    """

    TAGS = "tags", 200_000, "tags of a repository", "the lookup fails with `bad_answer`; the last answer is kept"

    # A real API server stays below: etcd holds objects of at most 1.5 MiB, and escapes in JSON make that 9 MiB at most.
    ANSWER = (
        "kubernetes_answer",
        16 * 2**20,
        "bytes of a page, an object or a watch event of the API server",
        "a page is read again with fewer objects; otherwise the list or watch fails with `bad_answer`",
    )
    # With pages of 2 MiB that is more than etcd holds (8 GiB at most).
    LIST_PAGES = "kubernetes_list_pages", 5_000, "pages of a list of the API server", "the list fails with `bad_answer`"
    CONTAINERS = (
        "workload_containers",
        250,
        "containers of a workload",
        "one unknown container with `limit_exceeded` stands for the workload",
    )
    ANNOTATIONS = (
        "workload_annotations",
        32 * 2**10,
        "characters of `image-patch.mojaloop.io/` annotations on a pod template",
        "one unknown container with `limit_exceeded` stands for the workload",
    )
    NAMESPACE_CONTAINERS = (
        "namespace_containers",
        5_000,
        "containers of all workloads of a namespace",
        "one unknown container with `limit_exceeded` stands for each further workload, for 100 workloads at most",
    )
    NAMESPACE_OBJECTS = (
        "namespace_objects",
        20_000,
        "containers of all objects of a kind in a namespace that count for workloads",
        "further objects are left out; the next list, at most 5 minutes later, takes them in if there is room",
    )

    def __init__(self, label: str, most: int, unit: str, refused: str) -> None:
        self.label = label
        self.most = most
        self.unit = unit
        self.refused = refused

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
    REPOSITORY_BYTES = (
        "repository_bytes",
        16 * 2**20,
        "bytes of a repository's tags in the catalogue",
        "the lookup fails with `limit_exceeded`; the last answer is kept",
    )
    CATALOGUE_BYTES = (
        "catalogue_bytes",
        64 * 2**20,
        "bytes of the catalogue",
        "repositories that are not in use are forgotten, then the largest one of the namespace that takes most",
    )

    CONTAINERS = (
        "containers",
        5_000,
        "containers of a namespace",
        "further workloads, by kind and name, are not judged; 100 of them show `limit_exceeded`",
    )
    REPOSITORIES = (
        "repositories",
        1_000,
        "repositories that a namespace uses",
        "the others are not looked up: `limit_exceeded`",
    )
    QUESTIONS = (
        "questions",
        1_000,
        "questions about the images of a namespace to one registry in an interval",
        "further lookups of the namespace in that registry wait; its images are `pending`, or keep their last answer",
    )

    def __init__(self, label: str, most: int, unit: str, refused: str) -> None:
        self.label = label
        self.most = most
        self.unit = unit
        self.refused = refused

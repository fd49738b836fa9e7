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
    # Five options for each of 50 containers.
    ANNOTATION_COUNT = (
        "annotation_count",
        256,
        "annotations of a workload under `image-patch.mojaloop.io/`",
        "its containers are unknown with `limit_exceeded`",
    )
    EXPRESSIONS = (
        "expressions",
        16,
        "different regular expressions in the annotations of a workload",
        "its containers are unknown with `limit_exceeded`",
    )
    EXPRESSION_LENGTH = (
        "expression_length",
        256,
        "characters of a regular expression",
        "the containers that it applies to are unknown with `limit_exceeded`",
    )
    # An expression for tags needs some 10 KiB. One that needs more than this is refused after at most 4 ms.
    EXPRESSION_MEMORY = (
        "expression_memory",
        128 << 10,
        "bytes of a compiled regular expression",
        "the containers that it applies to are unknown with `limit_exceeded`",
    )
    # Prometheus, kubelet and people together open some ten connections.
    HTTP_CONNECTIONS = (
        "http_connections",
        100,
        "open HTTP connections",
        "the longest idle connection of the client address with most connections is closed",
    )
    HTTP_STALLED = (
        "http_stalled",
        10,
        "HTTP responses that wait for their clients to read",
        "the one that has waited longest, of the client address with most of them, is cut off",
    )
    HTTP_HEADER_SECONDS = (
        "http_header_seconds",
        10,
        "seconds until a client has sent an HTTP request",
        "the connection is closed",
    )
    HTTP_STALL_SECONDS = (
        "http_stall_seconds",
        10,
        "seconds without progress while an HTTP response is sent",
        "the connection is closed",
    )
    HTTP_RESPONSE_SECONDS = (
        "http_response_seconds",
        60,
        "seconds for a complete HTTP response",
        "the connection is closed",
    )
    HTTP_HEADER_BYTES = (
        "http_header_bytes",
        16 << 10,
        "bytes of an HTTP request's line and headers",
        "the request is answered with 400",
    )
    HTTP_BODY_BYTES = "http_body_bytes", 0, "bytes of an HTTP request's body", "the request is answered with 413"
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

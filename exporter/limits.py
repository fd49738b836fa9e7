"""Limits on untrusted input, in one table.

Input that exceeds a limit is refused and counted in `mojaloop_exporter_limits_exceeded_total{limit}`. Everything else
continues. The table in docs/security.md is generated from this one.
"""

from __future__ import annotations

from enum import Enum


class Limit(Enum):
    """A limit: the value of the label `limit`, the highest accepted number, its unit, and the consequence.

    Attributes:
        label: the value of the label `limit`.
        most: the highest accepted number.
        unit: the unit, and what it is counted per.
        refused: what happens to input that exceeds the limit.
    """

    TAGS = (
        "tags",
        200_000,
        "tags of a repository",
        "the lookup fails with `bad_answer`; the last answer is kept",
    )  # Five options for each of 50 containers.
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
    # An expression for tags takes some 10 KiB. A larger one is refused after at most 4 ms.
    EXPRESSION_MEMORY = (
        "expression_memory",
        128 << 10,
        "bytes of a compiled regular expression",
        "the containers that it applies to are unknown with `limit_exceeded`",
    )
    # Prometheus, the kubelet and browsers open some ten connections. The rest is for clients of the API.
    HTTP_CONNECTIONS = (
        "http_connections",
        256,
        "open HTTP connections",
        "the longest idle connection of the client address with most connections is closed",
    )
    HTTP_STALLED = (
        "http_stalled",
        10,
        "HTTP responses blocked on slow clients",
        "the one blocked longest, of the client address with most of them, is cut off",
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
        "bytes of the request line and headers of an HTTP request",
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
        "bytes of the catalogue, without repositories of the `watch` list",
        "unused repositories are dropped, then the largest one of the namespace that uses most",
    )

    REPOSITORIES = (
        "repositories",
        1_000,
        "repositories used by a namespace",
        "the others are not looked up: `limit_exceeded`",
    )
    QUESTIONS = (
        "questions",
        1_000,
        "lookups in one registry for a namespace, per interval, or per hour with a schedule",
        "further lookups are delayed; the images are `pending`, or keep their last answer",
    )

    # Real API servers stay below: etcd objects have at most 1.5 MiB, which escapes in JSON turn into at most 9 MiB.
    ANSWER = (
        "kubernetes_answer",
        16 * 2**20,
        "bytes of a page, an object or a watch event from the API server",
        "a page is read again with fewer objects; otherwise the list or watch fails with `bad_answer`",
    )
    # With pages of 2 MiB, more than etcd can hold (8 GiB).
    LIST_PAGES = (
        "kubernetes_list_pages",
        5_000,
        "pages of a list from the API server",
        "the list fails with `bad_answer`",
    )
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
        "containers of all objects of a kind in a namespace that are attributed to workloads",
        "further objects are ignored; the next list, at most 5 minutes later, includes them if there is room",
    )
    TAG_PAGES = "tag_pages", 500, "pages of a tag list", "the lookup fails with `bad_answer`; the last answer is kept"
    LOOKUP_BYTES = (
        "lookup_bytes",
        8 * 2**20,
        "bytes of all answers to one lookup (a tag list with its pages, or a publish time)",
        "the lookup fails with `bad_answer`; the last answer is kept",
    )
    LOOKUP_SECONDS = "lookup_seconds", 300, "seconds of one lookup", "the lookup fails with `unreachable`"
    LARGE_LOOKUPS = (
        "large_lookups",
        2,
        "lookups with answers of more than 128 KiB at a time, one for each registry",
        "further ones wait, and fail with `unreachable` after `lookup_seconds`",
    )
    ANSWER_BYTES = (
        "answer_bytes",
        4 * 2**20,
        "bytes of one response of a registry",
        "the lookup fails with `bad_answer`",
    )
    ANSWER_HEAD_BYTES = (
        "answer_head_bytes",
        128 * 2**10,
        "bytes that a registry sends before the body of a response",
        "the lookup fails with `bad_answer`",
    )
    ANSWER_PARTS = (
        "answer_parts",
        10_000,
        "chunks of the body of one response",
        "the lookup fails with `bad_answer`",
    )
    MANIFEST_VALUES = (
        "manifest_values",
        20_000,
        "JSON values in the manifest of an image",
        "the publish time is unknown and looked up again later",
    )
    REQUEST_SECONDS = (
        "request_seconds",
        60,
        "seconds of one request to a registry, including its response",
        "the lookup fails with `unreachable`",
    )
    NAME_LOOKUPS = (
        "name_lookups",
        4,
        "host names of one registry that are being resolved at a time",
        "further ones wait, and fail with `unreachable` when their connect timeout expires",
    )
    TOKEN_BYTES = (
        "token_bytes",
        16 * 2**10,
        "bytes of a token from a token service",
        "the lookup fails with `bad_answer`",
    )
    TOKENS = "tokens", 64, "tokens kept for one registry", "the oldest one is dropped, and requested again when needed"

    def __init__(self, label: str, most: int, unit: str, refused: str) -> None:
        self.label = label
        self.most = most
        self.unit = unit
        self.refused = refused

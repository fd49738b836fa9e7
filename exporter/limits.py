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
        "further ones wait, and fail with `unreachable` when `lookup_seconds` are over",
    )
    ANSWER_BYTES = "answer_bytes", 4 * 2**20, "bytes of one answer of a registry", "the lookup fails with `bad_answer`"
    ANSWER_HEAD_BYTES = (
        "answer_head_bytes",
        128 * 2**10,
        "bytes that a registry may send before the body of an answer",
        "the lookup fails with `bad_answer`",
    )
    ANSWER_PARTS = (
        "answer_parts",
        10_000,
        "parts (chunks) of the body of one answer",
        "the lookup fails with `bad_answer`",
    )
    MANIFEST_VALUES = (
        "manifest_values",
        20_000,
        "JSON values in the manifest of an image",
        "the publish time is unknown and asked for again later",
    )
    REQUEST_SECONDS = (
        "request_seconds",
        60,
        "seconds of one request to a registry, to the end of its answer",
        "the lookup fails with `unreachable`",
    )
    NAME_LOOKUPS = (
        "name_lookups",
        4,
        "host names of one registry that are being resolved at a time",
        "further ones wait, and fail with `unreachable` when their time to connect ends",
    )
    TOKEN_BYTES = (
        "token_bytes",
        16 * 2**10,
        "bytes of a token that a token service issues",
        "the lookup fails with `bad_answer`",
    )
    TOKENS = "tokens", 64, "tokens kept for one registry", "the oldest one is dropped, and requested again when needed"

    def __init__(self, label: str, most: int, unit: str, refused: str) -> None:
        self.label = label
        self.most = most
        self.unit = unit
        self.refused = refused

"""The reasons why a container cannot be judged: a closed list, and part of the metric contract.

A permanent reason ends when somebody changes the workload or the configuration. A transient one may end by itself, so
the alerting rules keep an alert firing during it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The value of the label `reason`."""

    INVALID_REFERENCE = "invalid_reference"
    INVALID_ANNOTATION = "invalid_annotation"
    NOT_A_VERSION = "not_a_version"
    FLOATING_TAG = "floating_tag"
    DIGEST_ONLY = "digest_only"
    TAG_NOT_FOUND = "tag_not_found"
    REGISTRY_NOT_ALLOWED = "registry_not_allowed"
    PRIVATE_ADDRESS = "private_address"
    LIMIT_EXCEEDED = "limit_exceeded"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    BAD_ANSWER = "bad_answer"

    @property
    def permanent(self) -> bool:
        """Whether the reason stays until somebody changes something; otherwise it is transient."""
        return self in _PERMANENT


_PERMANENT = frozenset(
    {
        Reason.INVALID_REFERENCE,
        Reason.INVALID_ANNOTATION,
        Reason.NOT_A_VERSION,
        Reason.FLOATING_TAG,
        Reason.DIGEST_ONLY,
        # Set only if no newer patch is known, so there is no alert to keep firing.
        Reason.TAG_NOT_FOUND,
        Reason.REGISTRY_NOT_ALLOWED,
        Reason.PRIVATE_ADDRESS,
        Reason.LIMIT_EXCEEDED,
    }
)
# The failures of requests to a registry. PENDING means that there was none yet. Whether an address is private is only
# known once its host is resolved.
REQUEST_FAILURES = (
    *(reason for reason in Reason if not reason.permanent and reason is not Reason.PENDING),
    Reason.PRIVATE_ADDRESS,
)

"""The wording of findings for people: one text for each fact, shared by all outputs.

Outputs must escape these texts, which may contain names and references from untrusted users.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

from exporter.findings import Finding
from exporter.reasons import Reason
from exporter.workloads import IMAGE_KIND, WorkloadKey

PROJECT = "https://github.com/mojaloop/mojaloop-image-patch-exporter"
WATCHED = IMAGE_KIND
"""The kind of images on the watch list; their namespace is empty."""
_MOJALOOP = re.compile(r"docker\.io/mojaloop/([a-z0-9._-]+)")
_HOUR = 3600
_DAY = 24 * _HOUR


class State(StrEnum):
    """The state of a finding; each finding has exactly one."""

    PATCH = "patch"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"
    CURRENT = "current"


def state(finding: Finding) -> State:
    """Return the state of a finding; a missing patch takes precedence over a newer line, as the smaller step."""
    if finding.reason is not None:
        return State.UNKNOWN
    if finding.patch_available:
        return State.PATCH
    # "0 patches" must never read as "secure".
    return State.CURRENT if finding.newer_line is None else State.SUPERSEDED


STATES = {
    State.PATCH: "patch available",
    State.SUPERSEDED: "line superseded",
    State.UNKNOWN: "unknown",
    State.CURRENT: "up to date",
}
"""Each state in words, the most urgent first."""


class Explanation(NamedTuple):
    """Why a container is unknown, and what to do about it, in one sentence each."""

    what: str
    what_to_do: str


def reason(value: Reason) -> str:
    """Return a reason in a few words: `floating tag`."""
    return value.value.replace("_", " ")


def explain(value: Reason) -> Explanation:
    """Explain a reason."""
    return _EXPLANATIONS[value]


_EXPLANATIONS = {
    Reason.INVALID_REFERENCE: Explanation(
        "The image reference does not match the grammar of image references.", "Correct it in the pod template."
    ),
    Reason.INVALID_ANNOTATION: Explanation(
        "An annotation under image-patch.mojaloop.io/ is invalid.",
        "Correct it in the pod template; the exporter's log says what is wrong.",
    ),
    Reason.NOT_A_VERSION: Explanation("The tag is not a version.", "Run a tag that names a version."),
    Reason.FLOATING_TAG: Explanation(
        "The tag does not name one release: its publisher moves it.", "Run a tag that names a complete version."
    ),
    Reason.DIGEST_ONLY: Explanation(
        "The image is named by its digest only.", "Add the tag of the version to the reference; the digest may stay."
    ),
    Reason.TAG_NOT_FOUND: Explanation(
        "The repository does not have the tag.",
        "Check the tag. If the image comes from a mirror or your own build, set the repository that has its tags with "
        "the annotation image or with mirror_of.",
    ),
    Reason.REGISTRY_NOT_ALLOWED: Explanation(
        "The configuration does not allow this registry.", "Add it to registries in the exporter's configuration."
    ),
    Reason.PRIVATE_ADDRESS: Explanation(
        "The registry has a private address, which the configuration does not allow.",
        "Add its network to allow_private in the exporter's configuration.",
    ),
    Reason.LIMIT_EXCEEDED: Explanation(
        "A limit is exceeded.", "The exporter's log names the limit; docs/security.md lists all of them."
    ),
    Reason.PENDING: Explanation("The first lookup has not finished yet.", "Wait for it."),
    Reason.UNREACHABLE: Explanation(
        "The registry does not answer.",
        "Check the network, the proxy, and the certificates between the exporter and the registry.",
    ),
    Reason.UNAUTHORIZED: Explanation(
        "The registry refuses access to the repository.", "Give the exporter credentials for the registry."
    ),
    Reason.NOT_FOUND: Explanation(
        "The registry does not have the repository.",
        "Check that the repository exists and is visible. If it is a mirror, set mirror_of.",
    ),
    Reason.RATE_LIMITED: Explanation(
        "The registry limits the rate of requests.", "Wait, or give the exporter credentials with a higher limit."
    ),
    Reason.BAD_ANSWER: Explanation(
        "The registry's response is invalid.", "The exporter's log says what is wrong with it."
    ),
}


def age(seconds: float | None) -> str:
    """Format a duration: in days, in hours if it is less than two days, `?` if unknown."""
    if seconds is None:
        return "?"
    if seconds >= 2 * _DAY:
        return many(int(seconds // _DAY), "day")
    return many(int(seconds // _HOUR), "hour") if seconds >= _HOUR else "under an hour"


def many(count: int, what: str) -> str:
    """Format a count with its noun: `1 day`, `1,200 days`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def short_image(image: str) -> str:
    """Return the common name of a repository, without Docker Hub's prefixes: `mojaloop/ledger`, `redis`."""
    return image.removeprefix("docker.io/").removeprefix("library/")


def running(finding: Finding) -> str:
    """Return the running image in short: `mojaloop/ledger:v1.0.0`, the repository with its digest, or an invalid text
    as is.
    """
    name = short_image(finding.image)
    if not name:
        return finding.reference or ("(not judged)" if finding.reason is Reason.LIMIT_EXCEEDED else "(no image)")
    if finding.tag:
        return f"{name}:{finding.tag}"
    return f"{name}@{finding.digest[:19]}..." if finding.digest else name


def describe(finding: Finding) -> str:
    """Describe a finding in one or two sentences, without its place and without ages."""
    image, newer = running(finding), finding.newer_line
    if finding.reason is not None:
        what, what_to_do = explain(finding.reason)
        return f"{image} cannot be judged ({reason(finding.reason)}). {what} {what_to_do}"
    if finding.patch_available:
        behind = many(finding.releases_behind or 0, "patch release")
        also = "" if newer is None else f" A newer line exists: {newer}."
        return f"{image} misses {behind}; the newest is {finding.latest_tag}.{also}"
    if newer is not None:
        return f"{image} misses no patch release, but {newer} supersedes its line, which may get no more fixes."
    return f"{image} is up to date."


def changes_url(image: str, tag: str, newer: str) -> str:
    """Return the URL of the changes between two tags; empty for images that are not Mojaloop's.

    Mojaloop's repositories have the same names on Docker Hub and on GitHub, and images have the tags of their releases.
    """
    found = _MOJALOOP.fullmatch(image)
    return f"https://github.com/mojaloop/{found[1]}/compare/{quote(tag)}...{quote(newer)}" if found else ""


def workload(key: WorkloadKey) -> str:
    """Return a workload for people: `mojaloop deployment/ledger`, `watched image NAME`; empty for a reference by
    itself.
    """
    if not key.kind:
        return ""
    if key.is_image:
        return f"watched image {key.name}"
    return " ".join(part for part in (key.namespace, f"{key.kind.lower()}/{key.name}") if part)


def path(key: WorkloadKey) -> str:
    """Return a workload as one word: `mojaloop/Deployment/ledger`, `Image/NAME`; empty for a reference by itself."""
    return "/".join(part for part in key if part) if key.kind else ""

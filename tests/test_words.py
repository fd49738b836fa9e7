"""Findings in the words that every output shows."""

import pytest

from exporter import words
from exporter.findings import Finding
from exporter.reasons import Reason
from exporter.words import State
from exporter.workloads import ContainerType, WorkloadKey, reference_key

LEDGER = WorkloadKey("mojaloop", "Deployment", "ledger")


def finding(**more):
    said = {"tag": "v1.0.0", "image": "docker.io/mojaloop/ledger", "reference": "mojaloop/ledger:v1.0.0"}
    place = {"workload": LEDGER, "container": "main", "container_type": ContainerType.CONTAINER, "position": 0}
    return Finding(**{**place, **said, **more})


def judged(latest, newer="v1.0.0"):
    return finding(latest_tag=latest, minor=newer, major="v1.0.0")


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (judged("v1.0.2"), State.PATCH),
        (judged("v1.0.2", "v1.1.0"), State.PATCH),
        (judged("v1.0.0", "v1.1.0"), State.SUPERSEDED),
        (judged("v1.0.0"), State.CURRENT),
        (finding(reason=Reason.PENDING), State.UNKNOWN),
    ],
)
def test_each_finding_has_one_state(found, state):
    assert words.state(found) is state
    assert list(words.STATES) == list(State)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_is_wrong_and_what_to_do(reason):
    for sentence in words.explain(reason):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert len(sentence) < 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"), (-5, "under an hour"), (0, "under an hour"), (3599, "under an hour"), (3600, "1 hour"),
        (47.9 * 3600, "47 hours"), (48 * 3600, "2 days"), (86400 * 1500.5, "1,500 days"),
    ],
)  # fmt: skip
def test_ages(seconds, text):
    assert words.age(seconds) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (finding(), "mojaloop/ledger:v1.0.0"),
        (finding(image="docker.io/library/redis", tag="7.0.1"), "redis:7.0.1"),
        (finding(image="quay.io/a/b"), "quay.io/a/b:v1.0.0"),
        (
            finding(tag="", digest="sha256:" + "0a" * 32, reason=Reason.DIGEST_ONLY),
            "mojaloop/ledger@sha256:0a0a0a0a0a0a...",
        ),
        (finding(tag="", reason=Reason.FLOATING_TAG), "mojaloop/ledger"),
        (finding(image="", tag="", reference="Bad!", reason=Reason.INVALID_REFERENCE), "Bad!"),
        (finding(image="", tag="", reference="", reason=Reason.INVALID_REFERENCE), "(no image)"),
        (finding(image="", tag="", reference="", reason=Reason.LIMIT_EXCEEDED), "(not judged)"),
    ],
)
def test_what_runs_in_short(found, text):
    assert words.running(found) == text


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ("docker.io/mojaloop/ledger", "https://github.com/mojaloop/ledger/compare/v1.0.0...v1.0.2"),
        ("docker.io/mojaloop/a/b", ""),
        ("quay.io/mojaloop/ledger", ""),
        ("", ""),
    ],
)
def test_only_mojaloop_s_images_have_a_page_of_changes(image, url):
    assert words.changes_url(image, "v1.0.0", "v1.0.2") == url


@pytest.mark.parametrize(
    ("key", "shown", "path"),
    [
        (LEDGER, "mojaloop deployment/ledger", "mojaloop/Deployment/ledger"),
        (WorkloadKey("", "Image", "ledger"), "watched image ledger", "Image/ledger"),
        (reference_key(3), "", ""),
    ],
)
def test_workloads(key, shown, path):
    assert (words.workload(key), words.path(key)) == (shown, path)

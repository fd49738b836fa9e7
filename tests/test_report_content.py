"""Which findings a report shows, and in what order."""

import pytest

from exporter.reasons import Reason
from exporter.report.content import MATCHES, SORTS
from exporter.workloads import WorkloadKey
from tests.support.findings import DAY, NOW, UNKNOWN, content, finding, snapshot


def named(name, **more):
    return finding(key=WorkloadKey("mojaloop", "Deployment", name), **more)


OLD = named("old", published=NOW - 9 * DAY, releases_behind=1, minor="v1.0.0", major="v1.0.0")
NEW = named("new", published=NOW - DAY, releases_behind=5)
LATEST = named("latest", latest="v1.0.0", minor="v1.0.0", major="v1.0.0")
SUPERSEDED = named("behind", latest="v1.0.0")
ALL = snapshot(sorted([OLD, NEW, LATEST, SUPERSEDED, UNKNOWN], key=lambda found: found.workload))


def names(**more):
    return [found.workload.name for found in content(ALL, **more).findings]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], ["behind", "latest", "new", "old", "once"]),
        (["patch"], ["new", "old"]),
        (["unknown"], ["once"]),
        (["superseded"], ["behind", "new"]),
        (["patch", "unknown"], ["new", "old", "once"]),
    ],
)
def test_only_shows_what_matches_any_of_its_values(only, expected):
    assert names(only=only) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["behind", "latest", "new", "old", "once"]),
        ("age", ["old", "new", "behind", "latest", "once"]),
        ("behind", ["new", "old", "behind", "latest", "once"]),
        ("image", ["once", "behind", "latest", "new", "old"]),
    ],
)
def test_sort_orders_findings_and_their_patches(sort, expected):
    assert names(sort=sort) == expected
    patches = [group[0].name for group in content(ALL, sort=sort).patches]
    assert patches == [name for name in expected if name in ("old", "new")]
    assert set(SORTS) == {"name", "age", "behind", "image"}


def test_patches_are_those_of_the_findings_that_are_shown():
    assert list(content(ALL, only=["unknown"]).patches) == []
    assert [patch.workload.name for patch in content(ALL, only=["superseded"]).shown().patches] == ["new"]


def test_an_unknown_container_does_not_show_the_patch_of_another_one_beside_it():
    beside = snapshot([finding(), finding(name="other", position=1, reason=Reason.INVALID_ANNOTATION)])
    assert len(content(beside).patches) == 1
    shown = content(beside, only=["unknown"])
    assert (len(shown.findings), shown.patches, shown.patch_of(shown.findings[0])) == (1, {}, None)


def test_a_report_knows_everything_that_was_checked():
    assert content(ALL, only=["unknown"]).snapshot is ALL


@pytest.mark.parametrize("what", MATCHES)
def test_every_value_matches_something(what):
    assert names(only=[what])

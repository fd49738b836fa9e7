"""The rules of `exporter.versions`, one table each, over real tags.

All tags of nine services are also compared with an oracle.
"""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import semver
from hypothesis import given
from hypothesis import strategies as st

from exporter.reasons import Reason
from exporter.versions import Strategy, describe, lowest, place, unjudgeable
from tests.support.tags import Tags

RECORDED = Path(__file__).parent.parent / "exporter" / "demo" / "data" / "tags"
SERVICES = sorted(path.stem for path in RECORDED.glob("*.json"))


def recorded(service: str) -> dict[str, float]:
    from datetime import datetime

    rows = json.loads((RECORDED / f"{service}.json").read_text())
    return {row["name"]: datetime.fromisoformat(row["published"]).timestamp() for row in rows}


def offered(running: str, tags: str, strategy: Strategy = Strategy.PATCH) -> tuple[str, int]:
    offer = Tags(tags.split()).offer(running, strategy=strategy)
    return offer.latest, len(offer.missed)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        # Rule 1: the grammar.
        ("v17.8.0", None),
        ("11.0.0", None),
        ("V1.2.3", None),
        ("v15.1.2.1", None),
        ("v10.5.2.0.0-pisp", None),
        ("2023.11.2", None),
        ("v1.9.0-release", None),
        ("test-ci", Reason.NOT_A_VERSION),
        ("v", Reason.NOT_A_VERSION),
        ("RELEASE.2023-07-21T21-12-44Z", Reason.NOT_A_VERSION),
        ("608111629", Reason.NOT_A_VERSION),
        ("20230", Reason.NOT_A_VERSION),
        ("1.2.03", Reason.NOT_A_VERSION),
        ("1.2.1234567890", Reason.NOT_A_VERSION),
        ("1.2.3.4.5.6", Reason.NOT_A_VERSION),
        ("1.2.3+build", Reason.NOT_A_VERSION),
        ("", Reason.NOT_A_VERSION),
        ("v１.２.３", Reason.NOT_A_VERSION),
        # Rule 2: what moves.
        ("latest", Reason.FLOATING_TAG),
        ("6", Reason.FLOATING_TAG),
        ("5.7", Reason.FLOATING_TAG),
        ("v1.0", Reason.FLOATING_TAG),
        ("1.28", Reason.FLOATING_TAG),
        ("v3.3-snapshot-develop-PI3", Reason.FLOATING_TAG),
        ("2023", Reason.FLOATING_TAG),
    ],
)
def test_what_can_be_judged(tag, expected):
    assert unjudgeable(tag) is expected


@pytest.mark.parametrize(
    ("running", "tags", "latest", "missed"),
    [
        # Rule 3: prefixes do not mix.
        ("5.5.0", "5.5.0 v5.5.1", "5.5.0", 0),
        ("v5.5.0", "5.5.1 V5.5.2 v5.5.0", "v5.5.0", 0),
        # Rule 4: finals.
        ("v10.4.0", "v10.4.0 v10.4.1", "v10.4.1", 1),
        ("v10.4.0", "v10.4.1 v10.4.2 v10.5.0 v11.0.0", "v10.4.2", 2),
        ("v15.1.2", "v15.1.2.1 v15.1.3", "v15.1.3", 2),
        ("v15.1.2.1", "v15.1.2 v15.1.2.1", "v15.1.2.1", 0),
        ("v10.3.0", "v10.3.0.2 v10.3.0.2-pisp", "v10.3.0.2", 1),
        ("v1.0.9", "v1.0.10", "v1.0.10", 1),
        ("2023.11.2", "2023.11.3 2023.12.0", "2023.11.3", 1),
        ("v17.8.0", "v17.8.1-snapshot.3 v17.8.0", "v17.8.0", 0),
        ("v17.0.1", "v17.0.2-pisp", "v17.0.1", 0),
        ("v11.0.5", "v11.0.2 v11.0.1", "v11.0.5", 0),
        ("v10.3.0.2-pisp", "v10.3.0 v10.3.0.2-pisp", "v10.3.0.2-pisp", 0),
        # Rule 5: pre-releases.
        ("v12.0.0-snapshot.14", "v12.0.0 v12.0.1", "v12.0.1", 1),
        ("v12.0.0-snapshot.14", "v12.0.0", "v12.0.0-snapshot.14", 0),
        ("v17.8.0-snapshot.9", "v17.8.0-snapshot v17.8.0-snapshot.34", "v17.8.0-snapshot.34", 1),
        ("v17.8.0-snapshot", "v17.8.0-snapshot.0", "v17.8.0-snapshot.0", 1),
        ("v17.8.0-snapshot.9", "v17.8.0-rc.10", "v17.8.0-snapshot.9", 0),
        ("v1.0.0-rc1", "v1.0.0-rc2 v1.0.0-rc10", "v1.0.0-rc10", 2),
        (
            "v17.8.0.160-snapshot.6",
            "v17.8.0.160-snapshot.7 v17.8.0.643-snapshot.0 v17.8.1",
            "v17.8.0.160-snapshot.7",
            1,
        ),
        ("v17.8.0-snapshot.9", "v17.8.0.643-snapshot.0", "v17.8.0-snapshot.9", 0),
        # Rule 6: branch builds.
        ("v1.0.0-hotfix.2", "v1.0.0-hotfix.3", "v1.0.0-hotfix.3", 1),
        ("v1.0.0-iad-608.5", "v1.0.0-iad-608.6 v1.0.0-iad-582.9", "v1.0.0-iad-608.6", 1),
        ("v1.0.0-fetch-all.4", "v1.0.0-fetch-all.5 v1.0.0", "v1.0.0-fetch-all.5", 1),
        ("v1.0.0-infitx.27", "v1.0.0-infitx.28 v1.0.1 v1.1.0", "v1.0.1", 1),
        # Rule 7: variants.
        ("5.0.4-alpine", "5.0.5 5.0.5-alpine 5.0.6-buster", "5.0.5-alpine", 1),
        ("v10.3.0.1-pisp", "v10.3.0.2-pisp v10.3.0.3", "v10.3.0.2-pisp", 1),
        ("v1.0.0-perf3", "v1.0.1-perf4 v1.0.1", "v1.0.0-perf3", 0),
        ("8.0.32-debian-11-r0", "8.0.32-debian-11-r14 8.0.33-debian-12-r0", "8.0.32-debian-11-r14", 1),
        ("2.249.3-debian-10-r6", "2.249.4 2.332.3", "2.249.3-debian-10-r6", 0),
        (
            "2.5.0-ppg16.4-pgbouncer1.23.1",
            "2.5.1-ppg16.4-pgbouncer1.23.1 2.5.2-ppg16.8-pgbouncer1.24.0",
            "2.5.1-ppg16.4-pgbouncer1.23.1",
            1,
        ),
        ("3.12.4-management-alpine", "3.12.5-management 3.12.6-management-alpine", "3.12.6-management-alpine", 1),
        ("v1.2.3-distroless", "v1.2.4", "v1.2.3-distroless", 0),
        # Rule 8: builds.
        ("8.0.44-35.1", "8.0.44-35.2 8.0.45", "8.0.44-35.2", 1),
        ("8.0.44-35.1", "8.0.45-36.1 8.0.44-35.1 8.0.43-99.9", "8.0.45-36.1", 1),
        # Rule 9: the finals missed are counted, the own kind's only where no final is offered.
        ("v12.0.0-snapshot.1", "v12.0.0-snapshot.2 v12.0.1 v12.0.2", "v12.0.2", 2),
    ],
)
def test_patches(running, tags, latest, missed):
    assert offered(running, tags) == (latest, missed)


def test_a_final_of_equal_number_is_offered_where_it_is_known_to_be_later():
    names = ["v12.0.0", "v12.0.0-snapshot.14"]
    assert (
        Tags(names, published={"v12.0.0": 2.0, "v12.0.0-snapshot.14": 1.0}).offer("v12.0.0-snapshot.14").latest
        == "v12.0.0"
    )
    assert Tags(names, published={"v12.0.0": 1.0, "v12.0.0-snapshot.14": 2.0}).offer("v12.0.0-snapshot.14").missed == ()
    assert Tags(names, published={"v12.0.0": 2.0}).offer("v12.0.0-snapshot.14").missed == ()


def test_wider_strategies():
    tags = "v10.4.0 v10.4.1 v10.5.0 v11.0.0 v11.0.0-rc.1 v10.6.0-pisp"
    assert offered("v10.4.0", tags, Strategy.MINOR) == ("v10.5.0", 2)
    assert offered("v10.4.0", tags, Strategy.MAJOR) == ("v11.0.0", 3)


@pytest.mark.parametrize(
    ("running", "tags", "minor", "major"),
    [
        # A patch of the running line is not a newer line.
        ("v17.1.1", "v17.1.1 v17.1.9", None, None),
        ("v17.1.1", "v17.1.9 v17.2.0 v17.10.0", "v17.10.0", None),
        ("v17.1.1", "v17.1.9 v17.2.0 v18.0.0 v19.0.1", "v17.2.0", "v19.0.1"),
        # As text the snapshot is greater.
        ("v19.13.1", "v19.14.0 v19.14.0-snapshot.2", "v19.14.0", None),
        ("v19.13.0-snapshot.1", "v19.13.2 v19.14.0 v19.14.0-snapshot.2", "v19.14.0", None),
        ("v19.13.0-snapshot.1", "v19.13.0-snapshot.9", None, None),
        ("v15.1.2.1", "v15.1.2.9 v15.2.0", "v15.2.0", None),
        ("7.4.1-alpine", "7.4.9-alpine 7.5.0 7.6.0-alpine 8.0.0-alpine", "7.6.0-alpine", "8.0.0-alpine"),
        ("8.0.44-35.1", "8.0.44-36.1 8.1.0-1", "8.1.0-1", None),
        ("v17.8.0.160-snapshot.6", "v17.8.0.643-snapshot.0 v17.8.0.160-snapshot.7 v17.9.0", "v17.9.0", None),
        ("v2.0.0", "v1.9.0 v2.0.0", None, None),
        ("latest", "v1.0.0 v2.0.0", None, None),
    ],
)
def test_newer_lines(running, tags, minor, major):
    known = Tags(tags.split())
    assert known.newer_line(running, strategy=Strategy.MINOR) == (minor or running)
    assert known.newer_line(running, strategy=Strategy.MAJOR) == (major or running)


def test_only_accepted_tags_are_of_a_newer_line():
    known = Tags(["v1.1.0", "v1.2.0"])
    assert known.newer_line("v1.0.0", strategy=Strategy.MINOR, accept=lambda tag: tag != "v1.2.0") == "v1.1.0"


@pytest.mark.parametrize("service", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_every_recorded_stable_tag_has_the_newest_stable_release_of_a_newer_line(service):
    names = [tag["name"] for tag in json.loads((RECORDED / f"{service}.json").read_text())]
    stable = {name: tuple(map(int, name[1:].split("."))) for name in names if re.fullmatch(r"v\d+\.\d+\.\d+", name)}
    known = Tags(names)
    for name, (x, y, _) in stable.items():
        minors = [other for other, core in stable.items() if core[0] == x and core[1] > y]
        majors = [other for other, core in stable.items() if core[0] > x]
        for strategy, candidates in ((Strategy.MINOR, minors), (Strategy.MAJOR, majors)):
            newest = known.newer_line(name, strategy=strategy)
            four = newest.count(".") == 3
            assert four or newest == max(candidates, key=stable.__getitem__, default=name), (name, strategy)


def test_only_accepted_tags_are_offered():
    tags = Tags(["v1.0.1", "v1.0.2"])
    assert tags.offer("v1.0.0", accept=lambda tag: tag != "v1.0.2").missed == ("v1.0.1",)


# Every supporting image of a Mojaloop installation: what its tag is, or what it is offered among plausible others.
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("mysql:5.7", Reason.FLOATING_TAG),
        ("mysql:8.0.30", "8.0.31"),
        ("bitnami/mysql:8.0.32-debian-11-r0", "8.0.33-debian-11-r0"),
        ("bitnami/kafka:3.3.1-debian-11-r1", "3.3.2-debian-11-r1"),
        ("bitnami/redis:7.0.5-debian-11-r7", "7.0.6-debian-11-r7"),
        ("bitnami/mongodb:6.0.2-debian-11-r11", "6.0.3-debian-11-r11"),
        ("bitnamilegacy/mongodb:6.0.1", "6.0.2"),
        ("solsson/kafka:2.8.1", "2.8.2"),
        ("redis:5.0.4-alpine", "5.0.5-alpine"),
        ("percona/percona-xtradb-cluster:8.0.44-35.1", "8.0.45-35.1"),
        ("percona/percona-postgresql-operator:2.5.0-ppg16.4-pgbouncer1.23.1", "2.5.1-ppg16.4-pgbouncer1.23.1"),
        ("hashicorp/vault:1.21.4", "1.21.5"),
        ("quay.io/opstree/redis:v7.4.8", "v7.4.9"),
        ("quay.io/cilium/cilium:v1.20.0@sha256:" + "a" * 64, "v1.20.1"),
        ("rabbitmq:3.12.4-management-alpine", "3.12.5-management-alpine"),
        ("minio/minio:RELEASE.2023-07-21T21-12-44Z", Reason.NOT_A_VERSION),
        ("docker.redpanda.com/redpandadata/console:latest", Reason.FLOATING_TAG),
        ("bowerswilkins/awaitpostgres:latest", Reason.FLOATING_TAG),
        ("busybox:1.28", Reason.FLOATING_TAG),
        ("ghcr.io/mojaloop/vault-utils:0.0.6", "0.0.7"),
        ("redis:6", Reason.FLOATING_TAG),
        ("ghcr.io/a/b:1", Reason.FLOATING_TAG),
        ("mojaloop/merchant-acquirer-backend:1.0.1", "1.0.2"),
    ],
)
def test_supporting_images(image, expected):
    from exporter.images import parse

    tag = parse(image).tag
    why = unjudgeable(tag)
    if isinstance(expected, Reason):
        assert why is expected
        return
    assert why is None
    others = ["9999.0.0", "v9999.0.0", "608111629", "latest", f"{tag}-other", expected]
    assert Tags(others).offer(tag).latest == expected


@pytest.mark.parametrize("service", SERVICES)
def test_every_recorded_stable_tag_is_offered_the_greatest_stable_patch(service):
    published = recorded(service)
    stable = {tag: tuple(map(int, tag[1:].split("."))) for tag in published if re.fullmatch(r"v\d+\.\d+\.\d+", tag)}
    # Finals with more parts (v15.1.2.1) are patches as well, by rule 4.
    finals = {tag: tuple(map(int, tag[1:].split("."))) for tag in published if re.fullmatch(r"v\d+(\.\d+){2,4}", tag)}
    tags = Tags(published, published=published)
    assert stable
    for tag, version in stable.items():
        missed = sorted((v, t) for t, v in finals.items() if v[:2] == version[:2] and v > version)
        offer = tags.offer(tag)
        assert offer.missed == tuple(t for _, t in missed)
        assert offer.latest == (missed[-1][1] if missed else tag)


@pytest.mark.parametrize("service", SERVICES)
def test_no_recorded_tag_raises_or_moves_down(service):
    published = recorded(service)
    tags = Tags(published, published=published)
    for tag in published:
        for strategy in Strategy:
            offer = tags.offer(tag, strategy=strategy)
            assert tag not in offer.missed
            if offer.missed:
                assert unjudgeable(tag) is None
                assert lowest([tag, *offer.missed]) == tag


numbers = st.integers(0, 30)
realistic = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "v", "V"]),
    st.lists(numbers, min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(
        [
            "",
            "-snapshot",
            "-snapshot.1",
            "-snapshot.12",
            "-rc1",
            "-hotfix.2",
            "-iad-6.5",
            "-pisp",
            "-alpine",
            "-debian-11-r3",
            "-35.1",
            ".x",
        ]
    ),
)
anything = st.one_of(realistic, st.text(max_size=40))


@given(anything, st.lists(anything, max_size=20), st.randoms(use_true_random=False))
def test_total_never_downwards_and_the_same_for_shuffled_lists(running, names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    for strategy in Strategy:
        offer = Tags(names).offer(running, strategy=strategy)
        assert Tags(shuffled).offer(running, strategy=strategy) == offer or len(set(names)) != len(names)
        assert set(offer.missed) <= set(names)
        assert running not in offer.missed
        for later in offer.missed:
            assert Tags([running]).offer(later, strategy=strategy).missed == (), (running, later)
        for lower, higher in pairwise(offer.missed):
            assert Tags([lower]).offer(higher, strategy=strategy).missed == ()


@given(anything, anything)
def test_a_place_orders_tags_of_a_line_by_their_numbers(one, other):
    places = place(one), place(other)
    assert [at is None for at in places] == [unjudgeable(tag) is not None for tag in (one, other)]
    if None in places or places[0].line != places[1].line:
        return
    digits = [[int(n) for n in re.findall(r"[0-9]+", tag.lstrip("vV"))] for tag in (one, other)]
    if len(digits[0]) == len(digits[1]):
        assert (places[0].rank < places[1].rank) == (digits[0] < digits[1]), (one, other)


def test_semantic_versioning_orders_pre_releases_as_places_do():
    # Section 11 of the specification: fewer identifiers come first, numbers are compared as numbers.
    ordered = ["v1.0.0-rc", "v1.0.0-rc.0", "v1.0.0-rc.9", "v1.0.0-rc.10", "v1.0.0-rc.256", "v1.0.1-rc"]
    assert sorted(reversed(ordered), key=lambda tag: place(tag).rank) == ordered
    assert len({place(tag).line for tag in ordered}) == 1


@given(st.lists(st.tuples(*[st.integers(0, 300)] * 3, st.none() | st.integers(0, 70_000)), min_size=2, max_size=6))
def test_places_and_the_lowest_tag_follow_the_precedence_of_semantic_versioning(numbers):
    tags = [f"{x}.{y}.{z}-rc{'' if n is None else f'.{n}'}" for x, y, z, n in numbers]
    by_semver = sorted(set(tags), key=semver.Version.parse)
    assert sorted(set(tags), key=place) == by_semver
    assert lowest(tags) == by_semver[0]
    assert lowest([*tags, *(tag.removesuffix("-rc") for tag in tags)]) == by_semver[0]


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("v1.2.3", "final"),
        ("1.2.3.4", "final"),
        ("v1.2.3-snapshot.4", "pre_release"),
        ("1.2.3-RC1", "pre_release"),
        ("v1.2.3-hotfix.4", "branch_build"),
        ("1.2.3-alpine", "variant"),
        ("8.0.32-debian-11-r0", "variant"),
        ("8.0.44-35.1", "build"),
        ("v1.2", None),
        ("latest", None),
        ("test-ci", None),
    ],
)
def test_the_kind_of_a_tag(tag, kind):
    described = describe(tag)
    assert (described and described.kind.value) == kind


def test_a_list_of_tags_is_in_the_order_of_their_numbers_and_on_the_way_to_a_final_before_it():
    expected = ["v1.0.0-snapshot", "v1.0.0-snapshot.9", "v1.0.0-snapshot.34", "v1.0.0", "v1.0.0-pisp", "v1.0.0.1",
                "v1.0.1-iso.2", "v1.0.1", "v1.0.2", "v1.0.10", "v1.10.0", "v2.0.0-rc.1"]  # fmt: skip
    assert sorted(reversed(expected), key=lambda tag: describe(tag).order) == expected


@pytest.mark.parametrize("service", SERVICES)
def test_every_real_tag_has_a_kind_or_no_place(service):
    for tag in recorded(service):
        assert (describe(tag) is None) == (place(tag) is None)

"""JUnit's XML by the schema of Jenkins, and what counts as a failure."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from lxml import etree

from exporter.logs import printable
from exporter.reasons import Reason
from exporter.report.content import MATCHES
from exporter.report.junit import render
from exporter.workloads import WorkloadKey, reference_key
from tests.support.findings import HOSTILE_SNAPSHOTS, SNAPSHOT, content, finding, snapshot

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "data" / "schemas" / "junit-10.xsd"))


def read(text):
    root = etree.fromstring(text.encode())
    SCHEMA.assertValid(root)
    return root


def outcomes(root):
    return {case.get("name"): next((child.tag for child in case), "passed") for case in root.iter("testcase")}


def test_a_suite_for_each_namespace_with_its_counts():
    root = read(render(content(SNAPSHOT)))
    suites = [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in root]
    assert suites == [("mojaloop", "4", "2", "2"), ("z", "1", "0", "1")]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("5", "2", "0")
    first = root[0][0]
    assert (first.get("classname"), first.get("name")) == ("mojaloop.Deployment.ledger", "main mojaloop/ledger:v1.0.0")
    (failure,) = first
    assert (failure.tag, failure.get("type")) == ("failure", "patch")
    assert failure.get("message").startswith("mojaloop/ledger:v1.0.0 misses 2 patch releases; the newest is v1.0.2.")
    assert "\nkubectl -n mojaloop patch deployment/ledger " in failure.text


CURRENT = finding(latest="v1.0.0", minor="v1.0.0", major="v1.0.0")
SUPERSEDED = finding(latest="v1.0.0")
FLOATING, UNREACHABLE = finding(reason=Reason.FLOATING_TAG), finding(reason=Reason.UNREACHABLE)


@pytest.mark.parametrize(
    ("found", "failing", "outcome"),
    [
        (finding(), [], "failure"), (CURRENT, MATCHES, "passed"),
        (SUPERSEDED, [], "skipped"), (SUPERSEDED, ["superseded"], "failure"),
        (FLOATING, [], "skipped"), (FLOATING, ["unknown"], "failure"),
        (UNREACHABLE, [], "error"), (UNREACHABLE, ["unknown"], "failure"),
    ],
)  # fmt: skip
def test_what_fail_on_names_fails(found, failing, outcome):
    root = read(render(content(snapshot([found]), failing={"patch", *failing})))
    assert list(outcomes(root).values()) == [outcome]


@pytest.mark.parametrize(
    ("key", "classname"),
    [(WorkloadKey("", "Image", "ledger"), "Image.ledger"), (reference_key(0), "images")],
)
def test_images_without_a_cluster_are_tests_too(key, classname):
    root = read(render(content(snapshot([finding(key=key, name="")]))))
    assert (root[0].get("name"), root[0][0].get("classname")) == ("mojaloop-image-patch-exporter", classname)
    assert root[0][0].get("name") == "mojaloop/ledger:v1.0.0"


def test_nothing_to_show_is_no_suite():
    assert len(read(render(content(snapshot([]))))) == 0


@given(HOSTILE_SNAPSHOTS)
def test_any_name_is_text(shown):
    root = read(render(content(shown)))
    cases = list(root.iter("testcase"))
    assert len(cases) == len(shown.findings)
    names = Counter(case.get("name").partition(" ")[0] for case in cases)
    assert names.total() == len(cases)
    for case in cases:
        assert printable(case.get("classname")) == case.get("classname")

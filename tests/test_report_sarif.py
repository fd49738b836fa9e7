"""SARIF by its schema, by what GitHub accepts, and as its readers compare results."""

import json
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
from hypothesis import given, settings

from exporter.logs import printable
from exporter.places import Place, Places
from exporter.reasons import Reason
from exporter.report.sarif import render
from exporter.workloads import Container, ContainerType, WorkloadKey, reference_key
from tests.support.findings import (
    CURRENT,
    DAY,
    HOSTILE_SNAPSHOTS,
    LEDGER,
    NOW,
    SNAPSHOT,
    UNKNOWN,
    content,
    finding,
    snapshot,
)

SCHEMA = json.loads((Path(__file__).parent / "data" / "schemas" / "sarif-2.1.0.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def read(report):
    log = json.loads(render(report))
    assert [error.message for error in VALIDATOR.iter_errors(log)] == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert rules[result["ruleIndex"]]["defaultConfiguration"]["level"] == result["level"]
    return run


def results(*findings, **more):
    return read(content(snapshot(findings), **more))["results"]


def test_a_rule_for_each_kind_of_finding_with_help():
    rules = read(content(snapshot([])))["tool"]["driver"]["rules"]
    names = [rule["id"] for rule in rules]
    assert names == [
        "patch-available",
        "line-superseded",
        *(f"unknown-{reason.value.replace('_', '-')}" for reason in Reason),
    ]
    runbook = (Path(__file__).parent.parent / "alerts" / "runbook.md").read_text().lower()
    for rule in rules:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["help"]["text"]
        assert rule["help"]["markdown"]
        anchor = rule["helpUri"].partition("#")[2]
        assert f"## {anchor}\n" in runbook
        assert len(rule["properties"]["tags"]) <= 10, "GitHub shows ten"


def test_levels_and_messages():
    superseded = finding(latest="v1.0.0", name="other")
    found = results(finding(), superseded, UNKNOWN)
    assert [(result["ruleId"], result["level"]) for result in found] == [
        ("patch-available", "error"),
        ("line-superseded", "note"),
        ("unknown-floating-tag", "warning"),
    ]
    assert found[0]["message"]["text"] == (
        "mojaloop/ledger:v1.0.0 misses 2 patch releases; the newest is v1.0.2. A newer line exists: v2.0.0. "
        "Found in mojaloop deployment/ledger, container main."
    )
    assert found[0]["properties"]["latestTag"] == "v1.0.2"
    assert found[0]["properties"]["patchCommand"].startswith("kubectl -n mojaloop patch deployment/ledger ")
    assert found[0]["properties"]["changes"].endswith("/compare/v1.0.0...v1.0.2")


def test_what_is_up_to_date_has_no_result():
    assert results(finding(latest="v1.0.0", minor="v1.0.0", major="v1.0.0")) == []


@pytest.mark.parametrize(
    ("key", "name", "logical"),
    [
        (LEDGER, "main", {"name": "main", "fullyQualifiedName": "mojaloop/Deployment/ledger/main"}),
        (WorkloadKey("", "Image", "ledger"), "", {"name": "ledger", "fullyQualifiedName": "Image/ledger"}),
        (reference_key(0), "", dict.fromkeys(("name", "fullyQualifiedName"), "mojaloop/ledger:v1.0.0")),
    ],
)
def test_what_is_in_no_file_has_a_logical_location(key, name, logical):
    (result,) = results(finding(key=key, name=name))
    assert result["locations"] == [{"logicalLocations": [{**logical, "kind": "resource"}]}]


@pytest.mark.parametrize(
    ("file", "artifact"),
    [
        ("deploy/a b#é.yaml", {"uri": "deploy/a%20b%23%C3%A9.yaml", "uriBaseId": "%SRCROOT%"}),
        ("./a.yaml", {"uri": "a.yaml", "uriBaseId": "%SRCROOT%"}),
        ("{cwd}/a.yaml", {"uri": "a.yaml", "uriBaseId": "%SRCROOT%"}),
        ("/etc/a.yaml", {"uri": "file:///etc/a.yaml"}),
        ("../a.yaml", {"uri": "file://{parent}/a.yaml"}),
        ("", {"uri": "stdin", "description": {"text": "standard input"}}),
    ],
    ids=["special characters", "dot", "below", "elsewhere", "above", "standard input"],
)
def test_what_is_in_a_file_has_its_line(tmp_path, monkeypatch, file, artifact):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    places = Places()
    container = Container("main", ContainerType.CONTAINER, "mojaloop/ledger:v1.0.0", 0)
    places.add(LEDGER, container, Place(file.replace("{cwd}", str(folder)), 7))
    (result,) = results(finding(), places=places)
    (location,) = result["locations"]
    expected = {**artifact, "uri": artifact["uri"].replace("{parent}", str(tmp_path))}
    assert location["physicalLocation"] == {"artifactLocation": expected, "region": {"startLine": 7}}
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "mojaloop/Deployment/ledger/main"
    assert unquote(expected["uri"]).endswith(("a.yaml", "a b#é.yaml", "stdin"))


def fingerprint(*findings, **more):
    return [result["partialFingerprints"]["mojaloopImagePatch/v1"] for result in results(*findings, **more)]


def test_a_result_is_the_same_until_what_runs_changes():
    (before,) = fingerprint(finding())
    places = Places()
    places.add(LEDGER, Container("main", ContainerType.CONTAINER, "mojaloop/ledger:v1.0.0", 0), Place("x", 9))
    assert fingerprint(finding(latest="v1.0.3", published=NOW - DAY), places=places) == [before]
    other = WorkloadKey("mojaloop", "Deployment", "other")
    different = [
        finding("v1.0.1"),
        finding(name="x"),
        finding(init=True),
        finding(key=other),
        finding(latest="v1.0.0"),
        finding(reason=Reason.PENDING),
        finding(image="docker.io/mojaloop/x"),
    ]
    assert len({before, *(one for found in different for one in fingerprint(found))}) == 1 + len(different)


def test_a_message_has_no_age():
    shown = snapshot([finding()])
    texts = [read(content(shown))["results"]]
    later = json.loads(render(content(shown)))["runs"][0]["results"]
    assert texts == [later]
    assert "day" not in texts[0][0]["message"]["text"]


def test_a_hub_is_far_below_the_limits_of_github():
    """20 runs, 25,000 results, of which 5,000 are shown, and 10 MB after gzip."""
    many = [finding(key=WorkloadKey("mojaloop", "Deployment", f"d{number:04}")) for number in range(1000)]
    text = render(content(snapshot(many)))
    assert len(text) < 5_000_000
    assert len(json.loads(text)["runs"]) == 1


def test_nothing_is_suppressed():
    text = render(content(SNAPSHOT))
    assert "suppress" not in text
    assert len(json.loads(text)["runs"][0]["results"]) == len(SNAPSHOT.findings) == len({*SNAPSHOT.findings, CURRENT})


@given(HOSTILE_SNAPSHOTS)
@settings(max_examples=40)
def test_any_name_is_text(shown):
    for result in read(content(shown))["results"]:
        text = result["message"]["text"]
        assert printable(text) == text

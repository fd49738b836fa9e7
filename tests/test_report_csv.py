"""CSV as a reader of RFC 4180 and a spreadsheet take it."""

import csv
import io

import pytest
from hypothesis import given

from exporter.logs import printable
from exporter.report.csv_output import COLUMNS, render
from tests.support.findings import HOSTILE_SNAPSHOTS, SNAPSHOT, UNKNOWN, content, finding, snapshot


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_a_reader_gets_a_row_for_each_container():
    text = render(content(SNAPSHOT))
    assert text.count("\r\n") == text.count("\n") == 6
    first, *_, unknown, invalid = read(text)
    assert tuple(first) == COLUMNS
    command = first.pop("patch_command")
    assert command.startswith('kubectl -n mojaloop patch deployment/ledger --type=json -p=\'[{"op":"test"')
    assert first.pop("rollback_command").count('"value":"mojaloop/ledger:v1.0.0"') == 2
    assert first.pop("advice").startswith("Set the new tag in the values of the Helm release")
    assert first == {
        "namespace": "mojaloop",
        "workload_kind": "Deployment",
        "workload": "ledger",
        "container": "main",
        "container_type": "container",
        "image": "docker.io/mojaloop/ledger",
        "tag": "v1.0.0",
        "latest_tag": "v1.0.2",
        "state": "patch",
        "releases_behind": "2",
        "published": "2023-10-02T22:13:20Z",
        "newer_line": "v2.0.0",
        "reason": "",
        "what_to_do": "",
        "reference": "mojaloop/ledger:v1.0.0",
        "digest": "",
        "manager": "helm",
        "source": "mojaloop/moja",
    }
    assert (unknown["state"], unknown["reason"], unknown["latest_tag"]) == ("unknown", "floating_tag", "")
    assert invalid["reference"] == "Bad Image!!"


def test_nothing_to_show_is_a_header():
    assert render(content(snapshot([]))) == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1"])
def test_a_formula_is_text(text):
    (row,) = read(render(content(snapshot([finding(name="x", reason=UNKNOWN.reason, reference=text)]))))
    assert row["reference"] == f"'{text}"


def test_a_line_break_in_a_name_is_escaped():
    (row,) = read(render(content(snapshot([finding(name="a\r\n=1,2", reason=UNKNOWN.reason)]))))
    assert row["container"] == "a\\r\\n=1,2"


@given(HOSTILE_SNAPSHOTS)
def test_any_name_is_one_cell_and_no_formula(shown):
    rows = read(render(content(shown)))
    assert len(rows) == len(shown.findings)
    for row, found in zip(rows, shown.findings, strict=True):
        assert len(row) == len(COLUMNS)
        assert None not in row
        assert not any(value.lstrip().startswith(tuple("=+-@")) for value in row.values())
        assert row["container"] in (printable(found.container), "'" + printable(found.container))

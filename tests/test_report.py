"""What people, programs and shells read."""

import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from rich.console import Console

from exporter import __version__
from exporter.findings import Snapshot, WorkloadState
from exporter.logs import printable
from exporter.reasons import Reason
from exporter.report import FORMATS, render, shell
from exporter.report.content import MATCHES, SORTS
from exporter.report.destination import OutputError, write_text
from exporter.report.json_output import ContainerFinding, Document, WorkloadFinding, render_json
from exporter.report.progress import progress
from exporter.report.rows import counts
from exporter.report.table import table
from exporter.workloads import Manager, WorkloadKey, image_key, reference_key, source
from tests.support.findings import (
    CURRENT,
    HOSTILE_SNAPSHOTS,
    INVALID,
    LEDGER,
    MISSED,
    NOW,
    SNAPSHOT,
    UNKNOWN,
    content,
    finding,
    snapshot,
)


def commands(shown):
    return shell.render(content(shown))


def write(shown, output):
    write_text(render(content(shown, sort=FORMATS[output].sort, plain=False), output))


def to_json(snapshot):
    return json.loads(render_json(snapshot, now=NOW))


def test_the_json_of_a_finding():
    document = to_json(SNAPSHOT)
    assert list(document) == ["format", "generated", "version", "synced", "findings", "workloads"]
    assert (document["format"], document["generated"]) == (2, "2023-11-14T22:13:20Z")
    assert (document["version"], document["synced"]) == (__version__, True)
    assert document["findings"][0] == {
        "namespace": "mojaloop",
        "workload_kind": "Deployment",
        "workload": "ledger",
        "container": "main",
        "container_type": "container",
        "image": "docker.io/mojaloop/ledger",
        "tag": "v1.0.0",
        "latest_tag": "v1.0.2",
        "patch_available": True,
        "releases_behind": 2,
        "published": "2023-10-02T22:13:20Z",
        "upgrades": {"minor": "v1.1.0", "major": "v2.0.0"},
        "reason": None,
        "reference": "mojaloop/ledger:v1.0.0",
        "digest": "",
        "managed_by": {"manager": "helm", "source": "mojaloop/moja"},
    }


def test_the_json_of_a_workload():
    (workload,) = to_json(SNAPSHOT)["workloads"]
    command = workload.pop("patch_command")
    assert command.startswith("kubectl -n mojaloop patch deployment/ledger --type=json -p=")
    assert command.count('"replace"') == 2, "one command for main and init containers"
    assert workload.pop("rollback_command").count('"value":"mojaloop/ledger:v1.0.0"') == 2
    assert workload.pop("advice").startswith("Set the new tag in the values of the Helm release mojaloop/moja as well")
    assert workload.pop("approve_command") is None
    assert workload == {
        "namespace": "mojaloop",
        "workload_kind": "Deployment",
        "workload": "ledger",
        "image": "docker.io/mojaloop/ledger",
        "tag": "v1.0.0",
        "latest_tag": "v1.0.2",
        "releases_behind": 2,
        "managed_by": {"manager": "helm", "source": "mojaloop/moja"},
    }


def test_a_command_is_there_once_however_many_containers_it_patches():
    many = tuple(finding(name=f"c{number:03}", position=number) for number in range(600))
    text = render_json(snapshot(many), now=NOW)
    assert text.count(b"kubectl ") == 2, "the patch and its rollback"
    (workload,) = json.loads(text)["workloads"]
    assert workload["patch_command"].count('"replace"') == 600
    one = len(render_json(snapshot(many[:1]), now=NOW))
    assert len(text) < 600 * one, "the size grows with the containers, and not with their square"


def test_findings_and_workloads_join_by_what_both_have():
    document = to_json(SNAPSHOT)
    keys = ("namespace", "workload_kind", "workload", "image", "tag")
    missing = {tuple(found[key] for key in keys) for found in document["findings"] if found["patch_available"]}
    assert {tuple(workload[key] for key in keys) for workload in document["workloads"]} == missing


@pytest.mark.parametrize("shown", [SNAPSHOT, Snapshot()], ids=["findings", "empty"])
def test_the_json_is_as_its_types_declare_it_with_an_object_on_each_line(shown):
    text = render_json(shown, now=NOW)
    document = msgspec.json.decode(text, type=Document)
    assert msgspec.to_builtins(document) == json.loads(text)
    objects = [line for line in text.decode().splitlines() if line.startswith("    {")]
    assert len(objects) == len(document.findings) + len(document.workloads)
    assert text.endswith(b"}\n")


def test_every_key_is_documented():
    page = (Path(__file__).parent.parent / "docs" / "findings.md").read_text()
    for part in (Document, ContainerFinding, WorkloadFinding):
        for key in part.__struct_fields__:
            assert re.search(rf"^\| `{key}` \| \S.* \|$", page, re.MULTILINE), f"{part.__name__}.{key}"


def test_every_format_option_and_rule_is_documented():
    page = (Path(__file__).parent.parent / "docs" / "reports.md").read_text()
    formats = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page, re.MULTILINE)
    assert formats == list(FORMATS)
    assert {*re.findall(r"`--sort (\w+)`", page)} == set(SORTS)
    (only,) = re.findall(r"^\| `--only (.*?) \|", page, re.MULTILINE)
    assert set(re.findall(r"\w+", only)) == set(MATCHES)
    defaults = {name for name, format_ in FORMATS.items() if format_.sort == "age"}
    assert defaults == {"table", "markdown", "html"}, "as the page says"


def test_the_json_where_there_is_nothing_to_say():
    found = to_json(SNAPSHOT)["findings"]
    assert len(found) == 5
    current, unknown, invalid = found[2:]
    assert (current["latest_tag"], current["patch_available"], current["releases_behind"]) == (None, False, 0)
    assert (current["published"], current["managed_by"]) == (None, None)
    assert (unknown["patch_available"], unknown["reason"], unknown["releases_behind"]) == (None, "floating_tag", None)
    assert unknown["upgrades"] == {"minor": None, "major": None}
    assert (invalid["image"], invalid["reference"]) == ("", "Bad Image!!")


def test_a_reference_by_itself_has_no_workload():
    document = to_json(snapshot(findings=(finding(key=reference_key(0), name=""),)))
    (found,) = document["findings"]
    assert [found[k] for k in ("namespace", "workload_kind", "workload", "container")] == [""] * 4
    assert (found["patch_available"], document["workloads"]) == (True, [])


def test_what_misses_a_patch_is_patched_beside_a_container_that_does_not():
    # By annotations of single containers, which go `NAME.CONTAINER`.
    kept, unknown = finding(latest="v1.0.0"), finding(reason=Reason.INVALID_ANNOTATION)
    missed = finding(name="other", position=1)
    for beside in (kept, unknown):
        (workload,) = to_json(snapshot(findings=(beside, missed)))["workloads"]
        assert workload["patch_command"].count('"replace"') == 1
        assert "\nkubectl " in commands(snapshot(findings=(beside, missed)))
    both = commands(snapshot(findings=(missed, finding(latest="v1.0.1", name="third", position=2))))
    assert both.startswith("# mojaloop/Deployment/ledger: docker.io/mojaloop/ledger v1.0.0 -> v1.0.2\n")
    assert both.count("kubectl ") == 1


@pytest.mark.parametrize(
    "written", ["hub\nrm -rf ~ #", "hub\rrm -rf ~", "hub\u2028rm -rf ~", "\x1b[2Jhub", "`rm -rf ~`"]
)
def test_an_annotation_writes_no_line_of_the_script(written):
    for manager in ("argocd", "flux", "helm", "operator"):
        state = WorkloadState(manager=Manager(manager, source(written)))
        text = commands(snapshot(findings=MISSED, workloads={LEDGER: state}))
        assert "rm -rf" not in text
        assert all(line == "" or line.startswith(("# ", "kubectl ")) for line in text.splitlines())


def test_commands_are_a_script():
    lines = commands(SNAPSHOT).splitlines()
    assert lines[0] == "# mojaloop/Deployment/ledger: docker.io/mojaloop/ledger v1.0.0 -> v1.0.2"
    assert lines[1].startswith("# Set the new tag in the values of the Helm release mojaloop/moja as well")
    assert lines[2].startswith("kubectl -n mojaloop patch deployment/ledger --type=json")
    assert lines[-1] == "# 2 of 5 containers could not be judged."
    assert all(line == "" or line.startswith(("#", "kubectl ")) for line in lines)
    assert commands(snapshot(findings=(CURRENT,))) == "# No container misses a patch.\n"
    job = finding(key=WorkloadKey("a", "Job", "b"))
    assert "kubectl" not in commands(snapshot(findings=(job,)))


def shown(snapshot, width=200):
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(table(content(snapshot, sort="age")))
    return console.file.getvalue()


def test_the_table_says_what_is_missed_first_and_what_is_unknown_last():
    lines = [line.split() for line in shown(SNAPSHOT).splitlines()]
    assert lines[0] == ["IMAGE", "PATCH", "BEHIND", "MISSED", "FOR", "NEWER", "LINE", "WHERE"]
    assert lines[1] == [
        "mojaloop/ledger:v1.0.0",
        "v1.0.2",
        "2",
        "43",
        "days",
        "v2.0.0",
        "mojaloop",
        "deployment/ledger",
    ]
    assert lines[2] == ["mojaloop/ledger:v1.0.2", "none", "v2.0.0", "mojaloop", "deployment/other"]
    assert lines[3] == ["Bad", "Image!!", "unknown:", "invalid", "reference", "z", "pod/p"]
    assert lines[4] == ["mojaloop/ledger:latest", "unknown:", "floating", "tag", "mojaloop", "job/once"]


def test_a_workload_that_exceeds_a_limit_is_a_row():
    many = finding(name="", reason=Reason.LIMIT_EXCEEDED, reference="", image="", tag="")
    row = shown(Snapshot(findings=(many,))).splitlines()[1].split()
    assert row == ["(not", "judged)", "unknown:", "limit", "exceeded", "mojaloop", "deployment/ledger"]


def test_where_nothing_is_to_be_done_some_workloads_stand_for_many():
    many = tuple(finding("v1.0.2", key=WorkloadKey("mojaloop", "Deployment", f"d{n:02}")) for n in range(15))
    assert "and 13 more workloads" in shown(Snapshot(findings=many))
    missed = tuple(finding(key=WorkloadKey("mojaloop", "Deployment", f"d{n:02}")) for n in range(15))
    assert shown(Snapshot(findings=missed)).count("deployment/d") == 15


@pytest.fixture
def terminal(monkeypatch):
    """Standard output is a terminal of that many columns, and shows colours."""

    def terminal(width):
        for name, value in {"COLUMNS": str(width), "TTY_COMPATIBLE": "1", "TERM": "xterm-256color"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("NO_COLOR", raising=False)

    return terminal


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_gets_a_table_of_its_width(terminal, capsys, width):
    long = WorkloadKey("mojaloop", "Deployment", "moja-centralledger-handler-transfer-prepare")
    terminal(width)
    write(Snapshot(findings=(finding(key=long), CURRENT, UNKNOWN, INVALID)), "table")
    head, *rows = plain(capsys.readouterr().out).rsplit("\n\n", 1)[0].splitlines()
    assert all(len(line) <= width for line in (head, *rows))
    where = head.index("WHERE")
    text = "".join(line[where:].strip() for line in rows)
    assert "deployment/moja-centralledger-handler-transfer-prepare" in text, "wrapped within its column"
    assert "mojaloop/ledger:v1.0.0" in "".join(line[: head.index("PATCH")].strip() for line in rows)


@pytest.mark.parametrize(
    ("found", "colour"),
    [
        (finding("v1.0.2"), "33"),
        (finding("v1.0.2", minor="v1.0.2", major="v1.0.2"), "32"),
    ],
    ids=["a newer line exists", "the newest line"],
)
def test_none_is_green_only_on_the_newest_line(terminal, capsys, found, colour):
    terminal(200)
    write(Snapshot(findings=(found,)), "table")
    assert f"\x1b[{colour}mnone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("latest", "minor", "major", "newer"),
    [
        ("v1.0.2", "v1.1.0", "v2.0.0", "v2.0.0"),
        ("v1.0.2", "v1.1.0", "v1.0.0", "v1.1.0"),
        ("v1.1.0", "v1.1.0", "v2.0.0", "v2.0.0"),
        ("v2.0.0", "v1.1.0", "v2.0.0", None),
        ("v1.1.0", "v1.1.0", "v1.0.0", None),
        ("v1.0.0", "v1.0.0", "v1.0.0", None),
    ],
    ids=["patch", "no major", "strategy minor", "strategy major", "strategy minor, no major", "nothing newer"],
)
def test_what_a_strategy_offers_is_not_offered_again_as_a_newer_line(latest, minor, major, newer):
    found = finding(latest=latest, minor=minor, major=major)
    assert found.newer_line == newer
    assert (newer or "-") in (shown(Snapshot(findings=(found,))) + "-")


def test_a_pipe_gets_whole_lines(monkeypatch, capsys):
    long = WorkloadKey("mojaloop", "Deployment", "d" * 250)
    monkeypatch.setenv("COLUMNS", "80")
    write(Snapshot(findings=(finding(key=long), UNKNOWN, INVALID), ignored=1), "table")
    text = capsys.readouterr().out
    assert f"deployment/{'d' * 250}\n" in text
    assert text.count("\n") == 6, "the head, three rows, an empty line, the counts"
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_each_invalid_reference_is_a_row():
    invalid = [
        finding(key=reference_key(n), reason=Reason.INVALID_REFERENCE, reference=text, image="", tag="")
        for n, text in enumerate(["Bad Image!!", "x y", ""])
    ]
    rows = shown(Snapshot(findings=invalid)).splitlines()[1:]
    assert sorted(row.partition("  ")[0] for row in rows) == ["(no image)", "Bad Image!!", "x y"]


def test_one_container_is_not_containers():
    assert commands(snapshot(findings=(UNKNOWN,))) == "# 1 of 1 container could not be judged.\n"
    assert counts(Snapshot(findings=(UNKNOWN,))).startswith("1 container checked; ")


@pytest.mark.parametrize("output", FORMATS)
def test_an_output_that_cannot_be_written_is_an_error(monkeypatch, output):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(OutputError, match="cannot write to standard output: No space left on device"):
            write(SNAPSHOT, output)
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OutputError, match="cannot write to standard output: it is closed"):
        write(SNAPSHOT, output)


def test_a_log_line_does_not_run_into_the_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with progress() as show:
            show("looking tags up", 1, 3)
            logging.getLogger("exporter").warning("busy")
        assert handler.stream is terminal
        logging.getLogger("exporter").warning("done")
    finally:
        logging.getLogger().removeHandler(handler)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    assert "busy" in [line.strip() for line in lines]
    assert "done" in lines


def test_a_watched_image_is_in_no_namespace():
    watched = snapshot(findings=(finding(key=image_key("ledger"), name=""), CURRENT))
    lines = shown(watched).splitlines()
    assert [line.partition("v2.0.0")[2].strip() for line in lines[1:]] == [
        "watched image ledger",
        "mojaloop deployment/other",
    ]
    assert commands(watched).startswith("# Image/ledger: docker.io/mojaloop/ledger v1.0.0 -> v1.0.2\n")
    assert "kubectl" not in commands(watched)
    found, _ = to_json(watched)["findings"]
    (workload,) = to_json(watched)["workloads"]
    for document in (found, workload):
        assert (document["namespace"], document["workload_kind"], document["workload"]) == ("", "Image", "ledger")
    assert found["container"] == ""


@given(HOSTILE_SNAPSHOTS)
@settings(max_examples=40)
def test_no_name_controls_a_terminal_or_ends_a_comment(hostile):
    lines = render(content(hostile, sort="age"), "table").removesuffix("\n").split("\n")
    assert all(printable(line) == line for line in lines)
    comments = [line for line in commands(replace(hostile, patches=without_commands(hostile))).split("\n") if line]
    assert all(line.startswith("# ") for line in comments)


def without_commands(shown):
    """Commands are made of names that were checked before."""
    return tuple(replace(patch, patch_command="", rollback_command="") for patch in shown.patches)


def test_markup_in_a_name_is_text():
    strange = finding(key=WorkloadKey("mojaloop", "Deployment", "[red]x[/red]"))
    assert "[red]x[/red]" in shown(Snapshot(findings=(strange,)))


def test_the_counts():
    assert counts(SNAPSHOT) == (
        "5 containers checked; 2 miss a patch; 1 misses none, but is on a superseded line;"
        " 2 unknown (1 floating tag, 1 invalid reference); 3 ignored."
    )
    assert counts(Snapshot()) == "0 containers checked; 0 miss a patch; 0 unknown."


@pytest.mark.parametrize("output", FORMATS)
def test_every_format_names_what_is_missed(capsys, output):
    write(SNAPSHOT, output)
    text = capsys.readouterr().out
    assert "mojaloop/ledger" in text
    assert "v1.0.2" in text
    assert text.endswith("\n")

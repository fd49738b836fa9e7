"""`check` with a file to write: what is in it, and that it agrees with the exit status."""

import csv
import json
import subprocess
import sys

import pytest
from lxml import etree

from tests.support.exporter_process import local
from tests.support.manifests import DEPLOYMENT
from tests.support.registries import registry

UNREACHABLE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0"])
        yield opened


@pytest.fixture
def check(hub, tmp_path):
    """Runs `check` on the Deployment of tests.support.manifests, in the file deploy/ledger.yaml."""
    text = DEPLOYMENT.replace("mojaloop/ledger", f"{hub.host}/mojaloop/ledger")
    text = text.replace("mojaloop/event-sidecar", f"{UNREACHABLE}/mojaloop/event-sidecar")
    text = text.replace("image-patch.mojaloop.io/strategy: minor", 'image-patch.mojaloop.io/ignore.migrate: "true"')
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "ledger.yaml").write_text(text)
    (tmp_path / "configuration.yaml").write_text(json.dumps({"registries": local(hub.host, UNREACHABLE)}))

    def check(*arguments, given=None):
        source = "deploy/ledger.yaml" if given is None else "-"
        command = [sys.executable, "-m", "exporter", "check", "-c", "configuration.yaml", "--manifests", source]
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, input=given, capture_output=True, text=True, timeout=120, check=False
        )

    return check


def sarif(tmp_path):
    (run,) = json.loads((tmp_path / "report").read_text())["runs"]
    return {
        result["ruleId"]: result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        + f":{result['locations'][0]['physicalLocation']['region']['startLine']}"
        for result in run["results"]
    }


def test_code_scanning_gets_the_lines_whatever_the_exit_status(check, tmp_path):
    for arguments, status in (([], 0), (["--fail-on", "any"], 3), (["--fail-on", "superseded"], 3)):
        done = check("-o", "sarif", "--output-file", "report", *arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert sarif(tmp_path) == {
            "patch-available": "deploy/ledger.yaml:16",
            "unknown-unreachable": "deploy/ledger.yaml:17",
        }
        (tmp_path / "report").unlink()


def test_a_report_of_an_incomplete_check_is_written(check, tmp_path):
    done = check("-o", "sarif", "--output-file", "report", "--fail-on", "patch", "--only", "unknown")
    assert done.returncode == 3
    assert list(sarif(tmp_path)) == ["unknown-unreachable"]
    text = (tmp_path / "deploy" / "ledger.yaml").read_text().replace("ledger:v1.0.0", "ledger:v1.1.0")
    done = check("-o", "sarif", "--output-file", "report", "--fail-on", "patch", given=text)
    assert (done.returncode, "1 of 2 containers could not be judged" in done.stderr) == (1, True)
    assert sarif(tmp_path) == {"unknown-unreachable": "stdin:17"}


@pytest.mark.parametrize(
    ("fail_on", "status", "outcomes"),
    [("patch", 3, ["failure", "error"]), ("any", 3, ["failure", "failure"]), ("unknown", 3, ["failure", "failure"])],
)
def test_a_test_report_fails_what_the_exit_status_is_about(check, tmp_path, fail_on, status, outcomes):
    done = check("-o", "junit", "--output-file", "report", "--fail-on", fail_on)
    cases = etree.parse(tmp_path / "report").getroot().iter("testcase")
    assert (done.returncode, [case[0].tag for case in cases]) == (status, outcomes)


def test_a_container_that_an_annotation_leaves_out_keeps_its_tag_in_kustomize(check, hub):
    done = check("-o", "kustomize")
    assert f"# Left out: {hub.host}/mojaloop/ledger. Its containers need v1.0.0, v1.0.2" in done.stdout
    assert "images: []" in done.stdout


def test_only_and_sort_change_what_is_shown_and_not_what_was_checked(check):
    done = check("-o", "csv", "--only", "unknown", "--only", "patch", "--sort", "behind")
    assert [row["container"] for row in csv.DictReader(done.stdout.splitlines())] == ["main", "sidecar"]
    done = check("--only", "unknown")
    assert done.stdout.splitlines()[1].startswith(f"{UNREACHABLE}/mojaloop/event-sidecar:v14.0.0")
    assert done.stdout.endswith("2 containers checked; 1 misses a patch; 1 unknown (1 unreachable); 1 ignored.\n")


def test_a_file_that_cannot_be_written_is_said_before_anything_is_looked_up(check):

    done = check("--output-file", "none/report")
    said = "mojaloop-image-patch-exporter: cannot write none/report: directory "
    assert (done.returncode, done.stdout, done.stderr.startswith(said)) == (1, "", True)
    assert done.stderr.endswith("/none does not exist\n")


@pytest.mark.parametrize("arguments", [["--only", "any"], ["--sort", "tag"], ["-o", "xml"]])
def test_wrong_values_are_refused(check, arguments):
    done = check(*arguments)
    assert (done.returncode, done.stdout, "invalid choice" in done.stderr) == (2, "", True)

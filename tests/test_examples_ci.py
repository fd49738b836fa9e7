"""The pipelines of examples/ci: linters accept them, and their scripts do what they say, with a real Helm."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from lxml import etree

from tests.support.chart import ROOT
from tests.support.components import need
from tests.support.exporter_process import local
from tests.support.registries import registry

FOLDER = ROOT / "examples" / "ci"
GITHUB, GITLAB = FOLDER / "github-actions.yml", FOLDER / "gitlab-ci.yml"
SCHEMAS = Path(__file__).parent / "data" / "schemas"
BIN = Path(sys.executable).parent


def test_actionlint_and_zizmor_have_nothing_to_say(tmp_path):
    (actionlint,) = need("actionlint")
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / GITHUB.name).write_text(GITHUB.read_text())
    for command in (
        [actionlint, "-no-color", workflows / GITHUB.name],
        [
            BIN / "zizmor",
            "--offline",
            "--no-progress",
            "--quiet",
            "--color",
            "never",
            "--persona",
            "pedantic",
            tmp_path / ".github",
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.replace("No findings to report. Good job!", "").strip()) == (0, ""), (
            command
        )


def test_actions_are_pinned_and_the_same_as_ours():
    ours = "".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    used = re.findall(r"uses: (.+)$", GITHUB.read_text(), re.MULTILINE)
    assert len(used) == 2
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
        assert action.partition("@")[0] not in ours or action in ours


def test_gitlab_accepts_its_pipeline():
    schema = json.loads((SCHEMAS / "gitlab-ci.json").read_text())
    pipeline = yaml.safe_load(GITLAB.read_text())
    errors = jsonschema.Draft7Validator(schema).iter_errors(pipeline)
    assert [error.message for error in errors] == []


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.2"])
        yield opened


@pytest.fixture
def repository(hub, tmp_path):
    """A repository with a chart; runs a script in it."""
    (helm,) = need("helm")
    chart = tmp_path / "charts" / "hub"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: hub\nversion: 1.0.0\n")
    pod = f"spec: {{containers: [{{name: main, image: '{hub.host}/mojaloop/ledger:{{{{ .Values.tag }}}}'}}]}}\n"
    (chart / "templates" / "pod.yaml").write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: ledger}}\n{pod}")
    (chart / "values.yaml").write_text("tag: v1.0.0\n")
    configuration = tmp_path / "configuration.yaml"
    configuration.write_text(json.dumps({"registries": local(hub.host)}))

    def run(script, variables, shell=("bash", "--noprofile", "--norc", "-eo", "pipefail")):
        found = {"PATH": f"{BIN}:{helm.parent}:/usr/bin:/bin", "IMAGE_PATCH_CONFIG": str(configuration)}
        return subprocess.run(
            [*shell, "-c", script],
            cwd=tmp_path,
            env={**os.environ, **found, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def github(repository):
    workflow = yaml.safe_load(GITHUB.read_text())
    (script,) = [step["run"] for step in workflow["jobs"]["check"]["steps"] if step.get("name") == "Check"]
    return repository(script, workflow["env"])


def gitlab(repository):
    pipeline = yaml.safe_load(GITLAB.read_text())
    lines = [
        line for job in ("render", "image-patches") for line in pipeline[job]["script"] if "pip install" not in line
    ]
    return repository("\n".join(lines), pipeline["variables"], shell=("sh", "-e"))


def test_github_gets_the_findings_with_the_exit_status(repository, tmp_path):
    done = github(repository)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    (run,) = json.loads((tmp_path / "image-patches.sarif").read_text())["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["message"]["text"].split()[1:3]) == ("patch-available", ["misses", "1"])
    location = result["locations"][0]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "mojaloop/Pod/ledger/main"
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "stdin", "GitHub refuses results without a file"


def test_gitlab_gets_a_test_for_each_container(repository, tmp_path):
    done = gitlab(repository)
    assert (done.returncode, done.stderr) == (3, "")
    (case,) = etree.parse(tmp_path / "image-patches.xml").getroot().iter("testcase")
    assert (case.get("classname"), case[0].tag) == ("mojaloop.Pod.ledger", "failure")


@pytest.mark.parametrize("pipeline", [github, gitlab])
def test_a_pipeline_passes_where_nothing_is_missing(repository, tmp_path, pipeline):
    (tmp_path / "charts" / "hub" / "values.yaml").write_text("tag: v1.0.2\n")
    done = pipeline(repository)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("pipeline", [github, gitlab])
def test_a_chart_that_does_not_render_fails_the_pipeline(repository, tmp_path, pipeline):
    (tmp_path / "charts" / "hub" / "templates" / "pod.yaml").write_text("{{ fail `no` }}")
    done = pipeline(repository)
    assert done.returncode == 1


def test_both_upload_also_if_the_check_fails():
    steps = yaml.safe_load(GITHUB.read_text())["jobs"]["check"]["steps"]
    assert steps[-1]["if"] == "${{ !cancelled() && hashFiles('image-patches.sarif') != '' }}"
    assert f"--output-file {steps[-1]['with']['sarif_file']}" in steps[-2]["run"]
    job = yaml.safe_load(GITLAB.read_text())["image-patches"]
    assert job["artifacts"]["when"] == "always"
    assert f"--output-file {job['artifacts']['reports']['junit']} " in job["script"][-1]

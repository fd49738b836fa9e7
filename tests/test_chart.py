"""The Helm chart: which values it accepts, what it refuses, and what its package holds."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import exporter
from exporter.config import KEYS, REGISTRY_KEYS, load
from tests.support.chart import (
    CHART,
    FIXTURES,
    HELMS,
    MINIMAL,
    NAME,
    ROOT,
    VALUES,
    VERSION,
    helm,
    named,
    pod_specs,
    rendered,
)
from tests.support.components import need

BAD = sorted((Path(__file__).parent / "data" / "chart" / "bad").glob("*.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


# What is rendered.


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_helm_has_nothing_to_say_of_it(fixture, binary):
    done = helm("lint", "--strict", CHART, VERSION, "--values", fixture, binary=binary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_helm_3_and_4_render_the_same(fixture):
    assert rendered("--values", fixture) == rendered("--values", fixture, binary="helm3")


@pytest.mark.parametrize("command", [("template", "hub"), ("lint", "--strict")], ids=lambda command: command[0])
@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_values_are_refused_with_their_key(file, binary, command):
    expected = file.read_text().partition("\n")[0].removeprefix("# ")
    done = helm(*command, CHART, VERSION, "--values", MINIMAL, "--values", file, binary=binary)
    assert done.returncode != 0
    said = (done.stdout + done.stderr).replace("/", ".").replace("'", "")
    assert re.search(expected, said), said


# Its values.


def test_every_value_is_in_the_schema_and_no_other():
    def compare(value, schema, path):
        if not isinstance(value, dict) or "properties" not in schema:
            return
        if path == "global":  # other charts of an umbrella have keys of their own there
            assert set(value) == set(schema["properties"])
            return
        assert schema["additionalProperties"] is False, path
        missing = set(value) ^ set(schema["properties"])
        if path == "config" or path.endswith("Probe"):
            assert set(value) <= set(schema["properties"]), "keys without a default here have one elsewhere"
            return
        # Of an umbrella chart: what its `condition` reads.
        assert missing <= {"enabled"}, (path, missing)
        for key, inner in value.items():
            compare(inner, schema["properties"][key], f"{path}.{key}".lstrip("."))

    compare(VALUES, SCHEMA, "")


def test_the_schema_knows_the_exporters_keys():
    def leaves(schema, path=""):
        for key, inner in schema["properties"].items():
            if "properties" in inner:
                yield from leaves(inner, f"{path}{key}.")
            else:
                yield f"{path}{key}"

    config = SCHEMA["properties"]["config"]
    theirs = {
        "listen", "state_dir", "ca_file", "kubernetes.kubeconfig", "kubernetes.context", "api.listen", "api.token_file",
        "patcher.lease_namespace", "patcher.lease_name", "patcher.own_release", "patcher.verified_approvers",
    }  # fmt: skip
    assert set(leaves(config)) == {key.name for key in KEYS} - theirs
    assert set(config["properties"]["registries"]["additionalProperties"]["properties"]) == {
        k.name for k in REGISTRY_KEYS
    }


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_the_exporter_takes_its_configuration(fixture, tmp_path):
    documents = rendered("--values", fixture)
    file = tmp_path / "config.yaml"
    (text,) = (d["data"]["config.yaml"] for d in documents if "config.yaml" in d.get("data", {}))
    file.write_text(text)
    loaded = load(file, {"HOME": "/"}, files=False)
    used = {path for entry in loaded.registries for path in (entry.docker_config_file, entry.ca_file) if path}
    for spec in pod_specs(documents):
        mounts = {m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
        assert {str(path.parent) for path in used} <= mounts


def test_the_readme_is_what_helm_docs_writes(tmp_path):
    (binary,) = need("helm-docs")
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy, symlinks=True)
    (copy / "README.md").unlink(missing_ok=True)
    done = subprocess.run(
        [binary, "--chart-search-root", copy], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (copy / "README.md").read_text() == (CHART / "README.md").read_text(), "run `make chart`"


def test_what_people_move_over_to_is_there():
    text = (ROOT / "docs" / "migrating.md").read_text()
    keys = set(re.findall(r"`((?:config|slack|rbac|alertmanagerConfig)\.[\w.]+)", text))
    assert len(keys) >= 8
    for key in keys:
        schema = SCHEMA
        for part in key.split("."):
            assert part in schema["properties"], key
            schema = schema["properties"][part]
    moved = yaml.safe_load((CHART / "ci" / "migrated-values.yaml").read_text())
    schedule = re.search(r"`slack.activeTimeIntervals: (\[.*?\])`,", text)[1]
    assert moved["slack"]["activeTimeIntervals"] == yaml.safe_load(schedule), "the cron schedule of the table"


def test_the_chart_is_of_the_exporters_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == exporter.__version__
    (image,) = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert image["image"] == f"ghcr.io/mojaloop/{NAME}:v{exporter.__version__}"
    assert re.fullmatch(r"(\d+\.\d+\.\d+)?", chart["annotations"]["image-patch.mojaloop.io/released"])


# Its package.


@pytest.mark.parametrize("lost", ["alerts", "grafana"])
@pytest.mark.parametrize("command", [("template", "hub"), ("lint", "--strict")], ids=lambda command: command[0])
@pytest.mark.parametrize("binary", HELMS)
def test_without_the_symbolic_links_it_fails_with_a_sentence(tmp_path, lost, command, binary):
    copy = tmp_path / NAME
    shutil.copytree(CHART, copy)
    shutil.rmtree(copy / lost)
    done = helm(*command, copy, VERSION, "--values", MINIMAL, binary=binary, folder=tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert re.search(rf"{lost}/\S+ is missing from the chart: its directory is a symbolic link", said), said


@pytest.mark.parametrize("binary", HELMS)
def test_what_is_packaged_renders_the_same(tmp_path, binary):
    done = helm("package", CHART, "--destination", tmp_path, binary=binary, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "--list", "--file", archive], capture_output=True, text=True, check=True).stdout
    assert ".py" not in listed
    assert "/ci/" not in listed
    fixture = CHART / "ci" / "everything-values.yaml"
    assert rendered("--values", fixture, chart=archive, binary=binary) == rendered("--values", fixture)

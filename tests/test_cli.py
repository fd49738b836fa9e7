"""`check` in its three forms, its outputs and exit statuses; and how a command that fails ends."""

import json
import subprocess
import sys

import pytest

from tests.support.exporter_process import local
from tests.support.kube import READER
from tests.support.manifests import DEPLOYMENT
from tests.support.registries import registry
from tests.support.workloads import body


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0", "v2.0.0"])
        yield opened


@pytest.fixture
def run(hub, tmp_path):
    config = tmp_path / "configuration.yaml"
    config.write_text(json.dumps({"registries": local(hub.host)}))

    def run(*arguments, given="", configured=True):
        command = [sys.executable, "-m", "exporter", *arguments]
        if configured:
            command += ["--config", str(config)]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def findings(output):
    return json.loads(output)["findings"]


def test_references(run, hub):
    image = f"{hub.host}/mojaloop/ledger"
    status, output, error = run(
        "check", "--output", "json", f"{image}:v1.0.0", f"{image}:v1.0.2", "no reference!", f"{image}:latest"
    )
    assert (status, error) == (0, "")
    first, second, third, fourth = findings(output)
    assert (first["tag"], first["latest_tag"], first["patch_available"], first["releases_behind"]) == (
        "v1.0.0",
        "v1.0.2",
        True,
        2,
    )
    assert first["published"] == "2024-05-06T07:08:09Z"
    assert first["upgrades"] == {"minor": "v1.1.0", "major": "v2.0.0"}
    assert (first["workload"], first["workload_kind"]) == ("", "")
    assert (json.loads(output)["format"], json.loads(output)["workloads"]) == (2, [])
    assert (second["patch_available"], second["latest_tag"]) == (False, None)
    assert (third["reason"], third["reference"]) == ("invalid_reference", "")
    assert fourth["reason"] == "floating_tag"


def test_two_tags_of_one_image_are_two_findings(run, hub):
    image = f"{hub.host}/mojaloop/ledger"
    _, output, _ = run("check", "--output", "json", *[f"{image}:v1.0.{n}" for n in (2, 1, 0, 1)])
    assert [f["tag"] for f in findings(output)] == ["v1.0.2", "v1.0.1", "v1.0.0", "v1.0.1"]


@pytest.mark.parametrize(
    ("strategy", "latest"), [("patch", "v1.0.2"), ("bugfix", "v1.0.2"), ("minor", "v1.1.0"), ("major", "v2.0.0")]
)
def test_strategies(run, hub, strategy, latest):
    status, output, _ = run("check", "--strategy", strategy, "--output", "json", f"{hub.host}/mojaloop/ledger:v1.0.0")
    assert (status, findings(output)[0]["latest_tag"]) == (0, latest)


@pytest.mark.parametrize(
    ("tag", "fail_on", "status"),
    [
        ("v1.0.0", ["patch"], 3), ("v1.0.2", ["patch"], 0), ("latest", ["patch"], 0), ("latest", ["unknown"], 3),
        ("v1.0.2", ["unknown"], 0), ("latest", ["patch", "unknown"], 3), ("v1.0.0", [], 0),
    ],
)  # fmt: skip
def test_fail_on(run, hub, tag, fail_on, status):
    options = [word for what in fail_on for word in ("--fail-on", what)]
    assert run("check", *options, f"{hub.host}/mojaloop/ledger:{tag}")[0] == status


def test_the_table(run, hub):
    status, output, error = run("check", f"{hub.host}/mojaloop/ledger:v1.0.0")
    assert (status, error) == (0, "")
    header, row, _, counted = output.splitlines()
    assert header.split() == ["IMAGE", "PATCH", "BEHIND", "MISSED", "FOR", "NEWER", "LINE"]
    assert row.split()[:3] == [f"{hub.host}/mojaloop/ledger:v1.0.0", "v1.0.2", "2"]
    assert counted == "1 container checked; 1 misses a patch; 0 unknown."


def test_manifests(run, hub, tmp_path):
    text = DEPLOYMENT.replace("mojaloop/ledger", f"{hub.host}/mojaloop/ledger").replace(
        "strategy: minor", "strategy.main: minor"
    )
    status, output, _ = run(
        "check", "--manifests", "-", "--namespace", "hub", "--output", "json", "--fail-on", "patch", given=text
    )
    assert status == 3
    by_name = {f["container"]: f for f in findings(output)}
    assert by_name["main"]["latest_tag"] == "v1.1.0"
    assert by_name["migrate"]["latest_tag"] == "v1.0.2"
    assert by_name["migrate"]["namespace"] == "hub"
    assert by_name["sidecar"]["reason"] == "unreachable"


@pytest.mark.parametrize("text", ["a: b: c", "a: !!int ''", "a: !!bool foo", "a: !!timestamp foo", "a: &a [*a]"])
def test_a_bad_manifest_is_one_line_with_its_place(run, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    status, output, error = run("check", "--manifests", str(tmp_path / "bad.yaml"))
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert "bad.yaml, line 1: " in error


def test_a_cluster(run, hub, kube, namespace):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    where = ["--kubeconfig", str(kube.kubeconfig()), "--namespace", namespace]
    status, output, error = run("check", "--cluster", *where, "--output", "json")
    assert (status, error) == (0, "")
    (found,) = findings(output)
    assert (found["workload"], found["latest_tag"]) == ("thing", "v1.0.2")
    status, output, _ = run("check", "--cluster", *where, "--output", "commands")
    assert status == 0
    assert f"kubectl -n {namespace} patch deployment/thing --type=json -p=" in output


def test_a_cluster_that_may_not_be_read_is_said_and_never_all_well(run, kube, namespace):
    where = ["--kubeconfig", str(kube.kubeconfig(READER)), "--namespace", namespace]
    status, output, error = run("check", "--cluster", *where)
    assert "may not list or watch Deployment" in error
    assert "not permitted to list any workloads" in error
    assert (status, output) == (1, "")


def test_a_cluster_that_does_not_answer(run, tmp_path):
    cluster = {
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {}}],
    }
    context = {"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}
    (tmp_path / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **cluster, **context}))
    status, output, error = run("check", "--cluster", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert "cannot list" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"], ["check", "a:v1", "--cluster"], ["check", "--cluster", "--manifests", "-"],
        ["check", "a:v1", "--namespace", "x"], [], ["chek"], ["check", "--output", "xml", "a:v1"],
        ["check", "--strategy", "all", "a:v1"], ["check", "--fail-on", "x", "a:v1"],
        ["serve", "--listen", "nowhere"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(run, arguments):
    status, output, error = run(*arguments, configured=False)
    assert (status, output) == (2, "")
    assert error
    assert "Traceback" not in error


def test_a_bad_configuration_is_wrong_usage(run, tmp_path):
    (tmp_path / "bad.yaml").write_text("strategy: newest")
    status, _, error = run("check", "--config", str(tmp_path / "bad.yaml"), "a:v1", configured=False)
    assert status == 2
    expected = "strategy: found 'newest', expected one of patch, bugfix, minor, major"
    assert error == f"mojaloop-image-patch-exporter: {tmp_path}/bad.yaml, line 1: {expected}\n"


def test_version_and_help(run):
    assert run("--version", configured=False)[1].startswith("mojaloop-image-patch-exporter ")
    assert "serve" in run("--help", configured=False)[1]

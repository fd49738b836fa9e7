"""`check` in its three forms, its outputs and exit statuses; and how a command that fails ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.exporter_process import local
from tests.support.kube import READER
from tests.support.manifests import DEPLOYMENT
from tests.support.registries import registry
from tests.support.rights import permit
from tests.support.workloads import body

UNREACHABLE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0", "v2.0.0"])
        yield opened


@pytest.fixture
def run(hub, tmp_path):
    config = tmp_path / "configuration.yaml"
    config.write_text(json.dumps({"registries": local(hub.host, UNREACHABLE)}))

    def run(*arguments, given="", configured=True, **environment):
        command = [sys.executable, "-m", "exporter", *arguments]
        if configured:
            command += ["--config", str(config)]
        env = {**os.environ, **environment}
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False, env=env)
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
    assert (third["reason"], third["reference"]) == ("invalid_reference", "no reference!")
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
    ("images", "fail_on", "status"),
    [
        (["ledger:v1.0.0"], ["patch"], 3), (["ledger:v2.0.0"], ["patch"], 0), (["ledger:latest"], ["patch"], 0),
        (["ledger:latest"], ["unknown"], 3), (["ledger:v2.0.0"], ["unknown"], 0),
        (["ledger:latest"], ["patch", "unknown"], 3), (["ledger:v1.0.0"], [], 0),
        (["ledger:v1.0.2"], ["superseded"], 3), (["ledger:v2.0.0"], ["superseded"], 0),
        (["ledger:v1.0.2"], ["any"], 3), (["ledger:v2.0.0"], ["any"], 0), (["ledger:v99.0.0"], ["any"], 3),
        ([f"{UNREACHABLE}/a/b:v1.0.0"], ["patch"], 1), ([f"{UNREACHABLE}/a/b:v1.0.0"], ["unknown"], 3),
        ([f"{UNREACHABLE}/a/b:v1.0.0"], [], 0), (["ledger:v1.0.0", f"{UNREACHABLE}/a/b:v1.0.0"], ["patch"], 3),
        (["none:v1.0.0"], ["superseded"], 1),
    ],
)  # fmt: skip
def test_fail_on(run, hub, images, fail_on, status):
    references = [image if "/" in image else f"{hub.host}/mojaloop/{image}" for image in images]
    options = [word for what in fail_on for word in ("--fail-on", what)]
    found, output, error = run("check", "-o", "json", *options, *references)
    assert found == status
    assert len(findings(output)) == len(images)
    assert ("1 of 1 container could not be judged (1 " in error) == (status == 1)


def test_a_tag_that_its_repository_lacks(run, hub):
    _, output, _ = run("check", "-o", "json", f"{hub.host}/mojaloop/ledger:v99.0.0")
    (found,) = findings(output)
    assert (found["reason"], found["patch_available"]) == ("tag_not_found", None)


@pytest.mark.parametrize(
    ("arguments", "given", "why"),
    [
        (["--manifests", "-"], "", "no containers to check"),
        (["--manifests", "-"], "Error: chart not found\n", "no containers to check"),
        (["-"], "\n", "no containers to check"),
    ],
)
def test_nothing_to_check_is_a_failure_unless_it_is_expected(run, arguments, given, why):
    for options in ([], ["--fail-on", "patch", "--fail-on", "unknown"]):
        status, output, error = run("check", *arguments, *options, given=given)
        assert status == 1
        assert output.endswith("0 containers checked; 0 miss a patch; 0 unknown.\n")
        assert why in error.splitlines()[-1]
        assert error.endswith("(use --allow-empty to accept this)\n")
    assert run("check", "--allow-empty", "--fail-on", "any", *arguments, given=given)[0] == 0


def test_everything_ignored_is_nothing_to_check(run, tmp_path):
    ignored = DEPLOYMENT.replace("strategy: minor", 'ignore: "true"')
    status, _, error = run("check", "--manifests", "-", given=ignored)
    assert (status, "no containers to check: 3 containers are ignored" in error) == (1, True)


def test_input_that_is_not_a_mapping_is_an_error_with_its_line(run):
    status, output, error = run("check", "--manifests", "-", given="---\nError chart not found\n")
    assert (status, output) == (1, "")
    assert "standard input, line 2: expected a mapping" in error


def test_references_of_standard_input(run, hub):
    image = f"{hub.host}/mojaloop/ledger"
    status, output, _ = run("check", "-o", "json", "-", given=f"{image}:v1.0.0\n\n  {image}:v1.0.2\nBad Image!!\n")
    assert status == 0
    assert [f["tag"] or f["reference"] for f in findings(output)] == ["v1.0.0", "v1.0.2", "Bad Image!!"]


def test_the_environment_names_the_configuration(run, hub, tmp_path):
    image = f"{hub.host}/mojaloop/ledger:v1.0.0"
    _, output, _ = run("check", "-o", "json", image, configured=False)
    assert findings(output)[0]["reason"] in ("private_address", "registry_not_allowed")
    named = str(tmp_path / "configuration.yaml")
    for how in ({"IMAGE_PATCH_CONFIG": named}, {}):
        options = [] if how else ["-c", named]
        _, output, _ = run("check", "-o", "json", image, *options, configured=False, **how)
        assert findings(output)[0]["latest_tag"] == "v1.0.2"


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


def test_a_namespace_of_a_cluster_that_runs_nothing_is_a_failure(run, kube):
    where = ["--kubeconfig", str(kube.kubeconfig()), "-n", "typo"]
    for options in ([], ["--fail-on", "any"]):
        status, _, error = run("check", "--cluster", *where, *options)
        assert (status, "namespace typo does not exist, or has no workloads" in error) == (1, True)
    assert run("check", "--cluster", *where, "--allow-empty")[0] == 0


def test_a_cluster_that_may_not_be_read_is_said_and_never_all_well(run, kube, namespace):
    where = ["--kubeconfig", str(kube.kubeconfig(READER)), "--namespace", namespace]
    status, output, error = run("check", "--cluster", *where)
    assert "not permitted to list or watch Deployment" in error
    assert "not permitted to list any workloads" in error
    assert (status, output) == (1, "")


def test_a_kind_that_may_not_be_listed_does_not_pass(run, hub, kube, namespace):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v2.0.0"))
    permit(kube, namespace, "Deployment", "Pod")
    kube.until_allowed(f"/api/v1/namespaces/{namespace}/pods", token=READER)
    check = ["check", "--cluster", "--kubeconfig", str(kube.kubeconfig(READER)), "--namespace", namespace]
    status, output, error = run(*check, "--fail-on", "patch", "-o", "json")
    assert (status, len(findings(output)), json.loads(output)["synced"]) == (1, 1, False)
    assert "could not list CronJob, DaemonSet, Job, ReplicaSet, StatefulSet, so this check is incomplete" in error
    assert run(*check, "--fail-on", "unknown")[0] == 3
    assert run(*check)[0] == 0


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


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("strategy: minor", 0, "configuration.yaml is valid"),
        ("strategy: newest", 2, "configuration.yaml, line 1: strategy: found 'newest', expected one of"),
        ("ca_file: /nope", 2, "configuration.yaml, line 1: ca_file: found '/nope' (No such file or directory)"),
    ],
)
def test_a_configuration_file_is_validated(run, tmp_path, text, status, said):
    file = tmp_path / "configuration.yaml"
    file.write_text(text)
    for arguments in (["config", "validate", str(file)], ["config", "validate"]):
        found, output, error = run(*arguments, configured=False, IMAGE_PATCH_CONFIG=str(file))
        assert (found, said in output + error) == (status, True)
        assert (output + error).count("\n") == 1


def test_files_that_are_elsewhere_need_not_exist_to_validate_a_configuration(run, tmp_path):
    (tmp_path / "a.yaml").write_text("ca_file: /nope")
    assert run("config", "validate", "--skip-files", str(tmp_path / "a.yaml"), configured=False)[0] == 0
    assert run("config", "validate", configured=False)[0] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_a_shell_completes_every_command_and_option(run, shell):
    status, output, error = run("completion", shell, configured=False)
    assert (status, error) == (0, "")
    for word in ("serve", "check", "validate", "fail-on", "superseded"):
        assert word in output


def test_bash_completes_the_values_of_an_option(run, tmp_path):
    (tmp_path / "script").write_text(run("completion", "bash", configured=False)[1])
    line = 'COMP_WORDS=(mojaloop-image-patch-exporter check --fail-on s); COMP_CWORD=3; COMP_LINE="${COMP_WORDS[*]}"'
    function = "$(complete -p mojaloop-image-patch-exporter | sed -E 's/.*-F ([^ ]+).*/\\1/')"
    script = (
        f'. {tmp_path}/script; {line}; {function} mojaloop-image-patch-exporter s --fail-on; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["superseded"], done.stderr


@pytest.mark.parametrize("output", ["table", "json", "commands"])
def test_an_output_that_cannot_be_written_is_one_line(output):
    command = [sys.executable, "-m", "exporter", "check", "--output", output, "x y"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "mojaloop-image-patch-exporter: cannot write to standard output: {}\n"
    assert (done.returncode, done.stderr) == (1, said.format("No space left on device"))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, said.format("Broken pipe"))
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "-", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, said.format("it is closed"))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTPS_PROXY": "http://hub:s3cret@proxy.example:3128"}, True),
        ({"https_proxy": "http://proxy.example:3128"}, True),
        ({"HTTPS_PROXY": "http://a:1", "IMAGE_PATCH_PROXY": "http://a:1"}, False),
        ({}, False),
    ],
)
def test_a_proxy_of_the_environment_that_registries_do_not_use_is_said(run, variables, said):
    _, _, error = run("check", "x y", **variables)
    assert ("PROXY is not used for registries" in error.replace("_proxy", "_PROXY")) == said
    assert "set proxy in the configuration or IMAGE_PATCH_PROXY" in error or not said
    assert "s3cret" not in error


def test_version_and_help(run):
    assert run("--version", configured=False)[1].startswith("mojaloop-image-patch-exporter ")
    assert "serve" in run("--help", configured=False)[1]
    for arguments in (["--help"], ["check", "--help"]):
        text = run(*arguments, configured=False)[1]
        assert "exit status:" in text
        assert "3  check found something that --fail-on names" in text

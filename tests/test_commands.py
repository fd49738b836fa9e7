"""Commands that work on a real API server, and that fail whole once they are stale."""

import json
import re
import shlex
import subprocess
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.commands import advice, patch_command, rollback_command
from exporter.findings import Finding, Reason, WorkloadState
from exporter.images import parse
from exporter.workloads import ContainerType, Manager, WorkloadKey
from tests.support.components import need
from tests.support.kube import METADATA_PATHS
from tests.support.workloads import body

DIGEST = "@sha256:" + "0a" * 32
NONE = WorkloadState()
HELM = WorkloadState(manager=Manager("helm", "mojaloop/moja"))


def finding(
    reference="mojaloop/ledger:v1.0.0",
    *,
    kind="Deployment",
    namespace="mojaloop",
    latest="v1.0.2",
    name="main",
    init=False,
    position=0,
    workload="thing",
):
    parsed = parse(reference)
    return Finding(
        workload=WorkloadKey(namespace, kind, workload), container=name, position=position, reference=reference,
        container_type=ContainerType.INIT_CONTAINER if init else ContainerType.CONTAINER,
        image=str(parsed.repository), tag=parsed.tag, digest=parsed.digest or "", latest_tag=latest, releases_behind=int(latest != parsed.tag),
        minor=latest, major=latest,
    )  # fmt: skip


def operations(command):
    words = shlex.split(command)
    assert words[:2] == ["kubectl", "--namespace"]
    assert words[-2] == "--patch"
    return words[2:-2], json.loads(words[-1])


def test_the_exact_command():
    assert patch_command([finding()], NONE) == (
        "kubectl --namespace mojaloop patch deployment/thing --type json --patch "
        '\'[{"op":"test","path":"/spec/template/spec/containers/0/name","value":"main"},'
        '{"op":"test","path":"/spec/template/spec/containers/0/image","value":"mojaloop/ledger:v1.0.0"},'
        '{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mojaloop/ledger:v1.0.2"}]\''
    )


def test_a_digest_goes_with_the_old_tag_and_comes_back_with_the_rollback():
    found = [finding(f"quay.io:443/a/b:v1.0.0{DIGEST}")]
    new = "quay.io:443/a/b:v1.0.2"
    assert operations(patch_command(found, NONE))[1][-1]["value"] == new
    _, back = operations(rollback_command(found, NONE))
    assert back[1] == {"op": "test", "path": "/spec/template/spec/containers/0/image", "value": new}
    assert back[2]["value"] == f"quay.io:443/a/b:v1.0.0{DIGEST}"


def test_main_and_init_containers_are_patched_by_one_command():
    found = [finding(position=1), finding("docker.io/mojaloop/ledger:v1.0.0", name="wait", init=True, position=2)]
    _, done = operations(patch_command(found, NONE))
    assert [(o["path"], o["value"]) for o in done if o["op"] == "replace"] == [
        ("/spec/template/spec/containers/1/image", "mojaloop/ledger:v1.0.2"),
        ("/spec/template/spec/initContainers/2/image", "docker.io/mojaloop/ledger:v1.0.2"),
    ]


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (finding(kind="Job"), NONE, "A Job's template cannot be changed"),
        (finding(kind="Pod"), NONE, "Nothing looks after a bare pod"),
        (finding(kind="StrimziPodSet"), NONE, "where StrimziPodSet thing is configured"),
        (finding(), WorkloadState(manager=Manager("argocd", "hub")), "Argo CD Application hub"),
        (
            finding(),
            WorkloadState(manager=Manager("flux", "HelmRelease flux-system/hub")),
            "HelmRelease flux-system/hub",
        ),
        (finding(), WorkloadState(manager=Manager("operator", "Kafka/hub")), "Kafka/hub"),
    ],
)
def test_where_no_patch_can_work_it_is_said_what_to_change(found, state, said):
    assert patch_command([found], state) is None
    assert rollback_command([found], state) is None
    assert said in advice([found], state)
    assert "mojaloop/ledger:v1.0.2" in advice([found], state)


def test_helm_is_reminded_of_beside_the_command():
    state = WorkloadState(manager=Manager("helm", "mojaloop/moja"))
    assert patch_command([finding()], state) is not None
    assert "mojaloop/moja" in advice([finding()], state)
    assert advice([finding()], NONE) is None


def test_nothing_to_patch_is_no_command():
    unknown = Finding(
        workload=WorkloadKey("a", "Deployment", "b"),
        container="c",
        container_type=ContainerType.CONTAINER,
        position=0,
        reference="",
        image="",
        tag="",
    )
    for found in ([], [finding(latest="v1.0.0")], [unknown], [unknown, finding(latest="v1.0.0")]):
        assert patch_command(found, NONE) is None
        assert rollback_command(found, NONE) is None
    assert advice([unknown], NONE) is None


def test_what_misses_no_patch_stays_beside_what_does():
    kept, missed = finding(latest="v1.0.0"), finding(name="other", position=1)
    unknown = replace(kept, latest_tag=None, reason=Reason.INVALID_ANNOTATION)
    for other in (kept, unknown):
        for command in (patch_command, rollback_command):
            assert command([other, missed], NONE) == command([missed, other], NONE) == command([missed], NONE)
        assert advice([other, missed], HELM) == advice([missed], HELM)


@given(st.sampled_from(["argocd", "flux", "operator", "helm"]), st.text())
@example("argocd", "hub\nrm -rf ~ #")
@example("argocd", "hub $(reboot)")
@example("helm", "```\u2028reboot")
def test_a_manager_that_is_no_name_says_nothing_that_a_shell_reads(manager, source):
    said = advice([finding()], WorkloadState(manager=Manager(manager, source)))
    assert said.splitlines() == [said]
    assert re.fullmatch(r"[A-Za-z0-9 ._/:,'-]+", said)
    assert "mojaloop/ledger:v1.0.2" in said


@pytest.mark.parametrize("source", ["hub", "argocd_hub", "mojaloop/moja", "Kustomization flux-system/hub", "Kafka/hub"])
def test_a_manager_is_named(source):
    for manager in ("argocd", "flux", "operator", "helm"):
        assert f" {source}" in advice([finding()], WorkloadState(manager=Manager(manager, source)))


_name = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\Z")
_reference = st.builds(
    lambda host, path, tag, digest: f"{host}{path}:{tag}{digest}",
    st.sampled_from(["", "quay.io/", "localhost:5000/", "[::1]:5000/"]),
    st.from_regex(r"\A[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+)?\Z"),
    st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,20}\Z"),
    st.sampled_from(["", DIGEST]),
)


@given(_name, _name, _reference)
def test_no_name_or_reference_leaves_its_quotes(namespace, name, reference):
    main = finding(reference, namespace=namespace, name=name, latest="v9-x")
    found = [main, replace(main, container_type=ContainerType.INIT_CONTAINER)]
    for command in (patch_command(found, NONE), rollback_command(found, NONE)):
        assert command.count("'") == 2, "the quotes around the patch are the only ones"
        assert command.endswith("'")
        words, done = operations(command)
        assert words == [namespace, "patch", "deployment/thing", "--type", "json"]
        assert [o["value"] for o in done if o["path"].endswith("/name")] == [name, name]
        assert reference in [o["value"] for o in done]


# On a real API server, with kubectl.

PATHS = {"CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}


@pytest.fixture
def shell(kube, tmp_path):
    (kubectl,) = need("kubectl")
    (tmp_path / "kubectl").symlink_to(kubectl)

    def run(command):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KUBECONFIG": str(kube.kubeconfig()), "HOME": str(tmp_path)}
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def images(kube, kind, namespace):
    spec = kube.request("GET", f"{METADATA_PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s/thing")
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    return [c["image"] for c in (*spec["initContainers"], *spec["containers"])]


def made(kube, kind, namespace, reference):
    document = body(kind, image=reference)
    spec = document
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    spec["initContainers"] = [{"name": "first", "image": "busybox:1.36.0"}, {"name": "wait", "image": reference}]
    kube.create(kind, namespace, document)
    common = {"kind": kind, "namespace": namespace}
    return [finding(reference, **common), finding(reference, name="wait", init=True, position=1, **common)]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob"])
def test_patch_and_rollback_on_a_real_api_server(kube, namespace, shell, kind):
    reference = f"mojaloop/ledger:v1.0.0{DIGEST}"
    found = made(kube, kind, namespace, reference)
    status, said = shell(patch_command(found, NONE))
    assert (status, "patched" in said) == (0, True), said
    assert images(kube, kind, namespace) == ["busybox:1.36.0", "mojaloop/ledger:v1.0.2", "mojaloop/ledger:v1.0.2"]
    assert shell(patch_command(found, NONE))[0] == 1, "what is patched is not patched again"
    status, said = shell(rollback_command(found, NONE))
    assert status == 0, said
    assert images(kube, kind, namespace) == ["busybox:1.36.0", reference, reference]


@pytest.mark.parametrize(
    "meanwhile",
    [
        [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mojaloop/ledger:v1.0.1"}],
        [{"op": "replace", "path": "/spec/template/spec/containers/0/name", "value": "renamed"}],
        [{"op": "add", "path": "/spec/template/spec/containers/0", "value": {"name": "new", "image": "a:1.0.0"}}],
        [{"op": "remove", "path": "/spec/template/spec/initContainers"}],
    ],
    ids=["another image", "another name", "another place", "gone"],
)
def test_a_stale_command_changes_nothing(kube, namespace, shell, meanwhile):
    found = made(kube, "Deployment", namespace, "mojaloop/ledger:v1.0.0")
    kube.patch("Deployment", namespace, "thing", meanwhile)
    path = f"{METADATA_PATHS['Deployment']}/namespaces/{namespace}/deployments/thing"
    before = kube.request("GET", path)["spec"]
    status, _ = shell(patch_command(found, NONE))
    assert status == 1
    assert kube.request("GET", path)["spec"] == before

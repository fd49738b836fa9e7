"""kubectl runs the commands on a real API server: they work, and they fail atomically once they are stale."""

import subprocess

import pytest

from exporter.kinds import KINDS
from tests.support.commands import DIGEST, NONE, finding, patch_command, rollback_command, template
from tests.support.components import need
from tests.support.definitions import installed
from tests.support.kube import METADATA_PATHS
from tests.support.workloads import body

PATHS = {"CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}


@pytest.fixture
def shell(kube, tmp_path):
    (kubectl,) = need("kubectl")
    (tmp_path / "kubectl").symlink_to(kubectl)

    def run(command):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KUBECONFIG": str(kube.kubeconfig()), "HOME": str(tmp_path)}
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def images(kube, kind, namespace):
    spec = kube.request("GET", f"{METADATA_PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s/thing")
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    return [c["image"] for c in (*spec["initContainers"], *spec["containers"])]


def made(kube, kind, namespace, reference, *, duplicate=False):
    document = body(kind, image=reference)
    spec = document
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    spec["initContainers"] = [{"name": "first", "image": "busybox:1.36.0"}, {"name": "wait", "image": reference}]
    if duplicate:
        spec["containers"].append({"name": "kept", "image": reference})
    kube.create(kind, namespace, document)
    common = {"kind": kind, "namespace": namespace}
    return [finding(reference, **common), finding(reference, name="wait", init=True, position=1, **common)]


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if kind.patchable])
def test_patch_and_rollback_on_a_real_api_server(kube, namespace, shell, kind):
    with installed(kube, kind):
        patched_and_rolled_back(kube, namespace, shell, kind)


def patched_and_rolled_back(kube, namespace, shell, kind):
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
        [{"op": "add", "path": "/spec/template/spec/containers/0", "value": {"name": "new", "image": "a:1.0.0"}}],
        [{"op": "remove", "path": "/spec/template/spec/initContainers"}],
    ],
    ids=["another image", "another place", "gone"],
)
def test_a_stale_command_changes_nothing(kube, namespace, shell, meanwhile):
    found = made(kube, "Deployment", namespace, "mojaloop/ledger:v1.0.0")
    changes_nothing(kube, namespace, shell, meanwhile, patch_command(found, NONE))


def test_a_command_never_patches_another_container_of_the_same_reference(kube, namespace, shell):
    reference = "mojaloop/ledger:v1.0.0"
    found = made(kube, "Deployment", namespace, reference, duplicate=True)
    state = template(reference, reference, init=["busybox:1.36.0", reference])
    swapped = [{"op": "move", "from": "/spec/template/spec/containers/1", "path": "/spec/template/spec/containers/0"}]
    changes_nothing(kube, namespace, shell, swapped, patch_command(found, state))


def changes_nothing(kube, namespace, shell, meanwhile, command):
    kube.patch("Deployment", namespace, "thing", meanwhile)
    path = f"{METADATA_PATHS['Deployment']}/namespaces/{namespace}/deployments/thing"
    before = kube.request("GET", path)["spec"]
    status, _ = shell(command)
    assert status == 1
    assert kube.request("GET", path)["spec"] == before

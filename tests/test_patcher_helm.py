"""What Helm 3 and 4 do after a patch, on a real control plane: the table of docs/patching.md."""

import json
import shlex
from textwrap import dedent

import pytest

from tests.support.commands import NONE, finding, patch_command
from tests.support.installed_patcher import cluster, registries
from tests.support.registries import registry

NEW, NEWER = "v1.0.1", "v1.0.2"
FIELD = '.spec.template.spec.containers[name="main"].image'


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as found:
        found.push("mojaloop/ledger", ["v1.0.0", NEW, NEWER])
        yield found


@pytest.fixture(scope="module")
def hub(tmp_path_factory, images):
    with cluster(tmp_path_factory.mktemp("hub")) as found:
        found.installed(**registries(images.host))
        yield found


@pytest.fixture
def ledger(hub, images, tmp_path):
    """Installs and upgrades a chart with one Deployment."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": "ledger", "version": "0.1.0"}))
    (tmp_path / "values.yaml").write_text(json.dumps({"tag": "v1.0.0", "replicas": 1}))
    (tmp_path / "templates" / "deployment.yaml").write_text(
        dedent("""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: {{ .Release.Name }}}
        spec:
          replicas: {{ .Values.replicas }}
          selector: {matchLabels: {app: {{ .Release.Name }}}}
          template:
            metadata: {labels: {app: {{ .Release.Name }}}}
            spec:
              nodeName: node
              containers: [{name: main, image: "HOST/mojaloop/ledger:{{ .Values.tag }}"}]
        """).replace("HOST", images.host)
    )

    def run(binary, command, release, *more):
        return hub.helm(command, release, tmp_path, *more, binary=binary, namespace="hub")

    return run


def by_kubectl(hub, images, release):
    """Patch as an alert says."""
    missed = finding(f"{images.host}/mojaloop/ledger:v1.0.0", namespace="hub", workload=release, latest=NEW)
    program, *arguments = shlex.split(patch_command([missed], NONE))
    assert program == "kubectl"
    hub.done(*arguments)


def by_patcher(hub, images, release):
    """Patch after an approval. Its status says what else is to be done."""
    hub.until(lambda: hub.get(f"deployment/{release}", "--namespace=hub")["status"].get("readyReplicas"))
    name = hub.approve("Deployment", release, f"{images.host}/mojaloop/ledger:v1.0.0", NEW)
    with hub.patcher(release) as log:
        status = hub.ended(name, 60, log)
    assert status["state"] == "Applied", status
    assert f"Set the new tag in the values of the Helm release hub/{release}" in status["message"]


PATCHES = pytest.mark.parametrize(
    ("patch", "manager"), [(by_kubectl, "kubectl-patch"), (by_patcher, "image-patcher")], ids=["kubectl", "patcher"]
)


def tag(hub, release):
    return hub.image("Deployment", release).rpartition(":")[2]


@PATCHES
def test_after_a_patch_helm_4_conflicts_unless_the_values_name_the_tag_that_runs(hub, images, ledger, patch, manager):
    release = f"four-{manager}"
    assert ledger("helm", "install", release).returncode == 0
    patch(hub, images, release)

    def refused(*more):
        done = ledger("helm", "upgrade", release, *more)
        assert done.returncode != 0
        assert f'conflict with "{manager}"' in done.stderr
        assert FIELD in done.stderr
        assert tag(hub, release) == NEW

    def works(after, *more):
        done = ledger("helm", "upgrade", release, *more)
        assert done.returncode == 0, done.stderr
        assert tag(hub, release) == after

    refused("--set=replicas=2")
    works(NEW, "--set=replicas=2", f"--set=tag={NEW}")
    refused(f"--set=tag={NEWER}")
    works(NEWER, f"--set=tag={NEWER}", "--force-conflicts")


@PATCHES
def test_after_a_patch_helm_4_without_server_side_apply_sets_the_tag_of_the_values(hub, images, ledger, patch, manager):
    release = f"client-{manager}"
    assert ledger("helm", "install", release).returncode == 0
    patch(hub, images, release)
    done = ledger("helm", "upgrade", release, f"--set=tag={NEWER}", "--server-side=false")
    assert done.returncode == 0, done.stderr
    assert tag(hub, release) == NEWER


@PATCHES
def test_after_a_patch_helm_3_restores_the_old_image_without_a_word(hub, images, ledger, patch, manager):
    release = f"three-{manager}"
    assert ledger("helm3", "install", release).returncode == 0
    patch(hub, images, release)
    done = ledger("helm3", "upgrade", release, "--set=replicas=2")
    assert done.returncode == 0, done.stderr
    assert "conflict" not in done.stderr + done.stdout
    assert tag(hub, release) == "v1.0.0"
    for newer in (NEW, NEWER):
        assert ledger("helm3", "upgrade", release, f"--set=tag={newer}").returncode == 0
        assert tag(hub, release) == newer

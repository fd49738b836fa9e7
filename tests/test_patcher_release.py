"""The release of the patcher from install to uninstall, by Helm 3 and 4, on a real API server."""

import pytest

from tests.support.chart import HELMS, ROOT
from tests.support.installed_patcher import CRD, NAMESPACE, PATCHER, RELEASE, cluster

DEFINITION = f"CustomResourceDefinition/{CRD}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("hub")) as found:
        yield found


@pytest.fixture
def nothing(hub):
    """No release, and no definition."""
    yield
    for name in (RELEASE, "other"):
        hub.helm("uninstall", name)
    hub.done("delete", "crd", CRD, "--ignore-not-found")


def left(hub):
    """Whatever has the label or the name of the release, of any kind and in any namespace.

    Events end by themselves, and an APIService comes and goes with the definition.
    """
    kinds = set(hub.done("api-resources", "--verbs=list", "--output=name").split())
    kinds -= {"componentstatuses", "events", "events.events.k8s.io", "apiservices.apiregistration.k8s.io"}
    listed = hub.get(",".join(kinds), "--all-namespaces")["items"]
    return {
        f"{item['kind']}/{item['metadata']['name']}"
        for item in listed
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == RELEASE
        or "patch" in item["kind"].lower() + item["metadata"]["name"]
    }


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("binary", HELMS)
def test_uninstalled_while_it_runs_it_leaves_what_the_documentation_names(hub, binary):
    assert left(hub) == set()
    hub.installed(binary=binary)
    assert len(left(hub)) > 20
    name = hub.approve("Deployment", "nothing", "mojaloop/ledger:v1.0.0", "v1.0.1")
    with hub.patcher(f"uninstalled-{binary}") as log:
        assert hub.ended(name, 30, log)["reason"] == "WorkloadNotFound"
        done = hub.helm("uninstall", RELEASE, binary=binary)
        assert done.returncode == 0, done.stderr
        # As a pod does, it goes on for a moment, without its account.
        hub.until(lambda: "401" in log.read_text() or "403" in log.read_text(), 30, log.read_text)
    expected = {DEFINITION, f"ImagePatchApproval/{name}"}
    hub.until(lambda: left(hub) == expected, 30, lambda: left(hub))
    hub.done("delete", "crd", CRD)
    hub.until(lambda: not left(hub), 30, lambda: left(hub))
    text = (ROOT / "docs/patching.md").read_text()
    assert f"kubectl delete crd {CRD}" in text
    assert "only the definition, the approvals, and Events of the last hour are left" in text


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("binary", HELMS)
def test_approvals_outlive_the_patcher_and_the_release_adopts_their_definition(hub, binary):
    hub.installed(binary=binary)
    name = hub.approve("Deployment", "nothing", "mojaloop/ledger:v1.0.0", "v1.0.1")
    done = hub.install(command="upgrade", binary=binary, **{"patcher.enabled": False})
    assert done.returncode == 0, done.stderr
    assert {one for one in left(hub) if PATCHER in one or "approver" in one} == set()
    assert hub.get(f"imagepatchapproval/{name}", "--namespace=hub")
    done = hub.install(command="upgrade", binary=binary)
    assert done.returncode == 0, done.stderr
    assert hub.helm("uninstall", RELEASE, binary=binary).returncode == 0
    hub.installed(binary=binary)
    assert hub.get(f"imagepatchapproval/{name}", "--namespace=hub")
    hub.kubectl("delete", "imagepatchapproval", name, "--namespace=hub")


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("binary", HELMS)
def test_an_upgrade_brings_a_changed_definition(hub, binary):
    hub.installed(binary=binary)
    hub.done("patch", "crd", CRD, "--type=json", '-p=[{"op":"remove","path":"/spec/names/shortNames"}]')
    done = hub.install("--force-conflicts" if binary == "helm" else "--force=false", command="upgrade", binary=binary)
    assert done.returncode == 0, done.stderr
    assert hub.get(f"crd/{CRD}")["spec"]["names"]["shortNames"] == ["ipa"]


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("binary", HELMS)
def test_a_release_of_another_name_is_told_that_the_definition_is_not_its_own(hub, binary):
    hub.installed(binary=binary)
    assert hub.helm("uninstall", RELEASE, binary=binary).returncode == 0
    done = hub.install(release="other", binary=binary)
    assert done.returncode != 0
    assert "invalid ownership metadata" in done.stderr
    assert CRD in done.stderr
    done = hub.install("--take-ownership", release="other", binary=binary)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("nothing")
def test_two_namespaced_releases_share_the_definition_and_each_has_its_namespaces(hub):
    hub.kube.namespace("second")
    hub.installed(**{"rbac.clusterWide": False})
    shared = {"patcher.crd.create": False, "rbac.clusterWide": False, "config.namespaces": {"include": ["second"]}}
    done = hub.install(release="other", **shared)
    assert done.returncode == 0, done.stderr
    for account, mine, theirs in ((RELEASE, "hub", "second"), ("other", "second", "hub")):
        name = f"{account}-mojaloop-image-patch-exporter-patcher"
        user = f"system:serviceaccount:{NAMESPACE}:{name}"
        can = lambda *asked: hub.kubectl("auth", "can-i", *asked, user=user).stdout.strip()  # noqa: B023, E731
        assert can("patch", "deployments", f"--namespace={mine}") == "yes"
        assert can("get", f"namespaces/{mine}", f"--namespace={mine}") == "yes"
        assert can("patch", "deployments", f"--namespace={theirs}") == "no"
        assert can("list", "imagepatchapprovals", "--all-namespaces") == "no"
        assert can("update", f"leases.coordination.k8s.io/{name}", f"--namespace={NAMESPACE}") == "yes"
        assert can("update", "leases.coordination.k8s.io/another", f"--namespace={NAMESPACE}") == "no"
        binding = hub.get(f"validatingadmissionpolicybinding/{NAMESPACE}-{name}")["spec"]
        (expression,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert expression["values"] == [mine]

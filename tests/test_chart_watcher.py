"""The chart without a cluster: a release that watches a list of images has no rights, and no token to use any."""

import pytest
import yaml

from tests.support.chart import CHART, HELMS, NAME, helm, install_crds, kubectl, one, pod_spec, rendered, values

WATCHER = ("--values", CHART / "ci" / "watcher-values.yaml")
WATCH = {"config.kubernetes": {"enabled": False}, "config.watch": ["mojaloop/central-ledger:v19.13.1"]}
# What somebody needs who installs it: nothing about rights.
INSTALLER = {
    "": ["configmaps", "secrets", "services", "serviceaccounts"],
    "apps": ["deployments"],
    "monitoring.coreos.com": ["prometheusrules", "servicemonitors"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
}


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("more", [{}, {"rbac.clusterWide": False}], ids=["cluster-wide", "namespaced"])
def test_no_object_of_rbac_is_rendered_and_no_token_is_mounted(binary, more):
    documents = rendered(*values(**WATCH, **more), binary=binary)
    assert not [d["kind"] for d in documents if d["apiVersion"].startswith("rbac.authorization.k8s.io")]
    assert pod_spec(documents)["automountServiceAccountToken"] is False
    assert one(documents, "ServiceAccount")["automountServiceAccountToken"] is False


def test_with_a_cluster_the_token_is_mounted_as_before():
    documents = rendered(*values(**{"config.watch": ["mojaloop/central-ledger:v19.13.1"]}))
    assert one(documents, "ClusterRole")["rules"]
    assert "automountServiceAccountToken" not in pod_spec(documents)
    assert "automountServiceAccountToken" not in one(documents, "ServiceAccount")


def test_the_list_reaches_the_configuration_as_it_is_written():
    written = yaml.safe_load((CHART / "ci" / "watcher-values.yaml").read_text())["config"]
    data = yaml.safe_load(one(rendered(*WATCHER), "ConfigMap", f"hub-{NAME}")["data"]["config.yaml"])
    assert data["watch"] == written["watch"]
    assert data["kubernetes"] == {"enabled": False}


@pytest.mark.parametrize(
    ("chosen", "expected"), [(WATCH, [443]), ({}, [443, 6443]), ({"networkPolicy.egressPorts": [8443]}, [8443])]
)
def test_the_policy_opens_the_port_of_an_api_server_only_where_there_is_one(chosen, expected):
    documents = rendered(*values(**{"networkPolicy.enabled": True}, **chosen))
    _, egress = one(documents, "NetworkPolicy")["spec"]["egress"]
    assert [p["port"] for p in egress["ports"]] == expected


@pytest.fixture(scope="module")
def cluster(kube):
    """An API server where the user `installer` has all rights on these kinds in one namespace, and no others."""
    install_crds(kube)
    kube.namespace("watcher")
    rights = "/apis/rbac.authorization.k8s.io/v1/namespaces/watcher"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "installer"}
    rules = [{"apiGroups": [group], "resources": kinds, "verbs": ["*"]} for group, kinds in INSTALLER.items()]
    kube.request("POST", f"{rights}/roles", {"metadata": {"name": "installer"}, "rules": rules})
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "installer"}]
    binding = {"metadata": {"name": "installer"}, "roleRef": role, "subjects": subjects}
    kube.request("POST", f"{rights}/rolebindings", binding)
    return kube


@pytest.mark.parametrize("binary", HELMS)
def test_somebody_without_rights_on_roles_installs_and_removes_it(cluster, tmp_path, binary):
    release = f"patches-{binary}"
    chosen = ("--namespace", "watcher", "--kube-as-user", "installer")
    everything = ("--values", CHART / "ci" / "minimal-values.yaml", *WATCHER, "--set=dashboards.enabled=false")
    done = helm("install", release, CHART, *chosen, *everything, binary=binary, kube=cluster, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "watches the images under config.watch, and no cluster" in done.stdout

    def there():
        listed = "deployment,service,serviceaccount,ingress,networkpolicy,role,rolebinding,servicemonitor,configmap"
        selector = f"--selector=app.kubernetes.io/instance={release}"
        return kubectl(cluster, "--namespace", "watcher", "get", listed, selector, "--output", "name").stdout.split()

    kinds = sorted(name.partition("/")[0].partition(".")[0] for name in there())
    assert kinds == [
        "configmap", "deployment", "ingress", "networkpolicy", "service", "serviceaccount", "servicemonitor"
    ]  # fmt: skip
    assert not kubectl(
        cluster,
        "get",
        "clusterroles,clusterrolebindings",
        f"--selector=app.kubernetes.io/instance={release}",
        "--output",
        "name",
    ).stdout

    done = helm("uninstall", release, *chosen, binary=binary, kube=cluster, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert there() == []


def test_with_a_cluster_the_same_person_may_not_install_it(cluster, tmp_path):
    chosen = ("--namespace", "watcher", "--kube-as-user", "installer", "--values", CHART / "ci" / "minimal-values.yaml")
    done = helm("install", "with-cluster", CHART, *chosen, kube=cluster, folder=tmp_path)
    assert done.returncode != 0
    assert "clusterroles" in done.stderr

"""A real API server accepts the objects of the chart, and RBAC grants what docs/permissions.md says."""

import json
import re

import pytest

from tests.support.chart import (
    CHART,
    FIXTURES,
    ROOT,
    install_crds,
    kubectl,
    named,
    one,
    pod_specs,
    rendered,
)


@pytest.fixture(scope="module")
def cluster(kube):
    """An API server with the CRDs of the Prometheus operator."""
    install_crds(kube)
    for namespace in ("monitoring", "mojaloop", "backing"):
        kube.namespace(namespace)
    kube.request(
        "PATCH",
        "/api/v1/namespaces/monitoring",
        [{"op": "add", "path": "/metadata/labels/pod-security.kubernetes.io~1enforce", "value": "restricted"}],
        media="application/json-patch+json",
    )
    return kube


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_the_api_server_takes_every_object(cluster, fixture):
    # The CRD of grafana-operator is not to be had from a package registry: see test_dashboards_for_grafana_operator.
    documents = [d for d in rendered("--values", fixture) if d["kind"] != "GrafanaDashboard"]
    text = "\n---\n".join(map(json.dumps, documents))
    done = kubectl(cluster, "apply", "--server-side", "--dry-run=server", "--filename", "-", text=text)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert done.stdout.count("serverside-applied") == len(documents)


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_its_pods_pass_the_restricted_level(cluster, fixture):
    documents = rendered("--values", fixture)

    def admitted(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "monitoring"}, "spec": spec}
        lacks = spec["containers"][0]["name"] == "exporter" and "persistentVolumeClaim" not in str(spec)
        if lacks and fixture.stem.startswith("everything"):
            spec = pod["spec"] = {
                **spec,
                "volumes": [*spec["volumes"], {"name": "state", "persistentVolumeClaim": {"claimName": "state-0"}}],
            }
        return kubectl(cluster, "create", "--dry-run=server", "--filename", "-", text=json.dumps(pod))

    for pod in pod_specs(documents):
        done = admitted(pod)
        assert done.returncode == 0, done.stderr
        done = admitted({**pod, "hostNetwork": True})
        assert 'violates PodSecurity "restricted' in done.stderr, "the API server enforces it"


def documented():
    """docs/permissions.md's table: (group, resource, verbs)."""
    text = (ROOT / "docs/permissions.md").read_text().partition("## Permissions")[2].partition("\n## ")[0]
    found = set()
    for group, resources in re.findall(r"^\| (\S+) \| (`[^|]+) \|", text, re.MULTILINE):
        for resource in re.findall(r"`(\w+)`", resources):
            read = resource in ("pods", "replicasets", "replicationcontrollers")
            verbs = {"list", "watch"} | ({"get"} if read else set())
            found.add((resource if group == "(core)" else f"{resource}.{group.strip('`')}", frozenset(verbs)))
    assert "`list` and `watch`, and `get` on pods, ReplicaSets and ReplicationControllers" in text
    return found


def can(kube, *arguments):
    done = kubectl(kube, "auth", "can-i", "--list", "--no-headers", *arguments)
    assert done.returncode == 0, done.stderr
    return {
        (row.split()[0], frozenset(re.search(r"\[([^\[\]]*)\]$", row)[1].split()))
        for row in done.stdout.splitlines()
        if row.strip() and not row.startswith(" ")
    }


def apply(kube, documents, *kinds):
    for document in documents:
        if document["kind"] in kinds:
            done = kubectl(kube, "apply", "--filename", "-", text=json.dumps(document))
            assert done.returncode == 0, done.stderr


def remove(kube, documents, *kinds):
    for document in documents:
        if document["kind"] in kinds:
            kubectl(kube, "delete", "--filename", "-", text=json.dumps(document))


RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def test_the_account_may_what_the_readme_says_and_nothing_else(cluster):
    documents = rendered(release="cluster-wide")
    apply(cluster, documents, *RIGHTS)
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    nobody = [
        "--as=system:serviceaccount:monitoring:nobody",
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ]
    somebody = [nobody[0].replace("nobody", account), *nobody[1:]]
    for namespace in ("mojaloop", "monitoring", "kube-system"):
        assert (
            can(cluster, *somebody, "--namespace", namespace) - can(cluster, *nobody, "--namespace", namespace)
            == documented()
        )
    remove(cluster, documents, *RIGHTS)


def test_the_account_of_two_namespaces_may_the_same_there_and_nothing_elsewhere(cluster):
    documents = rendered("--values", CHART / "ci" / "namespaced-values.yaml", release="narrow")
    apply(cluster, documents, *RIGHTS)
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    nobody = [
        "--as=system:serviceaccount:monitoring:nobody",
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ]
    somebody = [nobody[0].replace("nobody", account), *nobody[1:]]
    left_out = ("jobs.batch", "replicationcontrollers", "rollouts.argoproj.io", "deploymentconfigs.apps.openshift.io")
    named = {(resource, verbs) for resource, verbs in documented() if resource not in left_out}
    for namespace, rights in (
        ("mojaloop", named),
        ("backing", named),
        ("monitoring", set()),
        ("default", set()),
    ):
        assert (
            can(cluster, *somebody, "--namespace", namespace) - can(cluster, *nobody, "--namespace", namespace)
            == rights
        )
    remove(cluster, documents, *RIGHTS)

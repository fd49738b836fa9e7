"""`approve` and `approvals` on a real API server: what is shown, asked, refused and created, and the exit statuses."""

import contextlib
import itertools
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from exporter.approve import WorkloadNameError, workload_named
from exporter.commands import APPROVABLE, render
from exporter.findings import WorkloadState
from exporter.patcher.health import RULES
from exporter.workloads import WorkloadKey
from tests.support.commands import finding
from tests.support.components import need
from tests.support.exporter_process import local
from tests.support.kube import READER, Kube
from tests.support.patched_hub import APPROVALS, install_definition
from tests.support.registries import registry
from tests.support.rights import RBAC
from tests.support.workloads import body

NIGHTS = {"name": "nights", "schedule": "0 1 * * *", "duration": "4h"}
ALWAYS = {"name": "always", "schedule": "0 0 * * *", "duration": "25h"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    server = Kube(tmp_path_factory.mktemp("approving"))
    try:
        server.start()
        install_definition(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0"])
        opened.push("mojaloop/sidecar", ["v2.0.0", "v2.0.1"])
        yield opened


_count = itertools.count()


class Hub:
    """A namespace, and the commands of a person who works on it."""

    def __init__(self, cluster, images, folder):
        self.cluster, self.folder = cluster, folder
        self.namespace = f"hub-{next(_count)}"
        self.ledger, self.sidecar = (f"{images.host}/mojaloop/{name}" for name in ("ledger", "sidecar"))
        self.configuration = {"registries": local(images.host), "windows": [ALWAYS]}
        cluster.namespace(self.namespace)

    def create(self, kind="Deployment", name="thing", tag="v1.0.0", *more, metadata=None, spec=None):
        document = body(kind, name, f"{self.ledger}:{tag}")
        document["metadata"] |= metadata or {}
        document["spec"] |= spec or {}
        pod = (document["spec"].get("template") or document["spec"]["jobTemplate"]["spec"]["template"])["spec"]
        pod["containers"] += [{"name": f"more-{number}", "image": image} for number, image in enumerate(more)]
        created = self.cluster.create(kind, self.namespace, document)
        return created["metadata"]["uid"]

    def run(self, *arguments, token="admin-token", answer=None, kube=None):
        """A command; with an answer, on a terminal."""
        file = self.folder / "configuration.json"
        file.write_text(json.dumps(self.configuration))
        kubeconfig = (kube or self.cluster).kubeconfig(token)
        command = [sys.executable, "-m", "exporter", *arguments, "-c", str(file), "--kubeconfig", str(kubeconfig)]
        with contextlib.ExitStack() as opened:
            given = subprocess.DEVNULL
            if answer is not None:
                ours, given = pty.openpty()
                opened.callback(os.close, ours)
                opened.callback(os.close, given)
                os.write(ours, answer.encode())
            done = subprocess.run(command, stdin=given, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    def approve(self, *arguments, **more):
        return self.run("approve", *arguments, **more)

    def approvals(self):
        return self.cluster.request("GET", f"{APPROVALS}/namespaces/{self.namespace}/imagepatchapprovals")["items"]

    def permit(self, *rules):
        """Let `READER` do these things here: resources of an API group, and verbs."""
        path = f"{RBAC}/namespaces/{self.namespace}"
        rules = [{"apiGroups": [group], "resources": [name], "verbs": verbs} for group, name, verbs in rules]
        self.cluster.request("POST", f"{path}/roles", {"metadata": {"name": "reader"}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        subject = {"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [subject]}
        self.cluster.request("POST", f"{path}/rolebindings", binding)


@pytest.fixture
def hub(cluster, images, tmp_path):
    return Hub(cluster, images, tmp_path)


def test_what_is_approved_is_shown_first_and_created_as_the_user_of_the_kubeconfig(hub):
    uid = hub.create("Deployment", "thing", "v1.0.0", f"{hub.ledger}:v1.0.0")
    status, output, error = hub.approve(f"{hub.namespace}/deployments/thing", answer="y\n")
    assert (status, error) == (0, "")
    (made,) = hub.approvals()
    name = made["metadata"]["name"]
    assert re.fullmatch("thing-[a-z0-9]{5}", name)
    note = "The workload is not healthy: the controller has not seen the newest spec yet."
    assert output.splitlines() == [
        f"{hub.namespace}/Deployment/thing",
        "  containers: main, more-0",
        f"  image:      {hub.ledger}",
        "  patch:      v1.0.0 -> v1.0.2 (2 releases behind)",
        "  window:     always, which is open now",
        f"  note:       {note} If this does not change before the rollout could start, it is refused.",
        "",
        f"Approve this patch as admin? [y/N] {hub.namespace}/{name}: {hub.namespace}/Deployment/thing "
        "v1.0.0 to v1.0.2, approved by admin",
    ]
    reference = f"{hub.ledger}:v1.0.0"
    assert made["spec"] == {
        "workload": {"group": "apps", "kind": "Deployment", "name": "thing", "uid": uid},
        "containers": [{"name": "main", "image": reference}, {"name": "more-0", "image": reference}],
        "from": "v1.0.0",
        "to": "v1.0.2",
        "approvedBy": "admin",
    }


def test_an_approval_has_the_tag_and_the_end_that_were_asked_for(hub):
    hub.create("CronJob")
    status, _, error = hub.approve(f"{hub.namespace}/CronJob/thing", "--tag", "v1.0.1", "--expires", "90m", "--yes")
    assert (status, error) == (0, "")
    (made,) = hub.approvals()
    assert (made["spec"]["to"], made["spec"]["workload"]["group"]) == ("v1.0.1", "batch")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["spec"]["expires"])


@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"])
def test_nothing_is_created_if_the_answer_is_not_yes(hub, answer):
    hub.create()
    status, output, error = hub.approve(f"{hub.namespace}/Deployment/thing", answer=answer)
    assert (status, output.endswith("[y/N] ")) == (1, True)
    assert error == "mojaloop-image-patch-exporter: nothing was approved\n"
    assert hub.approvals() == []


USAGE = {
    (): "approve: expected NAMESPACE/KIND/NAME, or --namespace NS --all",
    ("--all",): "approve: expected NAMESPACE/KIND/NAME, or --namespace NS --all",
    ("hub/Deployment/a", "-n", "hub"): "approve: expected NAMESPACE/KIND/NAME, or --namespace NS --all",
    ("-n", "hub", "--all", "--tag", "v1"): "approve: --tag and --container cannot be combined with --all",
    ("hub/Deployment/a",): "approve: no terminal to ask for confirmation; add --yes to approve without it",
    ("hub/Deployment/a", "--yes", "--expires", "soon"): "--expires",
    ("hub/a", "--yes"): "approve: 'hub/a' does not name a workload as NAMESPACE/KIND/NAME",
    ("hub/Job/a", "--yes"): "approve: 'Job' cannot be patched on approval; these can: CronJob, DaemonSet, Deployment",
}


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage_is_one_line_and_status_2(hub, arguments):
    status, output, error = hub.approve(*arguments)
    assert (status, output, len(error.splitlines())) == (2, "", 1)
    assert error.removeprefix("mojaloop-image-patch-exporter: ").startswith(USAGE[arguments])


def refused(hub, *arguments, name="Deployment/thing"):
    status, _, error = hub.approve(f"{hub.namespace}/{name}", *arguments, "--yes")
    assert (status, hub.approvals(), len(error.splitlines())) == (1, [], 1)
    return error.partition(": ")[2].strip().replace(hub.namespace, "hub")


ARGO = {"labels": {"argocd.argoproj.io/instance": "hub"}}


@pytest.mark.parametrize(
    ("workload", "arguments", "reason", "text"),
    [
        ({"metadata": ARGO}, [], "Managed", "Argo CD would revert the patch"),
        ({"spec": {"paused": True}}, [], "Paused", "The Deployment is paused"),
        ({"spec": {"replicas": 0}}, [], "NothingRuns", "The workload has no desired pods"),
        ({"kind": "StatefulSet"}, [], "OrderedReady", "A StatefulSet with the pod management policy OrderedReady"),
        ({}, ["--tag", "v1.1.0"], "NotAPatch", "v1.0.0 is offered v1.0.2, not v1.1.0."),
        ({}, ["--tag", "v1.0.7"], "TagNotFound", "The registry has no tag v1.0.7"),
        ({"tag": "v1.0.2"}, ["--tag", "v1.0.1"], "NotNewer", "v1.0.1 is not newer than v1.0.2"),
    ],
)
def test_what_the_patcher_would_refuse_is_refused_with_its_reason(hub, workload, arguments, reason, text):
    hub.create(**workload)
    kind = workload.get("kind", "Deployment")
    said = refused(hub, *arguments, name=f"{kind}/thing")
    assert said.startswith(f"nothing was approved: hub/{kind}/thing would be refused ({reason}): {text}")


def test_the_patchers_configuration_decides_as_it_does_there(hub):
    hub.create("StatefulSet")
    hub.configuration["patcher"] = {"statefulset_recovery": "evict"}
    status, _, error = hub.approve(f"{hub.namespace}/StatefulSet/thing", "--yes")
    assert (status, error, len(hub.approvals())) == (0, "", 1)
    hub.create("Deployment", "kept")
    hub.configuration["workloads"] = {"exclude": ["*/Deployment/kept"]}
    status, _, error = hub.approve(f"{hub.namespace}/Deployment/kept", "--yes")
    assert (status, "by annotations or by the configuration" in error) == (1, True)


def test_what_cannot_be_approved_says_why(hub):
    assert refused(hub) == "workload hub/Deployment/thing does not exist"
    hub.create("Deployment", "current", "v1.0.2")
    assert refused(hub, name="Deployment/current") == "hub/Deployment/current: it runs the newest patch"
    hub.create("Deployment", "floating", "latest")
    assert "cannot be judged (floating tag)" in refused(hub, name="Deployment/floating")
    hub.create("Deployment", "two", "v1.0.0", f"{hub.sidecar}:v2.0.0")
    assert refused(hub, name="Deployment/two") == (
        "hub/Deployment/two has patches of several images, and each needs its own approval; add --container: "
        f"main ({hub.ledger}:v1.0.0); more-0 ({hub.sidecar}:v2.0.0)"
    )
    assert refused(hub, "--container", "less", name="Deployment/two").endswith(
        "has no container less, or it is ignored"
    )
    assert hub.approve(f"{hub.namespace}/Deployment/two", "--container", "more-0", "--yes")[0] == 0
    (made,) = hub.approvals()
    assert [container["name"] for container in made["spec"]["containers"]] == ["more-0"]


def test_a_workload_has_one_open_approval_at_a_time(hub):
    hub.create()
    workload = f"{hub.namespace}/Deployment/thing"
    assert hub.approve(workload, "--yes")[0] == 0
    name = hub.approvals()[0]["metadata"]["name"]
    status, _, error = hub.approve(workload, "--tag", "v1.0.1", "--yes")
    assert (status, f"{hub.namespace}/{name} already approves v1.0.2 and is new" in error) == (1, True)
    path = f"{APPROVALS}/namespaces/{hub.namespace}/imagepatchapprovals/{name}/status"
    document = [{"op": "add", "path": "/status", "value": {"state": "RolledBack"}}]
    hub.cluster.request("PATCH", path, document, media="application/json-patch+json")
    assert hub.approve(workload, "--yes")[0] == 0
    assert len(hub.approvals()) == 2


def test_all_of_a_namespace_are_approved_but_those_that_would_be_refused(hub):
    hub.create("Deployment", "first")
    hub.create("Deployment", "second", "v1.0.0", f"{hub.sidecar}:v2.0.0")
    hub.create("Deployment", "current", "v1.0.2")
    hub.create("Deployment", "argo", metadata=ARGO)
    status, output, error = hub.approve("-n", hub.namespace, "--all", answer="yes\n")
    assert (status, error) == (0, "")
    assert "refused:    Argo CD would revert the patch" in output
    assert "1 more of its images can be approved after this patch is applied." in output
    assert "Approve these 2 patches as admin? [y/N]" in output
    assert sorted(made["spec"]["workload"]["name"] for made in hub.approvals()) == ["first", "second"]


def test_a_namespace_without_a_missing_patch_is_said(hub):
    hub.create("Deployment", "current", "v1.0.2")
    status, _, error = hub.approve("-n", hub.namespace, "--all", "--yes")
    assert (status, f"no workload in namespace {hub.namespace} has a patch that could be approved" in error) == (
        1,
        True,
    )


@pytest.mark.parametrize(
    ("windows", "text"),
    [
        ([{**NIGHTS, "timezone": "Africa/Nairobi"}], r"nights, from \d{4}-\d\d-\d\d 22:00 UTC"),
        ([{**ALWAYS, "namespaces": ["other"]}], "no window covers this workload, so it would never be patched"),
        (
            [{**NIGHTS, "duration": "10m"}],
            "no window is long enough: the rollout needs 1800 s, so it would never start",
        ),
        ([], "unknown: no windows are configured here; pass the patcher's configuration with --config"),
    ],
)
def test_the_window_is_shown(hub, windows, text):
    hub.create()
    hub.configuration["windows"] = windows
    _, output, _ = hub.approve(f"{hub.namespace}/Deployment/thing", answer="n\n")
    (window,) = (line for line in output.splitlines() if line.startswith("  window:"))
    # In the night it is open now.
    assert re.fullmatch(f"  window:     ({text}|nights, which is open now)", window)


def test_a_missing_right_is_one_line(hub):
    hub.create()
    workload = f"{hub.namespace}/Deployment/thing"
    status, _, error = hub.approve(workload, "--yes", token=READER)
    said = f"mojaloop-image-patch-exporter: cannot read namespace {hub.namespace}: HTTP 403: deployments.apps"
    assert (status, error.startswith(said), len(error.splitlines())) == (1, True, 1)
    hub.permit(("apps", "deployments", ["get"]))
    hub.cluster.until_allowed(f"/apis/apps/v1/namespaces/{hub.namespace}/deployments/thing", token=READER)
    status, _, error = hub.approve(workload, "--yes", token=READER)
    said = f"mojaloop-image-patch-exporter: cannot approve {workload}: HTTP 403: imagepatchapprovals"
    assert (status, error.startswith(said), len(error.splitlines())) == (1, True, 1)
    status, _, error = hub.run("approvals", "-n", hub.namespace, token=READER)
    assert (status, error.startswith("mojaloop-image-patch-exporter: cannot list approvals: HTTP 403")) == (1, True)
    assert len(error.splitlines()) == 1


def test_whoever_may_create_need_not_list(hub):
    hub.create()
    rules = ("apps", "deployments", ["get"]), ("image-patch.mojaloop.io", "imagepatchapprovals", ["create"])
    hub.permit(*rules)
    hub.cluster.until_allowed(f"/apis/apps/v1/namespaces/{hub.namespace}/deployments/thing", token=READER)
    status, _, error = hub.approve(f"{hub.namespace}/Deployment/thing", "--yes", token=READER)
    assert (status, error) == (0, "")
    assert hub.approvals()[0]["spec"]["approvedBy"] == "reader"


def test_a_cluster_without_the_custom_resource_says_how_to_install_it(hub, kube):
    for arguments in (["approve", "default/Deployment/thing", "--yes"], ["approvals"]):
        status, _, error = hub.run(*arguments, kube=kube)
        assert (status, "install the chart with patcher.enabled" in error, len(error.splitlines())) == (1, True, 1)


def test_approvals_are_listed_with_what_became_of_them(hub):
    assert hub.run("approvals", "-n", hub.namespace) == (0, "There are no approvals.\n", "")
    hub.create()
    hub.approve(f"{hub.namespace}/Deployment/thing", "--expires", "1d", "--yes")
    name = hub.approvals()[0]["metadata"]["name"]
    path = f"{APPROVALS}/namespaces/{hub.namespace}/imagepatchapprovals/{name}/status"
    state = {"state": "Waiting", "reason": "OutsideWindow", "message": "No upgrade window is open."}
    document = [{"op": "add", "path": "/status", "value": state}]
    hub.cluster.request("PATCH", path, document, media="application/json-patch+json")
    status, output, error = hub.run("approvals", "-n", hub.namespace)
    assert (status, error) == (0, "")
    header, row = (re.split(r"  +", line) for line in output.splitlines())
    assert header == ["APPROVAL", "WORKLOAD", "FROM", "TO", "STATE", "REASON", "APPROVED BY", "AGE"]
    expected = [f"{hub.namespace}/{name}", "Deployment/thing", "v1.0.0", "v1.0.2", "Waiting", "OutsideWindow", "admin"]
    assert row == [*expected, "under an hour"]
    (listed,) = json.loads(hub.run("approvals", "-o", "json", "-n", hub.namespace)[1])["approvals"]
    assert listed.items() >= {**state, "approved_by": "admin", "containers": ["main"], "acknowledged": False}.items()
    assert listed["expires"].startswith(listed["created"][:2])
    others = json.loads(hub.run("approvals", "-o", "json")[1])["approvals"]
    assert listed in others


def test_the_command_of_the_page_approves_as_whoever_runs_it(hub, tmp_path):
    uid = hub.create()
    key = WorkloadKey(hub.namespace, "Deployment", "thing")
    found = replace(finding(f"{hub.ledger}:v1.0.0"), workload=key)
    (patch,) = render([found], WorkloadState(uid=uid), approvable=True)
    hub.permit(("image-patch.mojaloop.io", "imagepatchapprovals", ["create", "list"]))
    hub.cluster.until_allowed(f"{APPROVALS}/namespaces/{hub.namespace}/imagepatchapprovals", token=READER)
    (kubectl,) = need("kubectl")
    environment = {
        "PATH": f"{kubectl.parent}:/usr/bin:/bin",
        "KUBECONFIG": str(hub.cluster.kubeconfig(READER)),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["sh", "-c", patch.approve_command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = hub.approvals()
    assert made["spec"] == {
        "workload": {"group": "apps", "kind": "Deployment", "name": "thing", "uid": uid},
        "containers": [{"name": "main", "image": f"{hub.ledger}:v1.0.0"}],
        "from": "v1.0.0",
        "to": "v1.0.2",
        "approvedBy": "reader",
    }


def test_the_kinds_are_those_that_the_patcher_patches():
    assert set(RULES) == APPROVABLE
    assert workload_named("hub/daemonsets/a.b") == ("hub", "DaemonSet", "a.b")
    with pytest.raises(WorkloadNameError, match="does not name a workload"):
        workload_named("Hub/Deployment/a")

"""What the chart's patcher may do, and what people may do to approvals, asked of a real control plane."""

import json
import re

import pytest

from tests.support.bad_pods import NEVER_READY
from tests.support.installed_patcher import ACCOUNT, CRD, NAMESPACE, PATCHER, RELEASE, cluster, named, registries
from tests.support.patcher_process import documented_rules
from tests.support.registries import registry

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
READY = {"Deployment": "readyReplicas", "StatefulSet": "readyReplicas", "DaemonSet": "numberReady"}
EXPORTER = f"system:serviceaccount:{NAMESPACE}:{PATCHER.removesuffix('-patcher')}"
GROUP = "image-patch.mojaloop.io"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as found:
        found.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", NEVER_READY])
        yield found


@pytest.fixture(scope="module")
def hub(tmp_path_factory, images):
    """The chart on a control plane: alice and bob are approvers, mallory has all rights on approvals but `manage`."""
    with cluster(tmp_path_factory.mktemp("hub")) as found:
        # The token of the API is in the configuration, but not in the patcher's pod.
        found.installed(**registries(images.host), **{"api.existingSecret": "api-token"})
        verbs = "--verb=create,delete,deletecollection,get,list,patch,update,watch"
        resources = [f"--resource={CRD}", f"--resource={CRD}/status"]
        found.done("create", "role", "everything", "--namespace=hub", verbs, *resources)
        found.done("create", "rolebinding", "everything", "--namespace=hub", "--role=everything", "--user=mallory")
        found.done("create", "clusterrolebinding", "root", "--clusterrole=cluster-admin", "--user=root")
        yield found


# The patcher's account.


def documented():
    """The tables of docs/patching.md, verbs by resource: everywhere, and only in the release's namespace."""
    tables = []
    for own in (False, True):
        found = {}
        for rule in documented_rules(evict=True, own=own):
            for resource in rule["resources"]:
                found.setdefault(named(resource, rule["apiGroups"][0]), set()).update(rule["verbs"])
        tables.append(found)
    return tables


def can(hub, user, namespace):
    """Rows of `kubectl auth can-i --list`: resource, names, verbs."""
    groups = ("system:serviceaccounts", "system:authenticated")
    asked = ("auth", "can-i", "--list", "--no-headers", f"--as={user}", *(f"--as-group={g}" for g in groups))
    return {
        (found[1], found[2], frozenset(found[3].split()))
        for row in hub.done(*asked, "--namespace", namespace).splitlines()
        if (found := re.match(r"(\S+)\s+\[.*?\]\s+\[(.*?)\]\s+\[(.*?)\]$", row)) and not row.startswith(" ")
    }


def rights(hub, user, namespace):
    """What a user may do that nobody else may: resources, and verbs."""
    found = {}
    for resource, _, verbs in can(hub, user, namespace) - can(hub, "nobody", namespace):
        found.setdefault(resource, set()).update(verbs)
    return found


def test_the_account_may_what_the_documentation_says_and_nothing_else(hub):
    everywhere, own = documented()
    assert len(everywhere) == 10
    for namespace in ("hub", "kube-system", "default"):
        assert rights(hub, ACCOUNT, namespace) == everywhere
    assert rights(hub, ACCOUNT, NAMESPACE) == everywhere | own
    leases = {
        (names, verbs) for resource, names, verbs in can(hub, ACCOUNT, NAMESPACE) if resource.startswith("leases")
    }
    assert leases == {("", frozenset({"create"})), (PATCHER, frozenset({"get", "update"}))}


def test_the_exporters_account_can_change_nothing(hub):
    verbs = set().union(*rights(hub, EXPORTER, "hub").values())
    assert verbs == {"get", "list", "watch"}


def test_the_account_uses_every_right_and_is_refused_nothing(hub, images):
    old = f"{images.host}/mojaloop/ledger:v1.0.0"
    # As with a tool that leaves Leases out.
    hub.done("delete", "lease", PATCHER, "--namespace", NAMESPACE)
    for kind in KINDS:
        hub.create(kind, f"good-{kind.lower()}", old)
    hub.create("StatefulSet", "bad", old)
    for kind in KINDS[:3]:
        ready = lambda kind=kind: hub.get(f"{kind.lower()}/good-{kind.lower()}", "-nhub")["status"].get(READY[kind])  # noqa: E731
        hub.until(ready, 60)
    hub.until(lambda: hub.get("statefulset/bad", "-nhub")["status"].get("readyReplicas"), 60)
    with hub.patcher() as log:
        good = {kind: hub.approve(kind, f"good-{kind.lower()}", old, "v1.0.1") for kind in KINDS}
        bad = hub.approve("StatefulSet", "bad", old, NEVER_READY, user="bob", by="bob")
        for kind, name in good.items():
            status = hub.ended(name, 120, log)
            assert (status["state"], status["window"]) == ("Applied", "always"), status
            assert hub.image(kind, f"good-{kind.lower()}") == f"{images.host}/mojaloop/ledger:v1.0.1"
        assert hub.ended(bad, 120, log)["state"] == "RolledBack"
        assert hub.image("StatefulSet", "bad") == old
        lease = hub.get(f"lease/{PATCHER}", "--namespace", NAMESPACE)
        assert lease["spec"]["holderIdentity"]
        lines = [json.loads(line) for line in log.read_text().splitlines() if '"approver"' in line]
    assert {(line["approved_by"], line["approver"]) for line in lines} == {("alice", "verified"), ("bob", "verified")}
    everywhere, own = documented()
    needed = {(resource, verb) for table in (everywhere, own) for resource, verbs in table.items() for verb in verbs}
    assert hub.requested() == needed
    refused = [line for line in hub.audit.read_text().splitlines() if '"code":403' in line]
    assert not refused, refused[:3]


# Approvals.


@pytest.fixture
def approved(hub, request):
    """An approval of alice's, of a workload that is not there."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    yield hub.approve("Deployment", name, "mojaloop/ledger:v1.0.0", "v1.0.1")
    hub.kubectl("delete", "imagepatchapproval", "--all", "--namespace=hub", user="root")


OBJECTS = f"/apis/{GROUP}/v1alpha1/namespaces/hub/imagepatchapprovals"
ONE = f"{OBJECTS}/NAME"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1-2-3"}
STATUS = ("PATCH", f"{ONE}/status", {"status": {"state": "Waiting"}})
EDIT = ("PATCH", ONE, {"spec": {"to": "v1.0.9"}})
RENAME = ("PATCH", ONE, {"spec": {"approvedBy": "bob"}})
OWNED = ("PATCH", ONE, {"metadata": {"ownerReferences": [OWNER]}})
NOTE = ("PATCH", ONE, {"metadata": {"annotations": {f"{GROUP}/acknowledged": "true"}}})
DELETE = ("DELETE", ONE)
DELETE_ALL = ("DELETE", OBJECTS)
IMMUTABLE = "an approval is immutable; delete it and create another one"
THEIRS = "this is the approval of somebody else"
PATCHERS = "only the patcher writes the status of an approval"
BY_RBAC = r'User "{}" cannot {} resource "imagepatchapprovals{}" in API group "image-patch.mojaloop.io"'


@pytest.mark.parametrize(
    ("user", "request_", "answer"),
    [
        ("bob", EDIT, IMMUTABLE),
        ("alice", EDIT, IMMUTABLE),
        ("root", EDIT, IMMUTABLE),
        ("bob", RENAME, IMMUTABLE),
        ("bob", DELETE, THEIRS),
        ("mallory", DELETE, THEIRS),
        ("mallory", DELETE_ALL, THEIRS),
        ("bob", OWNED, THEIRS),
        ("bob", STATUS, BY_RBAC.format("bob", "patch", "/status")),
        ("alice", STATUS, BY_RBAC.format("alice", "patch", "/status")),
        ("mallory", STATUS, PATCHERS),
        ("root", STATUS, PATCHERS),
        ("eve", EDIT, BY_RBAC.format("eve", "patch", "")),
        ("eve", DELETE, BY_RBAC.format("eve", "delete", "")),
        (EXPORTER, STATUS, BY_RBAC.format(EXPORTER, "patch", "/status")),
        (ACCOUNT, DELETE, BY_RBAC.format(ACCOUNT, "delete", "")),
        (ACCOUNT, EDIT, BY_RBAC.format(ACCOUNT, "patch", "")),
    ],
)
def test_nobody_forges_an_approval_that_is_there(hub, approved, user, request_, answer):
    before = hub.get(f"imagepatchapproval/{approved}", "-nhub")
    method, path, *body = request_
    status, message = hub.send(method, path.replace("NAME", approved), *body, user=user)
    assert status == (422 if answer is IMMUTABLE else 403)
    assert answer in message
    assert hub.get(f"imagepatchapproval/{approved}", "-nhub") == before


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("bob", "spec.approvedBy is alice, and you are bob: approve in your own name"),
        ("root", "spec.approvedBy is alice, and you are root: approve in your own name"),
        (ACCOUNT, BY_RBAC.format(ACCOUNT, "create", "")),
        (EXPORTER, BY_RBAC.format(EXPORTER, "create", "")),
        ("eve", BY_RBAC.format("eve", "create", "")),
    ],
)
def test_nobody_approves_in_the_name_of_somebody_else(hub, user, answer):
    document = hub.approval("Deployment", "forged", "mojaloop/ledger:v1.0.0", "v1.0.1")
    status, message = hub.send("POST", OBJECTS, document, user=user)
    assert status == 403
    assert answer in message
    assert hub.get("imagepatchapproval/forged-v1.0.1", "-nhub") is None


def test_somebody_who_may_impersonate_alice_counts_as_alice(hub):
    # The tests' administrator does: this is what `kubectl --as=alice` sends.
    name = hub.approve("Deployment", "as-alice", "mojaloop/ledger:v1.0.0", "v1.0.1")
    hub.done("delete", f"imagepatchapproval/{name}", "--namespace=hub", user="alice")


def test_nobody_approves_where_they_have_no_role(hub):
    document = hub.approval("Deployment", "elsewhere", "mojaloop/ledger:v1.0.0", "v1.0.1", namespace="default")
    done = hub.kubectl("create", "--filename=-", text=json.dumps(document), user="alice")
    assert 'in the namespace "default"' in done.stderr


def test_a_status_that_comes_with_an_approval_is_dropped(hub):
    document = hub.approval("Deployment", "born", "mojaloop/ledger:v1.0.0", "v1.0.1")
    hub.done("create", "--filename=-", text=json.dumps(document | {"status": {"state": "Applied"}}), user="alice")
    assert hub.status("born-v1.0.1") == {}
    hub.done("delete", "imagepatchapproval/born-v1.0.1", "--namespace=hub", user="alice")


CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"


@pytest.mark.parametrize(
    ("user", "groups", "request_"),
    [
        ("alice", (), DELETE),
        ("root", (), DELETE),
        ("root", (), DELETE_ALL),
        ("bob", (), NOTE),
        (CONTROLLER, ("system:serviceaccounts", "system:serviceaccounts:kube-system"), DELETE_ALL),
        (ACCOUNT, (), STATUS),
    ],
)
def test_what_is_permitted(hub, approved, user, groups, request_):
    method, path, *body = request_
    status, message = hub.send(method, path.replace("NAME", approved), *body, user=user, groups=groups)
    assert status == 200, message


def test_the_api_server_understands_the_policy(hub):
    def checked():
        found = hub.get(f"validatingadmissionpolicy/{NAMESPACE}-{PATCHER}")
        return found["status"] if "typeChecking" in found.get("status", {}) else None

    assert hub.until(checked)["typeChecking"] == {}
    assert RELEASE in PATCHER

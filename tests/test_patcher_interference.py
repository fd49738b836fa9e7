"""The patcher on a real control plane while people interfere with a rollout, stop patching, or take away rights."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from itertools import product
from textwrap import dedent
from types import SimpleNamespace

import pytest

from exporter.patcher.api import SWITCH
from tests.support.approvals import AFTER, BEFORE
from tests.support.at_once import Outcomes
from tests.support.bad_pods import NEVER_READY, bad_pods
from tests.support.chart import helm, kubectl
from tests.support.kube import READER, Kube
from tests.support.patched_hub import SETTINGS, Hub, install_definition
from tests.support.patcher_process import documented_rules
from tests.support.rights import RBAC

# Whatever else this machine does, a rollout that works is given the time for it.
PATIENT = replace(SETTINGS, deadline=60.0, grace=30.0)
# No soak ends before somebody has interfered.
LONG_SOAK = replace(PATIENT, soak=600.0)
OTHER = "mojaloop/ledger:v1.0.2"
aside = asyncio.to_thread


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interference")
    server = Kube(folder)
    try:
        server.start()
        server.start_controllers(*bad_pods(folder))
        install_definition(server)
        yield server
    finally:
        server.stop()


async def queued(hub, tag="v1.0.1", **first):
    """Two healthy Deployments; the approval of `thing` is first in the queue, and that of `next` second."""
    hub.settings = LONG_SOAK
    # Pods of the new template need some seconds, so that there is time for somebody to interfere.
    rolling = {"minReadySeconds": 2, "strategy": {"rollingUpdate": {"maxSurge": "100%"}}}
    if not first.pop("installed", False):
        await aside(partial(hub.create, replicas=2, **{**rolling, **first}))
    await aside(partial(hub.create, "Deployment", "next", replicas=1))
    await hub.until_healthy()
    await hub.until_healthy("Deployment", "next")
    await aside(partial(hub.approve, tag, approval="first"))
    await aside(partial(hub.approve, name="next", approval="second"))


async def reached(hub, approval, **expected):
    """Wait until the status of an approval has these values."""
    await hub.until(lambda: expected.items() <= hub.status(approval).items(), 60)


def configure(patcher, **settings):
    """Change the settings while the patcher runs."""
    (engine,) = patcher.engines
    engine.configure(settings=replace(PATIENT, **settings), windows=patcher.windows)


async def result(hub, *, goes_on=False):
    """Wait for the end of the first approval, and for what becomes of the second; then look what is there."""
    status = await hub.ended("first", 60)
    if goes_on or status["state"] == "Applied":
        await reached(hub, "second", state="Applied")
    else:
        await reached(hub, "second", reason="QueueStopped")
    listed = (await aside(hub.kube.request, "GET", f"/apis/apps/v1/namespaces/{hub.namespace}/deployments"))["items"]
    things = {item["metadata"]["name"]: item for item in listed}
    thing, follower = things.get("thing"), things["next"]
    return SimpleNamespace(
        ended=(status["state"], status["reason"]),
        image=thing and image(thing),
        replicas=thing and thing["spec"]["replicas"],
        changes=thing and thing["metadata"]["generation"] - 1,
        follower=image(follower),
        states=[line["state"] for line in hub.lines if line["approval"].endswith("/first")],
    )


def image(workload):
    return workload["spec"]["template"]["spec"]["containers"][0]["image"]


# Somebody changes the workload in the middle of its rollout. `changes` counts those of its spec: the patch, what
# somebody did, and the rollback if there is one.

PATCH = json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": OTHER}])
# The command; the end of the approval, the image, the replicas, and the number of changes.
KUBECTL = {
    "another image": (("patch", "deployment/thing", "--type=json", "-p", PATCH), "Failed", "Superseded", OTHER, 2, 2),
    "scaled up": (("scale", "deployment/thing", "--replicas=4"), "Applied", "RolledOut", AFTER, 4, 2),
    "scaled to zero": (("scale", "deployment/thing", "--replicas=0"), "RolledBack", "NothingRuns", BEFORE, 0, 3),
    "undone": (("rollout", "undo", "deployment/thing"), "Failed", "Undone", BEFORE, 2, 2),
    "restarted": (("rollout", "restart", "deployment/thing"), "Applied", "RolledOut", AFTER, 2, 2),
    "deleted": (("delete", "deployment/thing"), "Failed", "WorkloadGone", None, None, None),
}
# Helm upgrades with the old tag and another number of replicas.
HELM = {
    "Helm 3": (("helm3",), "Failed", "Undone", BEFORE, 3, 2),
    "Helm 4": (("helm",), "Applied", "RolledOut", AFTER, 2, 1),
    "Helm 4 with force": (("helm", "--force-conflicts"), "Failed", "Undone", BEFORE, 3, 2),
}
PHASES = ("RollingOut", "Soaking")


async def by_kubectl(hub, *, phase, command):
    await queued(hub)
    async with hub.patching() as patcher:
        await reached(hub, "first", state=phase)
        done = await aside(kubectl, hub.kube, "--namespace", hub.namespace, *command)
        assert done.returncode == 0, done.stderr
        configure(patcher)
        return await result(hub)


async def by_helm(hub, *, phase, command):
    binary, *more = command
    folder = chart(hub.kube.folder / hub.namespace)

    async def run(verb, *options):
        call = partial(helm, binary=binary, kube=hub.kube, folder=folder)
        return await aside(call, verb, "thing", folder, "--namespace", hub.namespace, *options)

    done = await run("install")
    assert done.returncode == 0, done.stderr
    await queued(hub, installed=True)
    async with hub.patching() as patcher:
        await reached(hub, "first", state=phase)
        done = await run("upgrade", "--set=replicas=3", *more)
        conflict = command == ("helm",)
        assert (done.returncode != 0, 'conflict with "image-patcher"' in done.stderr) == (conflict, conflict)
        configure(patcher)
        return await result(hub)


def chart(folder):
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": "thing", "version": "0.1.0"}))
    (folder / "values.yaml").write_text(json.dumps({"tag": "v1.0.0", "replicas": 2}))
    (folder / "templates" / "deployment.yaml").write_text(
        dedent("""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: {{ .Release.Name }}}
        spec:
          replicas: {{ .Values.replicas }}
          minReadySeconds: 2
          strategy: {rollingUpdate: {maxSurge: 100%}}
          selector: {matchLabels: {app: {{ .Release.Name }}}}
          template:
            metadata: {labels: {app: {{ .Release.Name }}}}
            spec:
              nodeName: node
              containers: [{name: main, image: "mojaloop/ledger:{{ .Values.tag }}"}]
        """)
    )
    return folder


MEDDLING = {
    f"{name}, {phase}": (partial(scenario, phase=phase, command=row[0]), row)
    for scenario, rows in ((by_kubectl, KUBECTL), (by_helm, HELM))
    for (name, row), phase in product(rows.items(), PHASES)
}


@pytest.fixture(scope="module")
def meddled(cluster):
    return Outcomes(cluster, {name: scenario for name, (scenario, _) in MEDDLING.items()})


@pytest.mark.parametrize("name", MEDDLING)
def test_somebody_changes_the_workload_during_its_rollout_and_the_patcher_does_not_fight_them(meddled, name):
    found, (_, state, reason, after, replicas, changes) = meddled[name], MEDDLING[name][1]
    assert found.ended == (state, reason)
    assert (found.image, found.replicas, found.changes) == (after, replicas, changes)
    assert found.follower == (AFTER if state == "Applied" else BEFORE), "the queue stops after a failure"
    assert found.states.count("RollingOut") <= 1, "there is no second attempt"
    assert found.states[-1] == state


# Somebody stops patching.


async def stopped(hub, *, phase, how):
    bad = phase == "RollingBack"
    await queued(hub, NEVER_READY if bad else "v1.0.1", **({"progressDeadlineSeconds": 3} if bad else {}))
    reason = {"configuration": "PatchingDisabled", "namespace": "NamespaceStopped"}[how]
    async with hub.patching() as patcher:

        async def patching(permitted):
            # The queue would stop after a rollback, too.
            configure(patcher, stop_on_failure=False, patching=permitted or how != "configuration")
            if how == "configuration":
                return
            note = {"metadata": {"annotations": {SWITCH: str(permitted).lower()}}}
            merge = partial(hub.kube.request, media="application/merge-patch+json")
            await aside(merge, "PATCH", f"/api/v1/namespaces/{hub.namespace}", note)

        if phase == "Waiting":
            await patching(False)
            await reached(hub, "first", state="Waiting", reason=reason)
        else:
            await reached(hub, "first", state=phase)
            await patching(False)
            await hub.ended("first", 60)
        await reached(hub, "second", state="Waiting", reason=reason)
        during = SimpleNamespace(state=hub.status("first")["state"], image=hub.image())
        during.follower = hub.image("Deployment", "next")
        await patching(True)
        return during, await result(hub, goes_on=True)


STOPS = {
    f"{how}, {phase}": partial(stopped, phase=phase, how=how)
    for how, phase in product(("configuration", "namespace"), ("Waiting", *PHASES, "RollingBack"))
}


@pytest.fixture(scope="module")
def stops(cluster):
    return Outcomes(cluster, STOPS)


@pytest.mark.parametrize("name", STOPS)
def test_an_emergency_stop_starts_nothing_and_lets_a_rollout_end(stops, name):
    during, after = stops[name]
    failed = "RolledBack" if name.endswith("RollingBack") else "Applied"
    waits = name.endswith("Waiting")
    assert during.state == ("Waiting" if waits else failed)
    assert during.image == (BEFORE if waits or failed == "RolledBack" else AFTER)
    assert during.follower == BEFORE, "nothing starts while patching is stopped"
    assert (after.ended[0], after.follower) == (failed, AFTER)
    assert after.changes == (2 if failed == "RolledBack" else 1)


# The patcher lacks a permission in one namespace.


def grant(kube, namespace, *, without=()):
    """Give the user `reader` the documented rights but some, as pairs of a resource and a verb."""
    rules = [
        {**rule, "resources": [resource], "verbs": [verb for verb in rule["verbs"] if (resource, verb) not in without]}
        for rule in documented_rules()
        for resource in rule["resources"]
    ]
    role = {"metadata": {"name": "patcher"}, "rules": [rule for rule in rules if rule["verbs"]]}
    roles = f"{RBAC}/namespaces/{namespace}/roles"
    kube.request("PUT", f"{roles}/patcher", role) if exists(kube, namespace) else kube.request("POST", roles, role)


def exists(kube, namespace):
    listed = kube.request("GET", f"{RBAC}/namespaces/{namespace}/roles")
    return any(role["metadata"]["name"] == "patcher" for role in listed["items"])


def bind(kube, namespace):
    binding = {
        "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kube.request("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


DENIED = {
    "patch": ("deployments", "patch"),
    "get": ("deployments", "get"),
    "status": ("imagepatchapprovals/status", "patch"),
    "list": ("imagepatchapprovals", "list"),
}
EXPECTED = {
    "patch": ("Refused", "Forbidden"),
    "get": ("Waiting", "Forbidden"),
    "status": (None, None),
    "list": (None, None),
    "complete": ("Applied", "RolledOut"),
}


@pytest.fixture(scope="module")
def denied(cluster):
    """One patcher works on a namespace for each missing right, and on one with all rights."""
    hubs = {name: Hub(cluster, f"without-{name}", settings=PATIENT) for name in (*DENIED, "complete")}
    for name, hub in hubs.items():
        cluster.namespace(hub.namespace)
        grant(cluster, hub.namespace, without=[DENIED[name]] if name in DENIED else [])
        bind(cluster, hub.namespace)
        hub.create(replicas=1)
        hub.approve(approval="first")

    async def run():
        for hub in hubs.values():
            await hub.until_healthy()
        path = f"/apis/apps/v1/namespaces/{hubs['complete'].namespace}/deployments/thing"
        await aside(partial(cluster.until_allowed, path, token=READER))
        everywhere = {"token": READER, "namespaces": [hub.namespace for hub in hubs.values()]}
        async with hubs["complete"].patching(**everywhere):
            await hubs["complete"].ended("first", 60)
            for name in ("patch", "get"):
                await reached(hubs[name], "first", reason="Forbidden")
        seen = {name: hub.status("first") for name, hub in hubs.items()}
        for hub in hubs.values():
            await aside(grant, cluster, hub.namespace)
        async with hubs["complete"].patching(**everywhere):
            for name in ("get", "status", "list"):
                await reached(hubs[name], "first", state="Applied")
        return seen, {name: (hub.image(), hub.get()["metadata"]["generation"]) for name, hub in hubs.items()}

    return asyncio.run(run())


@pytest.mark.parametrize("name", EXPECTED)
def test_without_a_right_in_one_namespace_its_approval_says_so_and_others_go_on(denied, name):
    seen, after = denied
    status = seen[name]
    assert (status.get("state"), status.get("reason")) == EXPECTED[name]
    if EXPECTED[name][1] == "Forbidden":
        assert "deployments.apps" in status["message"]
    # Once the right is there, what waited is carried out. A refused approval was an attempt, and is not repeated.
    assert after[name] == ((BEFORE, 1) if name == "patch" else (AFTER, 2))

"""The patcher on a real control plane: each kind, with a patch that works and with ones that do not."""

import asyncio
import json
import time
import urllib.error
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from exporter.cluster import open_connection
from exporter.patcher.preview import preview
from tests.support.approvals import BEFORE
from tests.support.at_once import Outcomes
from tests.support.bad_pods import CRASHES, NEVER_READY, bad_pods
from tests.support.kube import Kube
from tests.support.patched_hub import APPROVALS, SETTINGS, Hub, install_definition
from tests.support.patching import Patcher

pytestmark = pytest.mark.anyio
KINDS = ("Deployment", "StatefulSet", "DaemonSet")
aside = asyncio.to_thread


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patched")
    server = Kube(folder)
    try:
        server.start()
        server.start_controllers(*bad_pods(folder))
        install_definition(server)
        yield server
    finally:
        server.stop()


_count = iter(range(1000))


@pytest.fixture
def hub(cluster):
    name = f"hub-{next(_count)}"
    cluster.namespace(name)
    return Hub(cluster, name)


def spec(kind):
    if kind == "Deployment":
        return {"replicas": 2, "progressDeadlineSeconds": 3}
    return {"replicas": 2, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}


@pytest.mark.parametrize("kind", [*KINDS, "CronJob"])
async def test_an_approved_patch_is_rolled_out_soaked_and_applied(hub, kind):
    hub.create(kind, **spec(kind))
    await hub.until_healthy(kind)
    name = hub.approve(kind=kind)
    async with hub.patching():
        status = await hub.ended(name)
    assert (status["state"], status["reason"], status["window"]) == ("Applied", "RolledOut", "night")
    assert hub.image(kind) == "mojaloop/ledger:v1.0.1"
    states = ["Waiting", "Applying", "Applied"]
    states[2:2] = [] if kind == "CronJob" else ["RollingOut", "Soaking"]
    assert [line["state"] for line in hub.lines] == states
    assert {line["approved_by"] for line in hub.lines} == {"alice"}
    assert hub.events() == ["ImagePatchApplied", *([] if kind == "CronJob" else ["ImagePatched"])]


# A patch that fails. Each row has one way to fail, with a deadline that the others do not reach.


async def fails(hub, *, kind, tag, deadline, full, **spec):
    """What is left of a patch that fails; `full` says whether a quota keeps new pods from being created."""
    hub.settings = replace(SETTINGS, deadline=deadline, grace=10.0, evict=True)
    await aside(partial(hub.create, kind, **spec))
    await aside(partial(hub.create, "CronJob", "next"))
    await hub.until_healthy(kind)
    before, pods = hub.template(kind), uids(hub)
    quota = f"/api/v1/namespaces/{hub.namespace}/resourcequotas"
    if full:
        body = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
        await aside(hub.kube.request, "POST", quota, body)
        await hub.until(lambda: hub.kube.request("GET", f"{quota}/full").get("status", {}).get("used", {}).get("pods"))
    await aside(partial(hub.approve, tag, kind=kind, approval="first"))
    await aside(partial(hub.approve, kind="CronJob", name="next", approval="second"))
    async with hub.patching() as patcher:
        if full:
            await hub.until(lambda: hub.status("first").get("state") == "RollingBack", 60)
            await aside(hub.kube.request, "DELETE", f"{quota}/full")
        status = await hub.ended("first", 60)
        await hub.until(lambda: hub.status("second").get("reason") == "QueueStopped")
        await hub.until_healthy(kind)
        value = patcher.engines[0]._parts.telemetry.registry.get_sample_value
        labels = {"namespace": hub.namespace, "workload_kind": kind, "workload": "thing", "tag": tag}
        metrics = {
            "approval": value("mojaloop_image_patch_approval", {**labels, "state": "RolledBack"}),
            "stopped": value("mojaloop_patcher_queue_stopped"),
            "patches": value("mojaloop_patcher_patches_total", {"result": "rolled_back"}),
        }
    return SimpleNamespace(
        ended=(status["state"], status["reason"]),
        same_template=json.dumps(hub.template(kind)) == json.dumps(before),
        changes=hub.get(kind)["metadata"]["generation"] - 1,
        soaked="Soaking" in {line["state"] for line in hub.lines},
        kept=len(pods & uids(hub)),
        next_image=hub.image("CronJob", "next"),
        metrics=metrics,
        events=hub.events(),
    )


def uids(hub):
    return {pod["metadata"]["uid"] for pod in hub.pods()}


FOREVER = {"progressDeadlineSeconds": 2**31 - 1}
PARALLEL, ORDERED = ({"podManagementPolicy": policy} for policy in ("Parallel", "OrderedReady"))
SURGE = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
NOT_READY = {"tag": NEVER_READY, "deadline": 4.0, "full": False}
CRASH = {"tag": CRASHES, "deadline": 20.0, "full": False}
QUOTA = {"tag": "v1.0.1", "deadline": 4.0, "full": True}
# What fails, and the reasons that the approval may end with.
LATE, FAILED, CRASHED = {"DeadlineExceeded"}, {"RolloutFailed"}, {"Unavailable", "Restarted"}
FAILURES = {
    "Deployment, never ready": ({"kind": "Deployment", "replicas": 2, **FOREVER, **NOT_READY}, LATE),
    "Deployment, progress deadline": (
        {"kind": "Deployment", "replicas": 2, "progressDeadlineSeconds": 3, **NOT_READY, "deadline": 60.0},
        FAILED,
    ),
    "Deployment, crash": ({"kind": "Deployment", "replicas": 1, "progressDeadlineSeconds": 20, **CRASH}, CRASHED),
    "Deployment, quota": ({"kind": "Deployment", "replicas": 2, **SURGE, **QUOTA, "deadline": 60.0}, FAILED),
    "StatefulSet in parallel, never ready": ({"kind": "StatefulSet", "replicas": 2, **PARALLEL, **NOT_READY}, LATE),
    "StatefulSet in parallel, crash": ({"kind": "StatefulSet", "replicas": 1, **PARALLEL, **CRASH}, CRASHED),
    "StatefulSet in parallel, quota": ({"kind": "StatefulSet", "replicas": 2, **PARALLEL, **QUOTA}, LATE),
    "StatefulSet in order, never ready": ({"kind": "StatefulSet", "replicas": 3, **ORDERED, **NOT_READY}, LATE),
    "StatefulSet of one, never ready": ({"kind": "StatefulSet", "replicas": 1, **ORDERED, **NOT_READY}, LATE),
    "StatefulSet in order, crash": ({"kind": "StatefulSet", "replicas": 1, **ORDERED, **CRASH}, CRASHED),
    "StatefulSet in order, quota": ({"kind": "StatefulSet", "replicas": 2, **ORDERED, **QUOTA}, LATE),
    "DaemonSet, never ready": ({"kind": "DaemonSet", **NOT_READY}, LATE),
    "DaemonSet, crash": ({"kind": "DaemonSet", **CRASH}, CRASHED),
    "DaemonSet, quota": ({"kind": "DaemonSet", **QUOTA}, LATE),
}


async def many(hub):
    """Two hundred approvals at once. Each takes 16 requests, three of which list all approvals."""
    names = [f"service-{number:03}" for number in range(200)]

    def prepare(name):
        hub.create("CronJob", name)
        hub.approve(kind="CronJob", name=name)

    await asyncio.gather(*(aside(prepare, name) for name in names))
    async with hub.patching():
        await hub.until(lambda: len(hub.lines) >= 3 * len(names), 200)
    approvals = hub.kube.request("GET", f"{APPROVALS}/namespaces/{hub.namespace}/imagepatchapprovals")["items"]
    jobs = hub.kube.request("GET", f"/apis/batch/v1/namespaces/{hub.namespace}/cronjobs")["items"]
    return hub, approvals, jobs


@pytest.fixture(scope="module")
def outcomes(cluster):
    """The two hundred approvals keep the processors busy, while the other scenarios mostly wait."""
    return Outcomes(cluster, {"many": many, **{name: partial(fails, **row) for name, (row, _) in FAILURES.items()}})


def test_two_hundred_approvals_at_once(outcomes):
    hub, approvals, jobs = outcomes["many"]
    assert [one["status"]["state"] for one in approvals] == ["Applied"] * 200
    images = {job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] for job in jobs}
    assert images == {"mojaloop/ledger:v1.0.1"}
    assert [job["metadata"]["generation"] for job in jobs] == [2] * 200, "each is changed once"
    assert hub.registry.asked < 10


@pytest.mark.parametrize("name", FAILURES)
def test_a_patch_that_fails_is_rolled_back_once_and_stops_the_queue(outcomes, name):
    found, (row, reasons) = outcomes[name], FAILURES[name]
    assert found.ended[0] == "RolledBack"
    # On a busy machine a pod may crash before the patcher has seen it ready, and then there is no soak.
    assert found.ended[1] in (reasons if reasons is not CRASHED or found.soaked else LATE | FAILED)
    assert (found.same_template, found.changes) == (True, 2), "one patch, and its rollback"
    assert found.next_image == BEFORE
    # The inputs of the alert about it, and of the one about a queue that does not go on.
    assert found.metrics == {"approval": 1, "stopped": 1, "patches": 1}
    assert "ImagePatchRolledBack" in found.events
    if row["kind"] == "StatefulSet":
        assert found.kept == row["replicas"] - 1, "only the pod that failed is replaced"


@pytest.fixture
def ordered(hub):
    """A StatefulSet with the pod management policy OrderedReady, and permission to evict its broken pods."""
    hub.settings = replace(hub.settings, evict=True)

    async def create(replicas):
        hub.create("StatefulSet", replicas=replicas, podManagementPolicy="OrderedReady")
        await hub.until_healthy("StatefulSet")

    return create


async def test_an_eviction_that_a_disruption_budget_forbids_is_told_and_tried_again(hub, ordered):
    await ordered(1)
    path = f"/apis/policy/v1/namespaces/{hub.namespace}/poddisruptionbudgets"
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "thing"}}}
    hub.kube.request("POST", path, {"metadata": {"name": "all"}, "spec": budget})
    await hub.until(lambda: hub.kube.request("GET", f"{path}/all").get("status", {}).get("expectedPods") == 1)
    name = hub.approve(CRASHES, kind="StatefulSet")
    async with hub.patching():
        await hub.until(lambda: hub.status(name).get("reason") == "EvictionBlocked", 40)
        assert "disruption budget" in hub.status(name)["message"]
        hub.kube.request("DELETE", f"{path}/all")
        status = await hub.ended(name)
    assert (status["state"], hub.image("StatefulSet")) == ("RolledBack", BEFORE)


async def test_a_stateful_set_in_parts_is_rolled_out_as_far_as_its_partition_goes(hub):
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    hub.create("StatefulSet", replicas=2, podManagementPolicy="Parallel", updateStrategy=update)
    await hub.until_healthy("StatefulSet")
    name = hub.approve(kind="StatefulSet")
    async with hub.patching():
        assert (await hub.ended(name))["state"] == "Applied"
    running = {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in hub.pods()}
    assert running == {"thing-0": BEFORE, "thing-1": "mojaloop/ledger:v1.0.1"}


async def test_an_approval_never_changes(hub):
    hub.create(replicas=1)
    name = hub.approve()
    path = f"{APPROVALS}/namespaces/{hub.namespace}/imagepatchapprovals/{name}"
    for operation in (
        {"op": "replace", "path": "/spec/approvedBy", "value": "bob"},
        {"op": "add", "path": "/spec/expires", "value": "2099-01-01T00:00:00Z"},
        {"op": "remove", "path": "/spec"},
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            hub.kube.request("PATCH", path, [operation], media="application/json-patch+json")
        with caught.value as error:
            assert error.code == 422
    assert hub.kube.request("GET", path)["spec"]["approvedBy"] == "alice"


async def test_two_replicas_carry_out_many_approvals_one_at_a_time(hub):
    names = [f"service-{number}" for number in range(6)]
    for name in names:
        hub.create("CronJob", name)
    approvals = [hub.approve(kind="CronJob", name=name) for name in names]
    async with hub.patching(replicas=2):
        for name in approvals:
            status = await hub.ended(name)
            assert status["state"] == "Applied", status
    assert {hub.image("CronJob", name) for name in names} == {"mojaloop/ledger:v1.0.1"}
    generations = {hub.get("CronJob", name)["metadata"]["generation"] for name in names}
    assert generations == {2}, "each is changed once"


async def test_the_patcher_is_named_as_who_changed_the_image(hub):
    hub.create("CronJob")
    name = hub.approve(kind="CronJob")
    async with hub.patching():
        await hub.ended(name)
    managed = hub.get("CronJob")["metadata"]["managedFields"]
    assert "f:image" in {field["manager"]: json.dumps(field["fieldsV1"]) for field in managed}["image-patcher"]


async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(hub):
    hub.create(replicas=1)
    hub.create("Deployment", "other", replicas=1, paused=True)
    await hub.until_healthy()
    first, second = hub.approve(), hub.approve(name="other")
    before = hub.get()["spec"], hub.get("Deployment", "other")["spec"]
    async with open_connection(kubeconfig=hub.kube.kubeconfig()) as connection:
        patcher = Patcher(
            connection, time.time, settings=hub.settings, registry=hub.registry, namespaces=(hub.namespace,)
        )
        lines = [line async for line in preview(patcher.parts())]
    place = f"{hub.namespace}/Deployment"
    assert sorted(lines, reverse=True) == [
        f"{hub.namespace}/{first}: {place}/thing v1.0.0 to v1.0.1: would start now in window night; the API server "
        "accepts the patch",
        f"{hub.namespace}/{second}: {place}/other v1.0.0 to v1.0.1: would be refused (Paused): The Deployment is "
        "paused, so a patch would not roll out.",
    ]
    assert hub.status(first) == hub.status(second) == {}
    assert (hub.get()["spec"], hub.get("Deployment", "other")["spec"]) == before

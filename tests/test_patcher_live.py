"""The patcher on a real control plane: each kind, with a patch that works and with ones that do not."""

import asyncio
import json
import subprocess
import time
import urllib.error
from dataclasses import replace

import pytest

from exporter.cluster import open_connection
from exporter.patcher.preview import preview
from tests.support.approvals import BEFORE
from tests.support.bad_pods import CRASHES, NEVER_READY, bad_pods
from tests.support.components import need
from tests.support.kube import Kube
from tests.support.patched_hub import APPROVALS, Hub, install_definition
from tests.support.patching import Patcher

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
KINDS = ("Deployment", "StatefulSet", "DaemonSet")


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


@pytest.mark.parametrize("tag", [NEVER_READY, CRASHES])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_patch_that_does_not_work_is_rolled_back_once(hub, kind, tag):
    hub.create(kind, **spec(kind))
    await hub.until_healthy(kind)
    before = hub.template(kind)
    name = hub.approve(tag, kind=kind)
    async with hub.patching():
        status = await hub.ended(name)
        assert status["state"] == "RolledBack", status
        assert hub.template(kind) == before
        await hub.until_healthy(kind)
        hub.create("Deployment", "other", replicas=1)
        await hub.until_healthy("Deployment", "other")
        other = hub.approve(kind="Deployment", name="other")
        await hub.until(lambda: hub.status(other).get("reason") == "QueueStopped")
    assert hub.image("Deployment", "other") == BEFORE
    assert [line["state"] for line in hub.lines if line["approval"].endswith(name)].count("RollingBack") <= 2


@pytest.fixture
def ordered(hub):
    """A StatefulSet with the pod management policy OrderedReady, and permission to evict its broken pods."""
    hub.settings = replace(hub.settings, evict=True)

    async def create(replicas):
        hub.create("StatefulSet", replicas=replicas, podManagementPolicy="OrderedReady")
        await hub.until_healthy("StatefulSet")

    return create


@pytest.mark.parametrize("replicas", [1, 3])
async def test_the_broken_pods_of_an_ordered_stateful_set_are_evicted_after_the_rollback(hub, ordered, replicas):
    await ordered(replicas)
    before, kept = hub.template("StatefulSet"), {pod["metadata"]["uid"] for pod in hub.pods()}
    name = hub.approve(NEVER_READY, kind="StatefulSet")
    async with hub.patching():
        status = await hub.ended(name)
    assert (status["state"], status["reason"]) == ("RolledBack", "DeadlineExceeded")
    assert hub.template("StatefulSet") == before
    await hub.until_healthy("StatefulSet")
    now = {pod["metadata"]["uid"] for pod in hub.pods()}
    assert len(now) == replicas
    assert len(now & kept) == replicas - 1, "healthy pods stay"


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


@pytest.mark.parametrize("kind", KINDS)
async def test_a_quota_that_leaves_no_room_for_new_pods_rolls_back(hub, kind):
    more = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}} if kind == "Deployment" else {}
    hub.create(kind, **spec(kind), **more)
    await hub.until_healthy(kind)
    before = hub.template(kind)
    path = f"/api/v1/namespaces/{hub.namespace}/resourcequotas"
    hub.kube.request("POST", path, {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}})
    await hub.until(lambda: hub.kube.request("GET", f"{path}/full").get("status", {}).get("used", {}).get("pods"))
    name = hub.approve(kind=kind)
    async with hub.patching():
        await hub.until(lambda: hub.status(name).get("state") == "RollingBack")
        hub.kube.request("DELETE", f"{path}/full")
        status = await hub.ended(name)
    assert status["state"] == "RolledBack", status
    assert hub.template(kind) == before
    if kind == "Deployment":
        assert status["reason"] == "RolloutFailed"


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


async def test_two_hundred_approvals_at_once(hub):
    names = [f"service-{number:03}" for number in range(200)]
    for name in names:
        await asyncio.to_thread(hub.create, "CronJob", name)
    approvals = [await asyncio.to_thread(hub.approve, kind="CronJob", name=name) for name in names]
    async with hub.patching():
        await hub.until(lambda: len(hub.lines) >= 3 * len(names), 150)
    states = {hub.status(name)["state"] for name in approvals}
    images = {hub.image("CronJob", name) for name in names}
    assert (states, images) == ({"Applied"}, {"mojaloop/ledger:v1.0.1"})
    assert hub.registry.asked < 10


@pytest.mark.parametrize("phase", ["RollingOut", "Soaking"])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("scale", "deployment/thing", "--replicas=4"), "Applied"),
        (("scale", "deployment/thing", "--replicas=0"), "RolledBack"),
        (("rollout", "undo", "deployment/thing"), "Failed"),
        (("rollout", "restart", "deployment/thing"), "Applied"),
        (("delete", "deployment/thing"), "Failed"),
    ],
    ids=["scaled", "scaled to zero", "undone", "restarted", "deleted"],
)
async def test_somebody_uses_kubectl_in_the_middle(hub, command, phase, expected):
    (kubectl,) = need("kubectl")
    hub.create(replicas=2, minReadySeconds=1)
    await hub.until_healthy()
    name = hub.approve()
    async with hub.patching():
        await hub.until(lambda: hub.status(name).get("state") == phase)
        options = ["--kubeconfig", str(hub.kube.kubeconfig()), "--namespace", hub.namespace]
        await asyncio.to_thread(subprocess.run, [kubectl, *options, *command], check=True, capture_output=True)
        status = await hub.ended(name)
    assert status["state"] == expected, status
    if command[0] != "delete":
        assert hub.image() == ("mojaloop/ledger:v1.0.1" if expected == "Applied" else BEFORE)


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

"""Rollouts and what controllers make, on a cluster of its own where a controller manager and stand-in kubelets act."""

from __future__ import annotations

import time

import pytest

from exporter.workloads import WorkloadKey
from tests.support.following import following
from tests.support.kube import METADATA_PATHS, Kube
from tests.support.workloads import body

pytestmark = pytest.mark.anyio
IMAGE = "/spec/template/spec/containers/0/image"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    server = Kube(tmp_path_factory.mktemp("cluster"))
    try:
        server.start()
        server.start_controllers()
        yield server
    finally:
        server.stop()


_count = iter(range(1000))


@pytest.fixture
def place(cluster):
    name = f"place-{next(_count)}"
    cluster.namespace(name)
    return name


def on_a_node(kind, image="mojaloop/ledger:v1.0.0", name="thing", **spec):
    document = body(kind, name, image)
    document["spec"]["template"]["spec"]["nodeName"] = "node"  # there is no scheduler
    document["spec"] |= spec
    return document


def incomplete(found, namespace):
    return {
        f"{k.kind}/{k.name}"
        for k, w in found.inventory.workloads().items()
        if k.namespace == namespace and w.rollout_incomplete
    }


def status(cluster, kind, namespace, name="thing"):
    return cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/{kind.lower()}s/{name}").get("status", {})


def settled(found, replicas):
    """Whether a Deployment's controller has nothing left to do."""
    ready = found.get("readyReplicas") == found.get("updatedReplicas") == found.get("replicas") == replicas
    return ready and not found.get("unavailableReplicas") and "NewReplicaSetAvailable" in reasons(found)


def reasons(found):
    return {condition["reason"] for condition in found.get("conditions", ())}


async def test_a_rollout_goes_through(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=3))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 3)
        cluster.patch(
            "Deployment", place, "thing", [{"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}]
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"})
        await found.until(lambda: not incomplete(found, place))
        assert found.images(place) == {"Deployment/thing": ["mojaloop/ledger:v1.0.1"]}
        await found.until(lambda: settled(status(cluster, "Deployment", place), 3))
        markers = await found.caught_up(cluster, place, "Deployment", "ReplicaSet", "Pod")
        thing = WorkloadKey(place, "Deployment", "thing")
        assert found.inventory.rollouts[thing] == [False, True, False], "it does not flicker"
        assert found.inventory.keys == {thing, *markers}, "its pods are not counted as well"


async def test_a_paused_rollout_is_incomplete_until_it_goes_on(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=3))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 3)
        pause = {"op": "add", "path": "/spec/paused", "value": True}
        cluster.patch(
            "Deployment", place, "thing", [pause, {"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}]
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"})
        await found.until(lambda: "DeploymentPaused" in reasons(status(cluster, "Deployment", place)))
        assert found.images(place) == {"Deployment/thing": ["mojaloop/ledger:v1.0.1"]}
        await found.caught_up(cluster, place, "Deployment", "ReplicaSet", "Pod")
        thing = WorkloadKey(place, "Deployment", "thing")
        assert found.inventory.rollouts[thing] == [False, True]
        cluster.patch("Deployment", place, "thing", [{"op": "remove", "path": "/spec/paused"}])
        await found.until(lambda: not incomplete(found, place))


async def test_a_stuck_rollout_is_incomplete(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=2))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 2)
        elsewhere = {"op": "replace", "path": "/spec/template/spec/nodeName", "value": "no-such-node"}
        cluster.patch(
            "Deployment",
            place,
            "thing",
            [elsewhere, {"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}],
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"})
        await found.until(lambda: status(cluster, "Deployment", place).get("unavailableReplicas"))
        await found.caught_up(cluster, place, "Deployment", "ReplicaSet", "Pod")
        assert found.inventory.rollouts[WorkloadKey(place, "Deployment", "thing")] == [False, True]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_on_delete_is_incomplete_until_the_pods_are_deleted(cluster, place, kind):
    async with following(cluster, place) as found:
        more = {"replicas": 2} if kind == "StatefulSet" else {}
        cluster.create(kind, place, on_a_node(kind, updateStrategy={"type": "OnDelete"}, **more))
        ready = "readyReplicas" if kind == "StatefulSet" else "numberReady"
        await found.until(lambda: status(cluster, kind, place).get(ready) == (2 if more else 1))
        cluster.patch(kind, place, "thing", [{"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}])
        await found.until(lambda: incomplete(found, place) == {f"{kind}/thing"})
        for pod in cluster.request("GET", f"/api/v1/namespaces/{place}/pods")["items"]:
            cluster.delete("Pod", place, pod["metadata"]["name"])
        await found.until(lambda: not incomplete(found, place))


async def test_a_cron_jobs_jobs_and_their_pods_are_not_counted_beside_it(cluster, place):
    def made(kind):
        return cluster.request("GET", f"{METADATA_PATHS[kind]}/namespaces/{place}/{kind.lower()}s")["items"]

    async with following(cluster, place) as found:
        document = body("CronJob")
        document["spec"]["schedule"] = "* * * * *"
        document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["nodeName"] = "node"
        cluster.create("CronJob", place, document)
        # One that has missed its time starts at once.
        missed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 150))
        operation = {"op": "add", "path": "/status", "value": {"lastScheduleTime": missed}}
        cluster.patch("CronJob", place, "thing", [operation], subresource="/status")
        await found.until(lambda: any(job["status"].get("succeeded") for job in made("Job")))
        assert [pod["metadata"]["ownerReferences"][0]["kind"] for pod in made("Pod")] == ["Job"]
        markers = await found.caught_up(cluster, place, "CronJob", "Job", "Pod")
        assert found.inventory.keys == {WorkloadKey(place, "CronJob", "thing"), *markers}, "nothing else at any time"


async def test_a_changed_init_container_rolls_out_too(cluster, place):
    async with following(cluster, place) as found:
        document = on_a_node("Deployment", replicas=2)
        document["spec"]["template"]["spec"]["initContainers"] = [{"name": "wait", "image": "a/wait:v1.0.0"}]
        cluster.create("Deployment", place, document)
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 2)
        path = "/spec/template/spec/initContainers/0/image"
        cluster.patch("Deployment", place, "thing", [{"op": "replace", "path": path, "value": "a/wait:v1.0.1"}])
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"})
        await found.until(lambda: not incomplete(found, place))
        assert found.images(place) == {"Deployment/thing": ["a/wait:v1.0.1", "mojaloop/ledger:v1.0.0"]}

"""Rollouts, restored backups and service accounts, on a cluster of its own: a controller manager acts on it, and it loses its memory."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from exporter.cluster import KINDS, Cluster, open_connection
from exporter.inventory import Inventory
from exporter.telemetry import Telemetry
from tests.kube import Kube
from tests.test_cluster_live import Following, body, following

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


async def test_a_rollout_goes_through(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=3))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 3, 30)
        cluster.patch(
            "Deployment", place, "thing", [{"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}]
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"}, 5)
        await found.until(lambda: not incomplete(found, place), 30)
        assert found.images(place) == {"Deployment/thing": ["mojaloop/ledger:v1.0.1"]}, (
            "pods and ReplicaSets are not counted beside it"
        )


async def test_a_paused_rollout_is_incomplete_until_it_goes_on(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=3))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 3, 30)
        pause = {"op": "add", "path": "/spec/paused", "value": True}
        cluster.patch(
            "Deployment", place, "thing", [pause, {"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}]
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"}, 5)
        seen = time.monotonic()
        while time.monotonic() - seen < 3:
            assert incomplete(found, place) == {"Deployment/thing"}
            await asyncio.sleep(0.1)
        assert found.images(place) == {"Deployment/thing": ["mojaloop/ledger:v1.0.1"]}
        cluster.patch("Deployment", place, "thing", [{"op": "remove", "path": "/spec/paused"}])
        await found.until(lambda: not incomplete(found, place), 30)


async def test_a_stuck_rollout_is_incomplete(cluster, place):
    async with following(cluster, place) as found:
        cluster.create("Deployment", place, on_a_node("Deployment", replicas=2))
        await found.until(lambda: status(cluster, "Deployment", place).get("readyReplicas") == 2, 30)
        elsewhere = {"op": "replace", "path": "/spec/template/spec/nodeName", "value": "no-such-node"}
        cluster.patch(
            "Deployment",
            place,
            "thing",
            [elsewhere, {"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}],
        )
        await found.until(lambda: incomplete(found, place) == {"Deployment/thing"}, 5)
        await asyncio.sleep(2)
        assert incomplete(found, place) == {"Deployment/thing"}


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_on_delete_is_incomplete_until_the_pods_are_deleted(cluster, place, kind):
    async with following(cluster, place) as found:
        more = {"replicas": 2} if kind == "StatefulSet" else {}
        cluster.create(kind, place, on_a_node(kind, updateStrategy={"type": "OnDelete"}, **more))
        ready = "readyReplicas" if kind == "StatefulSet" else "numberReady"
        await found.until(lambda: status(cluster, kind, place).get(ready) == (2 if more else 1), 30)
        cluster.patch(kind, place, "thing", [{"op": "replace", "path": IMAGE, "value": "mojaloop/ledger:v1.0.1"}])
        await found.until(lambda: incomplete(found, place) == {f"{kind}/thing"}, 10)
        for pod in cluster.request("GET", f"/api/v1/namespaces/{place}/pods")["items"]:
            cluster.delete("Pod", place, pod["metadata"]["name"])
        await found.until(lambda: not incomplete(found, place), 30)


async def test_a_cron_jobs_jobs_and_their_pods_are_not_counted_beside_it(cluster, place):
    async with following(cluster, place) as found:
        document = body("CronJob")
        document["spec"] |= {"schedule": "* * * * *", "suspend": True}
        made = cluster.create("CronJob", place, document)
        owner = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "thing",
            "uid": made["metadata"]["uid"],
            "controller": True,
        }
        job = body("Job", "thing-1")
        job["metadata"]["ownerReferences"] = [owner]
        job["spec"]["template"]["spec"]["nodeName"] = "node"
        cluster.create("Job", place, job)
        await found.until(lambda: len(cluster.request("GET", f"/api/v1/namespaces/{place}/pods")["items"]) == 1, 30)
        await asyncio.sleep(0.5)
        assert set(found.images(place)) == {"CronJob/thing"}


async def test_etcd_restored_to_an_older_revision(cluster, place):
    cluster.create("StatefulSet", place, body("StatefulSet", "comes-back"))
    kept = await asyncio.to_thread(cluster.keep)
    async with following(cluster, place) as found:
        cluster.delete("StatefulSet", place, "comes-back")
        for number in range(20):  # so that the restored one is far behind
            cluster.create("StatefulSet", place, body("StatefulSet", f"lost-{number}"))
        cluster.create("StatefulSet", place, body("StatefulSet", "lost"))
        await found.until(
            lambda: "StatefulSet/lost" in found.images(place) and "StatefulSet/comes-back" not in found.images(place)
        )
        await asyncio.to_thread(cluster.restore, kept)
        await found.until(lambda: set(found.images(place)) == {"StatefulSet/comes-back"}, 30)
        assert all(found.inventory.synced().values())
        cluster.create("StatefulSet", place, body("StatefulSet", "new"))
        await found.until(lambda: "StatefulSet/new" in found.images(place))


READ = {
    "": ["pods"],
    "apps": ["deployments", "statefulsets", "daemonsets", "replicasets"],
    "batch": ["cronjobs", "jobs"],
}


def service_account(cluster, namespace, rights):
    """A service account that may read these in its namespace."""
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "exporter"}})
    rules = [
        {"apiGroups": [group], "resources": names, "verbs": ["get", "list", "watch"]} for group, names in rights.items()
    ]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    cluster.request("POST", f"{rbac}/roles", {"metadata": {"name": "exporter"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "exporter"}
    subject = {"kind": "ServiceAccount", "name": "exporter", "namespace": namespace}
    cluster.request(
        "POST", f"{rbac}/rolebindings", {"metadata": {"name": "exporter"}, "roleRef": role, "subjects": [subject]}
    )


def token(cluster, namespace):
    answer = cluster.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/exporter/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}},
    )
    return answer["status"]["token"]


@pytest.fixture
def in_pod(cluster, tmp_path, monkeypatch):
    """What a pod finds of its service account."""
    from kubernetes.aio.config import incluster_config

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(cluster.certificates / "apiserver.crt"))
    return tmp_path / "token"


async def watch(namespace, kinds=KINDS):
    inventory, telemetry = Inventory(), Telemetry()
    connection = open_connection()
    opened = await connection.__aenter__()
    watcher = Cluster(
        connection=opened,
        inventory=inventory,
        telemetry=telemetry,
        clock=time.time,
        namespaces=[namespace],
        kinds=kinds,
    )
    task = asyncio.create_task(watcher.run())

    async def end():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.__aexit__(None, None, None)

    return Following(inventory, telemetry, opened, watcher), end


async def test_a_service_account_with_the_rights_of_the_readme_is_enough(cluster, place, in_pod):
    service_account(cluster, place, READ)
    in_pod.write_text(token(cluster, place))
    cluster.create("StatefulSet", place, body("StatefulSet"))
    found, end = await watch(place)
    try:
        await found.until(lambda: found.inventory.synced() == {place: True}, 10)
        assert "StatefulSet/thing" in found.images(place)
        # A token that is no good any more is read again from its file, until a good one is there.
        in_pod.write_text("expired")
        await found.connection.read_credentials()
        cluster.stop_apiserver()  # a watch that runs goes on as it began
        await asyncio.to_thread(cluster.start_apiserver)
        await found.until(lambda: found.restarts("StatefulSet", "unauthorized") > 1, 20)
        assert found.inventory.synced() == {place: True}
        assert "StatefulSet/thing" in found.images(place), "nothing is lost meanwhile"
        in_pod.write_text(token(cluster, place))
        cluster.create("StatefulSet", place, body("StatefulSet", "later"))
        await found.until(lambda: "StatefulSet/later" in found.images(place), 40)
    finally:
        await end()


async def test_without_jobs_it_stays_unsynced_and_says_which(cluster, place, in_pod, caplog):
    caplog.set_level(logging.WARNING, logger="exporter")
    service_account(cluster, place, {**READ, "batch": ["cronjobs"]})
    in_pod.write_text(token(cluster, place))
    cluster.create("StatefulSet", place, body("StatefulSet"))
    found, end = await watch(place)
    try:
        await found.until(lambda: "StatefulSet/thing" in found.images(place), 10)
        await asyncio.sleep(1.5)
        assert found.inventory.synced() == {place: False}
        said = [r.getMessage() for r in caplog.records if "may not" in r.getMessage()]
        assert len(said) == 1
        assert "Job" in said[0]
        assert in_pod.read_text() not in caplog.text
    finally:
        await end()
    found, end = await watch(place, [kind for kind in KINDS if kind != "Job"])
    try:
        await found.until(lambda: found.inventory.synced() == {place: True}, 10)
    finally:
        await end()

"""The reflectors against a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exporter.cluster import KINDS, Cluster, Connection, open_connection, reflector
from exporter.cluster.retries import BACKOFF, Reason
from exporter.inventory import Inventory, ScopeState
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey
from tests.support.kube import READER, Kube

pytestmark = pytest.mark.anyio


def pod_spec(image: str = "mojaloop/central-ledger:v1.0.0", **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": image}], **more}


def body(kind: str, name: str = "thing", image: str = "mojaloop/central-ledger:v1.0.0") -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(image)}
    selected = {"selector": {"matchLabels": labels}, "template": template}
    never = {"template": {"spec": pod_spec(image, restartPolicy="Never")}}
    spec = {
        "Deployment": selected,
        "StatefulSet": {**selected, "serviceName": name},
        "DaemonSet": selected,
        "ReplicaSet": {**selected, "replicas": 2},
        "CronJob": {"schedule": "@daily", "jobTemplate": {"spec": never}},
        "Job": never,
        "Pod": pod_spec(image),
    }[kind]
    return {"metadata": {"name": name}, "spec": spec}


IMAGE_PATH = {
    "CronJob": "/spec/jobTemplate/spec/template/spec/containers/0/image",
    "Pod": "/spec/containers/0/image",
}


def owner(kind: str, name: str, api_version: str = "example.org/v1") -> list[dict[str, Any]]:
    return [{"apiVersion": api_version, "kind": kind, "name": name, "uid": "1-2-3", "controller": True}]


class Remembering(Inventory):
    """An inventory that knows what it was ever told.

    Attributes:
        states: every state that a scope was said to be in, in order.
        keys: every workload that was ever held.
        rollouts: for each workload, whether its rollout was incomplete, at each change of that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[ScopeState] = []
        self.keys: set[WorkloadKey] = set()
        self.rollouts: dict[WorkloadKey, list[bool]] = {}

    def set_scope(self, kind: str, watched_namespace: str, state: ScopeState) -> None:
        self.states.append(state)
        super().set_scope(kind, watched_namespace, state)

    def put(self, workload: Workload) -> None:
        self.keys.add(workload.key)
        rollouts = self.rollouts.setdefault(workload.key, [])
        if rollouts[-1:] != [workload.rollout_incomplete]:
            rollouts.append(workload.rollout_incomplete)
        super().put(workload)


class Following:
    def __init__(self, inventory: Remembering, telemetry: Telemetry, connection: Connection, cluster: Cluster) -> None:
        self.inventory, self.telemetry, self.connection, self.cluster = inventory, telemetry, connection, cluster

    async def until(self, condition: Callable[[], bool], seconds: float = 2.0) -> float:
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(
                    f"not within {seconds} s; {self.inventory.workloads()} {dict(self.inventory.scopes())}"
                )
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def images(self, namespace: str) -> dict[str, list[str]]:
        return {
            f"{key.kind}/{key.name}": [container.image for container in workload.containers]
            for key, workload in self.inventory.workloads().items()
            if key.namespace == namespace
        }

    async def until_images(self, namespace: str, images: dict[str, list[str]], seconds: float = 2.0) -> None:
        try:
            await self.until(lambda: self.images(namespace) == images, seconds)
        except AssertionError as error:
            raise AssertionError(f"{self.images(namespace)} != {images}") from error

    def restarts(self, kind: str, reason: str) -> float:
        return self.telemetry.watch_restarts.labels(kind, reason)._value.get()


@asynccontextmanager
async def following(kube: Kube | None, *namespaces: str, token: str | None = None, run: bool = True, **more: Any):
    """A cluster that is followed: as the named user, or (without a server) as what the context configure."""
    inventory, telemetry = Remembering(), Telemetry()
    kubeconfig = (kube.kubeconfig(token) if token else kube.kubeconfig()) if kube else None
    async with open_connection(kubeconfig=kubeconfig) as connection:
        cluster = Cluster(
            connection=connection, inventory=inventory, telemetry=telemetry, clock=time.time, namespaces=namespaces, **more
        )  # fmt: skip
        found = Following(inventory, telemetry, connection, cluster)
        if not run:
            yield found
            return
        task = asyncio.create_task(cluster.run())
        try:
            await found.until(lambda: all(s is not ScopeState.PENDING for s in inventory.scopes().values()), 10)
            yield found
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize("kind", KINDS)
async def test_life_cycle(kube: Kube, namespace: str, kind: str) -> None:
    async with following(kube, namespace) as found:
        assert found.inventory.synced() == {namespace: True}
        kube.create(kind, namespace, body(kind))
        await found.until_images(namespace, {f"{kind}/thing": ["mojaloop/central-ledger:v1.0.0"]})
        if kind != "Job":  # a Job's template never changes
            path = IMAGE_PATH.get(kind, "/spec/template/spec/containers/0/image")
            kube.patch(
                kind, namespace, "thing", [{"op": "replace", "path": path, "value": "mojaloop/central-ledger:v1.0.1"}]
            )
            await found.until_images(namespace, {f"{kind}/thing": ["mojaloop/central-ledger:v1.0.1"]})
        found.inventory.take_changes()
        kube.delete(kind, namespace, "thing")
        await found.until_images(namespace, {})
        assert found.inventory.take_changes() == {WorkloadKey(namespace, kind, "thing")}


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "watched"])
async def test_owners(kube: Kube, namespace: str, listed: bool) -> None:
    def create(kind: str, name: str, owners: list[Any], image: str = "a/b:v1.0.0") -> None:
        thing = body(kind, name, image)
        thing["metadata"]["ownerReferences"] = owners
        kube.create(kind, namespace, thing)

    def fill() -> None:
        create("ReplicaSet", "covered", owner("Deployment", "web", "apps/v1"))
        create("ReplicaSet", "rollout-1", owner("Rollout", "web"), "a/b:v1.0.1")
        create("Pod", "covered", owner("ReplicaSet", "covered", "apps/v1"))
        create("Pod", "kafka-0", owner("StrimziPodSet", "kafka"), "a/kafka:1.0.0")
        create("Pod", "kafka-1", owner("StrimziPodSet", "kafka"), "a/kafka:1.0.1")
        create("Job", "covered", owner("CronJob", "nightly", "batch/v1"))
        create("Job", "step", owner("Workflow", "flow"), "a/c:v1.0.0")

    if listed:
        fill()
    async with following(kube, namespace) as found:
        if not listed:
            fill()
        whole = {
            "Rollout/web": ["a/b:v1.0.1"],
            "StrimziPodSet/kafka": ["a/kafka:1.0.0", "a/kafka:1.0.1"],
            "Workflow/flow": ["a/c:v1.0.0"],
        }
        await found.until_images(namespace, whole)
        kube.delete("Pod", namespace, "kafka-0")
        kube.patch("ReplicaSet", namespace, "rollout-1", [{"op": "replace", "path": "/spec/replicas", "value": 0}])
        await found.until_images(namespace, {"StrimziPodSet/kafka": ["a/kafka:1.0.1"], "Workflow/flow": ["a/c:v1.0.0"]})
        kube.patch(
            "Pod",
            namespace,
            "kafka-1",
            [{"op": "add", "path": "/status/phase", "value": "Succeeded"}],
            subresource="/status",
        )
        await found.until_images(namespace, {"Workflow/flow": ["a/c:v1.0.0"]})


async def test_a_finished_job_is_gone(kube: Kube, namespace: str) -> None:
    async with following(kube, namespace) as found:
        kube.create("Job", namespace, body("Job"))
        await found.until(lambda: "Job/thing" in found.images(namespace))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("FailureTarget", "Failed")
        ]  # fmt: skip
        kube.patch(
            "Job",
            namespace,
            "thing",
            [{"op": "add", "path": "/status", "value": {"startTime": now, "conditions": conditions}}],
            subresource="/status",
        )
        await found.until_images(namespace, {})


async def test_excluded_is_not_held(kube: Kube, namespace: str) -> None:
    for name in ("kept", "left-out"):
        kube.create("Deployment", namespace, body("Deployment", name))
    async with following(kube, namespace, exclude=lambda key: key.name == "left-out", run=False) as found:
        await found.cluster.list_once()
        assert list(found.images(namespace)) == ["Deployment/kept"]


async def test_a_list_expires_in_the_middle(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"thing-{i}" for i in range(5)]
    for name in names:
        kube.create("Deployment", namespace, body("Deployment", name))
    monkeypatch.setattr(reflector, "PAGE_ITEMS", 2)
    asked: list[bool] = []
    get = Connection.get

    async def compacting(self: Connection, path: str, **more: Any) -> bytes:
        asked.append("continue" in more["params"])
        if asked[-1] and sum(asked) == 1:
            kube.delete("Deployment", namespace, "thing-0")
            kube.create("Deployment", namespace, body("Deployment", "thing-9"))
            kube.compact()
        return await get(self, path, **more)

    monkeypatch.setattr(Connection, "get", compacting)
    async with following(kube, namespace, kinds=["Deployment"], run=False) as found:
        await found.cluster.list_once()
        assert sorted(found.images(namespace)) == [f"Deployment/thing-{i}" for i in (1, 2, 3, 4, 9)]
    assert asked == [False, True, False, True, True]


async def test_the_api_server_is_away_and_forgets(kube: Kube, namespace: str) -> None:
    for name in ("stays", "goes"):
        kube.create("Deployment", namespace, body("Deployment", name))
    both = {f"Deployment/{name}": ["mojaloop/central-ledger:v1.0.0"] for name in ("stays", "goes")}
    async with following(kube, namespace, kinds=["Deployment", "Pod"]) as found:
        assert found.images(namespace) == both
        kube.create("Deployment", namespace, body("Deployment", "event"))  # the watch has said something: it is resumed
        await found.until(lambda: "Deployment/event" in found.images(namespace))
        kube.delete("Deployment", namespace, "event")
        await found.until_images(namespace, both)
        kube.stop_apiserver()
        try:
            kube.etcd("kv/deleterange", {"key": f"/registry/deployments/{namespace}/goes"})
            kube.compact()
            await found.until(lambda: found.restarts("Deployment", "unreachable") > 0, 30)
            await asyncio.sleep(30)
            assert found.images(namespace) == both
            assert found.inventory.synced() == {namespace: True}
        finally:
            await asyncio.to_thread(kube.start_apiserver)
        await found.until_images(namespace, {"Deployment/stays": both["Deployment/stays"]}, 30)
        assert found.restarts("Deployment", "expired") == 1
        kube.create("Deployment", namespace, body("Deployment", "new"))
        await found.until(lambda: "Deployment/new" in found.images(namespace), 30)


async def test_missing_rights(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKOFF, Reason.FORBIDDEN, (0.1, 0.3))
    kube.create("Deployment", namespace, body("Deployment"))
    kube.create("Job", namespace, body("Job"))
    job_pod = body("Pod", "thing-1")
    job_pod["metadata"]["ownerReferences"] = owner("Job", "thing", "batch/v1")
    kube.create("Pod", namespace, job_pod)
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    verbs = ["get", "list", "watch"]
    rules: list[dict[str, Any]] = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["pods"], "verbs": verbs},
    ]
    kube.request("POST", f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kube.request("POST", f"{rbac}/rolebindings", binding)
    await asyncio.sleep(0.5)  # the authorizer follows by a watch of its own
    async with following(kube, namespace, kinds=["Deployment", "Job", "Pod"], token=READER) as found:
        image = ["mojaloop/central-ledger:v1.0.0"]
        assert found.inventory.scopes()["Job", namespace] is ScopeState.FORBIDDEN
        assert found.inventory.synced() == {namespace: False}
        assert found.images(namespace) == {"Deployment/thing": image}
        assert found.telemetry.forbidden.labels("Job", namespace)._value.get() == 1
        assert found.telemetry.forbidden.labels("Deployment", namespace)._value.get() == 0
        await found.until(lambda: found.restarts("Job", "forbidden") >= 2)
        said = [record for record in caplog.records if "may not list or watch Job" in record.getMessage()]
        assert len(said) == 1
        rules.append({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs})
        kube.request("PUT", f"{rbac}/roles/reader", {"metadata": {"name": "reader"}, "rules": rules})
        await found.until_images(namespace, {"Deployment/thing": image, "Job/thing": image})
        assert found.inventory.synced() == {namespace: True}
        assert found.telemetry.forbidden.labels("Job", namespace)._value.get() == 0


async def test_credentials_are_read_again(kube: Kube, namespace: str) -> None:
    kube.create("Deployment", namespace, body("Deployment"))
    path = kube.kubeconfig()
    right = path.read_text()
    inventory, telemetry = Remembering(), Telemetry()
    path.write_text(right.replace("admin-token", "stale-token"))
    async with open_connection(kubeconfig=path) as connection:
        path.write_text(right)
        cluster = Cluster(
            connection=connection, inventory=inventory, telemetry=telemetry, clock=time.time, namespaces=[namespace]
        )
        found = Following(inventory, telemetry, connection, cluster)
        task = asyncio.create_task(cluster.run())
        try:
            await found.until(lambda: inventory.synced()[namespace], 5)
            assert connection.credentials_generation == 2
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize("listed", [False, True], ids=["watched", "listed"])
async def test_a_pod_made_anew_under_its_name_has_its_new_image(kube: Kube, namespace: str, listed: bool) -> None:
    pod = {"metadata": {"name": "kafka-0", "ownerReferences": owner("StrimziPodSet", "kafka")}}
    kube.create("Pod", namespace, {**pod, "spec": pod_spec("kafka:1.0.0")})
    async with following(kube, namespace, kinds=["Pod"]) as found:
        assert found.images(namespace) == {"StrimziPodSet/kafka": ["kafka:1.0.0"]}
        if listed:
            kube.stop_apiserver()
            await asyncio.to_thread(kube.start_apiserver)
        kube.delete("Pod", namespace, "kafka-0")
        kube.create("Pod", namespace, {**pod, "spec": pod_spec("kafka:1.0.1")})
        await found.until_images(namespace, {"StrimziPodSet/kafka": ["kafka:1.0.1"]}, 20)

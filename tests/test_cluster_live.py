"""The reflectors against a real API server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from exporter.cluster import KINDS, Cluster, open_connection
from exporter.cluster.retries import BACKOFF, Reason
from exporter.inventory import ScopeState
from exporter.telemetry import Telemetry
from tests.support import scenarios
from tests.support.definitions import installed
from tests.support.following import Following, Remembering, following
from tests.support.kube import READER, Kube
from tests.support.workloads import body, owner, pod_spec

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", KINDS)
async def test_life_cycle(kube: Kube, namespace: str, kind: str) -> None:
    with installed(kube, kind):
        await scenarios.life_cycle(kube, namespace, kind)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "watched"])
async def test_owners(kube: Kube, namespace: str, listed: bool) -> None:
    await scenarios.owners(kube, namespace, listed)


async def test_a_finished_job_is_gone(kube: Kube, namespace: str) -> None:
    await scenarios.a_finished_job_is_gone(kube, namespace)


async def test_a_list_expires_in_the_middle(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await scenarios.a_list_expires_in_the_middle(kube, namespace, monkeypatch)


async def test_excluded_is_not_held(kube: Kube, namespace: str) -> None:
    for name in ("kept", "left-out"):
        kube.create("Deployment", namespace, body("Deployment", name))
    async with following(kube, namespace, exclude=lambda key: key.name == "left-out", run=False) as found:
        await found.cluster.list_once()
        assert list(found.images(namespace)) == ["Deployment/kept"]


async def test_the_api_server_is_away_and_forgets(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKOFF, Reason.UNREACHABLE, (0.2, 0.5))
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
            await found.until(lambda: found.restarts("Deployment", "unreachable") >= 10)
            assert found.images(namespace) == both
            assert found.inventory.synced() == {namespace: True}
        finally:
            await asyncio.to_thread(kube.start_apiserver)
        await found.until_images(namespace, {"Deployment/stays": both["Deployment/stays"]})
        assert found.restarts("Deployment", "expired") == 1
        kube.create("Deployment", namespace, body("Deployment", "new"))
        await found.until(lambda: "Deployment/new" in found.images(namespace))


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
    await asyncio.to_thread(kube.until_allowed, f"/apis/apps/v1/namespaces/{namespace}/deployments", token=READER)
    async with following(kube, namespace, kinds=["Deployment", "Job", "Pod"], token=READER) as found:
        image = ["mojaloop/central-ledger:v1.0.0"]
        assert found.inventory.scopes()["Job", namespace] is ScopeState.FORBIDDEN
        assert found.inventory.synced() == {namespace: False}
        assert found.images(namespace) == {"Deployment/thing": image}
        assert found.telemetry.forbidden.labels("Job", namespace)._value.get() == 1
        assert found.telemetry.forbidden.labels("Deployment", namespace)._value.get() == 0
        await found.until(lambda: found.restarts("Job", "forbidden") >= 2)
        said = [record for record in caplog.records if "not permitted to list or watch Job" in record.getMessage()]
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
            await found.until(lambda: inventory.synced()[namespace])
            assert connection.credentials_generation == 2
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize("listed", [False, True], ids=["watched", "listed"])
async def test_a_pod_made_anew_under_its_name_has_its_new_image(kube: Kube, namespace: str, listed: bool) -> None:
    pod = {"metadata": {"name": "kafka-0", "ownerReferences": owner("StrimziPodSet", "kafka")}}
    kube.create("Pod", namespace, {**pod, "spec": pod_spec("kafka:1.0.0")})
    async with following(kube, namespace, kinds=["Pod"]) as found:
        assert found.images(namespace) == {"StrimziPodSet.example.org/kafka": ["kafka:1.0.0"]}
        if listed:
            kube.stop_apiserver()
            await asyncio.to_thread(kube.start_apiserver)
        kube.delete("Pod", namespace, "kafka-0")
        kube.create("Pod", namespace, {**pod, "spec": pod_spec("kafka:1.0.1")})
        await found.until_images(namespace, {"StrimziPodSet.example.org/kafka": ["kafka:1.0.1"]}, 20)

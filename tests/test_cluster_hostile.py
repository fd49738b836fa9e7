"""What authors of workloads may put into a cluster to stop or blind an exporter, on a real API server."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.error
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exporter.cluster import Connection, aggregator
from exporter.cluster.paging import PAGE_BYTES
from exporter.cluster.reflector import PUT_TOGETHER
from exporter.cluster.retries import BACKOFF, Reason
from exporter.limits import Limit
from exporter.workloads import WorkloadKey
from tests.support.definitions import installed
from tests.support.following import following
from tests.support.kube import READER, Kube
from tests.support.rights import permit
from tests.support.workloads import body, owner

pytestmark = pytest.mark.anyio

NOTE = "image-patch.mojaloop.io/exclude-tags"
GOOD = {"Deployment/good": ["mojaloop/central-ledger:v1.0.0"]}


def create(kube: Kube, namespace: str, kind: str, *documents: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda document: kube.create(kind, namespace, document), documents))


def with_containers(name: str, count: int) -> dict[str, Any]:
    document = body("Deployment", name)
    document["spec"]["template"]["spec"]["containers"] = [
        {"name": f"c{number}", "image": f"a/b:v1.0.{number}"} for number in range(count)
    ]
    return document


async def test_a_deployment_of_too_many_containers_is_refused_and_the_others_are_judged(
    kube: Kube, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    create(
        kube, namespace, "Deployment", with_containers("hostile", Limit.CONTAINERS.most + 1), body("Deployment", "good")
    )
    async with following(kube, namespace, kinds=["Deployment"]) as found:
        assert found.images(namespace) == {"Deployment/hostile": ["a/b:v1.0.0"], **GOOD}
        hostile = WorkloadKey(namespace, "Deployment", "hostile")
        assert found.inventory.workloads()[hostile].limit_exceeded
        assert f"{hostile} is not judged" in caplog.text
        kube.patch("Deployment", namespace, "hostile", [{"op": "remove", "path": "/spec/template/spec/containers/0"}])
        await found.until(lambda: not found.inventory.workloads()[hostile].limit_exceeded)
        assert len(found.inventory.workloads()[hostile].containers) == Limit.CONTAINERS.most


async def test_annotations_of_many_kilobytes_are_not_held(kube: Kube, namespace: str) -> None:
    hostile = body("Deployment", "hostile")
    annotations = {f"{NOTE}.c{number}": "x" * 250 for number in range(200)}
    hostile["spec"]["template"]["metadata"]["annotations"] = annotations
    create(kube, namespace, "Deployment", hostile, body("Deployment", "good"))
    async with following(kube, namespace, kinds=["Deployment"]) as found:
        workload = found.inventory.workloads()[WorkloadKey(namespace, "Deployment", "hostile")]
        assert workload.limit_exceeded
        assert workload.annotations == ()
        assert GOOD.items() <= found.images(namespace).items()


async def test_pods_of_250_kilobytes_are_read_in_small_pages(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = [body("Pod", f"pod-{number}") for number in range(100)]
    for pod in pods:
        pod["metadata"]["annotations"] = {"note": "x" * 250_000}
    create(kube, namespace, "Pod", *pods)
    create(kube, namespace, "Deployment", body("Deployment", "good"))
    sizes: list[int] = []
    get = Connection.get

    @asynccontextmanager
    async def measured(self: Connection, path: str, **more: Any) -> AsyncIterator[Any]:
        async with get(self, path, **more) as answer:
            if "limit" in more.get("params", {}) and path.endswith("/pods"):
                sizes.append(len(answer))
            yield answer

    monkeypatch.setattr(Connection, "get", measured)
    async with following(kube, namespace, kinds=["Pod", "Deployment"]) as found:
        assert len(found.images(namespace)) == 101
        first, *others = sizes
        assert first <= Limit.ANSWER.most
        # The server sends its size only after we asked for a number of objects.
        assert max(others) <= PAGE_BYTES * 1.1
        assert found.telemetry.limits_exceeded.labels(Limit.ANSWER.label)._value.get() == 0


async def test_many_pods_of_one_owner_are_merged_a_few_times(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, merged = 500, []
    merge = aggregator.merge

    def counted(parts: Any) -> Any:
        merged.append(len(parts))
        return merge(parts)

    monkeypatch.setattr(aggregator, "merge", counted)
    pods = [body("Pod", f"kafka-{number}", f"a/kafka:v1.0.{number % 2}") for number in range(count)]
    for pod in pods:
        pod["metadata"]["ownerReferences"] = owner("StrimziPodSet", "kafka")
    create(kube, namespace, "Pod", *pods)
    both = {"StrimziPodSet.example.org/kafka": ["a/kafka:v1.0.0", "a/kafka:v1.0.1"]}
    async with following(kube, namespace, kinds=["Pod"]) as found:
        assert found.images(namespace) == both
        assert merged == [2] * (count // PUT_TOGETHER + 1)
        await asyncio.to_thread(_delete, kube, namespace, range(0, count, 2))
        await found.until_images(namespace, {"StrimziPodSet.example.org/kafka": ["a/kafka:v1.0.1"]}, 20)
        assert max(merged) == 2


def _delete(kube: Kube, namespace: str, numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: kube.delete("Pod", namespace, f"kafka-{number}"), numbers))


async def test_a_custom_resource_that_nests_deep_hides_no_other(kube: Kube, namespace: str) -> None:
    hostile = body("Rollout", "hostile")
    hostile["spec"]["more"] = "DEEP"
    with installed(kube, "Rollout"):
        create(kube, namespace, "Rollout", body("Rollout", "good"))
        async with following(kube, namespace, kinds=["Rollout"]) as found:
            levels = await asyncio.to_thread(_create_deep, kube, namespace, hostile)
            assert levels >= 1_000, "deeper than a recursive decoder goes"
            everything = {f"Rollout/{name}": ["mojaloop/central-ledger:v1.0.0"] for name in ("good", "hostile")}
            await found.until_images(namespace, everything, 10)
            assert found.restarts("Rollout", "bad_answer") == 0
        async with following(kube, namespace, kinds=["Rollout"]) as found:
            assert found.images(namespace) == everything
            assert found.telemetry.unexpected_errors.labels("cluster")._value.get() == 0


def _create_deep(kube: Kube, namespace: str, document: dict[str, Any]) -> int:
    """Create a custom resource with as many levels as the API server accepts, and return how many."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
    for levels in (9_000, 4_000, 2_000, 1_000):
        text = json.dumps(document).replace('"DEEP"', '{"a":' * levels + "1" + "}" * levels)
        try:
            kube.request("POST", path, text=text, raw=True)
        except urllib.error.HTTPError as error:
            error.close()
        else:
            return levels
    return 0


async def test_pods_of_a_replication_controller_count_where_we_may_not_read_it(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="exporter")
    monkeypatch.setitem(BACKOFF, Reason.FORBIDDEN, (0.1, 0.2))
    controllers = {"alone": [], "config-1": owner("DeploymentConfig", "config", "apps.openshift.io/v1")}
    for name, by in controllers.items():
        controller = body("ReplicationController", name, f"a/{name}:v1.0.1")
        controller["metadata"]["ownerReferences"] = by
        pod = body("Pod", f"{name}-x", f"a/{name}:v1.0.0")
        pod["metadata"]["ownerReferences"] = owner("ReplicationController", name, "v1")
        create(kube, namespace, "ReplicationController", controller)
        create(kube, namespace, "Pod", pod)
    kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Job", "Pod"]
    permit(kube, namespace, *kinds)
    async with following(kube, namespace, token=READER) as found:
        await found.until(lambda: found.inventory.synced() == {namespace: True})
        pods = {f"ReplicationController/{name}": [f"a/{name}:v1.0.0"] for name in controllers}
        await found.until_images(namespace, pods, 10)
        permit(kube, namespace, *kinds, "ReplicationController")
        templates = {
            "ReplicationController/alone": ["a/alone:v1.0.1"],
            "DeploymentConfig/config": ["a/config-1:v1.0.1"],
        }
        await found.until_images(namespace, templates, 10)

"""Scenarios that every API server must pass with our client, the real one and the demo's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exporter.cluster import Connection, paging
from exporter.workloads import WorkloadKey
from tests.support.following import following
from tests.support.kube import Kube
from tests.support.workloads import IMAGE_PATH, body, owner


async def life_cycle(kube: Kube, namespace: str, kind: str) -> None:
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


async def owners(kube: Kube, namespace: str, listed: bool) -> None:
    def create(kind: str, name: str, owners: list[Any], image: str = "a/b:v1.0.0") -> None:
        thing = body(kind, name, image)
        thing["metadata"]["ownerReferences"] = owners
        kube.create(kind, namespace, thing)

    def fill() -> None:
        create("ReplicaSet", "covered", owner("Deployment", "web", "apps/v1"))
        create("ReplicaSet", "rollout-1", owner("Rollout", "web", "argoproj.io/v1alpha1"), "a/b:v1.0.1")
        create("ReplicaSet", "rollout-2", owner("Rollout", "web"), "a/d:v1.0.0")
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
            "Rollout/web": ["a/b:v1.0.1"],  # Argo's, which is not installed
            "Rollout.example.org/web": ["a/d:v1.0.0"],
            "StrimziPodSet.example.org/kafka": ["a/kafka:1.0.0", "a/kafka:1.0.1"],
            "Workflow.example.org/flow": ["a/c:v1.0.0"],
        }
        await found.until_images(namespace, whole)
        kube.delete("Pod", namespace, "kafka-0")
        for name in ("rollout-1", "rollout-2"):
            kube.patch("ReplicaSet", namespace, name, [{"op": "replace", "path": "/spec/replicas", "value": 0}])
        flow = {"Workflow.example.org/flow": ["a/c:v1.0.0"]}
        await found.until_images(namespace, {"StrimziPodSet.example.org/kafka": ["a/kafka:1.0.1"], **flow})
        kube.patch(
            "Pod",
            namespace,
            "kafka-1",
            [{"op": "add", "path": "/status/phase", "value": "Succeeded"}],
            subresource="/status",
        )
        await found.until_images(namespace, flow)


async def a_finished_job_is_gone(kube: Kube, namespace: str) -> None:
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


async def a_list_expires_in_the_middle(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"thing-{i}" for i in range(5)]
    for name in names:
        kube.create("Deployment", namespace, body("Deployment", name))
    monkeypatch.setattr(paging, "PAGE_ITEMS", 2)
    asked: list[bool] = []
    get = Connection.get

    @asynccontextmanager
    async def compacting(self: Connection, path: str, **more: Any) -> AsyncIterator[bytes]:
        asked.append("continue" in more["params"])
        if asked[-1] and sum(asked) == 1:
            kube.delete("Deployment", namespace, "thing-0")
            kube.create("Deployment", namespace, body("Deployment", "thing-9"))
            kube.compact()
        async with get(self, path, **more) as answer:
            yield answer

    monkeypatch.setattr(Connection, "get", compacting)
    async with following(kube, namespace, kinds=["Deployment"], run=False) as found:
        await found.cluster.list_once()
        assert sorted(found.images(namespace)) == [f"Deployment/thing-{i}" for i in (1, 2, 3, 4, 9)]
    assert asked == [False, True, False, True, True]

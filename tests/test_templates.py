"""From objects to workloads: pure tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.cluster.aggregator import ObjectRef, WorkloadAggregator
from exporter.cluster.decode import Object, decode_object
from exporter.cluster.templates import is_covered, merge, to_workload, workload_key
from exporter.inventory import Inventory, ScopeState
from exporter.workloads import Container, ContainerType, Manager, Workload, WorkloadKey


def thing(**fields: Any) -> Object:
    metadata = {"name": "thing", "namespace": "ns", **fields.pop("metadata", {})}
    return decode_object(json.dumps({"metadata": metadata, **fields}).encode())


def owned(kind: str, api_version: str, *, controller: bool = True) -> dict[str, Any]:
    return {
        "ownerReferences": [
            {"kind": kind, "name": "boss", "apiVersion": api_version, "uid": "1", "controller": controller}
        ]
    }


TEMPLATE = {
    "spec": {
        "initContainers": [{"name": "wait", "image": "w:1.0.0"}],
        "containers": [{"name": "a", "image": "a:1.0.0"}, {"name": "b"}],
    }
}
CONTAINERS = (
    Container("wait", ContainerType.INIT_CONTAINER, "w:1.0.0", 0),
    Container("a", ContainerType.CONTAINER, "a:1.0.0", 0),
    Container("b", ContainerType.CONTAINER, "", 1),
)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"template": TEMPLATE, "replicas": 0}),
        ("StatefulSet", {"template": TEMPLATE}),
        ("DaemonSet", {"template": TEMPLATE}),
        ("ReplicaSet", {"template": TEMPLATE, "replicas": 1}),
        ("Job", {"template": TEMPLATE}),
        ("CronJob", {"jobTemplate": {"spec": {"template": TEMPLATE}}}),
        ("Pod", TEMPLATE["spec"]),
    ],
)
def test_containers(kind: str, spec: dict[str, Any]) -> None:
    assert to_workload(kind, thing(spec=spec)) == Workload(key=WorkloadKey("ns", kind, "thing"), containers=CONTAINERS)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"template": None},
        {"template": {"spec": None}},
        {"template": {"metadata": None, "spec": {"containers": None}}},
    ],
)
def test_nothing_in_it(spec: Any) -> None:
    workload = to_workload(
        "Deployment", thing(spec=spec, metadata={"labels": None, "annotations": None, "ownerReferences": None})
    )
    assert workload == Workload(key=WorkloadKey("ns", "Deployment", "thing"), containers=())


@pytest.mark.parametrize(
    ("kind", "metadata", "covered", "key"),
    [
        ("Pod", {}, False, "Pod/thing"),
        ("Pod", owned("Node", "v1"), False, "Pod/thing"),
        ("Pod", owned("ReplicaSet", "apps/v1"), True, None),
        ("Pod", owned("ReplicaSet", "apps/v1", controller=False), False, "Pod/thing"),
        ("Pod", owned("Job", "batch/v1"), True, None),
        ("Pod", owned("StatefulSet", "apps/v1"), True, None),
        ("Pod", owned("DaemonSet", "apps/v1"), True, None),
        ("Pod", owned("Job", "batch.volcano.sh/v1alpha1"), False, "Job/boss"),
        ("Pod", owned("StrimziPodSet", "core.strimzi.io/v1beta2"), False, "StrimziPodSet/boss"),
        ("Pod", owned("ReplicationController", "v1"), False, "ReplicationController/boss"),
        ("ReplicaSet", {}, False, "ReplicaSet/thing"),
        ("ReplicaSet", owned("Deployment", "apps/v1"), True, None),
        ("ReplicaSet", owned("Rollout", "argoproj.io/v1alpha1"), False, "Rollout/boss"),
        ("Job", owned("CronJob", "batch/v1"), True, None),
        ("Job", owned("Workflow", "argoproj.io/v1alpha1"), False, "Workflow/boss"),
        ("Deployment", owned("Prometheus", "monitoring.coreos.com/v1"), False, "Deployment/thing"),
    ],
)
def test_owners(kind: str, metadata: dict[str, Any], covered: bool, key: str | None) -> None:
    it = thing(metadata=metadata, spec={})
    assert is_covered(kind, it.metadata) is covered
    workload = to_workload(kind, it)
    if key is None:
        assert workload is None
    else:
        assert workload is not None
        assert workload.key == workload_key(kind, it.metadata) == WorkloadKey("ns", *key.split("/"))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Job", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
        ("Job", {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}),
        ("Pod", {"status": {"phase": "Succeeded"}}),
        ("Pod", {"status": {"phase": "Failed"}}),
        ("ReplicaSet", {"spec": {"replicas": 0}}),
    ],
)
def test_over(kind: str, fields: dict[str, Any]) -> None:
    assert to_workload(kind, thing(**fields)) is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            "Job",
            {
                "status": {
                    "conditions": [{"type": "Complete", "status": "False"}, {"type": "Suspended", "status": "True"}]
                }
            },
        ),
        ("Job", {"status": {"conditions": None}}),
        ("Pod", {"status": {"phase": "Running"}}),
        ("Pod", {"status": {"phase": "Pending"}}),
    ],
)
def test_not_over(kind: str, fields: dict[str, Any]) -> None:
    assert to_workload(kind, thing(**fields)) is not None


ARGO_LABEL = {"argocd.argoproj.io/instance": "hub"}
HELM = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "ml", "meta.helm.sh/release-namespace": "apps"},
}
FLUX_HELM = {"helm.toolkit.fluxcd.io/name": "ml", "helm.toolkit.fluxcd.io/namespace": "flux"}
FLUX_KUSTOMIZE = {"kustomize.toolkit.fluxcd.io/name": "ml", "kustomize.toolkit.fluxcd.io/namespace": "flux"}


@pytest.mark.parametrize(
    ("metadata", "manager"),
    [
        ({}, None),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, None),
        ({"labels": {"app.kubernetes.io/managed-by": "hand"}, "annotations": HELM["annotations"]}, None),
        (HELM, ("helm", "apps/ml")),
        (
            {"labels": {**HELM["labels"], **FLUX_HELM}, "annotations": HELM["annotations"]},
            ("flux", "HelmRelease flux/ml"),
        ),
        ({"labels": FLUX_KUSTOMIZE}, ("flux", "Kustomization flux/ml")),
        ({"labels": {**HELM["labels"], **ARGO_LABEL}, "annotations": HELM["annotations"]}, ("argocd", "hub")),
        (
            {"labels": FLUX_HELM, "annotations": {"argocd.argoproj.io/tracking-id": "hub:apps/Deployment:ns/thing"}},
            ("argocd", "hub"),
        ),
        ({"labels": ARGO_LABEL, **owned("Prometheus", "monitoring.coreos.com/v1")}, ("operator", "Prometheus/boss")),
        (owned("Prometheus", "monitoring.coreos.com/v1", controller=False), None),
    ],
)
def test_manager(metadata: dict[str, Any], manager: tuple[str, str] | None) -> None:
    workload = to_workload("StatefulSet", thing(metadata=metadata))
    assert workload is not None
    assert workload.manager == (Manager(*manager) if manager else None)


def test_what_a_foreign_kind_controls_says_nothing_of_who_manages_that() -> None:
    workload = to_workload("Pod", thing(metadata={**HELM, **owned("StrimziPodSet", "core.strimzi.io/v1")}))
    assert workload is not None
    assert workload.manager is None


@pytest.mark.parametrize(
    ("kind", "generation", "status", "incomplete"),
    [
        ("Deployment", 1, {}, False),
        ("Deployment", 1, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}, False),
        ("Deployment", 1, {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 1}, True),
        ("Deployment", 1, {"observedGeneration": 1, "replicas": 1}, True),
        ("Deployment", 2, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}, True),
        ("Deployment", 2, {"observedGeneration": 1}, False),
        ("StatefulSet", 1, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2}, True),
        ("StatefulSet", 1, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}, False),
        ("DaemonSet", 1, {"observedGeneration": 1, "currentNumberScheduled": 2, "updatedNumberScheduled": 1}, True),
        ("DaemonSet", 1, {"observedGeneration": 1, "currentNumberScheduled": 2, "updatedNumberScheduled": 2}, False),
        ("ReplicaSet", 1, {"observedGeneration": 1, "replicas": 3}, False),
    ],
)
def test_rollout_incomplete(kind: str, generation: int, status: dict[str, Any], incomplete: bool) -> None:
    workload = to_workload(kind, thing(metadata={"generation": generation}, status=status))
    assert workload is not None
    assert workload.rollout_incomplete is incomplete


def test_annotations_are_the_templates() -> None:
    ours, other = (
        {"image-patch.mojaloop.io/strategy": "minor", "image-patch.mojaloop.io/ignore": "true"},
        {"other": "x"},
    )
    kept = (("image-patch.mojaloop.io/ignore", "true"), ("image-patch.mojaloop.io/strategy", "minor"))
    workload = to_workload("Deployment", thing(metadata={"annotations": ours}, spec={"template": {}}))
    assert workload is not None
    assert workload.annotations == ()
    workload = to_workload("Deployment", thing(spec={"template": {"metadata": {"annotations": {**ours, **other}}}}))
    assert workload is not None
    assert workload.annotations == kept
    workload = to_workload("Pod", thing(), pod_annotations={**ours, **other})
    assert workload is not None
    assert workload.annotations == kept


KEY = WorkloadKey("ns", "StrimziPodSet", "kafka")


def part(*images: str, key: WorkloadKey = KEY) -> Workload:
    return Workload(
        key=key,
        containers=tuple(Container(f"c{i}", ContainerType.CONTAINER, image, i) for i, image in enumerate(images)),
    )


def test_merge() -> None:
    old, new = part("a:1.0.0", "b:1.0.0"), part("a:1.0.1", "b:1.0.0")
    assert merge([old]) is old
    assert merge([old, new]) == merge([new, old, new])
    assert [container.image for container in merge([old, new]).containers] == ["a:1.0.0", "a:1.0.1", "b:1.0.0"]


def test_shares() -> None:
    inventory = Inventory()
    aggregator = WorkloadAggregator(inventory)
    first, second = ObjectRef("Pod", "ns", "kafka-0"), ObjectRef("Pod", "ns", "kafka-1")
    aggregator.put(first, part("a:1.0.0"))
    aggregator.put(second, part("a:1.0.1"))
    assert [c.image for c in inventory.workloads()[KEY].containers] == ["a:1.0.0", "a:1.0.1"]
    assert inventory.take_changes() == {KEY}
    aggregator.put(first, part("a:1.0.0"))
    aggregator.put(ObjectRef("Pod", "ns", "nobody"), None)
    assert inventory.take_changes() == set()
    other = WorkloadKey("ns", "Pod", "kafka-0")  # recreated under the same name, without an owner
    aggregator.put(first, part("a:1.0.0", key=other))
    assert {key: len(workload.containers) for key, workload in inventory.workloads().items()} == {KEY: 1, other: 1}
    aggregator.put(second, None)
    assert list(inventory.workloads()) == [other]
    assert inventory.take_changes() == {KEY, other}
    assert aggregator.get(second) is None
    assert aggregator.get(first) == part("a:1.0.0", key=other)


def test_scopes() -> None:
    inventory = Inventory()
    assert inventory.synced() == {}
    inventory.set_scope("Job", "a", ScopeState.PENDING)
    inventory.set_scope("Pod", "a", ScopeState.SYNCED)
    inventory.set_scope("Pod", "b", ScopeState.SYNCED)
    assert inventory.synced() == {"a": False, "b": True}
    inventory.changed.clear()
    inventory.set_scope("Pod", "b", ScopeState.SYNCED)
    inventory.remove(KEY)
    assert not inventory.changed.is_set()
    inventory.set_scope("Job", "a", ScopeState.SYNCED)
    assert inventory.changed.is_set()
    inventory.set_scope("Pod", "b", ScopeState.FORBIDDEN)
    assert inventory.synced() == {"a": True, "b": False}

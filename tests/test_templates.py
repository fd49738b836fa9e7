"""From objects to workloads: pure tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exporter.cluster.decode import Object
from exporter.cluster.templates import is_covered, merge, to_workloads, workload_keys
from exporter.kinds import KINDS
from exporter.workloads import Manager, Workload, WorkloadKey
from tests.support.objects import CONTAINERS, TEMPLATE, part, refers, thing


def to_workload(kind: str, it: Object, **more: Any) -> Workload | None:
    """The only part of an object that counts for one workload, or None."""
    parts = to_workloads(KINDS[kind], it, **more)
    assert len(parts) <= 1
    return parts[0] if parts else None


def owned(kind: str, api_version: str, *, controller: bool = True) -> dict[str, Any]:
    return {
        "ownerReferences": [
            {"kind": kind, "name": "boss", "apiVersion": api_version, "uid": "1", "controller": controller}
        ]
    }


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"template": TEMPLATE, "replicas": 0}),
        ("StatefulSet", {"template": TEMPLATE}),
        ("DaemonSet", {"template": TEMPLATE}),
        ("ReplicaSet", {"template": TEMPLATE, "replicas": 1}),
        ("Job", {"template": TEMPLATE}),
        ("CronJob", {"jobTemplate": {"spec": {"template": TEMPLATE}}}),
        ("ReplicationController", {"template": TEMPLATE, "replicas": 1}),
        ("Rollout", {"template": TEMPLATE, "replicas": 0}),
        ("DeploymentConfig", {"template": TEMPLATE}),
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
        ("Pod", owned("Job", "batch.volcano.sh/v1alpha1"), False, "Job.batch.volcano.sh/boss"),
        ("Pod", owned("StatefulSet", "apps.kruise.io/v1beta1"), False, "StatefulSet.apps.kruise.io/boss"),
        ("Pod", owned("StrimziPodSet", "core.strimzi.io/v1beta2"), False, "StrimziPodSet.core.strimzi.io/boss"),
        ("Pod", owned("Deployment", "x.io/v1"), False, "Deployment.x.io/boss"),
        ("Pod", owned("Deployment", "v1"), False, "Pod/thing"),
        ("Pod", owned("Special", "v1"), False, "Special/boss"),
        ("Pod", owned("Node", "metal.example.org/v1"), False, "Node.metal.example.org/boss"),
        ("Pod", owned("ReplicationController", "v1"), False, "ReplicationController/boss"),
        ("Pod", owned("Rollout", "argoproj.io/v2"), False, "Rollout/boss"),
        ("ReplicaSet", {}, False, "ReplicaSet/thing"),
        ("ReplicaSet", owned("Deployment", "apps/v1"), True, None),
        ("ReplicaSet", owned("Rollout", "argoproj.io/v1alpha1"), False, "Rollout/boss"),
        ("Job", owned("CronJob", "batch/v1"), True, None),
        ("ReplicaSet", owned("Rollout", "example.org/v1"), False, "Rollout.example.org/boss"),
        ("ReplicaSet", owned("Rollout", "v1"), False, "ReplicaSet/thing"),
        ("Job", owned("Workflow", "argoproj.io/v1alpha1"), False, "Workflow.argoproj.io/boss"),
        ("Rollout", owned("Application", "example.org/v1"), False, "Rollout/thing"),
        ("Deployment", owned("Prometheus", "monitoring.coreos.com/v1"), False, "Deployment/thing"),
    ],
)
def test_owners(kind: str, metadata: dict[str, Any], covered: bool, key: str | None) -> None:
    it = thing(metadata=metadata, spec={"template": TEMPLATE})
    assert is_covered(KINDS[kind], it.metadata) is covered
    workload = to_workload(kind, it)
    if key is None:
        assert workload is None
    else:
        assert workload is not None
        assert (workload.key,) == workload_keys(KINDS[kind], it.metadata) == (WorkloadKey("ns", *key.split("/")),)
        assert workload.declared is (key == f"{kind}/thing")


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
        (
            {"labels": ARGO_LABEL, **owned("Prometheus", "monitoring.coreos.com/v1")},
            ("operator", "Prometheus.monitoring.coreos.com/boss"),
        ),
        (owned("Prometheus", "v1"), ("operator", "Prometheus/boss")),
        (owned("Prometheus", "monitoring.coreos.com/v1", controller=False), None),
    ],
)
def test_manager(metadata: dict[str, Any], manager: tuple[str, str] | None) -> None:
    workload = to_workload("StatefulSet", thing(metadata=metadata))
    assert workload is not None
    assert workload.manager == (Manager(*manager) if manager else None)


@pytest.mark.parametrize(
    "hostile", ["<!channel> <https://evil.example|notes>", "x\ny", "```kubectl delete ns x```", "a" * 254]
)
@pytest.mark.parametrize(
    ("manager", "metadata"),
    [
        (
            "argocd",
            lambda text: {"annotations": {"argocd.argoproj.io/tracking-id": f"{text}:apps/Deployment:ns/thing"}},
        ),
        ("argocd", lambda text: {"labels": {"argocd.argoproj.io/instance": text}}),
        ("flux", lambda text: {"labels": {"helm.toolkit.fluxcd.io/name": text}}),
        ("flux", lambda text: {"labels": {"kustomize.toolkit.fluxcd.io/name": text}}),
        (
            "helm",
            lambda text: {
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": text},
            },
        ),
        (
            "operator",
            lambda text: {"ownerReferences": [{"kind": "Kafka", "name": text, "uid": "1", "controller": True}]},
        ),
    ],
    ids=["tracking id", "instance label", "HelmRelease", "Kustomization", "release", "owner"],
)
def test_a_source_that_is_not_a_name_is_published_empty_and_its_manager_stays(
    manager: str, metadata: Callable[[str], dict[str, Any]], hostile: str
) -> None:
    workload = to_workload("Deployment", thing(spec={"template": TEMPLATE}, metadata=metadata(hostile)))
    assert workload is not None
    assert workload.manager == Manager(manager, "")


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
        ("DeploymentConfig", 1, {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 1}, True),
        ("DeploymentConfig", 1, {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}, False),
        ("Rollout", 1, {"observedGeneration": "1", "replicas": 3, "updatedReplicas": 3, "currentPodHash": "a"}, False),
        ("Rollout", 1, {"observedGeneration": "1", "replicas": 3, "stableRS": "a", "currentPodHash": "a"}, False),
        # Blue-green keeps the old pods for a while after everything has switched over.
        (
            "Rollout",
            1,
            {"observedGeneration": "1", "replicas": 6, "updatedReplicas": 3, "stableRS": "b", "currentPodHash": "b"},
            False,
        ),
        # A canary that is paused, or was aborted.
        (
            "Rollout",
            1,
            {"observedGeneration": "1", "replicas": 4, "updatedReplicas": 1, "stableRS": "a", "currentPodHash": "b"},
            True,
        ),
        ("Rollout", 2, {"observedGeneration": "1", "replicas": 3, "stableRS": "a", "currentPodHash": "a"}, True),
        ("Rollout", 2, {"observedGeneration": "1", "stableRS": "a", "currentPodHash": "a"}, False),
        # Before version 0.10 it was a hash.
        ("Rollout", 2, {"observedGeneration": "6d7f", "replicas": 3}, False),
        ("Rollout", 2, {"observedGeneration": "9" * 30, "replicas": 3}, False),
    ],
)
def test_rollout_incomplete(kind: str, generation: int, status: dict[str, Any], incomplete: bool) -> None:
    workload = to_workload(kind, thing(metadata={"generation": generation}, spec={"template": TEMPLATE}, status=status))
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


def test_merge() -> None:
    old, new = part("a:1.0.0", "b:1.0.0"), part("a:1.0.1", "b:1.0.0")
    assert merge([old]) is old
    assert merge([old, new]) == merge([new, old, new])
    assert [container.image for container in merge([old, new]).containers] == ["a:1.0.0", "a:1.0.1", "b:1.0.0"]


@pytest.mark.parametrize("spec", [None, {}, {"template": None}])
def test_an_optional_kind_without_a_template_is_judged_by_what_it_controls(spec: Any) -> None:
    assert to_workload("Rollout", thing(spec=spec)) is None
    assert to_workload("DeploymentConfig", thing(spec=spec)) is None


@pytest.mark.parametrize(
    "reference",
    [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"},
        {"apiVersion": "v1", "kind": "PodTemplate", "name": "web"},
        {"apiVersion": "x.io/v1", "kind": "Deployment", "name": "web"},
        {},
    ],
)
def test_a_rollout_that_refers_to_anything_else_is_judged_by_what_it_controls(reference: dict[str, str]) -> None:
    assert to_workloads(KINDS["Rollout"], refers(**reference)) == ()


def test_a_replication_controller_counts_for_its_deployment_config_and_covers_its_pods() -> None:
    own, key = WorkloadKey("ns", "ReplicationController", "thing"), WorkloadKey("ns", "DeploymentConfig", "boss")
    it = {"metadata": owned("DeploymentConfig", "apps.openshift.io/v1"), "spec": {"template": TEMPLATE}}
    covering = Workload(key=own, containers=())
    parts = to_workloads(KINDS["ReplicationController"], thing(**it))
    assert parts == (Workload(key=key, containers=CONTAINERS, declared=False), covering)
    it["spec"] = {"template": TEMPLATE, "replicas": 0}
    assert to_workloads(KINDS["ReplicationController"], thing(**it)) == (covering,)
    assert to_workloads(KINDS["ReplicationController"], thing(spec=it["spec"])) == (covering,)


def test_the_containers_of_image_change_triggers_are_known_by_name() -> None:
    triggers = [
        {"type": "ConfigChange"},
        {"type": "ImageChange", "imageChangeParams": {"automatic": True, "containerNames": ["b", "a"]}},
        {"type": "ImageChange", "imageChangeParams": {"containerNames": ["a", "c"]}},
        {"type": "ImageChange", "imageChangeParams": {"containerNames": None}},
        {"type": "ImageChange"},
    ]
    workload = to_workload("DeploymentConfig", thing(spec={"template": TEMPLATE, "triggers": triggers}))
    assert workload is not None
    assert workload.image_triggers == ("a", "b"), "the template has no container c"
    assert workload.containers == CONTAINERS

"""The table of kinds: paths, names and what identifies a workload."""

from __future__ import annotations

import pytest

from exporter.kinds import KINDS, find, published
from exporter.workloads import is_kind


@pytest.mark.parametrize(
    ("kind", "path", "resource", "pod_spec"),
    [
        ("Deployment", "/apis/apps/v1/deployments", "deployment", "/spec/template/spec"),
        ("CronJob", "/apis/batch/v1/cronjobs", "cronjob", "/spec/jobTemplate/spec/template/spec"),
        ("Pod", "/api/v1/pods", "pod", "/spec"),
        ("ReplicationController", "/api/v1/replicationcontrollers", "replicationcontroller", "/spec/template/spec"),
        ("Rollout", "/apis/argoproj.io/v1alpha1/rollouts", "rollout.argoproj.io", "/spec/template/spec"),
        (
            "DeploymentConfig",
            "/apis/apps.openshift.io/v1/deploymentconfigs",
            "deploymentconfig.apps.openshift.io",
            "/spec/template/spec",
        ),
    ],
)
def test_where_a_kind_is(kind: str, path: str, resource: str, pod_spec: str) -> None:
    row = KINDS[kind]
    assert (row.path("*"), row.resource, row.pod_spec) == (path, resource, pod_spec)
    root, plural = path.rsplit("/", 1)
    assert row.path("hub") == f"{root}/namespaces/hub/{plural}"


@pytest.mark.parametrize(
    ("kind", "api_version", "name"),
    [
        ("Deployment", "apps/v1", "Deployment"),
        ("Deployment", "apps/v1beta1", "Deployment"),
        ("Deployment", "x.io/v1", "Deployment.x.io"),
        ("Rollout", "argoproj.io/v1alpha1", "Rollout"),
        ("Rollout", "argoproj.io/v2", "Rollout"),
        ("Rollout", "apps/v1", "Rollout.apps"),
        ("DeploymentConfig", "apps.openshift.io/v1", "DeploymentConfig"),
        ("StatefulSet", "apps.kruise.io/v1beta1", "StatefulSet.apps.kruise.io"),
        ("StrimziPodSet", "core.strimzi.io/v1beta2", "StrimziPodSet.core.strimzi.io"),
        ("ReplicationController", "v1", "ReplicationController"),
        ("Node", "v1", "Node"),
    ],
)
def test_a_kind_of_the_table_has_a_short_name_and_any_other_its_group(kind: str, api_version: str, name: str) -> None:
    assert published(kind, api_version) == name
    assert is_kind(name)
    assert (find(kind, api_version) is None) is (name not in KINDS)


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if row.group])
def test_the_core_group_has_none_of_the_other_groups_kinds(kind: str) -> None:
    with pytest.raises(LookupError):
        published(kind, "v1")


@pytest.mark.parametrize(
    "text", ["", "job", "Job.", "Job.Batch", "Job.batch$", "Job.batch\n", "Job batch", ".x.io", f"J.{'a' * 254}"]
)
def test_what_is_not_a_kind(text: str) -> None:
    assert not is_kind(text)

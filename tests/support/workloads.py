"""Workloads that the API server accepts, one small body for each kind."""

from __future__ import annotations

from typing import Any


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
        "ReplicationController": {"selector": labels, "template": template, "replicas": 2},
        "Rollout": {**selected, "strategy": {"canary": {}}},
        "DeploymentConfig": {"selector": labels, "template": template, "triggers": [{"type": "ConfigChange"}]},
    }[kind]
    document = {"metadata": {"name": name}, "spec": spec}
    # The API server requires apiVersion and kind for custom resources.
    return {"apiVersion": VERSIONS[kind], "kind": kind, **document} if kind in VERSIONS else document


VERSIONS = {"Rollout": "argoproj.io/v1alpha1", "DeploymentConfig": "apps.openshift.io/v1"}


IMAGE_PATH = {
    "CronJob": "/spec/jobTemplate/spec/template/spec/containers/0/image",
    "Pod": "/spec/containers/0/image",
}


def owner(kind: str, name: str, api_version: str = "example.org/v1") -> list[dict[str, Any]]:
    return [{"apiVersion": api_version, "kind": kind, "name": name, "uid": "1-2-3", "controller": True}]

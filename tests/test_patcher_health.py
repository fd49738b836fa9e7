"""The status of each kind, and what it says about a rollout."""

import msgspec
import pytest

from exporter.patcher.health import Verdict, health
from exporter.patcher.objects import decode_workload

DEPLOYMENT = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
STATEFUL = {**DEPLOYMENT, "currentRevision": "a", "updateRevision": "a"}
DAEMON = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}


def verdict(kind, spec=None, *, generation=2, observed=2, **status):
    workload = {
        "metadata": {"name": "x", "namespace": "hub", "uid": "u", "resourceVersion": "9", "generation": generation},
        "spec": {"replicas": 3, **(spec or {})},
        "status": {"observedGeneration": observed, **status},
    }
    return health(kind, decode_workload(msgspec.json.encode(workload))).verdict.value


def condition(type_, status):
    return [{"type": type_, "status": status, "reason": "Because", "message": "it is so"}]


def partition(number):
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "expected"),
    [
        ("Deployment", {}, DEPLOYMENT, "healthy"),
        ("Deployment", {}, {**DEPLOYMENT, "updatedReplicas": 2}, "progressing"),
        ("Deployment", {}, {**DEPLOYMENT, "availableReplicas": 2}, "progressing"),
        ("Deployment", {}, {**DEPLOYMENT, "replicas": 4}, "progressing"),
        ("Deployment", {}, {}, "progressing"),
        ("Deployment", {"replicas": 0}, {}, "healthy"),
        ("Deployment", {}, {**DEPLOYMENT, "conditions": condition("Progressing", "True")}, "healthy"),
        ("Deployment", {}, {**DEPLOYMENT, "conditions": condition("Progressing", "False")}, "failed"),
        ("Deployment", {}, {**DEPLOYMENT, "conditions": condition("ReplicaFailure", "True")}, "failed"),
        ("Deployment", {}, {"conditions": condition("ReplicaFailure", "False")}, "progressing"),
        ("StatefulSet", {}, STATEFUL, "healthy"),
        ("StatefulSet", {}, {**STATEFUL, "availableReplicas": 2}, "progressing"),
        ("StatefulSet", {}, {**STATEFUL, "updatedReplicas": 2}, "progressing"),
        ("StatefulSet", {}, {**STATEFUL, "updateRevision": "b"}, "progressing"),
        ("StatefulSet", partition(2), {**STATEFUL, "updatedReplicas": 1, "updateRevision": "b"}, "healthy"),
        ("StatefulSet", partition(2), {**STATEFUL, "updatedReplicas": 0, "updateRevision": "b"}, "progressing"),
        ("StatefulSet", partition(0), {**STATEFUL, "updatedReplicas": 2}, "progressing"),
        ("StatefulSet", {}, {**STATEFUL, "conditions": condition("Progressing", "False")}, "healthy"),
        ("DaemonSet", {}, DAEMON, "healthy"),
        ("DaemonSet", {}, {**DAEMON, "updatedNumberScheduled": 2}, "progressing"),
        ("DaemonSet", {}, {**DAEMON, "numberAvailable": 2}, "progressing"),
        ("CronJob", {}, {}, "healthy"),
    ],
)
def test_the_verdict_of_a_status(kind, spec, status, expected):
    assert verdict(kind, spec, **status) == expected


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("more", [{}, {"conditions": condition("Progressing", "False")}])
def test_a_status_about_an_older_generation_says_nothing(kind, more):
    found = {**DEPLOYMENT, **STATEFUL, **DAEMON, **more}
    assert verdict(kind, generation=3, observed=2, **found) == Verdict.PROGRESSING

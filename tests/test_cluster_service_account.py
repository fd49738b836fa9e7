"""As a pod with a service account, and no more rights than docs/permissions.md asks for."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import incluster_config

from exporter.cluster import KINDS
from exporter.cluster.retries import BACKOFF, Reason
from exporter.inventory import ScopeState
from tests.support.definitions import installed
from tests.support.following import following
from tests.support.kube import Kube
from tests.support.workloads import body, owner

pytestmark = pytest.mark.anyio

# By group, what is listed and watched, and what is read one by one as well: docs/permissions.md.
LISTED = {
    "": ["pods", "replicationcontrollers"],
    "apps": ["deployments", "statefulsets", "daemonsets", "replicasets"],
    "batch": ["cronjobs", "jobs"],
    "argoproj.io": ["rollouts"],
    "apps.openshift.io": ["deploymentconfigs"],
}
READ = {"": ["pods", "replicationcontrollers"], "apps": ["replicasets"]}
RBAC = "rbac.authorization.k8s.io"


class Account:
    """A service account in a namespace, as a pod finds it."""

    def __init__(self, kube: Kube, namespace: str, file: Path) -> None:
        self.kube, self.namespace, self.file = kube, namespace, file
        kube.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "exporter"}})

    def may(self, *namespaces: str, without: str = "") -> None:
        """Give it these rights in some namespaces, by a ClusterRole that is bound there."""
        listed, read = (
            [
                {"apiGroups": [group], "resources": [name for name in names if name != without], "verbs": verbs}
                for group, names in rights.items()
            ]
            for rights, verbs in ((LISTED, ["list", "watch"]), (READ, ["get"]))
        )
        role = f"exporter-{self.namespace}"
        rules = {"metadata": {"name": role}, "rules": listed + read}
        self.kube.request("POST", f"/apis/{RBAC}/v1/clusterroles", rules)
        binding = {
            "metadata": {"name": "exporter"},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "exporter", "namespace": self.namespace}],
        }
        for namespace in namespaces:
            self.kube.request("POST", f"/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings", binding)
        end = time.monotonic() + 60  # the authorizer follows by a watch of its own
        while not all(self.status(f"/api/v1/namespaces/{namespace}/pods") == 200 for namespace in namespaces):
            assert time.monotonic() < end
            time.sleep(0.05)

    def token(self, **spec: Any) -> str:
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer = self.kube.request(
            "POST",
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/exporter/token",
            {**request, "spec": {"expirationSeconds": 600, **spec}},
        )
        self.file.write_text(answer["status"]["token"])
        return answer["status"]["token"]

    def status(self, path: str, token: str | None = None) -> int:
        try:
            self.kube.request("GET", path, token=token or self.token())
        except urllib.error.HTTPError as error:
            return error.code
        return 200


@pytest.fixture
def every_kind(kube: Kube) -> Iterator[None]:
    """The optional kinds, installed."""
    with installed(kube):
        yield


@pytest.fixture
def account(kube: Kube, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A service account without rights, and what its pod would find."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(kube.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(kube.certificates / "apiserver.crt"))
    account = Account(kube, namespace, tmp_path / "token")
    account.token()
    return account


def owned(kind: str, name: str, by: list[dict[str, Any]]) -> dict[str, Any]:
    document = body(kind, name)
    document["metadata"]["ownerReferences"] = by
    return document


@pytest.mark.usefixtures("every_kind")
async def test_the_rights_of_the_readme_in_two_namespaces_are_enough_there(
    kube: Kube, namespace: str, account: Account
) -> None:
    other, forbidden = f"{namespace}-b", f"{namespace}-c"
    for name in (other, forbidden):
        kube.namespace(name)
    account.may(namespace, other)
    for place in (namespace, other, forbidden):
        for kind in KINDS:
            kube.create(kind, place, body(kind))
        kube.create("ReplicaSet", place, owned("ReplicaSet", "rollout", owner("Rollout", "web")))
        kube.create("Pod", place, owned("Pod", "kafka-0", owner("StrimziPodSet", "kafka")))
    whole = {f"{kind}/thing" for kind in KINDS} | {"Rollout.example.org/web", "StrimziPodSet.example.org/kafka"}
    async with following(None, namespace, other) as found:
        assert found.inventory.synced() == {namespace: True, other: True}
        assert set(found.images(namespace)) == set(found.images(other)) == whole
        kube.create("Pod", other, owned("Pod", "zoo-0", owner("StrimziPodSet", "zoo")))
        await found.until(lambda: "StrimziPodSet.example.org/zoo" in found.images(other))
    async with following(None, namespace, forbidden) as found:
        assert found.inventory.synced() == {namespace: True, forbidden: False}
        assert set(found.images(namespace)) == whole
        assert not found.images(forbidden)
    async with following(None) as found:
        assert found.inventory.synced() == {"*": False}, "a role in a namespace is none for the cluster"


async def test_an_api_server_that_starts_anew_is_not_taken_for_missing_rights(
    kube: Kube, namespace: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.may(namespace)
    kube.create("Deployment", namespace, body("Deployment"))
    async with following(None, namespace) as found:
        for number in range(3):  # for some milliseconds it refuses everybody: it has not read the roles yet
            kube.stop_apiserver()
            await asyncio.to_thread(kube.start_apiserver)
            name = f"after-{number}"
            kube.create("Deployment", namespace, body("Deployment", name))
            await found.until(lambda name=name: f"Deployment/{name}" in found.images(namespace))
        assert ScopeState.FORBIDDEN not in found.inventory.states
    assert "may not" not in caplog.text


async def test_a_token_that_is_no_good_any_more_is_read_again(kube: Kube, namespace: str, account: Account) -> None:
    account.may(namespace)
    kube.request("POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "bound"}})
    old = account.token(boundObjectRef={"kind": "Secret", "apiVersion": "v1", "name": "bound"})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    async with following(None, namespace) as found:
        assert found.inventory.synced() == {namespace: True}
        kube.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/bound")
        await found.until(lambda: account.status(pods, old) == 401, 60)  # the API server remembers a token for 10 s
        kube.create("Pod", namespace, owned("Pod", "kafka-0", owner("StrimziPodSet", "kafka")))
        await found.until(lambda: found.restarts("Pod", "unauthorized") >= 2)
        assert found.inventory.synced() == {namespace: True}, "what is known stays"
        new = account.token()
        await found.until(lambda: "StrimziPodSet.example.org/kafka" in found.images(namespace))
        assert new != old
        assert found.connection.credentials_generation >= 3


@pytest.mark.usefixtures("every_kind")
async def test_without_rights_for_jobs_all_but_jobs_works_and_is_said_once(
    kube: Kube, namespace: str, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="exporter")
    monkeypatch.setitem(BACKOFF, Reason.FORBIDDEN, (0.1, 0.2))
    account.may(namespace, without="jobs")
    for kind in KINDS:
        kube.create(kind, namespace, body(kind))
    kube.create("Pod", namespace, owned("Pod", "of-a-job", owner("Job", "thing", "batch/v1")))
    judged = {f"{kind}/thing" for kind in KINDS if kind != "Job"}
    async with following(None, namespace) as found:
        assert set(found.images(namespace)) == judged, "nothing is guessed from a Job's pods"
        await found.until(lambda: found.restarts("Job", "forbidden") >= 5)
        assert found.inventory.synced() == {namespace: False}
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(said) == 1
        assert "not permitted to list or watch Job in" in said[0]
        assert account.file.read_text() not in caplog.text
        kube.create("Deployment", namespace, body("Deployment", "later"))
        await found.until(lambda: "Deployment/later" in found.images(namespace))
    async with following(None, namespace, kinds=[kind for kind in KINDS if kind != "Job"]) as found:
        assert found.inventory.synced() == {namespace: True}
        assert set(found.images(namespace)) == judged | {"Deployment/later"}

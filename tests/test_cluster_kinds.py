"""Kinds that a cluster may or may not have, and kinds that only have the same name, on a real API server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from exporter.cluster import KINDS, ClusterError
from exporter.cluster.retries import BACKOFF, Reason
from exporter.inventory import ScopeState
from exporter.workloads import WorkloadKey
from tests.support.definitions import CUSTOM, install, installed, uninstall
from tests.support.following import following
from tests.support.kube import READER, Kube
from tests.support.rights import permit
from tests.support.workloads import body, owner, pod_spec

pytestmark = pytest.mark.anyio

BUILT_IN = [kind for kind in KINDS if kind not in (*CUSTOM, "ReplicationController")]
IMAGE = "/spec/template/spec/containers/0/image"
OLD, NEW = "mojaloop/ledger:v1.0.0", "mojaloop/ledger:v1.0.1"
ARGO, OPENSHIFT = "argoproj.io/v1alpha1", "apps.openshift.io/v1"


def owned(kind: str, name: str, image: str, by: list[dict[str, Any]]) -> dict[str, Any]:
    document = body(kind, name, image)
    document["metadata"]["ownerReferences"] = by
    return document


@pytest.mark.parametrize("kind", CUSTOM)
async def test_a_kind_is_found_once_it_is_installed_and_gone_once_it_is_removed(
    kube: Kube, namespace: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="exporter")
    async with following(kube, namespace, recheck=0.1) as found:
        assert found.inventory.synced() == {namespace: True}, "what is not installed is not waited for"
        assert {kind for kind, _ in found.inventory.scopes()} == {*BUILT_IN, "ReplicationController"}
        assert found.telemetry.forbidden.labels(kind, namespace)._value.get() == 0
        await asyncio.to_thread(install, kube, kind)
        try:
            kube.create(kind, namespace, body(kind, image=OLD))
            await found.until_images(namespace, {f"{kind}/thing": [OLD]})
            assert found.inventory.scopes()[kind, namespace] is ScopeState.SYNCED
            kube.patch(kind, namespace, "thing", [{"op": "replace", "path": IMAGE, "value": NEW}])
            await found.until_images(namespace, {f"{kind}/thing": [NEW]})
        finally:
            await asyncio.to_thread(uninstall, kube, kind)
        await found.until_images(namespace, {})
        await found.until(lambda: (kind, namespace) not in found.inventory.scopes())
        assert found.inventory.synced() == {namespace: True}
        assert found.restarts(kind, "not_installed") == 0, "nothing is wrong"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([record for record in caplog.records if f"{kind} in" in record.message]) == 2, "once each time"


@pytest.mark.parametrize("kind", CUSTOM)
async def test_a_kind_that_the_configuration_names_has_to_be_there(
    kube: Kube, namespace: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    kube.create("Deployment", namespace, body("Deployment", image=OLD))
    async with following(kube, namespace, kinds=["Deployment", kind], recheck=0.1) as found:
        assert found.inventory.scopes()[kind, namespace] is ScopeState.NOT_INSTALLED
        assert found.inventory.synced() == {namespace: False}
        assert found.images(namespace) == {"Deployment/thing": [OLD]}
        await found.until(lambda: found.restarts(kind, "not_installed") >= 2)
        said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(said) == 1
        assert f"cannot find {kind} in namespace {namespace}" in said[0]
        with installed(kube, kind):
            await found.until(lambda: found.inventory.synced() == {namespace: True})
        await found.until(lambda: found.inventory.synced() == {namespace: False})


async def test_a_kind_that_is_forbidden_is_judged_by_what_it_controls_until_rights_are_given(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKOFF, Reason.FORBIDDEN, (0.1, 0.2))
    permit(kube, namespace, *BUILT_IN)
    with installed(kube, "Rollout"):
        kube.create("Rollout", namespace, body("Rollout", "web", NEW))
        kube.create("ReplicaSet", namespace, owned("ReplicaSet", "web-1", OLD, owner("Rollout", "web", ARGO)))
        async with following(kube, namespace, token=READER) as found:
            await found.until(lambda: found.inventory.synced() == {namespace: True})
            await found.until_images(namespace, {"Rollout/web": [OLD]})
            assert not found.inventory.workloads()[WorkloadKey(namespace, "Rollout", "web")].declared
            for kind, forbidden in (("Rollout", 1), ("ReplicationController", 1), ("ReplicaSet", 0)):
                assert found.telemetry.forbidden.labels(kind, namespace)._value.get() == forbidden
            assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
            permit(kube, namespace, *BUILT_IN, "Rollout")
            await found.until_images(namespace, {"Rollout/web": [NEW]})
            assert found.inventory.workloads()[WorkloadKey(namespace, "Rollout", "web")].declared
            assert found.telemetry.forbidden.labels("Rollout", namespace)._value.get() == 0
            permit(kube, namespace, *BUILT_IN)
            # A watch goes on after rights went; the next one is refused.
            kube.stop_apiserver()
            await asyncio.to_thread(kube.start_apiserver)
            await found.until_images(namespace, {"Rollout/web": [OLD]})
            assert found.inventory.synced() == {namespace: True}


async def test_a_forbidden_kind_that_the_configuration_names_is_waited_for(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKOFF, Reason.FORBIDDEN, (0.1, 0.2))
    permit(kube, namespace, "Deployment")
    with installed(kube, "Rollout"):
        kube.create("Rollout", namespace, body("Rollout", "web", NEW))
        async with following(kube, namespace, kinds=["Deployment", "Rollout"], token=READER) as found:
            await found.until(lambda: found.inventory.scopes()["Deployment", namespace] is ScopeState.SYNCED)
            assert found.inventory.scopes()["Rollout", namespace] is ScopeState.FORBIDDEN
            assert found.inventory.synced() == {namespace: False}
            assert "not permitted to list or watch Rollout" in caplog.text
            permit(kube, namespace, "Deployment", "Rollout")
            await found.until_images(namespace, {"Rollout/web": [NEW]})
            assert found.inventory.synced() == {namespace: True}


async def test_listing_once_leaves_out_what_is_not_installed_and_fails_for_other_reasons(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kube.create("Deployment", namespace, body("Deployment", image=OLD))
    async with following(kube, namespace, run=False) as found:
        await found.cluster.list_once()
        assert found.inventory.synced() == {namespace: True}
        assert found.images(namespace) == {"Deployment/thing": [OLD]}
    async with following(kube, namespace, kinds=["Deployment", "Rollout"], run=False) as found:
        await found.cluster.list_once()
        assert found.inventory.scopes()["Rollout", namespace] is ScopeState.NOT_INSTALLED
    monkeypatch.setattr(type(kube), "kubeconfig", _at_a_wrong_path(kube))
    async with following(kube, namespace, run=False) as found:
        with pytest.raises(ClusterError, match="cannot list Deployment in namespace"):
            await found.cluster.list_once()


def _at_a_wrong_path(kube: Kube) -> Any:
    """What an address with a path too much looks like: everything is 404, built-in kinds too."""
    path = kube.kubeconfig()
    wrong = path.with_name("wrong.json")
    wrong.write_text(path.read_text().replace(kube.url, f"{kube.url}/cluster"))
    return lambda _self: wrong


async def test_a_rollout_is_judged_by_its_template_and_its_replica_sets_are_not_counted_too(
    kube: Kube, namespace: str
) -> None:
    with installed(kube, "Rollout"):
        async with following(kube, namespace) as found:
            kube.create("Rollout", namespace, body("Rollout", "web", NEW))
            kube.create("ReplicaSet", namespace, owned("ReplicaSet", "web-1", OLD, owner("Rollout", "web", ARGO)))
            kube.create("Pod", namespace, owned("Pod", "web-1-a", OLD, owner("ReplicaSet", "web-1", "apps/v1")))
            await found.until_images(namespace, {"Rollout/web": [NEW]})
            key = WorkloadKey(namespace, "Rollout", "web")
            for stable, incomplete in (("old", True), ("new", False)):
                status = {"observedGeneration": "1", "replicas": 2, "stableRS": stable, "currentPodHash": "new"}
                operation = {"op": "add", "path": "/status", "value": status}
                kube.patch("Rollout", namespace, "web", [operation], subresource="/status")
                await found.until(lambda i=incomplete: found.inventory.workloads()[key].rollout_incomplete is i)
            assert found.inventory.rollouts[key][-2:] == [True, False]
            # What it controls goes a little later, as the garbage collector is slower than we are.
            kube.delete("Rollout", namespace, "web")
            await found.until_images(namespace, {"Rollout/web": [OLD]})
            kube.delete("ReplicaSet", namespace, "web-1")
            await found.until_images(namespace, {})


async def test_a_rollout_that_refers_to_a_deployment_is_published_as_the_deployment(kube: Kube, namespace: str) -> None:
    deployment = body("Deployment", "web", OLD)
    deployment["spec"]["replicas"] = 0
    rollout = body("Rollout", "canary")
    rollout["spec"] = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "replicas": 3}
    with installed(kube, "Rollout"):
        kube.create("Rollout", namespace, rollout)
        kube.create("ReplicaSet", namespace, owned("ReplicaSet", "canary-1", OLD, owner("Rollout", "canary", ARGO)))
        kube.create("Deployment", namespace, deployment)
        async with following(kube, namespace) as found:
            await found.until_images(namespace, {"Deployment/web": [OLD]})
            kube.patch("Deployment", namespace, "web", [{"op": "replace", "path": IMAGE, "value": NEW}])
            await found.until_images(namespace, {"Deployment/web": [NEW]})
            key = WorkloadKey(namespace, "Deployment", "web")
            assert not found.inventory.workloads()[key].rollout_incomplete
            status = {"observedGeneration": "1", "replicas": 3, "stableRS": "old", "currentPodHash": "new"}
            operation = {"op": "add", "path": "/status", "value": status}
            kube.patch("Rollout", namespace, "canary", [operation], subresource="/status")
            await found.until(lambda: found.inventory.workloads()[key].rollout_incomplete)
            kube.patch("Rollout", namespace, "canary", [{"op": "remove", "path": "/status"}], subresource="/status")
            await found.until(lambda: not found.inventory.workloads()[key].rollout_incomplete)
            kube.delete("Rollout", namespace, "canary")
            await found.until_images(namespace, {"Deployment/web": [NEW], "Rollout/canary": [OLD]})


async def test_pods_of_a_deployment_config_are_followed_through_their_replication_controller(
    kube: Kube, namespace: str
) -> None:
    def fill(name: str, image: str) -> None:
        by = owner("DeploymentConfig", "ledger", OPENSHIFT)
        kube.create("ReplicationController", namespace, owned("ReplicationController", name, image, by))
        kube.create("Pod", namespace, owned("Pod", f"{name}-a", image, owner("ReplicationController", name, "v1")))

    fill("ledger-1", OLD)
    kube.create("ReplicationController", namespace, body("ReplicationController", "bare", OLD))
    pod = owned("Pod", "bare-a", OLD, owner("ReplicationController", "bare", "v1"))
    kube.create("Pod", namespace, pod)
    async with following(kube, namespace, recheck=0.1) as found:
        bare = {"ReplicationController/bare": [OLD]}
        await found.until_images(namespace, {**bare, "DeploymentConfig/ledger": [OLD]})
        with installed(kube, "DeploymentConfig"):
            kube.create("DeploymentConfig", namespace, body("DeploymentConfig", "ledger", NEW))
            await found.until_images(namespace, {**bare, "DeploymentConfig/ledger": [NEW]})
            fill("ledger-2", NEW)
            scale = [{"op": "replace", "path": "/spec/replicas", "value": 0}]
            kube.patch("ReplicationController", namespace, "ledger-1", scale)
            kube.delete("Pod", namespace, "ledger-1-a")
            await asyncio.sleep(0.5)
            await found.until_images(namespace, {**bare, "DeploymentConfig/ledger": [NEW]})
        await found.until_images(namespace, {**bare, "DeploymentConfig/ledger": [NEW]})
    # As with a role from before there was such a kind.
    kinds = [kind for kind in BUILT_IN if kind != "Job"]
    async with following(kube, namespace, kinds=kinds) as found:
        known = {**bare, "ReplicationController/ledger-2": [NEW]}
        await found.until_images(namespace, known)


async def test_a_foreign_deployment_does_not_hide_the_real_one_of_its_name(kube: Kube, namespace: str) -> None:
    path = "/apis/x.io/v1"
    install(kube, "Deployment", path)
    try:
        foreign = {"apiVersion": "x.io/v1", "kind": "Deployment", "metadata": {"name": "ledger"}, "spec": {}}
        made = kube.request("POST", f"{path}/namespaces/{namespace}/deployments", foreign)
        by = [{**owner("Deployment", "ledger", "x.io/v1")[0], "uid": made["metadata"]["uid"]}]
        kube.create("Pod", namespace, owned("Pod", "ledger-0", NEW, by))
        kube.create("Deployment", namespace, body("Deployment", "ledger", OLD))
        async with following(kube, namespace) as found:
            both = {"Deployment/ledger": [OLD], "Deployment.x.io/ledger": [NEW]}
            await found.until_images(namespace, both)
            kube.patch("Deployment", namespace, "ledger", [{"op": "replace", "path": IMAGE, "value": NEW}])
            await found.until_images(namespace, {**both, "Deployment/ledger": [NEW]})
            kube.delete("Deployment", namespace, "ledger")
            await found.until_images(namespace, {"Deployment.x.io/ledger": [NEW]})
    finally:
        uninstall(kube, "Deployment", path)


async def test_a_custom_resource_that_makes_no_sense_hides_no_other(
    kube: Kube, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    senseless = body("Rollout", "senseless")
    senseless["spec"]["template"] = {"spec": {"containers": {"image": 5}}}
    with installed(kube, "Rollout"):
        kube.create("Rollout", namespace, senseless)
        kube.create("Rollout", namespace, body("Rollout", "web", OLD))
        kube.create("ReplicaSet", namespace, owned("ReplicaSet", "s-1", OLD, owner("Rollout", "senseless", ARGO)))
        async with following(kube, namespace) as found:
            await found.until_images(namespace, {"Rollout/web": [OLD], "Rollout/senseless": [OLD]})
            assert found.inventory.synced() == {namespace: True}
            assert f"cannot read Rollout {namespace}/senseless" in caplog.text
            operation = {"op": "replace", "path": "/spec/template", "value": {"spec": pod_spec(NEW)}}
            kube.patch("Rollout", namespace, "senseless", [operation])
            await found.until_images(namespace, {"Rollout/web": [OLD], "Rollout/senseless": [NEW]})
            operation["value"] = {"spec": {"containers": [{"name": 5}]}}
            kube.patch("Rollout", namespace, "senseless", [operation])
            await found.until_images(namespace, {"Rollout/web": [OLD], "Rollout/senseless": [OLD]})

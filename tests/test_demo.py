"""The stand-ins hold the complete release."""

import pytest

from exporter.demo import release, stand_ins
from exporter.demo.objects import apply_json_patch
from exporter.images import Repository, parse
from exporter.reasons import Reason
from exporter.registry import DEFAULT_ENTRIES, RegistryClient, RegistryError
from exporter.telemetry import Telemetry
from tests.support.stand_in import following

pytestmark = pytest.mark.anyio


async def test_the_whole_release_runs_there():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        workloads = found.inventory.workloads()
        images = {c.image for w in workloads.values() for c in w.containers}
        for image in release.RELEASE:
            name = image.partition(":")[0]
            assert any(i.startswith(f"mojaloop/{name}:") for i in images), name
        assert len(release.RELEASE) == 22
        assert sum(k.name.startswith("moja-centralledger") for k in workloads) == 15
        assert {k.kind for k in workloads} == {
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "CronJob",
            "Job",
            "Pod",
            "StrimziPodSet.core.strimzi.io",
        }
        managers = {w.manager.name for w in workloads.values() if w.manager}
        assert managers == {"helm", "argocd", "flux"}
        assert not any(w.rollout_incomplete for w in workloads.values())


async def test_every_running_tag_is_known_to_its_registry():
    held = release.tags()
    async with (
        stand_ins() as there,
        following(there.kubeconfig) as found,
        RegistryClient(there.registries, telemetry=Telemetry()) as client,
    ):
        for workload in found.inventory.workloads().values():
            for container in workload.containers:
                reference = parse(container.image)
                if reference.repository.registry == "docker.redpanda.com":
                    continue  # the one that is not allowed
                assert reference.tag in held[str(client.lookup_repository(reference.repository))], container.image
        ledger = Repository("docker.io", "mojaloop/central-ledger")
        answer = await client.tags(ledger)
        # Docker Hub lists one that is not a tag by the OCI grammar; nothing can run it.
        assert held[str(ledger)].keys() - set(answer.names) == {"tags/v5.1.1-hotfix.1"}
        assert len(answer.names) > 600, "several pages"
        assert await client.created(ledger, "v19.13.2") == held[str(ledger)]["v19.13.2"]
        assert (
            await client.created(Repository("quay.io", "cilium/cilium"), "v1.20.1")
            == held["quay.io/cilium/cilium"]["v1.20.1"]
        )
        assert [p.name for p in there.registries] == [p.name for p in DEFAULT_ENTRIES]
        with pytest.raises(RegistryError) as failure:  # it is contacted, and it is ours
            await client.tags(Repository("registry.k8s.io", "pause"))
        assert failure.value.reason is Reason.NOT_FOUND


async def test_a_patch_a_deletion_and_a_compaction_are_seen():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        thing = there.cluster.get("deployments", "mojaloop", "moja-simulator")
        path = "/spec/template/spec/containers/0/image"
        there.cluster.put(
            apply_json_patch(thing, [{"op": "replace", "path": path, "value": "mojaloop/simulator:v12.3.7"}])
        )
        await found.until(
            lambda: found.images("mojaloop")["Deployment/moja-simulator"] == ["mojaloop/simulator:v12.3.7"]
        )
        there.cluster.remove("deployments", "mojaloop", "moja-simulator")
        await found.until(lambda: "Deployment/moja-simulator" not in found.images("mojaloop"))
        assert not any("moja-simulator" in pod["metadata"]["name"] for pod in there.cluster.of("pods"))
        there.cluster.forget()
        there.cluster.put(thing)
        await found.until(lambda: "Deployment/moja-simulator" in found.images("mojaloop"))

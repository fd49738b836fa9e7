"""The stand-ins are faithful, the release is all there, and `demo` shows it and ends."""

import contextlib
import re
import subprocess
import sys
import urllib.request

import pytest

from exporter.cluster import Cluster, open_connection
from exporter.demo import release, stand_ins
from exporter.demo.cluster import StandInCluster, apply_json_patch
from exporter.images import Repository
from exporter.inventory import Inventory
from exporter.registry import DEFAULT_POLICIES, RegistryClient
from exporter.telemetry import Telemetry
from tests.kube import need
from tests.test_cluster_live import Following, owner

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def following(kubeconfig, *namespaces):
    """The production client on a cluster."""
    import asyncio

    inventory, telemetry = Inventory(), Telemetry()
    async with open_connection(kubeconfig=kubeconfig) as connection:
        cluster = Cluster(
            connection=connection, inventory=inventory, telemetry=telemetry, clock=lambda: 0.0, namespaces=namespaces
        )
        task = asyncio.create_task(cluster.run())
        try:
            found = Following(inventory, telemetry, connection, cluster)
            await found.until(lambda: all(inventory.synced().values()), 10)
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_the_whole_release_runs_there():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        workloads = found.inventory.workloads()
        images = {c.image for w in workloads.values() for c in w.containers}
        for image in release.RELEASE.split():
            name = image.partition(":")[0]
            assert any(i.startswith(f"mojaloop/{name}:") for i in images), name
        assert len(release.RELEASE.split()) == 22
        assert sum(k.name.startswith("moja-centralledger") for k in workloads) == 15
        assert {k.kind for k in workloads} == {
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "CronJob",
            "Job",
            "Pod",
            "StrimziPodSet",
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
        from exporter.images import parse

        for workload in found.inventory.workloads().values():
            for container in workload.containers:
                reference = parse(container.image)
                if reference.repository.registry == "docker.redpanda.com":
                    continue  # the one that is not allowed
                assert reference.tag in held[str(client.lookup_repository(reference.repository))], container.image
        ledger = Repository("docker.io", "mojaloop/central-ledger")
        answer = await client.tags(ledger)
        assert set(answer.names) == set(held[str(ledger)]) & set(answer.names)
        assert len(answer.names) > 600, "several pages"
        assert await client.created(ledger, "v19.13.2") == held[str(ledger)]["v19.13.2"]
        assert (
            await client.created(Repository("quay.io", "cilium/cilium"), "v1.20.1")
            == held["quay.io/cilium/cilium"]["v1.20.1"]
        )
        assert {p.name for p in there.registries} <= {p.name for p in DEFAULT_POLICIES}


async def test_a_patch_a_deletion_and_a_compaction_are_seen():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        deployments = there.cluster._objects["deployments"]
        thing = deployments["mojaloop", "moja-simulator"]
        path = "/spec/template/spec/containers/0/image"
        await there.cluster.put(
            apply_json_patch(thing, [{"op": "replace", "path": path, "value": "mojaloop/simulator:v12.3.7"}])
        )
        await found.until(
            lambda: found.images("mojaloop")["Deployment/moja-simulator"] == ["mojaloop/simulator:v12.3.7"]
        )
        await there.cluster.remove("deployments", "mojaloop", "moja-simulator")
        await found.until(lambda: "Deployment/moja-simulator" not in found.images("mojaloop"))
        assert not any("moja-simulator" in name for _, name in there.cluster._objects["pods"])
        await there.cluster.forget()
        await there.cluster.put(thing)
        await found.until(lambda: "Deployment/moja-simulator" in found.images("mojaloop"), 5)


async def test_a_watch_that_is_behind_is_gone():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        watcher = next(w for w in found.cluster._watchers if w.kind == "Deployment")
        await there.cluster.forget()
        watcher._version = "1"
        reasons = [found.restarts("Deployment", "expired")]
        from exporter.cluster import ApiError

        with pytest.raises(ApiError, match="410"):
            await watcher._watch()
        assert reasons == [0.0]


def test_a_json_patch_holds_whole_or_not_at_all():
    document = {"a": [{"b": 1}], "x/y": 2}
    done = apply_json_patch(
        document,
        [{"op": "test", "path": "/x~1y", "value": 2}, {"op": "add", "path": "/a/-", "value": 3}, {"op": "replace", "path": "/a/0/b", "value": 4}, {"op": "remove", "path": "/x~1y"}],
    )  # fmt: skip
    assert done == {"a": [{"b": 4}, 3]}
    assert document == {"a": [{"b": 1}], "x/y": 2}
    for bad in (
        {"op": "test", "path": "/a", "value": 0},
        {"op": "replace", "path": "/none", "value": 0},
        {"op": "move", "path": "/a"},
    ):
        with pytest.raises((ValueError, LookupError)):
            apply_json_patch(document, [bad])


async def test_the_stand_in_and_a_real_api_server_are_read_alike(kube, namespace, tmp_path):
    from exporter.demo import serving

    documents = [d for d in release.workloads() if d["metadata"]["namespace"] in ("mojaloop", "backing")]
    stand_in = StandInCluster()
    plain = []
    for number, document in enumerate(documents):
        metadata = {**document["metadata"], "namespace": namespace, "name": f"{document['metadata']['name']}-{number}"}
        if document["kind"] == "Pod" and "ownerReferences" in metadata:
            metadata["ownerReferences"] = owner("StrimziPodSet", "hub-kafka")
        plain.append({**document, "metadata": metadata})
    for document in plain:
        kube.create(document["kind"], namespace, _admissible(document))
        await stand_in.put(document)
    async with serving(stand_in.app) as address:
        stand_in.write_kubeconfig(tmp_path / "kubeconfig", address)
        async with (
            following(tmp_path / "kubeconfig", namespace) as ours,
            following(kube.kubeconfig(), namespace) as theirs,
        ):

            def read(found):
                # No controller acts on the real one, so that its status says nothing of rollouts.
                return {k: (w.containers, w.annotations, w.manager) for k, w in found.inventory.workloads().items()}

            assert read(ours) == read(theirs)
            assert len(read(ours)) > 50


def _admissible(document):
    """What a real API server insists on and nobody here reads."""
    if document["kind"] == "Job":
        template = document["spec"]["template"]
        spec = {"template": {"metadata": template["metadata"], "spec": {**template["spec"], "restartPolicy": "Never"}}}
        return {**document, "spec": spec}
    if document["kind"] == "CronJob":
        job = document["spec"]["jobTemplate"]["spec"]["template"]
        spec = {"template": {"spec": {**job["spec"], "restartPolicy": "Never"}}}
        return {**document, "spec": {**document["spec"], "jobTemplate": {"spec": spec}}}
    if document["kind"] == "StatefulSet":
        return {**document, "spec": {**document["spec"], "serviceName": "x"}}
    return document


async def test_kubectl_works_on_the_stand_in():
    import asyncio

    (kubectl,) = need("kubectl")
    async with stand_ins() as there:

        async def run(*arguments):
            command = [str(kubectl), "--kubeconfig", str(there.kubeconfig), *arguments]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
            )
            return done.returncode, done.stdout + done.stderr

        status, said = await run("get", "deployments")
        assert (status, "moja-centralledger-service" in said) == (0, True), said
        path = "/spec/template/spec/containers/0/image"
        operations = f'[{{"op":"test","path":"{path}","value":"mojaloop/simulator:v12.3.6"}},{{"op":"replace","path":"{path}","value":"mojaloop/simulator:v12.3.7"}}]'
        patch = ("patch", "deployment/moja-simulator", "--type", "json", "--patch", operations)
        assert (await run(*patch))[0] == 0
        assert (await run(*patch))[0] == 1
        assert (await run("delete", "deployment/moja-simulator", "--wait=false"))[0] == 0


def test_the_command_shows_the_findings_and_ends():
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("mojaloop/central-ledger:v19.12.3"))
    assert row.split()[1:3] == ["v19.12.8", "5"]
    assert "93 containers checked; 26 miss a patch" in done.stdout
    assert re.search(r"metrics +http://127.0.0.1:\d+/metrics", done.stdout)
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_stays_until_it_is_told_to_end():
    import os
    import pty
    import signal
    import time

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url, line = None, ""
        while url is None or "Ctrl-C" not in line:
            line = process.stdout.readline()
            assert line, "it ended"
            url = url or (m[1] if (m := re.search(r"(http://\S+/metrics)", line)) else None)
        time.sleep(0.5)
        assert process.poll() is None
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert b"mojaloop_image_patch_available" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
        os.close(ours)
        os.close(theirs)

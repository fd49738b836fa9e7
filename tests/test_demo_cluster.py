"""The stand-in for the API server behaves like a real one for kubectl and for our client."""

import asyncio
import contextlib
import json
import subprocess
import time

import httpx
import pytest

from exporter.cluster import KINDS, ApiError, open_connection
from exporter.demo import release, serving, stand_ins
from exporter.demo.cluster import StandInCluster
from exporter.demo.objects import apply_json_patch
from exporter.inventory import ScopeState
from tests.support import scenarios
from tests.support.components import need
from tests.support.definitions import CUSTOM
from tests.support.following import following as following_server
from tests.support.stand_in import Standing, following
from tests.support.workloads import body, owner, pod_spec

pytestmark = pytest.mark.anyio


async def test_a_watch_that_is_behind_is_gone():
    async with stand_ins() as there, following(there.kubeconfig) as found:
        reflector = next(w for w in found.cluster._reflectors if w.kind.name == "Deployment")
        there.cluster.forget()
        reflector._version = "1"
        with pytest.raises(ApiError, match="410"):
            await reflector._watch()


def test_a_json_patch_holds_whole_or_not_at_all():
    document = {"a": [{"b": 1}], "x/y": 2}
    done = apply_json_patch(
        document,
        [
            {"op": "test", "path": "/x~1y", "value": 2},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "replace", "path": "/a/0/b", "value": 4},
            {"op": "remove", "path": "/x~1y"},
        ],
    )
    assert done == {"a": [{"b": 4}, 3]}
    assert document == {"a": [{"b": 1}], "x/y": 2}
    for bad in (
        {"op": "test", "path": "/a", "value": 0},
        {"op": "replace", "path": "/none", "value": 0},
        {"op": "move", "path": "/a"},
        {"op": "test", "path": "/a/-2", "value": 3},
        {"op": "add", "path": "/a/2", "value": 3},
        {"op": "replace", "path": "/a/-", "value": 3},
        {"op": "remove", "path": "/x~1y/b"},
        {"op": "remove"},
    ):
        with pytest.raises((ValueError, LookupError, TypeError)):
            apply_json_patch(document, [bad])


async def test_the_stand_in_and_a_real_api_server_are_read_alike(kube, namespace, tmp_path):
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
        stand_in.put(document)
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


async def test_kubectl_works_on_the_stand_in(tmp_path):
    (kubectl,) = need("kubectl")
    async with stand_ins() as there:

        async def run(*arguments):
            command = [str(kubectl), "--kubeconfig", str(there.kubeconfig), *arguments]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=120, check=False
            )
            return done.returncode, done.stdout + done.stderr

        status, said = await run("get", "deployments")
        assert (status, "moja-centralledger-service" in said) == (0, True), said
        path = "/spec/template/spec/containers/0/image"
        operations = (
            f'[{{"op":"test","path":"{path}","value":"mojaloop/simulator:v12.3.6"}},'
            f'{{"op":"replace","path":"{path}","value":"mojaloop/simulator:v12.3.7"}}]'
        )
        patch = ("patch", "deployment/moja-simulator", "--type", "json", "--patch", operations)
        assert (await run(*patch))[0] == 0
        assert (await run(*patch))[0] == 1
        assert "NotFound" in (await run("get", "deployment/none"))[1]
        assert 'deployments.apps "none" not found' in (await run("get", "deployment/none"))[1]
        status, said = await run(
            "get", "pods", "--selector", "app.kubernetes.io/name=moja-simulator", "--output", "name"
        )
        assert (status, said.count("pod/moja-simulator-")) == (0, said.count("\n")), said
        assert "rolled out" in (await run("rollout", "status", "deployment/moja-simulator"))[1]
        (tmp_path / "pod.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new"}, "spec": pod_spec()})
        )
        assert await run("create", "--filename", str(tmp_path / "pod.json")) == (0, "pod/new created\n")
        assert (await run("delete", "deployment/moja-simulator"))[0] == 0
        assert (await run("delete", "deployment/moja-simulator"))[0] == 1


@pytest.fixture
async def standing(tmp_path):
    cluster = StandInCluster()
    async with serving(cluster.app) as address:
        cluster.write_kubeconfig(tmp_path / "kubeconfig", address)
        yield Standing(cluster, tmp_path / "kubeconfig")
        cluster.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_life_is_followed_as_on_a_real_api_server(standing, kind):
    standing._cluster.install(kind)
    await scenarios.life_cycle(standing, "test", kind)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "watched"])
async def test_owners_are_as_on_a_real_api_server(standing, listed):
    await scenarios.owners(standing, "test", listed)


async def test_a_finished_job_is_gone(standing):
    await scenarios.a_finished_job_is_gone(standing, "test")


async def test_a_list_expires_in_the_middle(standing, monkeypatch):
    await scenarios.a_list_expires_in_the_middle(standing, "test", monkeypatch)


@pytest.mark.parametrize("kind", CUSTOM)
async def test_a_kind_is_installed_and_removed(standing, kind):
    cluster = standing._cluster
    async with following_server(standing, "test", recheck=0.1) as found:
        assert found.inventory.synced() == {"test": True}
        assert (kind, "test") not in found.inventory.scopes()
        cluster.install(kind)
        standing.create(kind, "test", body(kind))
        await found.until_images("test", {f"{kind}/thing": ["mojaloop/central-ledger:v1.0.0"]}, 10)
        assert found.inventory.scopes()[kind, "test"] is ScopeState.SYNCED
        cluster.uninstall(kind)
        await found.until_images("test", {}, 10)
        await found.until(lambda: (kind, "test") not in found.inventory.scopes())


async def test_a_pod_that_ends_was_deleted_for_who_asks_for_running_ones(standing):
    cluster = standing._cluster
    standing.create("Pod", "test", body("Pod"))
    since = cluster.version
    for phase in ("Running", "Succeeded", "Succeeded", "Running"):
        standing.patch("Pod", "test", "thing", [{"op": "replace", "path": "/status/phase", "value": phase}])
    seen = [event.seen(lambda pod: pod["status"]["phase"] != "Succeeded") for event in cluster.since(since)]
    assert [kind for kind, _ in seen] == ["DELETED", "ADDED"]
    # As on a real API server: as it was, at the version of the change.
    assert seen[0][1]["status"]["phase"] == "Running"
    assert seen[0][1]["metadata"]["resourceVersion"] == str(since + 1)


async def test_no_change_is_lost_on_a_watch_and_of_two_patches_one_fails(standing):
    standing.create("Pod", "test", body("Pod"))
    address = json.loads(standing.kubeconfig().read_text())["clusters"][0]["cluster"]["server"]
    path = "/spec/containers/0/image"
    pods = f"{address}/api/v1/namespaces/test/pods"
    patch = {"Content-Type": "application/json-patch+json"}
    async with httpx.AsyncClient(timeout=60) as client:

        async def watched():
            seen = []
            async with client.stream("GET", f"{pods}?watch=true&timeoutSeconds=10&resourceVersion={since}") as answer:
                async for line in answer.aiter_lines():
                    seen.append(json.loads(line)["object"]["spec"]["containers"][0]["image"])
                    if len(seen) == 30:
                        break
            return seen

        since = standing._cluster.version
        watches = [asyncio.create_task(watched()) for _ in range(5)]
        image = body("Pod")["spec"]["containers"][0]["image"]
        for number in range(30):
            operations = [
                [
                    {"op": "test", "path": path, "value": image},
                    {"op": "replace", "path": path, "value": f"a:{number}.{one}"},
                ]
                for one in range(3)
            ]
            answers = await asyncio.gather(
                *(client.patch(f"{pods}/thing", json=one, headers=patch) for one in operations)
            )
            assert sorted(answer.status_code for answer in answers) == [200, 422, 422]
            image = next(a for a in answers if a.status_code == 200).json()["spec"]["containers"][0]["image"]
        for seen in await asyncio.gather(*watches):
            assert [one.partition(".")[0] for one in seen] == [f"a:{number}" for number in range(30)]


async def test_a_token_that_is_wanted_is_asked_for(tmp_path):
    cluster = StandInCluster(token="right")
    async with serving(cluster.app) as address:
        cluster.write_kubeconfig(tmp_path / "right", address)
        (tmp_path / "wrong").write_text((tmp_path / "right").read_text().replace('"right"', '"wrong"'))
        for name, status in (("right", None), ("wrong", 401)):
            async with open_connection(kubeconfig=tmp_path / name) as connection:
                if status is None:
                    async with connection.get("/api/v1/pods") as body:
                        assert json.loads(body)["items"] == []
                    continue
                with pytest.raises(ApiError) as failure:
                    async with connection.get("/api/v1/pods"):
                        pass
                assert failure.value.status == status


async def test_an_open_watch_does_not_hold_up_the_end():
    async with contextlib.AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins())
        address = json.loads(there.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        async with httpx.AsyncClient() as client, client.stream("GET", f"{address}/api/v1/pods?watch=true") as answer:
            await anext(answer.aiter_bytes())
            began = time.monotonic()
            await opened.aclose()
            assert time.monotonic() - began < 0.9

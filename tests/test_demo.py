"""The stand-ins are faithful, the release is all there, and `demo` shows it and ends."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse

from exporter.cluster import KINDS, ApiError, Cluster, open_connection
from exporter.demo import release, serving, stand_ins
from exporter.demo.cluster import StandInCluster
from exporter.demo.objects import apply_json_patch
from exporter.demo.registry import PAGE_TAGS, StandInRegistry
from exporter.images import Repository, parse
from exporter.inventory import Inventory, ScopeState
from exporter.kinds import KINDS as TABLE
from exporter.reasons import Reason
from exporter.registry import DEFAULT_ENTRIES, RegistryClient, RegistryError
from exporter.telemetry import Telemetry
from tests.support import scenarios
from tests.support.components import need
from tests.support.definitions import CUSTOM
from tests.support.following import Following
from tests.support.following import following as following_server
from tests.support.kube import ADMIN, METADATA_PATHS
from tests.support.workloads import body, owner, pod_spec

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def following(kubeconfig, *namespaces):
    """The production client on a cluster."""
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
        await found.until(lambda: "Deployment/moja-simulator" in found.images("mojaloop"), 5)


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
        [{"op": "test", "path": "/x~1y", "value": 2}, {"op": "add", "path": "/a/-", "value": 3}, {"op": "replace", "path": "/a/0/b", "value": 4}, {"op": "remove", "path": "/x~1y"}],
    )  # fmt: skip
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


class Standing:
    """The stand-in for a test that was written for a real API server."""

    def __init__(self, cluster, kubeconfig):
        self._cluster, self._kubeconfig = cluster, kubeconfig

    def kubeconfig(self):
        return self._kubeconfig

    def create(self, kind, namespace, document):
        metadata = {**document["metadata"], "namespace": namespace}
        self._cluster.put({"kind": kind, "apiVersion": TABLE[kind].api_version, **document, "metadata": metadata})

    def patch(self, kind, namespace, name, operations, *, subresource=""):
        self._cluster.put(apply_json_patch(self._cluster.get(f"{kind.lower()}s", namespace, name), operations))

    def delete(self, kind, namespace, name):
        self._cluster.remove(f"{kind.lower()}s", namespace, name)

    def compact(self):
        self._cluster.forget()


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


PATCH = "application/json-patch+json"
QUESTIONS = [
    ("GET", "/none", None, ""),
    ("DELETE", "/none", None, ""),
    ("PATCH", "/none", [], PATCH),
    ("POST", "", body("Deployment", "thing-0"), "application/json"),
    ("PATCH", "/thing-0", [{"op": "test", "path": "/spec/replicas", "value": 7}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/spec/none/none", "value": 7}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/spec/template/spec/containers/-1/image", "value": "a"}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/spec/template/spec/containers/-2/image", "value": "a"}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "a"}], PATCH),
    ("PATCH", "/thing-0", [{"op": "none", "path": "/spec/replicas"}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/metadata/name", "value": "other"}], PATCH),
    ("PATCH", "/thing-0", [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}], PATCH),
    ("PATCH", "/thing-0", {"op": "test"}, PATCH),
    ("PATCH", "/thing-0", [], "text/plain"),
    ("GET", "?fieldSelector=status.phase=Running", None, ""),
    ("GET", "?watch=true&timeoutSeconds=1&resourceVersion=999999999", None, ""),
    ("GET", "?watch=true&timeoutSeconds=1", None, ""),
    ("GET", "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dthing-1", None, ""),
    ("GET", "?labelSelector=app%3Dthing-2", None, ""),
    ("GET", "?labelSelector=app!%3Dthing-2", None, ""),
    ("DELETE", "/thing-0", {"propagationPolicy": "Background"}, "application/json"),
    ("GET", "", None, ""),
]


async def test_the_stand_in_answers_as_a_real_api_server_does(kube, namespace):
    """Status, reason and details of refusals; what lists and watches hold. Messages are for people."""

    async def asked(address, headers):
        answers = []
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=10) as client:
            base = f"{address}{METADATA_PATHS['Deployment']}/namespaces/{namespace}/deployments"
            for number in range(3):
                created = (
                    await client.post(base, json={"spec": {"replicas": 1}, **body("Deployment", f"thing-{number}")})
                ).json()
                answers.append((created["kind"], created["apiVersion"], created["metadata"]["generation"]))
            path = "/spec/template/spec/containers/0/image"
            for value in ("a/b:v1.0.1", "a/b:v1.0.1", "a/b:v1.0.2"):
                changed = await client.patch(
                    f"{base}/thing-1",
                    json=[{"op": "replace", "path": path, "value": value}],
                    headers={"Content-Type": PATCH},
                )
                answers.append(changed.json()["metadata"]["generation"])
            page = (await client.get(f"{base}?limit=2")).json()
            version = page["metadata"]["resourceVersion"]
            await client.delete(f"{base}/thing-2")
            rest = (await client.get(f"{base}?limit=2&continue={page['metadata']['continue']}")).json()
            answers += [
                (
                    page["metadata"]["remainingItemCount"],
                    _names(page),
                    _names(rest),
                    rest["metadata"]["resourceVersion"] == version,
                )
            ]
            await client.post(base, json=body("Deployment", "thing-2"))
            watch = await client.get(f"{base}?watch=true&timeoutSeconds=1&resourceVersion={version}")
            answers.append([_event(line) for line in watch.text.splitlines()])
            for method, path, document, media in QUESTIONS:
                content = None if document is None else json.dumps(document)
                answer = await client.request(
                    method, base + path, content=content, headers={"Content-Type": media} if media else {}
                )
                if "watch" in path:
                    said = [_event(line) for line in answer.text.splitlines()]
                else:
                    said = answer.json()
                    said = (
                        _names(said)
                        if "items" in said
                        else {k: said.get(k) for k in ("kind", "reason", "details", "code")}
                    )
                    (said.get("details") or {}).pop("uid", None) if isinstance(said, dict) else None
                answers.append((method, path, document, answer.status_code, said))
        return answers

    theirs = await asked(kube.url, {"Authorization": f"Bearer {ADMIN}"})
    async with serving(StandInCluster().app) as address:
        ours = await asked(address, {})
    differing = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    assert not differing, "\n".join(f"ours   {one}\ntheirs {other}" for one, other in differing)


PATHS = [
    "/apis/argoproj.io/v1alpha1/rollouts",
    "/apis/argoproj.io/v1alpha1/rollouts?watch=true&timeoutSeconds=1",
    "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/web",
    "/apis/argoproj.io/v1alpha1",
    "/apis/apps.openshift.io/v1/deploymentconfigs?limit=1",
    "/apis/apps/v1/nones",
    "/apis/apps/v2/deployments",
    "/api/v1/nones",
]


async def test_what_is_not_installed_is_not_found_as_on_a_real_api_server(kube):
    async def asked(address, headers):
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=10) as client:
            answers = [(path, await client.get(address + path)) for path in PATHS]
        return {
            path: (
                answer.status_code,
                media := answer.headers["content-type"],
                answer.json() if "json" in media else answer.text,
            )
            for path, answer in answers
        }

    theirs = await asked(kube.url, {"Authorization": f"Bearer {ADMIN}"})
    async with serving(StandInCluster().app) as address:
        assert await asked(address, {}) == theirs


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
        await found.until(lambda: (kind, "test") not in found.inventory.scopes(), 10)


def _names(listed):
    return [item["metadata"]["name"] for item in listed["items"]]


def _event(line):
    event = json.loads(line)
    return event["type"], event["object"]["metadata"]["name"]


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
    async with httpx.AsyncClient(timeout=10) as client:

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
                *(client.patch(f"{pods}/thing", json=one, headers={"Content-Type": PATCH}) for one in operations)
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
                    assert json.loads(await connection.get("/api/v1/pods"))["items"] == []
                    continue
                with pytest.raises(ApiError) as failure:
                    await connection.get("/api/v1/pods")
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


@pytest.fixture
async def registry():
    there = StandInRegistry({
        "docker.io/mojaloop/ledger": {f"v1.0.{n}": 1.7e9 + n for n in range(2 * PAGE_TAGS + 1)},
        "ghcr.io/mojaloop/utils": {"1.0.0": 1.7e9},
        "registry.example:5000/a/b": {"1.0.0": 1.6e9},
    })  # fmt: skip
    async with serving(there.app) as address:
        there.address = address
        yield there


async def test_tags_come_in_pages_and_with_the_token_for_their_repository_only(registry):
    async with httpx.AsyncClient(base_url=f"{registry.address}/docker.io") as client:
        assert (await client.get("/v2/")).headers["www-authenticate"].startswith("Bearer realm=")
        refused = await client.get("/v2/mojaloop/ledger/tags/list")
        said = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["www-authenticate"]))
        assert (refused.status_code, said["scope"]) == (401, "repository:mojaloop/ledger:pull")
        pages, found = [f"{registry.address}/docker.io/v2/mojaloop/ledger/tags/list?n=1000"], []
        for scope, status in (("repository:mojaloop/other:pull", 401), (said["scope"], 200)):
            token = (await client.get(said["realm"], params={"scope": scope})).json()["token"]
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.get(pages[0], headers=headers)).status_code == status
        while pages[-1]:
            answer = await client.get(httpx.URL(registry.address).join(pages[-1]), headers=headers)
            found += answer.json()["tags"]
            pages.append(answer.links.get("next", {}).get("url"))
        assert len(pages) == 4
        assert found == sorted(registry.repositories["docker.io/mojaloop/ledger"])
        for wrong in ("0", "-1", "many"):
            assert (await client.get(f"/v2/mojaloop/ledger/tags/list?n={wrong}", headers=headers)).status_code == 400
        assert registry.requests[1].path == "/docker.io/v2/mojaloop/ledger/tags/list"
        assert registry.requests[-1].headers["authorization"] == headers["Authorization"]
        assert (registry.requests[-1].method, registry.requests[-1].query) == ("GET", "n=many")


async def test_publish_times_come_from_docker_hub_an_index_and_a_manifest(registry):
    entries = registry.entries(registry.address)
    assert {p.name for p in entries} == {p.name for p in DEFAULT_ENTRIES} | {"registry.example:5000"}
    async with RegistryClient(entries, telemetry=Telemetry()) as client:
        times = [
            await client.created(Repository(host, path), tag)
            for host, path, tag in (
                ("docker.io", "mojaloop/ledger", "v1.0.7"),
                ("ghcr.io", "mojaloop/utils", "1.0.0"),
                ("registry.example:5000", "a/b", "1.0.0"),
            )
        ]
    assert times == [1.7e9 + 7, 1.7e9, 1.6e9]
    kinds = [asked.path.split("/")[-2] for asked in registry.requests]
    assert kinds == ["tags", "manifests", "manifests", "blobs", "manifests", "blobs"]


async def test_a_fault_answers_in_place_of_a_registry(registry):
    tags = "/ghcr.io/v2/mojaloop/utils/tags/list"

    async def cut_short(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionError("gone")

    faults = {
        Reason.RATE_LIMITED: JSONResponse({}, status_code=429),
        Reason.BAD_ANSWER: RedirectResponse("http://example.org/"),
        Reason.UNREACHABLE: JSONResponse({}, status_code=503),
    }
    for reason, fault in faults.items():
        registry.faults[tags] = fault
        async with RegistryClient(registry.entries(registry.address), telemetry=Telemetry()) as client:
            with pytest.raises(RegistryError) as failure:
                await client.tags(Repository("ghcr.io", "mojaloop/utils"))
            assert failure.value.reason is reason
    registry.faults[tags] = cut_short
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(registry.address + tags)
    del registry.faults[tags]
    async with RegistryClient(registry.entries(registry.address), telemetry=Telemetry()) as client:
        assert (await client.tags(Repository("ghcr.io", "mojaloop/utils"))).names == ("1.0.0",)


def test_the_command_shows_the_findings_and_ends():
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("mojaloop/central-ledger:v19.12.3"))
    assert row.split()[1:3] == ["v19.12.8", "5"]
    assert "95 containers checked; 27 miss a patch" in done.stdout
    assert re.search(r"metrics +http://127.0.0.1:\d+/metrics", done.stdout)
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_stays_until_it_is_told_to_end():
    import os
    import pty
    import signal

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
        for _ in range(2):
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert b"mojaloop_image_patch_available" in answer.read()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
        os.close(ours)
        os.close(theirs)

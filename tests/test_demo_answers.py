"""The stand-in for the API server answers each request as a real API server does."""

import json
import re

import httpx
import pytest

from exporter.demo import serving
from exporter.demo.cluster import StandInCluster
from tests.support.approvals import approval
from tests.support.kube import ADMIN, METADATA_PATHS, Kube
from tests.support.patched_hub import APPROVALS, install_definition
from tests.support.workloads import body

pytestmark = pytest.mark.anyio

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
    """Compared are status, reason and details of refusals, and the content of lists and watches, but not messages."""

    async def asked(address, headers):
        answers = []
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=60) as client:
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
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=60) as client:
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


def _names(listed):
    return [item["metadata"]["name"] for item in listed["items"]]


def _event(line):
    event = json.loads(line)
    return event["type"], event["object"]["metadata"]["name"]


APPROVAL_QUESTIONS = [
    ("POST", "", approval(name="one", uid="u", status={"state": "Applied"}), "application/json"),
    ("POST", "", approval(name="one", uid="u"), "application/json"),
    ("POST", "", {**approval(uid="u"), "metadata": {}}, "application/json"),
    ("GET", "/one/status", None, ""),
    ("GET", "/none/status", None, ""),
    ("PATCH", "/one", [{"op": "replace", "path": "/spec/to", "value": "v1.0.2"}], PATCH),
    ("PATCH", "/one", [{"op": "add", "path": "/status", "value": {"state": "Waiting"}}], PATCH),
    ("PATCH", "/one/status", [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}], PATCH),
    ("PATCH", "/one/status", [{"op": "test", "path": "/spec/to", "value": "v1.0.2"}], PATCH),
    ("PATCH", "/one/status", [{"op": "add", "path": "/status", "value": {"state": "Waiting"}}], PATCH),
    ("PATCH", "/one/status", [{"op": "replace", "path": "/spec/to", "value": "v1.0.2"}], PATCH),
    ("PATCH", "/one", [{"op": "add", "path": "/status/reason", "value": "Busy"}], PATCH),
    ("PATCH", "/one", [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}], PATCH),
    ("PATCH", "/none/status", [], PATCH),
    ("GET", "/one", None, ""),
    ("DELETE", "/one", None, ""),
    ("GET", "", None, ""),
]


async def test_approvals_are_created_and_patched_as_on_a_real_api_server(tmp_path):
    """Compared are the status, the reason and the code of refusals, and of an approval what is not made up."""
    real = Kube(tmp_path)

    async def asked(address, headers):
        answers = []
        async with httpx.AsyncClient(verify=False, headers=headers, timeout=60) as client:
            base = f"{address}{APPROVALS}/namespaces/default/imagepatchapprovals"
            for method, path, document, media in APPROVAL_QUESTIONS:
                answer = await client.request(
                    method,
                    base + path,
                    content=None if document is None else json.dumps(_without_version(document)),
                    headers={"Content-Type": media} if media else {},
                )
                said = answer.json()
                kept = {k: said.get(k) for k in ("kind", "reason", "code")}
                if said["kind"] == "ImagePatchApproval":
                    kept |= {k: said.get(k) for k in ("apiVersion", "spec", "status")}
                    kept |= {k: said["metadata"].get(k) for k in ("name", "generation", "annotations")}
                answers.append((method, path, document, answer.status_code, kept))
            workload = f"{address}{METADATA_PATHS['Deployment']}/namespaces/default/deployments"
            document = body("Deployment")
            await client.post(workload, json={**document, "spec": {**document["spec"], "replicas": 1}})
            operations = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
            tried = await client.patch(
                f"{workload}/thing?dryRun=All&fieldManager=image-patcher",
                json=operations,
                headers={"Content-Type": PATCH},
            )
            left = (await client.get(f"{workload}/thing")).json()
            answers.append((tried.status_code, tried.json()["spec"]["replicas"], left["spec"]["replicas"]))
            event = {"metadata": {"name": "one"}, "involvedObject": {"namespace": "default"}, "reason": "ImagePatched"}
            events = f"{address}/api/v1/namespaces/default/events"
            for _ in range(2):
                created = await client.post(events, json=event)
                answers.append((created.status_code, created.json().get("reason")))
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            who = await client.post(f"{address}/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review)
            answers.append((who.status_code, bool(who.json()["status"]["userInfo"]["username"])))
            prefix = {**approval(uid="u"), "metadata": {"generateName": "thing-"}}
            named = (await client.post(base, json=prefix)).json()["metadata"]["name"]
            answers.append(bool(re.fullmatch("thing-[a-z0-9]{5}", named)))
        return answers

    try:
        real.start()
        install_definition(real)
        theirs = await asked(real.url, {"Authorization": f"Bearer {ADMIN}"})
    finally:
        real.stop()
    stand_in = StandInCluster()
    stand_in.install("ImagePatchApproval")
    async with serving(stand_in.app) as address:
        ours = await asked(address, {})
    differing = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    assert not differing, "\n".join(f"ours   {one}\ntheirs {other}" for one, other in differing)


def _without_version(document):
    """A document as a person creates it: the server gives it a version, and it is in the namespace of the path."""
    if not isinstance(document, dict) or "metadata" not in document:
        return document
    given = {key: document["metadata"][key] for key in ("name", "generateName") if key in document["metadata"]}
    return {**document, "metadata": given}

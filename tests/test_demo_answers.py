"""The stand-in for the API server answers each request as a real API server does."""

import json

import httpx
import pytest

from exporter.demo import serving
from exporter.demo.cluster import StandInCluster
from tests.support.kube import ADMIN, METADATA_PATHS
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


def _names(listed):
    return [item["metadata"]["name"] for item in listed["items"]]


def _event(line):
    event = json.loads(line)
    return event["type"], event["object"]["metadata"]["name"]

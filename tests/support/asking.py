"""The exporter with its API, on stand-ins for a cluster and registries, and a client for arbitrary requests.

Every response is validated against the OpenAPI document that the exporter serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from starlette.types import ASGIApp

from exporter.app import SnapshotPublisher, exporting
from exporter.config import Configuration
from exporter.demo import StandInCluster, StandInRegistry, serving
from tests.support.http_server import until
from tests.support.workloads import body

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The last part of a problem's type."""
        assert self.media == PROBLEM, self
        return self.json()["type"].rpartition("#")[2]


class Asking:
    """A running exporter."""

    def __init__(self, registry: StandInRegistry, cluster: StandInCluster) -> None:
        self.registry, self.cluster = registry, cluster
        self.publisher: SnapshotPublisher
        self.port = self.main_port = 0
        self.token = ""

    def ask(self, target: str, method: str = "GET", *, port: int = 0, **headers: str) -> Answer:
        """Send a request, and validate the response against the document."""
        answer = self.send(target, method, port=port, **headers)
        if not port:
            self.check(target, method, answer)
        return answer

    def send(self, target: str, method: str = "GET", *, port: int = 0, **headers: str) -> Answer:
        """Send a request: the target as written, and header names with hyphens for underscores."""
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, target, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            named = {name.lower(): text for name, text in answer.getheaders()}
            return Answer(answer.status, named, answer.read())

    @cached_property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self.send("/api/v1/openapi.json").json()
        return found

    def check(self, target: str, method: str, answer: Answer) -> None:
        """Fail if the document does not describe this response."""
        responses = self._responses(target.partition("?")[0], method.lower())
        if responses is None:
            # Not a path of the API.
            assert answer.status in (401, 404, 405), answer
            if answer.media == PROBLEM and method != "HEAD":
                self._valid({"$ref": "#/components/schemas/Problem"}, answer.json())
            return
        assert str(answer.status) in responses, (target, method, answer)
        declared = responses[str(answer.status)]
        for name, header in declared.get("headers", {}).items():
            if header.get("required"):
                assert name.lower() in answer.headers, (target, name, answer)
                text = answer.headers[name.lower()]
                self._valid(header["schema"], int(text) if header["schema"]["type"] == "integer" else text)
        if not answer.body:
            assert method == "HEAD" or "content" not in declared, (target, answer)
            return
        media = answer.media.partition(";")[0]
        self._valid(declared["content"][media]["schema"], answer.json() if "json" in media else answer.body.decode())

    def _responses(self, path: str, method: str) -> dict[str, Any] | None:
        for template, item in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                found: dict[str, Any] = item.get(method, item["get"])["responses"]
                return found
        return None

    def _valid(self, schema: Mapping[str, Any], instance: Any) -> None:
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(instance)

    def findings(self) -> list[dict[str, Any]]:
        """The findings; None before the cluster has been listed."""
        answer = self.send("/api/v1/findings")
        return answer.json()["findings"] if answer.status == 200 else []


@contextlib.contextmanager
def asking(
    folder: Path,
    *,
    tags: Mapping[str, Mapping[str, float]],
    images: Mapping[str, str] | None = None,
    faults: Mapping[str, ASGIApp] | None = None,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    **configuration: Any,
) -> Iterator[Asking]:
    """Run the exporter, and wait until every image is looked up.

    Args:
        folder: directory for files.
        tags: publish times (epoch seconds) of the tags of each repository with registry.
        images: image of each Deployment, by name.
        faults: faults of the registries, by path.
        entries: keys of registries, by name.
        configuration: additional configuration.
    """
    registry, cluster = StandInRegistry(tags), StandInCluster()
    registry.faults.update(faults or {})
    for name, image in (images or {}).items():
        document = body("Deployment", name, image)
        metadata = {**document["metadata"], "namespace": "hub"}
        cluster.put({"kind": "Deployment", "apiVersion": "apps/v1", **document, "metadata": metadata})
    found = Asking(registry, cluster)
    started, failed = threading.Event(), []
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        ending.append((asyncio.get_running_loop(), asyncio.Event()))
        async with serving(cluster.app) as api, serving(registry.app) as registries:
            kubeconfig = folder / "kubeconfig"
            cluster.write_kubeconfig(kubeconfig, api)
            known = tuple(replace(e, **(entries or {}).get(e.name, {})) for e in registry.entries(registries))
            settings = Configuration(
                listen=("127.0.0.1", 0), kubeconfig=kubeconfig, context="demo", registries=known, **configuration
            )
            async with exporting(settings) as (address, found.publisher):
                found.port = found.main_port = int(address.rpartition(":")[2])
                started.set()
                await ending[0][1].wait()
            cluster.close()

    def in_thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            started.set()

    thread = threading.Thread(target=in_thread)
    thread.start()
    try:
        assert started.wait(60)
        assert not failed, failed
        yield found
    finally:
        ending[0][0].call_soon_threadsafe(ending[0][1].set)
        thread.join()
        assert not failed, failed


def until_judged(found: Asking, count: int) -> None:
    """Wait until so many containers have a result with its publish time, or a reason other than `pending`."""

    def judged() -> bool:
        return sum(one["reason"] != "pending" for one in found.findings()) >= count and found.publisher.dated()

    until(judged)

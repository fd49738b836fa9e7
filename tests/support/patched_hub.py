"""A real control plane with the custom resource, workloads on it, and a patcher that works on them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from exporter.cluster import open_connection
from exporter.patcher.approvals import GROUP, VERSION
from exporter.patcher.settings import Settings, Windows
from tests.support.approvals import BEFORE, approval
from tests.support.definitions import wait_for
from tests.support.kube import ADMIN, METADATA_PATHS, Kube
from tests.support.patching import Always, Faults, FaultyTransport, KnownTags, Patcher
from tests.support.workloads import body

CRD = Path(__file__).parents[2] / "charts/mojaloop-image-patch-exporter/files/imagepatchapprovals.yaml"
APPROVALS = f"/apis/{GROUP}/{VERSION}"
TAGS = ("v1.0.0", "v1.0.1", "v1.0.2", "v1.0.8", "v1.0.9", "v1.1.0")
FINAL = ("Applied", "RolledBack", "Refused", "Failed")
# Far shorter than on a hub, so that a test takes seconds.
SETTINGS = Settings(soak=3.0, deadline=5.0, grace=3.0, reserve=1.0)


def install_definition(kube: Kube) -> None:
    """Install the custom resource as it ships, and wait until it is served."""
    definition = yaml.safe_load(CRD.read_text())
    kube.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    wait_for(kube, f"{APPROVALS}/imagepatchapprovals", 200)


class Hub:
    """A namespace of the control plane, and what a test does there."""

    def __init__(self, kube: Kube, namespace: str, *, settings: Settings = SETTINGS) -> None:
        self.kube, self.namespace = kube, namespace
        self.settings = settings
        self.windows: Windows = Always()
        self.registry = KnownTags(*TAGS)
        self.lines: list[dict[str, Any]] = []

    def create(self, kind: str = "Deployment", name: str = "thing", *, image: str = BEFORE, **spec: Any) -> None:
        """Create a workload, and wait until it is healthy."""
        document = body(kind, name, image)
        template = document["spec"].get("template") or document["spec"]["jobTemplate"]["spec"]["template"]
        template["spec"]["nodeName"] = "node"  # there is no scheduler
        metadata = spec.pop("metadata", {})
        document["metadata"] |= metadata
        document["spec"] |= spec
        self.kube.create(kind, self.namespace, document)

    def get(self, kind: str = "Deployment", name: str = "thing") -> dict[str, Any]:
        path = f"{METADATA_PATHS[kind]}/namespaces/{self.namespace}/{kind.lower()}s/{name}"
        return self.kube.request("GET", path)

    def template(self, kind: str = "Deployment", name: str = "thing") -> dict[str, Any]:
        spec = self.get(kind, name)["spec"]
        return spec.get("template") or spec["jobTemplate"]["spec"]["template"]

    def image(self, kind: str = "Deployment", name: str = "thing") -> str:
        return self.template(kind, name)["spec"]["containers"][0]["image"]

    def pods(self) -> list[dict[str, Any]]:
        return self.kube.request("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]

    def approve(self, to: str = "v1.0.1", kind: str = "Deployment", name: str = "thing", **more: Any) -> str:
        """Create an approval; returns its name."""
        uid = more.pop("uid", None) or self.get(kind, name)["metadata"]["uid"]
        own = more.pop("approval", f"approve-{name}-{to}")
        document = approval(kind, name=own, namespace=self.namespace, workload=name, uid=uid, to=to, **more)
        document["metadata"] = {"name": own}
        self.kube.request("POST", f"{APPROVALS}/namespaces/{self.namespace}/imagepatchapprovals", document)
        return own

    def status(self, name: str) -> dict[str, Any]:
        path = f"{APPROVALS}/namespaces/{self.namespace}/imagepatchapprovals/{name}"
        return self.kube.request("GET", path).get("status", {})

    def events(self) -> list[str]:
        path = f"/api/v1/namespaces/{self.namespace}/events?fieldSelector=source=image-patcher"
        return sorted(event["reason"] for event in self.kube.request("GET", path)["items"])

    async def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait for a condition; returns what it returned."""
        end = time.monotonic() + seconds
        while not (found := await asyncio.to_thread(condition)):
            assert time.monotonic() < end, "it does not come true"
            await asyncio.sleep(0.1)
        return found

    async def until_healthy(self, kind: str = "Deployment", name: str = "thing") -> None:
        """Wait until all pods of a workload are ready, and its controller has nothing left to do."""

        def healthy() -> bool:
            found = self.get(kind, name)
            status = found.get("status", {})
            if kind == "CronJob":
                return True
            ready = "numberAvailable" if kind == "DaemonSet" else "availableReplicas"
            wanted = 1 if kind == "DaemonSet" else found["spec"]["replicas"]
            same = status.get("currentRevision") == status.get("updateRevision")
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            return bool(seen and same and status.get(ready, 0) == wanted)

        await self.until(healthy)

    async def ended(self, name: str, seconds: float = 40.0) -> dict[str, Any]:
        """Wait until an approval is in a final state; returns its status."""
        await self.until(lambda: self.status(name).get("state") in FINAL, seconds)
        return self.status(name)

    @contextlib.asynccontextmanager
    async def patching(
        self, *, replicas: int = 1, faults: Faults | None = None, token: str = ADMIN, namespaces: Sequence[str] = ()
    ) -> AsyncIterator[Patcher]:
        """Run patchers while the context lasts.

        Args:
            replicas: how many.
            faults: of the requests.
            token: of the user whose rights they have.
            namespaces: where they work; none: in this one.
        """
        async with open_connection(kubeconfig=self.kube.kubeconfig(token)) as connection:
            patcher = Patcher(
                FaultyTransport(connection, faults or Faults()),
                time.time,
                windows=self.windows,
                settings=self.settings,
                registry=self.registry,
                namespaces=tuple(namespaces) or (self.namespace,),
                lines=self.lines,
            )
            tasks = [
                asyncio.create_task(patcher.engine(identity=f"replica-{number}", poll=0.3).run())
                for number in range(replicas)
            ]
            try:
                yield patcher
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

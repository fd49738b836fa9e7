"""A scripted HTTP server in place of the API server, and a reflector that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from exporter.cluster.aggregator import WorkloadAggregator
from exporter.cluster.connection import open_connection
from exporter.cluster.reflector import Reflector, WatchContext
from exporter.inventory import Inventory
from exporter.kinds import KINDS
from exporter.telemetry import Telemetry
from exporter.workloads import WorkloadKey
from tests.support.web import Request, Web, reply, web

PATHS = {kind.path("*"): name for name, kind in KINDS.items()}


def template(*images: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": f"c{i}", "image": image} for i, image in enumerate(images)]}}


def deployment(name: str = "good", *images: str, namespace: str = "ns", version: str = "5", **more: Any) -> dict:
    metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": version, "generation": 1}
    return {"metadata": metadata, "spec": {"template": template(*(images or ("a/good:1.0.0",)))}, **more}


def page(*items: Any, version: str = "10", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version, **metadata}, "items": list(items)}


def lines(*events: Any) -> bytes:
    """Return a watch response with some events. Bytes are sent unchanged."""
    said = [event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n" for event in events]
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"".join(said)


def event(thing: dict[str, Any], type_: str = "MODIFIED") -> dict[str, Any]:
    return {"type": type_, "object": thing}


BOOKMARK = event({"metadata": {"resourceVersion": "10"}}, "BOOKMARK")


class Asked:
    """The type of a request: `list`, `page 2`, `check`, `watch` or `object`."""

    def __init__(self, request: Request) -> None:
        self.target = request.target
        _, _, query = request.target.partition("?")
        self.query = dict(part.partition("=")[::2] for part in query.split("&"))
        listed = request.path in PATHS
        self.what = (
            "object" if not listed
            else "watch" if "watch" in self.query
            else "page 2" if "continue" in self.query
            else "check" if self.query.get("limit") == "1"
            else "list"
        )  # fmt: skip


def well(asked: Asked) -> bytes:
    """Respond like a small API server: one Deployment in two pages, and a watch with a bookmark."""
    if asked.what == "watch":
        return lines(BOOKMARK)
    if asked.what == "list":
        return reply(page(**{"continue": "two"}))
    return reply(page(deployment()))


class Asking:
    """A running reflector, with its state, counters and requests so far."""

    def __init__(self, reflector: Reflector, inventory: Inventory, telemetry: Telemetry, server: Web) -> None:
        self.reflector, self.inventory, self.telemetry, self.server = reflector, inventory, telemetry, server
        self.task: asyncio.Task[None] = asyncio.create_task(reflector.run())

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            if self.task.done():
                self.task.result()
            assert asyncio.get_running_loop().time() < end, (self.restarts(), self.images(), self.asked()[-10:])
            await asyncio.sleep(0.002)

    def images(self) -> dict[str, list[str]]:
        return {key.name: [c.image for c in it.containers] for key, it in self.inventory.workloads().items()}

    def workload(self, name: str, kind: str = "Deployment") -> Any:
        return self.inventory.workloads().get(WorkloadKey("ns", kind, name))

    def restarts(self) -> dict[str, float]:
        samples = next(iter(self.telemetry.watch_restarts.collect())).samples
        return {s.labels["reason"]: s.value for s in samples if s.name.endswith("_total") and s.value}

    def exceeded(self) -> dict[str, float]:
        samples = next(iter(self.telemetry.limits_exceeded.collect())).samples
        return {s.labels["limit"]: s.value for s in samples if s.name.endswith("_total") and s.value}

    def unexpected(self) -> float:
        return self.telemetry.unexpected_errors.labels("cluster")._value.get()

    def asked(self) -> list[Asked]:
        return [Asked(request) for request in self.server.requests]


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig.json"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "odd", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "odd", "user": {}}],
                "contexts": [{"name": "odd", "context": {"cluster": "odd", "user": "odd"}}],
                "current-context": "odd",
            }
        )
    )
    return path


@contextlib.asynccontextmanager
async def asking(
    folder: Path, answer: Callable[[Asked], bytes], *, kind: str = "Deployment", limits: Any = None, **more: Any
) -> AsyncIterator[Asking]:
    """Run a reflector of one kind against a scripted server, with almost no backoff."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.002))

    inventory, telemetry = Inventory(), Telemetry()
    async with (
        web(lambda request: answer(Asked(request))) as server,
        open_connection(kubeconfig=kubeconfig(folder, server.port)) as connection,
    ):
        context = WatchContext(
            connection=connection,
            inventory=inventory,
            aggregator=WorkloadAggregator(inventory, telemetry=telemetry, **(limits or {})),
            telemetry=telemetry,
            clock=lambda: 0.0,
            exclude=lambda _: False,
            fetching=asyncio.Semaphore(16),
            sleep=sleep,
            **more,
        )
        found = Asking(
            Reflector(kind=KINDS[kind], watched_namespace="*", context=context), inventory, telemetry, server
        )
        try:
            yield found
            if found.task.done():
                found.task.result()
        finally:
            found.task.cancel()
            await asyncio.wait([found.task])

"""Benchmark hostile content of a cluster: seconds, peak memory and the longest pause of the event loop.

Run it with `python -m benchmarks.safety.cluster`. Each case is a separate process, which follows a server that responds
like an API server with such content.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from exporter.cluster import Cluster, ClusterError, open_connection
from exporter.inventory import Inventory
from exporter.telemetry import Telemetry

PAGE = '{"metadata":{"resourceVersion":"10"%s},"items":[%s]}'
OWNER = [{"kind": "StrimziPodSet", "apiVersion": "core.strimzi.io/v1", "name": "kafka", "controller": True}]


def pod(number: int, annotation: int = 0, *, owned: bool = False) -> dict[str, Any]:
    metadata = {"name": f"pod-{number:05}", "namespace": "ns", "uid": f"{number}", "generation": 1}
    if owned:
        metadata["ownerReferences"] = OWNER
    if annotation:
        metadata["annotations"] = {"note": "x" * annotation}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": f"a/b:1.0.{number % 3}"}]}}


def deployment(number: int, containers: int = 1) -> dict[str, Any]:
    images = [{"name": f"c{n}", "image": f"a/b:1.0.{n}"} for n in range(containers)]
    metadata = {"name": f"d-{number}", "namespace": "ns", "generation": 1, "resourceVersion": str(number + 11)}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": images}}}}


def contents(case: str) -> dict[str, dict[str, Any]]:
    if case == "4,000 pods of one owner":
        return {f"pod-{n:05}": pod(n, owned=True) for n in range(4_000)}
    if case == "500 pods of 250 KB":
        return {f"pod-{n:05}": pod(n, 250_000) for n in range(500)}
    if case == "10 Deployments of 15,000 containers":
        return {f"d-{n}": deployment(n, 15_000) for n in range(10)}
    return {}


def changes(case: str) -> bytes:
    if case == "100,000 events at once":
        lines = (json.dumps({"type": "ADDED", "object": deployment(n)}) + "\n" for n in range(100_000))
        return "".join(lines).encode()
    if case == "an event of 50 MB":
        return b'{"type":"ADDED","object":"' + b"x" * 50_000_000 + b'"}\n'
    return b""


def serve(case: str, port: Any) -> None:
    """Respond like an API server with the content of a case."""
    things, events = contents(case), changes(case)
    listed = [json.dumps(thing) for thing in things.values()]

    def answer(target: str) -> bytes:
        path, _, query = target.partition("?")
        asked = dict(part.partition("=")[::2] for part in query.split("&"))
        if "watch" in asked:
            return events
        if (name := path.rpartition("/")[2]) in things:
            return json.dumps(things[name]).encode()
        if case == "a list without end":
            number = int(asked.get("continue", 0)) + 1
            return (PAGE % (f',"continue":"{number}"', json.dumps(deployment(number)))).encode()
        begin, limit = int(asked.get("continue", 0)), int(asked["limit"])
        token = f',"continue":"{begin + limit}"' if begin + limit < len(listed) else ""
        return (PAGE % (token, ",".join(listed[begin : begin + limit]))).encode()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = answer(head.split(b" ", 2)[1].decode())
                if b"watch=true" in head:
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
                    await writer.drain()
                    await asyncio.sleep(60)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """Measure the longest time between two turns of the event loop."""
    longest = [0.0]

    async def measure() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest[0] = max(longest[0], time.monotonic() - began)

    task = asyncio.create_task(measure())
    yield longest
    task.cancel()


async def follow(case: str, kind: str, kubeconfig: Path) -> str:
    """Follow the server, and return the cost."""
    inventory, before, began = Inventory(), _peak(), time.monotonic()
    async with open_connection(kubeconfig=kubeconfig) as connection, pauses() as longest:
        cluster = Cluster(
            connection=connection, inventory=inventory, telemetry=Telemetry(), clock=time.time, kinds=[kind]
        )
        said = ""
        try:
            if "event" in case:
                await asyncio.wait_for(cluster.run(), 20)
            else:
                await asyncio.wait_for(cluster.list_once(), 60)
        except (ClusterError, TimeoutError) as error:
            said = f" {error or 'stopped'}"
    workloads = inventory.workloads().values()
    return (
        f"{time.monotonic() - began:.1f} s, {_peak() - before:.0f} MiB more, longest pause {longest[0]:.2f} s; "
        f"{len(workloads)} workloads, {sum(len(workload.containers) for workload in workloads)} containers{said}"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(case: str, kind: str, port: int) -> None:
    document = {
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "config")
        kubeconfig.write_text(json.dumps(document))
        print(f"{case}: {asyncio.run(follow(case, kind, kubeconfig))}", flush=True)


CASES = {
    "4,000 pods of one owner": "Pod",
    "500 pods of 250 KB": "Pod",
    "10 Deployments of 15,000 containers": "Deployment",
    "a list without end": "Deployment",
    "100,000 events at once": "Deployment",
    "an event of 50 MB": "Deployment",
}


def main() -> None:
    """Measure every case."""
    context = multiprocessing.get_context("spawn")
    for case, kind in CASES.items():
        ours, theirs = context.Pipe()
        server = context.Process(target=serve, args=(case, theirs))
        server.start()
        client = context.Process(target=_measure, args=(case, kind, ours.recv()))
        client.start()
        client.join()
        server.kill()


if __name__ == "__main__":
    main()

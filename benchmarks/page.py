"""Benchmark the page of `serve`: time, size, the exporter's memory, and the delay of other requests.

Run it with `python -m benchmarks.page [CONTAINERS]`. The exporter runs in its own process. It follows the demo's
cluster, filled with Deployments that run old and new tags of the release.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from exporter.demo import release, stand_ins
from exporter.demo.cluster import StandInCluster
from tests.support.exporter_process import Exporter

LOADS, CHANGES = 100, 5
# The stand-in for the API server is slow with thousands of objects.
EACH = 50
PAGES = (
    "/",
    "/?state=patch&sort=behind",
    "/?q=ledger",
    "/?namespace=hub-07",
    "/?sort=image&from={middle}",
    "/?from={last}",
)


def deployment(number: int, images: Sequence[str]) -> dict[str, Any]:
    name = f"hub-{number:05}"
    containers = [{"name": f"main-{position}", "image": image} for position, image in enumerate(images)]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": f"hub-{number % 20:02}"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
    }


def deployments(count: int) -> Iterator[dict[str, Any]]:
    images = [
        f"{name.removeprefix('docker.io/')}:{tag}"
        for name, tags in release.tags().items()
        if name.startswith("docker.io/mojaloop/")
        for tag in tags
    ]
    images = list(dict.fromkeys(images))
    for number in range(count // EACH):
        # Each container has another image or tag than its neighbours, so it gets its own row.
        yield deployment(number, [images[(number * 7 + position) % len(images)] for position in range(EACH)])


def rss_mib(exporter: Exporter) -> float:
    assert exporter.process is not None
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def cpu_seconds(exporter: Exporter) -> float:
    """Return the CPU time of all threads of the process, which does not depend on other load."""
    assert exporter.process is not None
    fields = Path(f"/proc/{exporter.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(exporter: Exporter, cluster: StandInCluster, count: int) -> None:
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False, timeout=30) as client:
        paths = [path.format(middle=count // 2, last=count - 50) for path in PAGES]
        print(f"before any page: {rss_mib(exporter):.0f} MiB", end="")
        for number in range(CHANGES):
            await change(cluster, number)
        print(f"; after {CHANGES} snapshots {rss_mib(exporter):.0f} MiB")
        began, cpu = time.perf_counter(), cpu_seconds(exporter)
        await client.get("/")
        print(
            f"first page: {(time.perf_counter() - began) * 1000:.0f} ms, {(cpu_seconds(exporter) - cpu) * 1000:.0f} ms"
            f" of CPU, then {rss_mib(exporter):.0f} MiB"
        )
        cpu, times, sizes = cpu_seconds(exporter), [], []
        for load in range(LOADS):
            began = time.perf_counter()
            answer = await client.get(paths[load % len(paths)])
            times.append(time.perf_counter() - began)
            sizes.append(len(answer.content))
            assert answer.status_code == 200
        print(
            f"{LOADS} pages: {statistics.median(times) * 1000:.0f} ms (median), {max(times) * 1000:.0f} ms (slowest),"
            f" {(cpu_seconds(exporter) - cpu) / LOADS * 1000:.0f} ms of CPU each; at most {max(sizes) / 1000:.0f} kB;"
            f" then {rss_mib(exporter):.0f} MiB"
        )
        for number in range(CHANGES):
            await change(cluster, number)
            await client.get("/")
        print(f"after {CHANGES} more snapshots, each with a page: {rss_mib(exporter):.0f} MiB")
        idle, busy = await late(exporter), await late(exporter, paths)
        print(f"/-/healthy: {idle * 1000:.0f} ms at most without pages, {busy * 1000:.0f} ms while pages are rendered")
        tag = (await client.get("/")).headers["ETag"]
        began = time.perf_counter()
        same = await client.get("/", headers={"If-None-Match": tag})
        print(f"unchanged: {same.status_code} in {(time.perf_counter() - began) * 1000:.0f} ms")


async def change(cluster: StandInCluster, number: int) -> None:
    """Make the exporter publish another snapshot."""
    cluster.put(deployment(0, [f"mojaloop/central-ledger:v17.8.{number}"] * EACH))
    await asyncio.sleep(4)


async def late(exporter: Exporter, paths: Sequence[str] = ()) -> float:
    """Return the longest wait of a probe in seconds, while pages are loaded in sequence, or without load."""
    waits = []
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False, timeout=30) as client:
        loading = asyncio.create_task(asyncio.sleep(3) if not paths else _load(client, paths))
        async with httpx.AsyncClient(base_url=exporter.url, trust_env=False) as other:
            while not loading.done():
                asked = time.perf_counter()
                await other.get("/-/healthy")
                waits.append(time.perf_counter() - asked)
                await asyncio.sleep(0.005)
        await loading
    return max(waits)


async def _load(client: httpx.AsyncClient, paths: Sequence[str]) -> None:
    for load in range(LOADS // 4):
        await client.get(paths[load % len(paths)])


async def main(count: int) -> None:
    async with stand_ins(deployments(count)) as there:
        with tempfile.TemporaryDirectory() as folder:
            exporter = Exporter(Path(folder), kubeconfig=there.kubeconfig, config=json.loads(there.config.read_text()))
            await asyncio.to_thread(exporter.start)
            try:
                await asyncio.to_thread(judged, exporter, count)
                await measure(exporter, there.cluster, count)
            finally:
                await asyncio.to_thread(exporter.stop)


def judged(exporter: Exporter, count: int) -> None:
    """Wait until every container is judged and the first dates have arrived."""
    exporter.until(lambda: exporter.get("/-/ready")[0] == 200, 120)

    def done() -> bool:
        page = exporter.get("/metrics")[2]
        # A few of the tags are invalid in references.
        return page.count(b"\nmojaloop_image_info{") >= 0.99 * count and b'reason="pending"' not in page

    exporter.until(done, 300)
    time.sleep(5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 10_000))

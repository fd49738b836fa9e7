"""Benchmark speed and memory: `make bench`. Figures depend on the machine, so only compare them with each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from exporter.catalogue import Catalogue
from exporter.cluster.decode import decode_object, decode_page
from exporter.collector import Exposition
from exporter.findings import Finding, Snapshot
from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.verdicts import Question
from exporter.versions import Strategy, place
from exporter.workloads import ContainerType, WorkloadKey

RECORDED = Path(__file__).parent.parent / "exporter" / "demo" / "data" / "tags"


def best(work: Callable[[], object], runs: int = 5) -> float:
    """Return the seconds of the fastest of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def versions() -> None:
    names = [row["name"] for path in sorted(RECORDED.glob("*.json")) for row in json.loads(path.read_text())]
    parse = best(lambda: [place(name) for name in names])
    repository = Repository("docker.io", "mojaloop/all")
    questions = [Question(name, strategy) for name in names[:500] for strategy in Strategy]

    async def ask() -> float:
        async with await Catalogue.open(None, clock=time.time, telemetry=Telemetry()) as catalogue:
            await catalogue.store(repository, names, running=[])
            began = time.perf_counter()
            await catalogue.judge(repository, questions)
            return time.perf_counter() - began

    seconds = asyncio.run(ask())
    print(
        f"versions: {len(names) / parse:,.0f} tags/s parsed;"
        f" {len(questions) / seconds:,.0f} questions/s among {len(names)} tags"
    )


def scrape(containers: int) -> None:
    findings = tuple(
        Finding(
            workload=WorkloadKey(f"hub-{number % 20:02d}", "Deployment", f"central-ledger-{number:05d}"),
            container="central-ledger",
            container_type=ContainerType.CONTAINER,
            position=0,
            reference="mojaloop/central-ledger:v17.8.0",
            image="docker.io/mojaloop/central-ledger",
            tag="v17.8.0",
            latest_tag="v17.8.9",
            releases_behind=9,
            published=1.6e9,
            first_seen=1.7e9,
            minor="v17.9.0",
            major="v19.14.0",
        )
        for number in range(containers)
    )
    snapshot = Snapshot(findings=findings)
    render = best(lambda: Exposition(snapshot), runs=3)
    tracemalloc.start()
    exposition = Exposition(snapshot)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    copy = best(lambda: sum(map(len, exposition.chunks(openmetrics=True))))
    exposition.gzip(openmetrics=True, tail=b"")
    compressed = best(lambda: exposition.gzip(openmetrics=True, tail=b"# EOF\n"))
    print(
        f"scrape: {containers} containers rendered in {render * 1000:.0f} ms once"
        f" ({kept / 2**20:.1f} MiB kept, {peak / 2**20:.1f} MiB at the peak),"
        f" then {copy * 1000:.2f} ms a scrape, {compressed * 1000:.2f} ms compressed"
    )


def decoding() -> None:
    """Decode a page of Deployments from an API server, with our decoder and with `json`."""
    environment = [{"name": f"VAR_{number}", "value": "x" * 20} for number in range(15)]
    container = {
        "name": "app",
        "image": "mojaloop/central-ledger:v17.8.0",
        "env": environment,
        "resources": {"requests": {"cpu": "100m"}},
    }
    items = [
        {
            "metadata": {
                "name": f"d-{number}",
                "namespace": "hub",
                "generation": 1,
                "managedFields": [{"fieldsV1": {f"f:{n}": {} for n in range(40)}}],
            },
            "spec": {
                "replicas": 5,
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
            },
            "status": {"replicas": 5, "updatedReplicas": 5, "observedGeneration": 1},
        }
        for number in range(500)
    ]
    body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()
    ours, theirs = (
        best(lambda: [decode_object(raw) for raw in decode_page(body).items or ()]),
        best(lambda: json.loads(body)),
    )
    print(
        f"decoding: a page of 500 Deployments ({len(body) / 2**20:.1f} MiB) in {ours * 1000:.1f} ms,"
        f" {theirs / ours:.1f} times as fast as json"
    )


def memory() -> None:
    """Measure a process with the imports of `serve`."""
    code = (
        "import re, {}; print(re.search('VmHWM: *(.*) kB', open('/proc/self/status').read().replace(chr(9), ' '))[1])"
    )
    for what, modules in (
        ("the interpreter", "sys"),
        ("all imports of serve", "exporter.cli"),
        ("the same without exporter.lean", "httpx, kubernetes.aio, exporter.cli"),
    ):
        done = subprocess.run([sys.executable, "-c", code.format(modules)], capture_output=True, text=True, check=True)
        print(f"memory: {int(done.stdout) / 1024:.0f} MiB, {what}")


if __name__ == "__main__":
    versions()
    decoding()
    memory()
    for size in (100, 2000, 6000):
        scrape(size)

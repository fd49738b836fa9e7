"""Benchmark hostile workloads, clients and files: `python -m benchmarks.safety.inputs [CASE...]`.

Each case runs in a separate process and prints its duration and peak memory.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exporter.annotations import PREFIX
from exporter.cluster.manifests import ManifestError, read
from exporter.commands import render
from exporter.evaluate import Evaluator
from exporter.findings import Finding, Snapshot, WorkloadState
from exporter.report.json_output import render_json
from exporter.versions import Strategy
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey

KEY = WorkloadKey("hostile", "Deployment", "one")


def evaluate(names: list[str], annotations: list[tuple[str, str]]) -> str:
    containers = tuple(Container(name, ContainerType.CONTAINER, "a/b:v1.0.0", n) for n, name in enumerate(names))
    evaluator = Evaluator(strategy=Strategy.PATCH, selects_image=lambda _: True, lookup_repository=lambda r: r)
    pairs = tuple(sorted((PREFIX + key, value) for key, value in annotations))
    items, _ = evaluator.evaluate(Workload(key=KEY, containers=containers, annotations=pairs))
    return f"{len(items)} containers, {items[0].finding.reason}"


def expressions(count: int = 100) -> str:
    """Evaluate a regular expression for each container of one workload."""
    names = [f"c{number}" for number in range(count)]
    return evaluate(names, [(f"include-tags.{name}", rf"(\pL|\pN|\pM){{{200 + n}}}") for n, name in enumerate(names)])


def annotations() -> str:
    """Evaluate 5,000 annotations on 5,000 containers."""
    names = [f"c{number}" for number in range(5_000)]
    return evaluate(names, [(f"strategy.{name}", "minor") for name in names])


def findings() -> str:
    """Render 600 containers of one image that misses a patch."""
    found = [
        Finding(
            workload=KEY,
            container=f"container-{number:03}",
            container_type=ContainerType.CONTAINER,
            position=number,
            reference="mojaloop/central-ledger:v1.0.0",
            image="docker.io/mojaloop/central-ledger",
            tag="v1.0.0",
            latest_tag="v1.0.9",
            releases_behind=9,
        )
        for number in range(600)
    ]
    snapshot = Snapshot(findings=tuple(found), patches=tuple(render(found, WorkloadState())))
    return f"{len(render_json(snapshot, now=0.0)) / 2**20:.2f} MiB of JSON"


def manifest(text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(text)
        try:
            outcome = f"{len(read([str(path)]))} workloads"
        except ManifestError as error:
            outcome = str(error).partition(": ")[2][:80]
    return f"{len(text) / 1000:.0f} kB of YAML: {outcome}"


def merges() -> str:
    """Read merge keys of aliases."""
    wide = ", ".join(f"k{number}: a" for number in range(2_000))
    many = "\n".join(f"x{number}: {{<<: *x, y: a}}" for number in range(5_000))
    return manifest(f"x: &x {{{wide}}}\n{many}\n")


def containers() -> str:
    """Read many Pods with one list of containers."""
    one = ", ".join(f"{{name: c{number}, image: a}}" for number in range(250))
    pods = "".join(f"- {{apiVersion: v1, kind: Pod, metadata: {{name: p{n}}}, spec: *s}}\n" for n in range(200))
    return manifest(f"s: &s {{containers: [{one}]}}\napiVersion: v1\nkind: List\nitems:\n{pods}")


def sexagesimal() -> str:
    """Read a number in base 60."""
    return manifest("a: 1" + ":59" * 270_000)


def idle() -> str:
    """Connect 250 clients that send nothing."""
    from tests.support.http_server import serving  # noqa: PLC0415 - only here

    with serving() as running:
        for _ in range(250):
            running.connect()
        start = time.perf_counter()
        statuses = [running.get(path)[0] for path in ("/-/healthy", "/-/ready", "/metrics")]
        return f"{statuses} after {time.perf_counter() - start:.2f} s"


def unread() -> str:
    """Connect 190 clients that request a page of 7 MiB and do not read."""
    from tests.support.http_server import serving  # noqa: PLC0415 - only here

    with serving(containers=4_000) as running:
        clients = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(190)]
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(2)
        outcome = f"{len(running.get('/metrics')[2]) / 2**20:.1f} MiB scraped meanwhile"
        for client in clients:
            client.close()
        return outcome


CASES = {
    case.__name__: case for case in (expressions, annotations, findings, merges, containers, sexagesimal, idle, unread)
}


def main(names: list[str]) -> None:
    if len(names) == 2 and names[0] == "--one":
        start = time.perf_counter()
        outcome = CASES[names[1]]()
        seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{names[1]}: {seconds:.2f} s, {peak:.0f} MiB at most; {outcome}", flush=True)
        return
    for name in names or CASES:
        subprocess.run([sys.executable, "-m", "benchmarks.safety.inputs", "--one", name], check=False, timeout=300)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Seconds that a real Prometheus takes to evaluate the shipped rules with every alert firing: `python -m benchmarks.alerts [WORKLOADS]`."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from exporter.collector import Exposition
from exporter.demo.alerts import RULES, substitute
from exporter.findings import Finding, Snapshot, WorkloadState
from exporter.workloads import ContainerType, Manager, WorkloadKey
from tools import find


def page(workloads: int) -> bytes:
    """Workloads with a container and an init container each, all of them 30 days behind and on a superseded line."""
    findings, states = [], {}
    for number in range(workloads):
        key = WorkloadKey(f"hub-{number % 20:02d}", "Deployment", f"central-ledger-{number:05d}")
        states[key] = WorkloadState(manager=Manager("helm", "mojaloop/moja"), rollout_incomplete=True)
        for container, kind in (("main", ContainerType.CONTAINER), ("wait", ContainerType.INIT_CONTAINER)):
            findings.append(
                Finding(
                    workload=key,
                    container=container,
                    container_type=kind,
                    position=0,
                    reference=f"mojaloop/central-ledger:v17.8.{number % 5}",
                    image="docker.io/mojaloop/central-ledger",
                    tag=f"v17.8.{number % 5}",
                    latest_tag="v17.8.9",
                    releases_behind=9,
                    published=time.time() - 30 * 86400,
                    first_seen=time.time(),
                    minor="v17.9.0",
                    major="v19.14.0",
                )
            )
    snapshot = Snapshot(findings=tuple(findings), workloads=states, synced={"*": True})
    return b"".join(Exposition(snapshot).chunks(openmetrics=False))


@contextlib.contextmanager
def scraped(workloads: int, binary: str | Path = "prometheus") -> Iterator[str]:
    """A Prometheus that scrapes such a page and evaluates the shipped rules; yields its address."""
    body = page(workloads)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = {"available_for": "0s", "not_rolled_out_for": "0s", "superseded_for": "0s", "mixed_for": "0s"}
        (folder / "rules.yml").write_text(substitute(RULES.read_text(), quick))
        target = {"targets": [f"127.0.0.1:{server.server_port}"]}
        config = {
            "global": {"scrape_interval": "30s", "evaluation_interval": "30s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [target]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        storage = f"--storage.tsdb.path={folder / 'data'}"
        command = [
            str(binary),
            f"--config.file={folder / 'prometheus.yml'}",
            storage,
            f"--web.listen-address={address}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield address
        finally:
            process.terminate()
            process.wait()
            server.shutdown()


def measure(workloads: int, binary: str | Path) -> None:
    with scraped(workloads, binary) as address:
        firing = 'count(ALERTS{alertstate="firing",alertname=~"MojaloopImagePatch(Available|Overdue|NotRolledOut)"})'
        end = time.monotonic() + 180
        while time.monotonic() < end and ask(address, firing) < 3 * workloads:
            time.sleep(1)
        before, took = _cpu(), set[float]()
        while len(took) < 6:
            time.sleep(3)
            took.add(max(durations(address)))
        after, count = _cpu(), ask(address, firing)
    stolen = (after[7] - before[7]) / (sum(after) - sum(before) - (after[3] - before[3]))
    print(
        f"alerts, {_version(binary)}: {count:.0f} firing for {workloads} workloads; an evaluation, annotations and all, took {min(took):.1f} to {max(took):.1f} s, "
        f"{statistics.median(took):.1f} s mostly; of the CPU that was asked for the machine's host kept {stolen:.0%}"
    )


def _version(binary: str | Path) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version, built = re.findall(r"version *(\S*) *\(|go version: *(\S+)", said)
    return f"Prometheus {version[0] or 'of tests/tools'} ({built[1]})"


def _cpu() -> list[int]:
    """Ticks of the machine: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    return [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def ask(address: str, query: str) -> float:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(
            f"http://{address}/api/v1/query?query={urllib.request.quote(query)}", timeout=30
        ) as answer,
    ):
        result = json.loads(answer.read())["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0
    return 0.0


def durations(address: str) -> list[float]:
    """Of the last evaluation of each group, in seconds, as Prometheus says of itself."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return [
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("prometheus_rule_group_last_duration_seconds{")
    ]


def main(workloads: int) -> None:
    """On the Prometheus of the path (Debian's, built with an old Go, whose templates cost twice as much) and on the newest."""
    for name in ("prometheus", "prometheus3"):
        if (binary := find(name)) is not None:
            measure(workloads, binary)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)

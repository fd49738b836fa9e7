"""Benchmark the API: `python -m benchmarks.api [REPOSITORIES [TAGS]]`.

A real `serve` process watches 1,000 repositories of 3,000 tags, which it reads from a catalogue on disk. vegeta sends
requests from the other core, while scrapes are timed. Figures depend on the machine and its load, so the load average
is printed with them. The goals on two otherwise idle cores are 1,500 responses per second; at 200 per second, 99 %
within 20 ms and scrapes that take at most twice as long as without requests; and less than 1 MiB of memory for ten
repositories.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.catalogue import FILE, Catalogue
from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.versions import STRATEGY_NAMES
from tools import cache, folder

LOAD = Path(__file__).parent / "load"
SECONDS = 10
_SCRAPE = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}


def tags(count: int) -> list[str]:
    """Return releases of some lines, with the snapshots before them, like those of Mojaloop's services."""
    found = (
        f"v{major}.{minor}.{patch}{suffix}"
        for major in range(10, 1000)
        for minor in range(10)
        for patch in range(6)
        for suffix in ("-snapshot.0", "-snapshot.1", "")
    )
    return [name for name, _ in zip(found, range(count), strict=False)]


def image(number: int) -> str:
    return f"mojaloop/service-{number:04d}"


async def catalogue(place: Path, repositories: int, count: int) -> None:
    """Write a catalogue with this many repositories and tags for each."""
    names = tags(count)
    telemetry = Telemetry()
    async with await Catalogue.open(place, clock=time.time, telemetry=telemetry, most=1 << 40) as opened:
        for number in range(repositories):
            await opened.store(Repository("docker.io", image(number)), names, running=[])


def kept(repositories: int, count: int) -> Path:
    """Return the directory of a catalogue with recent lookups."""
    place = cache() / f"benchmark-api-{repositories}-{count}"
    if not (place / FILE).exists():
        began = time.monotonic()
        asyncio.run(catalogue(place, repositories, count))
        print(f"wrote a catalogue of {(place / FILE).stat().st_size >> 20} MiB in {time.monotonic() - began:.0f} s")
    with sqlite3.connect(place / FILE) as db:
        db.execute("UPDATE repository SET looked_up = ?", (time.time(),))
    db.close()
    return place


def vegeta() -> Path:
    """Return the load generator, built if necessary."""
    binary = folder(LOAD) / "vegeta"
    if not binary.exists():
        environment = {**os.environ, "GOBIN": str(binary.parent), "CGO_ENABLED": "0"}
        subprocess.run(
            ["go", "install", "-trimpath", "-ldflags", "-s -w", "tool"], cwd=LOAD, env=environment, check=True
        )
    return binary


@dataclass(frozen=True)
class Exporter:
    """A running exporter."""

    url: str
    pid: int

    def mib(self, what: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024

    def page(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as found:
            return found.read().decode()

    def scrape(self) -> float:
        """Return the seconds of a scrape."""
        began = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/metrics", headers=_SCRAPE), timeout=30) as page:
            page.read()
        return time.perf_counter() - began


@contextmanager
def exporter(where: Path, repositories: int, running: str, place: Path | None) -> Iterator[Exporter]:
    """Run `serve` with a watch list of these repositories; without a place its catalogue is empty."""
    config = {
        "listen": "127.0.0.1:0",
        "state_dir": "" if place is None else str(place),
        "interval": "24h",
        "kubernetes": {"enabled": False},
        "watch": [f"{image(number)}:{running}" for number in range(repositories)],
        # Nothing listens there: the measurements need no registry.
        "registries": {"docker.io": {"endpoint": "http://127.0.0.1:9", "allow_private": ["127.0.0.0/8"]}},
    }
    (where / "config.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(where / "config.yaml")]
    state = "judged" if place else "unknown"
    with (where / "log").open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while (found := re.search(r"listens on (\S+)", (where / "log").read_text())) is None:
                assert process.poll() is None, (where / "log").read_text()
                time.sleep(0.1)
            there = Exporter(found[1], process.pid)
            while f'mojaloop_exporter_containers{{state="{state}"}} {repositories}.0' not in there.page():
                time.sleep(0.2)
            yield there
        finally:
            process.terminate()


@dataclass(frozen=True)
class Attack:
    """The result of a load; times in seconds."""

    rate: float
    p50: float
    p99: float
    statuses: dict[str, int]
    scrape: float


def scrape(running: Exporter, seconds: list[float], done: threading.Event) -> None:
    """Scrape twice a second until done; add the seconds of each."""
    while not seconds or not done.wait(0.5):
        seconds.append(running.scrape())


def attack(running: Exporter, targets: Sequence[str], *, rate: int, clients: int = 200) -> Attack:
    """Send requests for some seconds, at a rate or (0) as fast as this many clients can, and scrape meanwhile."""
    text = "\n".join(f"GET {running.url}{target}" for target in targets).encode()
    limit = [f"-rate={rate}/s"] if rate else ["-rate=0", f"-max-workers={clients}", f"-workers={clients}"]
    binary = str(vegeta())
    scrapes: list[float] = []
    done = threading.Event()
    thread = threading.Thread(target=scrape, args=(running, scrapes, done))
    thread.start()
    try:
        results = subprocess.run(
            [binary, "attack", *limit, f"-duration={SECONDS}s", "-timeout=10s"],
            input=text,
            capture_output=True,
            check=True,
        )
    finally:
        done.set()
        thread.join()
    report = subprocess.run([binary, "report", "-type=json"], input=results.stdout, capture_output=True, check=True)
    found = json.loads(report.stdout)
    latencies = found["latencies"]
    return Attack(
        found["throughput"],
        latencies["50th"] / 1e9,
        latencies["99th"] / 1e9,
        found["status_codes"],
        statistics.median(scrapes),
    )


def measure(repositories: int, count: int) -> None:
    names, newest = tags(count), tags(count)[-1]
    place = kept(repositories, count)
    random.seed(1)
    references = [f"/api/v1/images?reference={image(number)}:{newest}" for number in range(repositories)]
    mixed = [
        f"/api/v1/images?reference={image(random.randrange(repositories))}:{random.choice(names)}&strategy={strategy}"
        for strategy in STRATEGY_NAMES
        for _ in range(repositories)
    ]
    old = [f"/images/{image(number)}/{newest}" for number in range(repositories)]
    lists = [f"/api/v1/images/tags?repository={image(number)}" for number in range(min(20, repositories))]
    with tempfile.TemporaryDirectory() as folder_name:
        where = Path(folder_name)
        with exporter(where, 1, newest, None) as running:
            empty = running.mib("VmRSS")
        with exporter(where, repositories, newest, place) as running:
            print(f"memory: {running.mib('VmRSS'):.0f} MiB; {empty:.0f} MiB without these repositories")
            alone: list[float] = []
            done = threading.Event()
            threading.Timer(SECONDS, done.set).start()
            scrape(running, alone, done)
            idle = statistics.median(alone)
            print(f"a scrape takes {idle * 1000:.1f} ms without requests")
            for what, targets, rate in (
                ("images at 200/s", references, 200),
                ("any tag and strategy at 200/s", mixed, 200),
                ("tag lists at 20/s", lists, 20),
                ("images, 200 clients", references, 0),
                ("the old API, 200 clients", old, 0),
                ("any tag and strategy, 200 clients", mixed, 0),
            ):
                load, found = os.getloadavg()[0], attack(running, targets, rate=rate)
                print(
                    f"{what}: {found.rate:,.0f}/s, p50 {found.p50 * 1000:.1f} ms, p99 {found.p99 * 1000:.1f} ms,"
                    f" {found.statuses}; a scrape meanwhile {found.scrape * 1000:.1f} ms"
                    f" ({found.scrape / idle:.1f} times); load {load:.1f}"
                )
            more = (running.mib("VmRSS") - empty) / (repositories / 10)
            print(f"memory: {running.mib('VmHWM'):.0f} MiB at the peak; {more:.2f} MiB for ten repositories")


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    measure(*(given + [1_000, 3_000][len(given) :]))

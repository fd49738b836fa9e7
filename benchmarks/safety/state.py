"""Benchmark hostile input to the checker, the poller and the catalogue, in seconds and MiB.

`python -m benchmarks.safety.state` prints one line for each case, which runs in a separate process. To compare with
another commit, run it in a checkout of that commit, with PYTHONPATH set to the checkout.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exporter.app import SnapshotPublisher
from exporter.catalogue import Catalogue
from exporter.checker import Checker, Settings
from exporter.inventory import Inventory, ScopeState
from exporter.reasons import Reason
from exporter.registry import RegistryError, TagList
from exporter.telemetry import Telemetry
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey

GIVE_UP_SECONDS = 60.0


class Registry:
    """A nearby registry: four concurrent requests, 20 ms each."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(4)
        self.asked = 0

    def lookup_repository(self, repository):
        return repository

    async def tags(self, repository, *, etag=None):
        async with self.turns:
            self.asked += 1
            await asyncio.sleep(0.02)
        if repository.path.startswith("invented/"):
            raise RegistryError("404", reason=Reason.NOT_FOUND)
        count = int(repository.path.rpartition("-")[2])
        names = tuple(f"v1.{n % 20}.{n // 20}" for n in range(count))
        return TagList(names=names, etag=None, not_modified=False)

    async def created(self, repository, tag):
        async with self.turns:
            await asyncio.sleep(0.02)
        return 1.6e9


def workload(namespace, name, image, containers=1):
    made = tuple(Container(f"c-{n}", ContainerType.CONTAINER, image, n) for n in range(containers))
    return Workload(key=WorkloadKey(namespace, "Deployment", name), containers=made)


def hub(count):
    for number in range(count):
        yield workload(
            f"hub-{number // 1000}",
            f"w-{number:05}",
            f"mojaloop/s{number % 60:02}-300:v1.{number % 10}.0",
            containers=2,
        )


def big_repositories(count):
    for number in range(600):
        yield workload("hostile", f"h-{number:03}", f"hostile/r{number % count}-200000:v1.{number % 20}.{number}")


def invented(count):
    for number in range(count):
        yield workload("hostile", f"h-{number:05}", f"invented/i{number:05}:v1.0.0")


CASES = {
    "a hub of 500 workloads": lambda: ([], list(hub(500))),
    "a hub of 15,000 workloads": lambda: ([], list(hub(15_000))),
    "next to one repository of 200,000 tags": lambda: (list(big_repositories(1)), list(hub(100))),
    "next to three repositories of 200,000 tags": lambda: (list(big_repositories(3)), list(hub(100))),
    "next to 3,000 invented images": lambda: (list(invented(3000)), list(hub(100))),
    "next to 100,000 containers of a namespace": lambda: (
        [workload("hostile", f"h-{n}", "mojaloop/s01-300:v1.0.0", containers=100) for n in range(1000)],
        list(hub(100)),
    ),
}


async def measure(case: str) -> None:
    hostile, good = CASES[case]()
    telemetry, inventory = Telemetry(), Inventory()
    inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
    publisher, lag = SnapshotPublisher(), 0.0

    async def watch():
        nonlocal lag
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            lag = max(lag, time.monotonic() - due)

    # Only a part of what exceeds a limit shows.
    least = {"hub": 2 * len(good), "hostile": min(len(hostile), 50)}

    def judged(namespace):
        found = [f for f in publisher.snapshot.findings if f.workload.namespace.startswith(namespace)]
        return len(found) >= least[namespace] and all(
            f.reason not in (Reason.PENDING, None) or f.latest_tag for f in found
        )

    with tempfile.TemporaryDirectory() as folder:
        async with await Catalogue.open(Path(folder), clock=time.time, telemetry=telemetry) as catalogue:
            registry = Registry()
            checker = Checker(
                inventory=inventory,
                catalogue=catalogue,
                registry=registry,
                telemetry=telemetry,
                clock=time.time,
                settings=Settings(),
            )
            checker.on_snapshot = publisher.publish
            baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            for one in hostile:
                inventory.put(one)
            tasks = [asyncio.create_task(checker.run()), asyncio.create_task(watch())]
            began, seconds = time.monotonic(), {"hub": None, "hostile": None}
            if hostile:
                await asyncio.sleep(2)
                began = time.monotonic()
            for one in good:
                inventory.put(one)
            while time.monotonic() < began + GIVE_UP_SECONDS and None in seconds.values():
                await asyncio.sleep(0.05)
                for namespace, at in seconds.items():
                    if at is None and (judged(namespace) or (namespace == "hostile" and not hostile)):
                        seconds[namespace] = time.monotonic() - began
            # A few changes of one workload: the cost of a snapshot while the previous one is still in memory.
            for number in range(4):
                before, name = publisher.snapshot, f"changed-{number}"
                inventory.put(workload("hub-0", name, "mojaloop/s00-300:v1.1.0"))
                end = time.monotonic() + 20
                while time.monotonic() < end and not (
                    publisher.snapshot is not before
                    and any(f.workload.name == name and f.latest_tag for f in publisher.snapshot.findings)
                ):
                    await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            state = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
    usage = resource.getrusage(resource.RUSAGE_SELF)
    shown = {name: "never" if at is None else f"{at:.1f} s" for name, at in seconds.items()}
    print(
        f"{case}: hub judged after {shown['hub']}, everything after {shown['hostile'] if hostile else shown['hub']};"
        f" lag {lag:.2f} s; CPU {usage.ru_utime + usage.ru_stime:.1f} s; {usage.ru_maxrss / 1024:.0f} MiB"
        f" ({baseline:.0f} before); state {state:.1f} MiB; {registry.asked} lookups;"
        f" page {sum(map(len, publisher.exposition().chunks(False))) / 2**20:.1f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(measure(sys.argv[1]))
    else:
        for name in CASES:
            command = [sys.executable, "-m", "benchmarks.safety.state", name]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL, env=os.environ)

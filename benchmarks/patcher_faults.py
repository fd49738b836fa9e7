"""The patcher on a real control plane, with a fault at every single request: `python -m benchmarks.patcher_faults`.

For each fault, number of replicas and new image (one that works, one that crashes after it was ready), a run without
faults counts the requests. Then there is a run with the fault at the first request, one with the fault at the second,
and so on. The generation of the workload counts the changes of its spec: at the end it must be 2 with the new image, or
3 with the old one. The table shows how many runs ended as expected.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from exporter.cluster import open_connection
from tests.support.approvals import BEFORE
from tests.support.bad_pods import CRASHES, bad_pods
from tests.support.kube import Kube
from tests.support.patched_hub import FINAL, SETTINGS, Hub, install_definition
from tests.support.patching import FAULTS, Always, Faults, FaultyTransport, Killed, KnownTags, Patcher

WORKS = "v1.0.1"
EXPECTED = {WORKS: ("Applied", f"mojaloop/ledger:{WORKS}", 2), CRASHES: ("RolledBack", BEFORE, 3)}
SOAK = 2.5
_names = (f"run-{number}" for number in itertools.count())


async def run(kube: Kube, *, tag: str, replicas: int, faults: Faults) -> tuple[str, str, int]:
    """Run one patch to its end; returns the state, the image, and the generation."""
    hub = Hub(kube, next(_names), settings=replace(SETTINGS, soak=SOAK))
    await asyncio.to_thread(kube.namespace, hub.namespace)
    await asyncio.to_thread(hub.create, "Deployment", replicas=1, progressDeadlineSeconds=20)
    await hub.until_healthy()
    name = await asyncio.to_thread(hub.approve, tag)
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(open_connection(kubeconfig=kube.kubeconfig()))
        patcher = Patcher(
            connection,
            time.time,
            windows=Always(),
            settings=hub.settings,
            registry=KnownTags("v1.0.0", WORKS, CRASHES),
            namespaces=(hub.namespace,),
        )

        async def replica(number: int) -> None:
            while True:
                transport = FaultyTransport(connection, faults if number == 0 else Faults())
                try:
                    await patcher.engine(transport, identity=f"replica-{number}", poll=0.4).run()
                except Killed:
                    continue

        tasks = [asyncio.create_task(replica(number)) for number in range(replicas)]
        try:
            await hub.until(lambda: hub.status(name).get("state") in FINAL, 90.0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    found = await asyncio.to_thread(hub.get)
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    status = await asyncio.to_thread(hub.status, name)
    await asyncio.to_thread(kube.request, "DELETE", f"/api/v1/namespaces/{hub.namespace}")
    return status["state"], image, found["metadata"]["generation"]


async def matrix(kube: Kube, *, at_once: int, only: str | None) -> bool:
    """Do all runs, and print a row for each fault; returns whether all ended as expected."""
    turns = asyncio.Semaphore(at_once)
    good = True
    print("| new image | replicas | fault | requests | ended as expected |")
    print("| --- | --- | --- | --- | --- |")
    for tag, replicas in itertools.product((WORKS, CRASHES), (1, 2)):
        count = Faults()
        assert await run(kube, tag=tag, replicas=replicas, faults=count) == EXPECTED[tag]
        for fault in FAULTS:
            if only is not None and fault != only:
                continue

            async def one(at: int, fault: str = fault, tag: str = tag, replicas: int = replicas) -> str:
                async with turns:
                    found = await run(kube, tag=tag, replicas=replicas, faults=Faults(at=at, fault=fault))
                return "expected" if found == EXPECTED[tag] else f"request {at}: {found}"

            outcomes = Counter(await asyncio.gather(*(one(at) for at in range(1, len(count.calls) + 1))))
            right = outcomes.pop("expected", 0)
            good &= not outcomes
            print(f"| {tag} | {replicas} | {fault} | {len(count.calls)} | {right} | {', '.join(outcomes)}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=8, help="how many runs at the same time")
    parser.add_argument("--only", choices=FAULTS, help="only this fault")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kube = Kube(folder)
        try:
            kube.start()
            kube.start_controllers(*bad_pods(folder))
            install_definition(kube)
            return 0 if asyncio.run(matrix(kube, at_once=arguments.at_once, only=arguments.only)) else 1
        finally:
            kube.stop()


if __name__ == "__main__":
    raise SystemExit(main())

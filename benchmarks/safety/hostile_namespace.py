"""One hostile namespace next to a hub of 500 pods, on a real API server.

Run `python -m benchmarks.safety.hostile_namespace`. It prints the delay of changes of the hub, the slowest scrape, and
the exporter's peak memory: while the hostile objects appear, afterwards, and after a restart of the exporter with all
of them. The goals are 10 s, 2 s and 256 MiB.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.support.exporter_process import Exporter, exporter, local
from tests.support.hostile_namespace import HOSTILE, TAGS, Sizes, downgrade, fill, hostile, hub, scraping
from tests.support.kube import Kube
from tests.support.registries import registry

WATCHED = 60.0


def report(what: str, changes: list[float], seconds: list[float], failures: list[str], process: Exporter) -> None:
    print(
        f"{what:<28} changes show within {max(changes):5.1f} s, {len(seconds)} requests,"
        f" slowest {max(seconds):6.2f} s, {len(failures)} failed, peak {process.peak_mib():4.0f} MiB",
        flush=True,
    )


def main() -> None:
    sizes = Sizes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kube").mkdir()
        kube = Kube(folder / "kube")
        kube.start()
        try:
            with registry("docker-registry", folder / "registry") as images:
                for service in range(20):
                    images.push(f"mojaloop/service-{service}", TAGS)
                fill(kube, "hub", (thing for service in range(sizes.services) for thing in hub(images.host, service)))
                config = {"registries": local(images.host)}
                with exporter(folder / "exporter", kubeconfig=kube.kubeconfig(), config=config) as process:
                    process.until(lambda: process.get("/-/ready")[0] == 200, 60)
                    changes = [downgrade(kube, process, images.host, 0, 60)]
                    report("the hub alone", changes, [0.0], [], process)
                    began, changes = time.monotonic(), []
                    with scraping(process) as scrapes:
                        fill(kube, HOSTILE, hostile(images.host, sizes))
                        print(f"hostile objects created in {time.monotonic() - began:.0f} s", flush=True)
                        changes.append(downgrade(kube, process, images.host, 1, 600))
                    report("while they appear", changes, scrapes.seconds, scrapes.failures, process)
                    with scraping(process) as scrapes:
                        for service in range(2, 8):
                            time.sleep(WATCHED / 6)
                            changes.append(downgrade(kube, process, images.host, service, 600))
                    report("with them", changes, scrapes.seconds, scrapes.failures, process)
                    process.stop()
                    process.start()
                    began = time.monotonic()
                    with scraping(process) as scrapes:
                        process.until(lambda: process.get("/-/ready")[0] == 200, 600)
                        print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
                        changes = [downgrade(kube, process, images.host, service, 600) for service in range(8, 12)]
                    report("after a restart", changes, scrapes.seconds, scrapes.failures, process)
        finally:
            kube.stop()


if __name__ == "__main__":
    main()

"""One hostile namespace on a real API server, next to a hub: the hub's missing patches still show.

`python -m benchmarks.safety.hostile_namespace` does the same with more of everything, and measures it.
"""

import pytest

from tests.support.exporter_process import exporter, local
from tests.support.hostile_namespace import HOSTILE, TAGS, Sizes, downgrade, fill, hostile, hub, scraping
from tests.support.kube import Kube
from tests.support.registries import registry

SIZES = Sizes(services=30, patterns=3, images=100, owned=500, annotated=60, many=2)
# The memory limit of the chart, in MiB.
LIMIT = 256


@pytest.fixture
def own_kube(tmp_path):
    """An API server of its own: what it holds afterwards would slow the other tests down."""
    (tmp_path / "kube").mkdir()
    server = Kube(tmp_path / "kube")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_hostile_namespace_neither_hides_nor_delays_what_a_hub_misses(own_kube, tmp_path):
    with registry("docker-registry", tmp_path / "registry") as images:
        for service in range(20):
            images.push(f"mojaloop/service-{service}", TAGS)
        fill(own_kube, "hub", (thing for service in range(SIZES.services) for thing in hub(images.host, service)))
        config = {"registries": local(images.host)}
        with exporter(tmp_path / "exporter", kubeconfig=own_kube.kubeconfig(), config=config) as process:
            process.until(lambda: process.get("/-/ready")[0] == 200, 60)
            with scraping(process) as scrapes:
                fill(own_kube, HOSTILE, hostile(images.host, SIZES))
                downgrade(own_kube, process, images.host, 0, 10)
            assert scrapes.seconds
            assert scrapes.failures == []
            for limit in ("expressions", "workload_containers"):
                process.until(lambda: process.value("mojaloop_exporter_limits_exceeded_total", limit=limit))  # noqa: B023
            refused = process.samples("mojaloop_image_status_unknown", namespace=HOSTILE, reason="limit_exceeded")
            shown = {dict(labels)["workload"] for _, labels in refused}
            assert {"patterns-0", "repeated", "options", "many-0", "many-1"} <= shown
            # With everything there from the start, as after a crash.
            process.stop()
            process.start()
            with scraping(process) as scrapes:
                process.until(lambda: process.get("/-/ready")[0] == 200, 60)
                downgrade(own_kube, process, images.host, 1, 10)
            assert scrapes.failures == []
            assert process.value("mojaloop_image_patch_releases_behind", namespace="hub", workload="service-0") == 2.0
            assert process.peak_mib() < LIMIT

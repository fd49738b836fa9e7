"""`serve` on a machine with faults: a disk that is full, a clock that jumped before the start."""

import contextlib
import json
import signal
import sqlite3

import pytest

from tests.support.disk import mounted
from tests.support.exporter_process import exporter, local
from tests.support.registries import registry
from tests.support.workloads import body

TAGS = ["v1.0.0", "v1.0.1", "v1.0.2"]
WRITABLE = "mojaloop_exporter_catalogue_writable"
AVAILABLE = "mojaloop_image_patch_available"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", TAGS)
        yield opened


@pytest.fixture
def disk(tmp_path):
    """The exporter's folder on a file system of its own."""
    with mounted(tmp_path / "exporter" / "state", "256k") as opened:
        yield opened


def test_a_full_disk_neither_ends_the_exporter_nor_prevents_a_start(kube, namespace, hub, disk):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    config = {"registries": local(hub.host), "namespaces": {"include": [namespace]}}
    with exporter(disk.folder.parent, kubeconfig=kube.kubeconfig(), config=config) as ours:
        ours.until(lambda: ours.value(AVAILABLE, latest_tag="v1.0.2") == 1.0)
        assert ours.value(WRITABLE) == 1.0
        disk.fill()
        hub.push("mojaloop/many", [f"v1.0.{patch}" for patch in range(60)])
        kube.create("Deployment", namespace, body("Deployment", "many", image=f"{hub.host}/mojaloop/many:v1.0.0"))
        ours.until(lambda: ours.value(AVAILABLE, workload="many", latest_tag="v1.0.59") == 1.0)
        assert ours.stop(signal.SIGKILL) == -signal.SIGKILL
        ours.start()
        ours.until(lambda: len(ours.samples(AVAILABLE)) == 2)
        ours.until(lambda: ours.value(WRITABLE) == 0.0)
        assert "Traceback" not in ours.log()


def test_a_catalogue_of_a_clock_that_was_ahead_is_kept_and_looked_up_again(kube, namespace, hub, tmp_path):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    config = {"registries": local(hub.host), "namespaces": {"include": [namespace]}}
    with exporter(tmp_path, kubeconfig=kube.kubeconfig(), config=config) as ours:
        dated = "mojaloop_image_patch_published_timestamp_seconds"
        ours.until(lambda: ours.value(AVAILABLE, latest_tag="v1.0.2") == 1.0 and ours.samples(dated))
        looked_up = ours.value("mojaloop_image_lookup_timestamp_seconds")
        assert ours.stop() == 0
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "catalogue.sqlite")) as db, db:
            db.execute("UPDATE repository SET looked_up = looked_up + 315360000")
        ours.start()
        ours.until(lambda: ours.value(AVAILABLE, latest_tag="v1.0.2") == 1.0)
        requests = "mojaloop_exporter_registry_requests_total"
        ours.until(lambda: ours.value(requests, registry=hub.host) > 0)
        ours.until(lambda: looked_up <= ours.value("mojaloop_image_lookup_timestamp_seconds") < looked_up + 3600)
        assert len(json.loads(ours.get("/api/v1/findings")[2])["findings"]) == 1

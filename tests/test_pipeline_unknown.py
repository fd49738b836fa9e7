"""Registries that never answer and workloads that are deleted, on real processes.

An alert ends when its subject is gone, and not before.
"""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from tests.support.chain import chain, findings_in, until
from tests.support.exporter_process import exporter, local
from tests.support.kube import METADATA_PATHS, free_port
from tests.support.registries import registry
from tests.support.workloads import body

JOBS = [f"job-{number}" for number in range(6)]
HTPASSWD = "hub:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"


@pytest.fixture
def hub(tmp_path):
    with registry("docker-registry", tmp_path / "hub") as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1"])
        yield opened


@pytest.fixture
def second(tmp_path):
    """A registry that a test stops."""
    with registry("docker-registry", tmp_path / "second") as opened:
        opened.push("mojaloop/quoting", ["v1.0.0", "v1.0.1"])
        yield opened


@pytest.fixture
def private(tmp_path):
    """A registry for which the exporter has no password: 401 forever."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    more = f"auth: {{htpasswd: {{realm: x, path: '{tmp_path}/htpasswd'}}}}\n"
    with registry("registry", tmp_path / "private", more=more) as opened:
        yield opened


def finish(kube, namespace, job):
    """What the Job controller writes when a Job is done."""
    now = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
    path = f"{METADATA_PATHS['Job']}/namespaces/{namespace}/jobs/{job}/status"
    kube.request("PATCH", path, {"status": status}, media="application/merge-patch+json")


def check(kube, namespace, registries, *arguments):
    command = [sys.executable, "-m", "exporter", "check", "--cluster", "--kubeconfig", str(kube.kubeconfig())]
    return subprocess.run(
        [*command, "--namespace", namespace, *arguments],
        env={"PATH": "/usr/bin:/bin", "IMAGE_PATCH_REGISTRIES": json.dumps(registries)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_a_registry_never_answers_holds_no_other_alert(kube, namespace, hub, second, private, tmp_path):
    ledger = f"{hub.host}/mojaloop/ledger:v1.0.0"
    images = {
        "deleted": ledger,
        "ignored": ledger,
        "away": f"{second.host}/mojaloop/quoting:v1.0.0",
        "missing": f"{hub.host}/mojaloop/none:v1.0.0",
        "private": f"{private.host}/mojaloop/secret:v1.0.0",
    }
    for name, image in images.items():
        kube.create("Deployment", namespace, body("Deployment", name, image))
    for job in JOBS:
        kube.create("Job", namespace, body("Job", job, ledger))
    registries = local(hub.host, second.host, private.host)
    config = {"registries": registries, "namespaces": {"include": [namespace]}}
    port = free_port()
    with (
        exporter(tmp_path / "exporter", kubeconfig=kube.kubeconfig(), config=config, port=port) as ours,
        chain(tmp_path / "pipeline", ours.url) as behind,
    ):
        behind.message(namespace, "deleted", "ignored", "away", *JOBS)
        unknown = "mojaloop_image_status_unknown"
        ours.until(lambda: ours.value(unknown, workload="missing", reason="not_found"))
        ours.until(lambda: ours.value(unknown, workload="private", reason="unauthorized"))
        assert ours.value("mojaloop_exporter_synced", watched_namespace=namespace) == 1.0
        assert ours.get("/-/ready")[0] == 200, "ready once everything is listed, whatever registries answer"
        assert check(kube, namespace, registries, "--fail-on", "unknown").returncode == 3

        # The exporter starts again on an empty disk, while the registry of one image is down.
        ours.stop(signal.SIGKILL)
        second.stop()
        shutil.rmtree(ours.folder / "state")
        ours.start()
        until(lambda: behind.query(f'{unknown}{{workload="away",reason="unreachable"}}'), 20, ours.log)
        until(lambda: behind.query('mojaloop_image_patch_available{workload="deleted"} == 1'), 20, ours.log)
        behind.evaluated()
        assert behind.firing(namespace).keys() == {"deleted", "ignored", "away", *JOBS}

        behind.slack.messages.clear()
        kube.delete("Deployment", namespace, "deleted")
        annotation = {"image-patch.mojaloop.io/ignore": "true"}
        operation = {"op": "add", "path": "/spec/template/metadata/annotations", "value": annotation}
        kube.patch("Deployment", namespace, "ignored", [operation])
        for job in JOBS:
            finish(kube, namespace, job)
        until(lambda: behind.firing(namespace).keys() == {"away"}, 10, lambda: behind.firing(namespace).keys())
        behind.evaluated(3)
        assert behind.firing(namespace).keys() == {"away"}, "held, as its image and tag are unknown for now"
        held = behind.query('mojaloop:workload_patch_missing{workload!=""}')
        assert [sample["metric"]["workload"] for sample in held] == ["away"], "nothing is left of the Jobs"

        def resolved():
            lines = [line for m in behind.messages(namespace) for line in m.text.splitlines() if "Resolved: " in line]
            return all(any(f"{name}:v1.0.0" in line for line in lines) for name in ("deleted", "ignored", *JOBS))

        until(resolved, 30, lambda: [m.text for m in behind.slack.messages])
        assert all("away" not in m.text.partition("Resolved: ")[2] for m in behind.messages(namespace))

        # The registry is back: the same alert goes on with its command, and ends with the patch.
        second.start()
        until(lambda: behind.query('mojaloop_image_patch_available{workload="away"} == 1'), 90, ours.log)
        assert behind.firing(namespace).keys() == {"away"}
        assert "away" in findings_in(behind.message(namespace, "away").text)
        path = "/spec/template/spec/containers/0/image"
        new = {"op": "replace", "path": path, "value": f"{second.host}/mojaloop/quoting:v1.0.1"}
        kube.patch("Deployment", namespace, "away", [new])
        until(lambda: not behind.firing(namespace), 10, lambda: behind.firing(namespace).keys())

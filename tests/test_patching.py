"""The patcher as processes on a real control plane and a real registry: its Lease, its rights, SIGKILL, its page."""

import asyncio
import json
import signal
import subprocess

import pytest

from tests.support.approvals import BEFORE
from tests.support.bad_pods import CRASHES, bad_pods
from tests.support.exporter_process import local
from tests.support.kube import READER, Kube
from tests.support.patched_hub import Hub, install_definition
from tests.support.patcher_process import PatcherProcess, permit_patching
from tests.support.registries import registry

pytestmark = pytest.mark.anyio
AFTER = "v1.0.1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patched")
    server = Kube(folder)
    try:
        server.start()
        server.start_controllers(*bad_pods(folder))
        install_definition(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", AFTER, CRASHES])
        yield opened


_count = iter(range(1000))


@pytest.fixture
def hub(cluster, images):
    name = f"hub-{next(_count)}"
    cluster.namespace(name)
    permit_patching(cluster, name)
    found = Hub(cluster, name)
    found.before = f"{images.host}/{BEFORE}"
    return found


@pytest.fixture
def patcher(cluster, hub, images, tmp_path):
    """Makes processes of the patcher; those that still run at the end are stopped."""
    made = []

    def make(**more):
        config = {
            "registries": local(images.host),
            "namespaces": {"include": [hub.namespace]},
            "windows": [{"name": "always", "schedule": "* * * * *", "duration": "1h"}],
            "patcher": {"soak": "3s", "deadline": "5s", "reserve": "1s", "lease_namespace": hub.namespace},
            **more,
        }
        kubeconfig = cluster.kubeconfig(READER)
        made.append(PatcherProcess(tmp_path / f"patcher-{len(made)}", config=config, kubeconfig=kubeconfig))
        return made[-1]

    yield make
    for process in made:
        if process.process is not None:
            process.stop(signal.SIGKILL)


def approve(hub, to=AFTER, name="thing"):
    containers = [{"name": "main", "image": hub.before}]
    return hub.approve(to, name=name, containers=containers)


async def created(hub, name="thing"):
    hub.create("Deployment", name, image=hub.before, replicas=1)
    await hub.until_healthy("Deployment", name)


async def test_a_process_with_the_documented_rights_carries_an_approval_out(hub, patcher):
    await created(hub)
    name = approve(hub)
    process = patcher()
    process.start()
    status = await hub.ended(name)
    assert (status["state"], status["window"]) == ("Applied", "always"), process.log()
    assert hub.image() == hub.before.replace("v1.0.0", AFTER)
    place = {"namespace": hub.namespace, "workload_kind": "Deployment", "workload": "thing", "tag": AFTER}
    process.until(lambda: process.value("mojaloop_image_patch_approval", state="Applied", **place) == 1)
    assert process.value("mojaloop_patcher_patches_total", result="applied") == 1
    assert process.value("mojaloop_patcher_leading") == 1
    assert process.value("mojaloop_upgrade_window_open", window="always") == 1
    assert process.samples("mojaloop_exporter_registry") == {}
    assert [process.get(path)[0] for path in ("/-/healthy", "/-/ready")] == [200, 200]
    assert [line["state"] for line in process.audit()] == ["Waiting", "Applying", "RollingOut", "Soaking", "Applied"]
    assert "forbidden" not in process.log()
    assert process.stop() == 0
    lease = hub.kube.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{hub.namespace}/leases/{LEASE}")
    assert lease["spec"]["holderIdentity"] == "", "it is released"


LEASE = "mojaloop-image-patcher"


# Killed in every state and at every request: tests/test_patcher_crashes.py, benchmarks/patcher_faults.py.
# A rollout takes less than a second here, so its soak may have begun.
@pytest.mark.parametrize(("states", "rolled_back"), [(("RollingOut", "Soaking"), False), (("RollingBack",), True)])
async def test_another_replica_goes_on_where_one_was_killed(hub, patcher, states, rolled_back):
    await created(hub)
    name = approve(hub, CRASHES if rolled_back else AFTER)
    first, second = patcher(), patcher()
    first.start()
    first.until(lambda: first.value("mojaloop_patcher_leading") == 1)
    second.start()
    await hub.until(lambda: hub.status(name).get("state") in states)
    first.stop(signal.SIGKILL)
    status = await hub.ended(name, 60)
    assert status["state"] == ("RolledBack" if rolled_back else "Applied"), second.log()
    assert hub.get()["metadata"]["generation"] == (3 if rolled_back else 2), "each change once"
    assert second.value("mojaloop_patcher_leading") == 1


async def test_the_emergency_stop_works_while_the_process_runs(hub, patcher):
    await created(hub)
    process = patcher()
    config = json.loads(process.config.read_text())
    process.start()
    process.configure({**config, "patching": False})
    process.until(lambda: "patching" in process.log() and "configuration reloaded" in process.log())
    name = approve(hub)
    await hub.until(lambda: hub.status(name).get("reason") == "PatchingDisabled")
    process.configure(config)
    assert (await hub.ended(name))["state"] == "Applied"


async def test_without_windows_nothing_is_patched_and_a_dry_run_says_so(hub, patcher):
    await created(hub)
    name = approve(hub)
    process = patcher(windows=[])
    command = [*process._command, "--dry-run"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{hub.namespace}/{name}: {hub.namespace}/Deployment/thing v1.0.0 to v1.0.1: would wait (OutsideWindow): No "
        "upgrade window is open for this workload.\n"
    )
    assert hub.status(name) == {}

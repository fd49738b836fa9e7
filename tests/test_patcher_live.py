"""The patcher on a real control plane: each kind, with a patch that works and with ones that do not."""

import pytest

from tests.support.approvals import BEFORE
from tests.support.bad_pods import CRASHES, NEVER_READY, bad_pods
from tests.support.kube import Kube
from tests.support.patched_hub import Hub, install_definition

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
KINDS = ("Deployment", "StatefulSet", "DaemonSet")


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


_count = iter(range(1000))


@pytest.fixture
def hub(cluster):
    name = f"hub-{next(_count)}"
    cluster.namespace(name)
    return Hub(cluster, name)


def spec(kind):
    if kind == "Deployment":
        return {"replicas": 2, "progressDeadlineSeconds": 3}
    return {"replicas": 2, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}


@pytest.mark.parametrize("kind", [*KINDS, "CronJob"])
async def test_an_approved_patch_is_rolled_out_soaked_and_applied(hub, kind):
    hub.create(kind, **spec(kind))
    await hub.until_healthy(kind)
    name = hub.approve(kind=kind)
    async with hub.patching():
        status = await hub.ended(name)
    assert (status["state"], status["reason"], status["window"]) == ("Applied", "RolledOut", "night")
    assert hub.image(kind) == "mojaloop/ledger:v1.0.1"
    states = ["Waiting", "Applying", "Applied"]
    states[2:2] = [] if kind == "CronJob" else ["RollingOut", "Soaking"]
    assert [line["state"] for line in hub.lines] == states
    assert {line["approved_by"] for line in hub.lines} == {"alice"}
    assert hub.events() == ["ImagePatchApplied", *([] if kind == "CronJob" else ["ImagePatched"])]


@pytest.mark.parametrize("tag", [NEVER_READY, CRASHES])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_patch_that_does_not_work_is_rolled_back_once(hub, kind, tag):
    hub.create(kind, **spec(kind))
    await hub.until_healthy(kind)
    before = hub.template(kind)
    name = hub.approve(tag, kind=kind)
    async with hub.patching():
        status = await hub.ended(name)
        assert status["state"] == "RolledBack", status
        assert hub.template(kind) == before
        await hub.until_healthy(kind)
        hub.create("Deployment", "other", replicas=1)
        await hub.until_healthy("Deployment", "other")
        other = hub.approve(kind="Deployment", name="other")
        await hub.until(lambda: hub.status(other).get("reason") == "QueueStopped")
    assert hub.image("Deployment", "other") == BEFORE
    assert [line["state"] for line in hub.lines if line["approval"].endswith(name)].count("RollingBack") <= 2

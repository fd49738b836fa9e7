"""A patcher that is killed, or gets a wrong answer, at any request: nothing happens twice, and the end is the same."""

import pytest

from exporter.patcher.settings import Settings
from tests.support.approvals import AFTER, BEFORE, approval
from tests.support.model_cluster import ModelCluster, ModelTransport, workload
from tests.support.patching import FAULTS, Clock, Faults, FaultyTransport, Killed, Patcher

pytestmark = pytest.mark.anyio

SETTINGS = Settings(soak=10.0, deadline=10.0)
FORWARD, BACK = (BEFORE, AFTER), (AFTER, BEFORE)
# The behaviour of the new image, the state at the end, and the patcher's changes of images.
ENDS = {
    "works": ("Applied", [FORWARD]),
    "never_ready": ("RolledBack", [FORWARD, BACK]),
    "crashes": ("RolledBack", [FORWARD, BACK]),
}


def hub(behaviour, kind="Deployment", **more):
    cluster = ModelCluster(behaviours={AFTER: behaviour})
    spec = {"progressDeadlineSeconds": 10} if kind == "Deployment" else {"podManagementPolicy": "Parallel"}
    cluster.add(f"{kind.lower()}s", workload(kind, **spec, **more))
    cluster.settle()
    uid = cluster.get(f"{kind.lower()}s", "thing")["metadata"]["uid"]
    cluster.add("imagepatchapprovals", approval(kind, uid=uid))
    return cluster


def state(cluster, name="one"):
    return cluster.get("imagepatchapprovals", name).get("status", {}).get("state", "")


async def brought_to_an_end(cluster, faults, *, replicas=1, clock=None, cycles=200):
    """Run processes until the approval has ended; one that is killed is started again."""
    clock = clock or Clock()
    patcher = Patcher(ModelTransport(cluster), clock, settings=SETTINGS)

    def start(number):
        transport = FaultyTransport(patcher.transport, faults if number == 0 else Faults())
        return patcher.engine(transport, identity=str(number))

    engines = [start(number) for number in range(replicas)]
    for _ in range(cycles):
        for number, engine in enumerate(engines):
            try:
                await engine.cycle()
            except Killed:
                engines[number] = start(number)
        clock.now += 4.0
        cluster.tick(clock.now)
        if state(cluster) in ("Applied", "RolledBack", "Refused", "Failed"):
            return patcher
    raise AssertionError(f"still {cluster.get('imagepatchapprovals', 'one')['status']}")


@pytest.mark.parametrize("behaviour", ENDS)
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_without_faults_an_approval_ends_as_the_new_image_behaves(kind, behaviour):
    cluster = hub(behaviour, kind)
    await brought_to_an_end(cluster, Faults())
    assert (state(cluster), cluster.patches()) == ENDS[behaviour], cluster.get("imagepatchapprovals", "one")["status"]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("behaviour", ENDS)
async def test_a_fault_at_any_request_changes_neither_the_end_nor_how_often_images_change(behaviour, fault, replicas):
    count = Faults()
    await brought_to_an_end(hub(behaviour), count, replicas=replicas)
    assert len(count.calls) > 20
    for at in range(1, len(count.calls) + 1):
        cluster = hub(behaviour)
        await brought_to_an_end(cluster, Faults(at=at, fault=fault), replicas=replicas)
        found = state(cluster), cluster.patches()
        assert found == ENDS[behaviour], f"{fault} at request {at}, {count.calls[at - 1]}"
        assert cluster.get("deployments", "thing")["spec"] == expected(behaviour)


def expected(behaviour):
    image = AFTER if behaviour == "works" else BEFORE
    return workload(image=image, progressDeadlineSeconds=10)["spec"]

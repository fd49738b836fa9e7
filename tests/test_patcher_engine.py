"""When rollouts begin and which is next, and what happens when people or missing rights come in between."""

import pytest

from exporter.patcher.api import SWITCH
from exporter.patcher.approvals import ACKNOWLEDGED
from exporter.patcher.engine import WATCHING_SECONDS
from tests.support.approvals import AFTER, BEFORE
from tests.support.model_cluster import set_image
from tests.support.model_hub import ModelHub

pytestmark = pytest.mark.anyio
STARTED = ("RollingOut", "Soaking")


async def test_outside_of_windows_nothing_begins_and_nothing_is_written_again():
    hub = ModelHub()
    hub.create()
    hub.approve()
    hub.windows.open = False
    for _ in range(3):
        await hub.look()
    version = hub.cluster.version
    for _ in range(10):
        assert await hub.look() == 5.0
    assert hub.cluster.version == version
    assert (hub.state(), hub.status()["reason"]) == ("Waiting", "OutsideWindow")
    hub.windows.open = True
    assert (await hub.ended())["state"] == "Applied"


async def test_a_rollout_begins_only_while_enough_of_the_window_is_left():
    hub = ModelHub()
    hub.settings(reserve=None)
    hub.create()
    hub.approve()
    # Twice the progress deadline of the workload and the soak.
    hub.windows.until = hub.clock.now + 2 * (10 + 10) + 3
    for _ in range(5):
        await hub.look()
    assert (hub.state(), hub.status()["reason"]) == ("Waiting", "WindowTooShort")
    hub.windows.until = hub.clock.now + 60
    assert (await hub.ended())["state"] == "Applied"


@pytest.mark.parametrize("phase", ["Waiting", "RollingOut", "Soaking", "RollingBack"])
@pytest.mark.parametrize("how", ["configuration", "namespace", "window"])
async def test_an_emergency_stop_begins_nothing_and_finishes_what_has_begun(phase, how):
    hub = ModelHub(behaviours={AFTER: "crashes"} if phase == "RollingBack" else {})
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == phase)
    if how == "configuration":
        hub.settings(patching=False)
    elif how == "window":
        hub.windows.open = False
    else:
        hub.cluster.objects["namespaces", "", "hub"] = {"metadata": {"annotations": {SWITCH: "stop"}}}
    if phase == "Waiting":
        for _ in range(5):
            await hub.look()
        reasons = {"configuration": "PatchingDisabled", "namespace": "NamespaceStopped", "window": "OutsideWindow"}
        assert (hub.state(), hub.status()["reason"]) == ("Waiting", reasons[how])
        assert hub.cluster.patches() == []
    else:
        assert (await hub.ended())["state"] == ("RolledBack" if phase == "RollingBack" else "Applied")


async def test_a_stop_right_before_the_patch_sends_the_approval_back_to_wait():
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == "Applying")
    hub.settings(patching=False)
    for _ in range(5):
        await hub.look()
    # For as long as a patch may still be on its way, nobody may think that there is none.
    assert (hub.state(), hub.cluster.patches()) == ("Applying", [])
    await hub.until(lambda: hub.state() == "Waiting")
    hub.settings(patching=True)
    assert (await hub.ended())["state"] == "Applied"


async def test_two_hundred_approvals_are_carried_out_one_after_the_other():
    hub = ModelHub()
    hub.settings(soak=5.0)
    names = [f"service-{number:03}" for number in range(200)]
    for name in names:
        hub.create(name)
    for name in names:
        hub.approve(name, name)
    most = 0
    for _ in range(6000):
        await hub.engine.cycle()
        states = [hub.state(name) for name in names]
        most = max(most, sum(state in ("Applying", "RollingOut", "Soaking", "RollingBack") for state in states))
        if set(states) == {"Applied"}:
            break
        hub.clock.now += 5.0
        hub.cluster.tick(hub.clock.now)
    assert (most, set(states)) == (1, {"Applied"})
    assert [change.workload for change in hub.cluster.changes] == names
    assert len(hub.cluster.changes) == 200
    assert hub.registry.asked < 400


@pytest.mark.parametrize("released", ["acknowledged", "deleted", "continue"])
async def test_a_failure_stops_the_queue_until_somebody_acts(released):
    hub = ModelHub(behaviours={"mojaloop/ledger:v1.0.1": "crashes"})
    hub.create("bad")
    hub.create("good")
    hub.approve("bad", "bad")
    hub.approve("good", "good", to="v1.0.2")
    if released == "continue":
        hub.settings(stop_on_failure=False)
    else:
        await hub.ended("bad")
        for _ in range(5):
            await hub.look()
        assert hub.status("good")["reason"] == "QueueStopped"
        assert "hub/bad" in hub.status("good")["message"]
        assert hub.engine._parts.telemetry.registry.get_sample_value("mojaloop_patcher_queue_stopped") == 1
        if released == "deleted":
            hub.cluster.remove("imagepatchapprovals", "bad")
        else:
            hub.cluster.edit(
                "imagepatchapprovals",
                "bad",
                lambda document: document["metadata"].update(annotations={ACKNOWLEDGED: "true"}),
            )
    assert (await hub.ended("good"))["state"] == "Applied"
    assert len([change for change in hub.cluster.changes if change.workload == "bad"]) == 2, "no second attempt"


def scale(replicas):
    return lambda document: document["spec"].update(replicas=replicas)


def images(image):
    return lambda document: set_image(document, image)


def restart(document):
    document["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}


@pytest.mark.parametrize("phase", STARTED)
@pytest.mark.parametrize(
    ("change", "expected", "image"),
    [
        (images(BEFORE), ("Failed", "Undone"), BEFORE),
        (images("mojaloop/ledger:v9.9.9"), ("Failed", "Superseded"), "mojaloop/ledger:v9.9.9"),
        (scale(0), ("RolledBack", "NothingRuns"), BEFORE),
        (scale(5), ("Applied", "RolledOut"), AFTER),
        (scale(1), ("Applied", "RolledOut"), AFTER),
        (restart, ("Applied", "RolledOut"), AFTER),
    ],
    ids=["undone", "another image", "scaled to zero", "scaled up", "scaled down", "restarted"],
)
async def test_somebody_changes_the_workload_during_the_rollout(phase, change, expected, image):
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == phase)
    hub.cluster.edit("deployments", "thing", change)
    status = await hub.ended()
    assert (status["state"], status["reason"]) == expected
    assert hub.cluster.image() == image
    assert hub.cluster.patches().count((BEFORE, AFTER)) == 1
    for _ in range(5):
        await hub.look()
    assert hub.cluster.image() == image, "nothing more happens"


@pytest.mark.parametrize("phase", ["Applying", "RollingOut", "Soaking", "RollingBack"])
async def test_a_workload_that_is_deleted_during_its_rollout_ends_the_approval(phase):
    hub = ModelHub(behaviours={AFTER: "crashes"} if phase == "RollingBack" else {})
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == phase)
    hub.cluster.remove("deployments", "thing")
    status = await hub.ended()
    assert (status["state"], status["reason"]) == ("Failed", "WorkloadGone")


async def test_a_patch_that_was_undone_while_no_patcher_ran_is_not_repeated():
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == "Applying")
    # The patcher was killed right after its patch, and somebody undid it before the next one looked.
    hub.cluster.edit("deployments", "thing", images(AFTER), by="image-patcher")
    hub.cluster.edit("deployments", "thing", images(BEFORE))
    status = await hub.ended()
    assert (status["state"], status["reason"]) == ("Refused", "ChangedMeanwhile")
    assert hub.cluster.patches() == [(BEFORE, AFTER)]


async def test_a_workload_that_is_scaled_right_before_the_patch_is_patched_all_the_same():
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == "Applying")
    hub.cluster.edit("deployments", "thing", scale(3))
    hub.cluster.settle(hub.clock.now)
    assert (await hub.ended())["state"] == "Applied"


async def test_an_approval_that_is_deleted_during_the_rollout_leaves_the_workload_as_it_is():
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == "RollingOut")
    hub.cluster.remove("imagepatchapprovals", "one")
    for _ in range(10):
        await hub.look()
    assert hub.cluster.image() == AFTER


@pytest.mark.parametrize(
    ("denied", "expected"),
    [
        (("GET", "/namespaces/hub/deployments"), ("Waiting", "Forbidden")),
        (("GET", "/api/v1/namespaces/hub"), ("Waiting", "Forbidden")),
        (("PATCH", "/deployments/"), ("Refused", "Forbidden")),
    ],
)
async def test_missing_rights_in_one_namespace_stop_no_other(denied, expected):
    hub = ModelHub()
    hub.create()
    hub.approve()
    other = hub.cluster.add("deployments", {"metadata": {"name": "thing"}, "spec": {}}, namespace="other")
    other["spec"] = hub.cluster.get("deployments", "thing")["spec"]
    hub.cluster.settle(hub.clock.now)
    hub.cluster.denied.append(denied)
    for _ in range(6):
        await hub.look()
    assert (hub.state(), hub.status()["reason"]) == expected
    assert "forbidden" in hub.status()["message"]
    hub.create("third")
    hub.approve("second", "third")
    if denied[0] == "GET":
        hub.cluster.denied[0] = (denied[0], "/deployments/thing")
    else:
        hub.cluster.denied.clear()
    assert (await hub.ended("second"))["state"] == "Applied"


@pytest.mark.parametrize("phase", STARTED)
async def test_a_rollout_that_can_no_longer_be_read_says_so_and_goes_on_with_the_permission(phase):
    hub = ModelHub()
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == phase)
    hub.cluster.denied.append(("GET", "/namespaces/hub/deployments"))
    for _ in range(3):
        await hub.look()
    version = hub.cluster.version
    await hub.look()
    assert (hub.state(), hub.cluster.version) == (phase, version), "the status is written once"
    assert "lacks a permission" in hub.status()["message"]
    hub.cluster.denied.clear()
    assert (await hub.ended())["state"] == "Applied"


async def test_an_approval_whose_status_cannot_be_written_does_not_slow_down_the_watch_of_another():
    hub = ModelHub()
    hub.create()
    hub.create("other")
    hub.approve()
    await hub.until(lambda: hub.state() == "RollingOut")
    hub.approve("two", "other")
    hub.cluster.denied.append(("PATCH", "/imagepatchapprovals/two/status"))
    for _ in range(8):
        delay = await hub.engine.cycle()
        assert delay <= WATCHING_SECONDS
    assert (await hub.ended())["state"] == "Applied"
    assert max([await hub.look() for _ in range(8)]) > WATCHING_SECONDS


async def test_a_rollback_that_is_forbidden_is_tried_until_it_is_permitted():
    hub = ModelHub(behaviours={AFTER: "crashes"})
    hub.create()
    hub.approve()
    await hub.until(lambda: hub.state() == "Soaking")
    hub.cluster.denied.append(("PATCH", "/deployments/"))
    for _ in range(50):
        await hub.look()
    assert hub.state() == "RollingBack"
    assert "cannot be restored yet" in hub.status()["message"]
    hub.cluster.denied.clear()
    assert (await hub.ended())["state"] == "RolledBack"
    assert hub.cluster.image() == BEFORE


async def test_what_helm_does_next_is_in_the_status():
    hub = ModelHub()
    hub.create()

    def of_helm(document):
        document["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
        document["metadata"]["annotations"] = {"meta.helm.sh/release-name": "moja"}

    hub.cluster.edit("deployments", "thing", of_helm)
    hub.approve()
    status = await hub.ended()
    assert status["state"] == "Applied"
    assert "values of the Helm release hub/moja" in status["message"]

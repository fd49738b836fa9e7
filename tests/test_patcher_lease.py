"""The Lease: created, renewed, taken over only once it has not changed for its duration, and released at the end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from exporter.cluster import ApiError, UnreachableError
from exporter.patcher.lease import Lease
from tests.support.model_cluster import ModelCluster, ModelTransport

pytestmark = pytest.mark.anyio
# Short, so that a test takes tenths of a second; the relations are those of the defaults.
TIMES = {"duration": 0.6, "renew_deadline": 0.4, "retry": 0.05}


class Switched:
    """A transport that can be cut off, and that can hang."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.inner, self.fault = ModelTransport(cluster), ""

    async def call(self, method, path, **more):
        if self.fault == "hangs":
            await asyncio.sleep(more["seconds"])
            raise UnreachableError("no answer")
        if self.fault == "refuses" or (self.fault == "cannot write" and method != "GET"):
            raise ApiError(500, "injected")
        return await self.inner.call(method, path, **more)


class Holder:
    """A process that waits for the lease, and notes when it works."""

    def __init__(self, cluster, name, work):
        self.transport = Switched(cluster)
        self.lease = Lease(self.transport, namespace="hub", name="patcher", identity=name, **TIMES)
        self.name, self.works = name, False
        self._work = work

    async def work(self):
        self.works = True
        self._work.add(self.name)
        assert len(self._work) == 1, "one works at a time"
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False
            self._work.discard(self.name)

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.lease.hold(self.work))
        self.stop = task.cancel
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def cluster():
    return ModelCluster()


@pytest.fixture
def holder(cluster):
    working = set()
    return lambda name: Holder(cluster, name, working)


def spec(cluster):
    return cluster.get("leases", "patcher")["spec"]


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_is_created_renewed_and_released(cluster, holder):
    async with holder("one").running() as one:
        await until(lambda: one.works)
        assert spec(cluster)["holderIdentity"] == "one"
        first = spec(cluster)["renewTime"]
        await until(lambda: spec(cluster)["renewTime"] > first)
        assert spec(cluster)["acquireTime"] <= first
    assert not one.works
    assert spec(cluster).get("holderIdentity", "") == ""


async def test_a_lease_that_others_made_keeps_their_labels(cluster, holder):
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    cluster.add("leases", {"metadata": {"name": "patcher", "labels": labels}, "spec": {}})
    async with holder("one").running() as one:
        await until(lambda: one.works)
    assert spec(cluster)["leaseTransitions"] == 1
    assert cluster.get("leases", "patcher")["metadata"]["labels"] == labels


async def test_another_process_waits_and_takes_over_at_once_when_it_is_released(cluster, holder):
    async with holder("one").running() as one:
        await until(lambda: one.works)
        two = holder("two")
        async with two.running():
            await until(lambda: two.lease.contacted)
            assert not two.works
            # Released by the end of the first, long before it would expire.
            one_ends = asyncio.get_running_loop().time()
            one.stop()
            await until(lambda: two.works)
            assert asyncio.get_running_loop().time() - one_ends < TIMES["duration"]
            assert spec(cluster)["leaseTransitions"] == 2


@pytest.mark.parametrize("fault", ["hangs", "refuses", "cannot write"])
async def test_work_stops_before_another_process_takes_over(holder, fault):
    one, two = holder("one"), holder("two")
    async with one.running():
        await until(lambda: one.works)
        async with two.running():
            one.transport.fault = fault
            # `Holder.work` asserts that the first has stopped by then.
            await until(lambda: two.works)
            assert not one.works
            one.transport.fault = ""
            await until(lambda: one.lease.contacted)
            assert two.works


async def test_a_short_failure_stops_nothing(holder):
    async with holder("one").running() as one:
        await until(lambda: one.works)
        for _ in range(3):
            one.transport.fault = "refuses"
            await asyncio.sleep(TIMES["retry"] * 2)
            one.transport.fault = ""
            await asyncio.sleep(TIMES["retry"] * 2)
            assert one.works


async def test_times_that_another_process_writes_do_not_matter(cluster, holder):
    body = {
        "metadata": {"name": "patcher"},
        "spec": {"holderIdentity": "gone", "renewTime": "2099-01-01T00:00:00.000000Z"},
    }
    cluster.add("leases", body)
    async with holder("one").running() as one:
        began = asyncio.get_running_loop().time()
        await until(lambda: one.works)
        assert asyncio.get_running_loop().time() - began >= TIMES["duration"] * 0.9


async def test_the_end_of_the_work_ends_the_waiting_with_its_error(cluster):
    async def fails():
        raise ValueError("a defect")

    lease = Lease(ModelTransport(cluster), namespace="hub", name="patcher", identity="one", **TIMES)
    with pytest.raises(ValueError, match="a defect"):
        await lease.hold(fails)
    assert spec(cluster).get("holderIdentity", "") == ""

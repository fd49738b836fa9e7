"""What the assembled exporter measures of itself."""

import asyncio
import contextlib
import time

import pytest

from exporter.app import SnapshotPublisher, watch_event_loop
from exporter.findings import Finding, Snapshot
from exporter.reasons import Reason
from exporter.telemetry import Telemetry
from exporter.workloads import ContainerType, WorkloadKey

pytestmark = pytest.mark.anyio


async def test_a_lag_of_the_event_loop_is_shown_for_a_while():
    telemetry = Telemetry()

    def lag():
        return telemetry.registry.get_sample_value("mojaloop_exporter_event_loop_lag_seconds")

    async def until(holds):
        async with asyncio.timeout(30):
            while not holds(lag()):
                await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch_event_loop(telemetry, window=2.0))
    await asyncio.sleep(0.05)
    time.sleep(1.5)  # noqa: ASYNC251 - what must not happen in the exporter
    await until(lambda seconds: seconds > 0.9)
    await until(lambda seconds: seconds < 0.9)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def finding(number):
    return Finding(
        workload=WorkloadKey("hub", "Deployment", f"w-{number:05}"),
        container="app",
        container_type=ContainerType.CONTAINER,
        position=0,
        reference="mojaloop/ledger:v1.0.0",
        image="docker.io/mojaloop/ledger",
        tag="v1.0.0",
        reason=Reason.PENDING,
    )


@pytest.mark.parametrize("count", [1, 5_000])
async def test_a_page_of_any_size_is_published_and_a_large_one_does_not_hold_the_event_loop(count):
    publisher = SnapshotPublisher()
    publishing = asyncio.create_task(publisher.publish(Snapshot(findings=tuple(map(finding, range(count))))))
    turns = 0
    while not publishing.done():
        await asyncio.sleep(0)
        turns += 1
    await publishing
    assert b"".join(publisher.exposition().chunks(False)).count(b"mojaloop_image_status_unknown{") == count
    assert len(publisher.snapshot.findings) == count
    assert count == 1 or turns > 10

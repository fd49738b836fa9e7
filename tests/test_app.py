"""Each snapshot is rendered once, off the event loop, for all readers; and the lag of the event loop is shown."""

import asyncio
import contextlib
import threading
import time
from dataclasses import replace

import pytest

from exporter import app
from exporter.app import SnapshotPublisher, watch_event_loop
from exporter.collector import Exposition
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from exporter.telemetry import Telemetry
from tests.support.http_server import snapshot

pytestmark = pytest.mark.anyio


async def test_a_large_snapshot_is_rendered_off_the_event_loop(monkeypatch):
    rendered_in = []

    def render(of):
        rendered_in.append(threading.current_thread())
        return Exposition(of)

    publisher = SnapshotPublisher(Inventory())
    monkeypatch.setattr(app, "Exposition", render)
    await publisher.publish(snapshot(1_001))
    assert b"ledger-01000" in b"".join(publisher.exposition().chunks(openmetrics=False))
    assert len(rendered_in) == 1
    assert threading.main_thread() not in rendered_in


async def test_the_page_and_readiness_change_together():
    inventory = Inventory()
    publisher = SnapshotPublisher(inventory)
    await publisher.publish(Snapshot())
    assert not publisher.ready(), "nothing has been listed"
    newest = replace(snapshot(1_001), listed=True)
    publishing = asyncio.create_task(publisher.publish(newest))
    await asyncio.sleep(0)
    assert not publisher.ready()
    await publishing
    assert publisher.ready()
    assert publisher.snapshot is newest
    inventory.set_scope("Deployment", "*", ScopeState.STALE)
    assert not publisher.ready(), "what runs is not followed"


async def test_findings_are_there_once_everything_is_listed():
    publisher = SnapshotPublisher(Inventory())
    assert publisher.listed_snapshot() is None
    await publisher.publish(replace(Snapshot(), synced={"*": False}))
    assert publisher.listed_snapshot() is None, "an empty list would read as clean"
    newest = Snapshot(listed=True, synced={"*": True})
    await publisher.publish(newest)
    assert publisher.listed_snapshot() is newest


async def test_a_lag_of_the_event_loop_is_shown_for_a_while():
    telemetry = Telemetry()

    def lag():
        return telemetry.registry.get_sample_value("mojaloop_exporter_event_loop_lag_seconds")

    async def until(holds):
        async with asyncio.timeout(60):
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

"""What is published: each snapshot is rendered once, off the event loop, and all readers share it."""

import asyncio
import contextlib
import json
import threading

import pytest

from exporter import app
from exporter.app import SnapshotPublisher
from exporter.collector import Exposition
from exporter.findings import Snapshot
from exporter.inventory import Inventory, ScopeState
from tests.support.http_server import snapshot

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def publishing(inventory=None):
    publisher = SnapshotPublisher(inventory or Inventory())
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()


async def shown(publisher, expected):
    async with asyncio.timeout(10):
        while publisher.snapshot is not expected:
            await asyncio.sleep(0.01)


async def test_a_snapshot_is_rendered_off_the_event_loop(monkeypatch):
    rendered_in = []

    def render(of):
        rendered_in.append(threading.current_thread())
        return Exposition(of)

    async with publishing() as publisher:
        monkeypatch.setattr(app, "Exposition", render)
        publisher.publish(newest := snapshot(3))
        await shown(publisher, newest)
        assert b"ledger-00002" in b"".join(publisher.exposition().chunks(openmetrics=False))
    assert len(rendered_in) == 1
    assert threading.main_thread() not in rendered_in


async def test_of_several_snapshots_the_newest_is_shown():
    async with publishing() as publisher:
        for number in range(10):
            publisher.publish(newest := snapshot(number))
        await shown(publisher, newest)
        assert b"ledger-00008" in b"".join(publisher.exposition().chunks(openmetrics=False))


async def test_the_page_and_readiness_change_together():
    inventory = Inventory()
    async with publishing(inventory) as publisher:
        publisher.publish(first := Snapshot())
        await shown(publisher, first)
        assert not publisher.ready(), "nothing has been listed"
        inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
        publisher.publish(newest := snapshot(1))
        assert not publisher.ready()
        await shown(publisher, newest)
        assert publisher.ready()


async def test_all_readers_of_a_snapshot_share_one_body():
    async with publishing() as publisher:
        publisher.publish(first := snapshot(2))
        await shown(publisher, first)
        bodies = [publisher.findings() for _ in range(10)]
        assert len({id(body) for body in bodies}) == 1
        assert len(json.loads(bodies[0])["findings"]) == 2
        publisher.publish(second := snapshot(1))
        await shown(publisher, second)
        assert len(json.loads(publisher.findings())["findings"]) == 1

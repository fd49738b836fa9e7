"""What lookups may hold in memory together."""

import asyncio
import contextlib

import pytest

from exporter.limits import Limit
from exporter.registry import RegistryError
from exporter.registry.budget import SMALL_BYTES, Budget

pytestmark = pytest.mark.anyio


def test_the_documented_size_of_a_large_lookup():
    assert f"{SMALL_BYTES // 1024} KiB" in Limit.LARGE_LOOKUPS.unit


async def test_all_answers_of_a_lookup_count_together():
    async with contextlib.AsyncExitStack() as held:
        budget = Budget((), held, most=100)
        await budget.take(60)
        await budget.take(40)
        with pytest.raises(RegistryError, match="more than 100 bytes in total") as caught:
            await budget.take(1)
    assert caught.value.limit is Limit.LOOKUP_BYTES


async def test_large_lookups_wait_for_each_other_and_small_ones_for_nobody():
    running, most, small_done = 0, 0, 0
    ours, theirs, everybody = asyncio.Semaphore(1), asyncio.Semaphore(1), asyncio.Semaphore(2)

    async def look_up(of_registry, size):
        nonlocal running, most, small_done
        async with contextlib.AsyncExitStack() as held:
            budget = Budget((of_registry, everybody), held)
            for _ in range(size // 1024):
                await budget.take(1024)
            if size <= SMALL_BYTES:
                small_done += 1
                return
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for registry in (ours, theirs):
            for _ in range(5):
                group.create_task(look_up(registry, SMALL_BYTES + 1024))
        await asyncio.sleep(0)
        small = [group.create_task(look_up(ours, SMALL_BYTES)) for _ in range(5)]
        await asyncio.gather(*small)
        assert small_done == 5
    assert most == 2
    assert not ours.locked()
    assert everybody._value == 2


async def test_a_lookup_that_gives_up_waiting_is_counted_and_holds_nothing():
    counted = []
    ours, everybody = asyncio.Semaphore(1), asyncio.Semaphore(1)
    async with contextlib.AsyncExitStack() as first:
        await Budget((everybody,), first).take(SMALL_BYTES + 1)
        with pytest.raises(TimeoutError):
            async with contextlib.AsyncExitStack() as held, asyncio.timeout(0.02):
                await Budget((ours, everybody), held, exceeded=lambda: counted.append(1)).take(SMALL_BYTES + 1)
        assert counted == [1]
        assert not ours.locked()
    assert not everybody.locked()

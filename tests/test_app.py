"""What the assembled exporter measures of itself."""

import asyncio
import contextlib
import time

import pytest

from exporter.app import watch_event_loop
from exporter.telemetry import Telemetry

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

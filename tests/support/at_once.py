"""Scenarios on one control plane at the same time, each in its own namespace.

Rollouts mostly wait, so a table of them takes little longer than its slowest row. A module runs its table once, in a
fixture, and each test checks one row.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.support.kube import Kube
from tests.support.patched_hub import Hub

_names = (f"scenario-{number}" for number in itertools.count())
# At a time: more would starve each other on two processors.
TURNS = 8

Scenario = Callable[[Hub], Awaitable[Any]]


class Outcomes:
    """What came of the scenarios."""

    def __init__(self, kube: Kube, scenarios: Mapping[str, Scenario]) -> None:
        self._found = asyncio.run(_all(kube, scenarios))

    def __getitem__(self, name: str) -> Any:
        """What a scenario returned; raises what it raised."""
        found = self._found[name]
        if isinstance(found, BaseException):
            raise found
        return found


async def _all(kube: Kube, scenarios: Mapping[str, Scenario]) -> dict[str, Any]:
    turns = asyncio.Semaphore(TURNS)

    async def one(scenario: Scenario) -> Any:
        async with turns:
            hub = Hub(kube, next(_names))
            await asyncio.to_thread(kube.namespace, hub.namespace)
            return await scenario(hub)

    found = await asyncio.gather(*map(one, scenarios.values()), return_exceptions=True)
    return dict(zip(scenarios, found, strict=True))

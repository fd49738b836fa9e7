"""Memory budget of registry responses.

Every registry has a few concurrent lookups, and most tag lists are small. A list near the limits takes about 50 MiB
until it is stored, so large lookups wait for each other: one per registry, so that a slow registry holds at most one
place, and a few across all registries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from exporter.limits import Limit
from exporter.registry.errors import bad_answer

# About 6,000 tags, or 20,000 with short names. `Limit.LARGE_LOOKUPS` names this number.
SMALL_BYTES = 128 * 2**10


class Budget:
    """Budget of the bytes that one lookup may receive.

    Args:
        places: semaphores that a large lookup has to acquire, in this order.
        held: holds them until the responses are stored.
        most: maximum decoded bytes of all responses together.
        exceeded: called when the lookup is cancelled while it waits for a place.

    Attributes:
        taken: bytes so far.
        deadline: timeout of the request in progress.
    """

    def __init__(
        self,
        places: Sequence[asyncio.Semaphore],
        held: AsyncExitStack,
        *,
        most: int = Limit.LOOKUP_BYTES.most,
        exceeded: Callable[[], None] = lambda: None,
    ) -> None:
        self._places = list(places)
        self._held = held
        self._most = most
        self._exceeded = exceeded
        self.taken = 0
        self.deadline: asyncio.Timeout | None = None

    async def take(self, count: int) -> None:
        """Account for bytes before they are kept. Wait for a place if they make the lookup a large one.

        Raises:
            RegistryError: `bad_answer`, the lookup exceeds its maximum.
        """
        self.taken += count
        if self.taken > self._most:
            raise bad_answer(f"the responses have more than {self._most} bytes in total", limit=Limit.LOOKUP_BYTES)
        while self._places and self.taken > SMALL_BYTES:
            await self._wait(self._places[0])
            self._places.pop(0)

    async def _wait(self, place: asyncio.Semaphore) -> None:
        # Pause the request's timeout: waiting for other lookups is not the registry's fault.
        loop, deadline = asyncio.get_running_loop(), self.deadline
        end = None if deadline is None else deadline.when()
        began = loop.time()
        if deadline is not None and end is not None:
            deadline.reschedule(None)
        try:
            await self._held.enter_async_context(place)
        except asyncio.CancelledError:
            self._exceeded()
            raise
        if deadline is not None and end is not None:
            deadline.reschedule(end + loop.time() - began)

"""How much of the answers of registries is in memory at a time.

Every registry has a few turns, and most lists of tags are small. A list near the limits takes some 50 MiB until it is
stored, so large ones wait for each other: one of each registry, so that a slow registry holds one place at most, and
few over all registries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from exporter.limits import Limit
from exporter.registry.errors import bad_answer

# Some 6,000 tags; with short names 20,000. `Limit.LARGE_LOOKUPS` names this number.
SMALL_BYTES = 128 * 2**10


class Budget:
    """The bytes that one lookup may receive.

    Args:
        places: what a large lookup has to hold, in this order.
        held: where it holds them, until the answer is stored.
        most: bytes of all answers together, decoded.
        exceeded: called when the lookup gives up before it has its places.

    Attributes:
        taken: bytes so far.
        deadline: the time limit of the request whose answer is being received.
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
        """Account for bytes before they are kept; wait for a place if they make the lookup a large one.

        Raises:
            RegistryError: `bad_answer`, it is larger than any lookup may be.
        """
        self.taken += count
        if self.taken > self._most:
            raise bad_answer(f"the answers have more than {self._most} bytes in all", limit=Limit.LOOKUP_BYTES)
        while self._places and self.taken > SMALL_BYTES:
            await self._wait(self._places[0])
            self._places.pop(0)

    async def _wait(self, place: asyncio.Semaphore) -> None:
        # Waiting for other lookups is not the fault of this registry: its request has as much time left afterwards.
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

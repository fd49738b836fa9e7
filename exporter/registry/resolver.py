"""The system's resolver, in a few threads for each registry.

`getaddrinfo` cannot be cancelled: while a name server does not answer, it holds its thread for minutes. The default
executor of the event loop has six threads on a machine of two cores, which the client of the Kubernetes API needs too.
A registry may redirect to names whose servers never answer, so each has threads of its own, and only so many.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

from exporter.limits import Limit


def system_addresses(host: str, port: int) -> list[str]:
    """Addresses of a name in the system's order; the system's resolver also knows `127.1` and `0x7f000001`.

    Raises:
        OSError: the name has no address.
    """
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class Resolver:
    """Resolves names in threads of its own, which do not keep the process from ending.

    Args:
        exceeded: called when a caller gives up before a thread is free.
        most: how many names are resolved at a time.
        addresses: how one is, blocking.
    """

    def __init__(
        self,
        *,
        exceeded: Callable[[], None] = lambda: None,
        most: int = Limit.NAME_LOOKUPS.most,
        addresses: Callable[[str, int], list[str]] = system_addresses,
    ) -> None:
        self._exceeded = exceeded
        self._free = asyncio.Semaphore(most)
        self._addresses = addresses

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a name. A caller that gives up leaves its thread occupied until the system answers.

        Raises:
            OSError: the name has no address.
        """
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            self._exceeded()
            raise
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def done(found: list[str] | OSError) -> None:
            self._free.release()
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def run() -> None:
            found: list[str] | OSError = OSError(f"{host} cannot be resolved")
            try:
                found = self._addresses(host, port)
            except OSError as error:
                found = error
            except (ValueError, OverflowError) as error:  # a name that is too long, a port that is too high
                found = OSError(str(error))
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                    loop.call_soon_threadsafe(done, found)

        try:
            threading.Thread(target=run, name=f"resolve {host[:50]}", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(f"no thread could be started to resolve {host}") from error
        return await answer

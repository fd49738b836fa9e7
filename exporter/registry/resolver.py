"""The system's resolver, in a few threads per registry.

`getaddrinfo` cannot be cancelled: an unresponsive name server blocks its thread for minutes. The event loop's default
executor has six threads on a machine with two cores, and the Kubernetes client needs them too. A registry may redirect
to names whose servers never respond, so each registry has a limited number of its own threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

from exporter.limits import Limit


def system_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name in the system's order. The system also resolves `127.1` and `0x7f000001`.

    Raises:
        OSError: the name has no address.
    """
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class Resolver:
    """Resolver in its own daemon threads, which do not delay the end of the process.

    Args:
        exceeded: called when a caller is cancelled while it waits for a thread.
        most: maximum number of concurrent resolutions.
        addresses: resolves a name, blocking.
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
        """Resolve a name. If the caller is cancelled, its thread stays occupied until the system's resolver returns.

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
            found: list[str] | OSError = OSError(f"cannot resolve {host}")
            try:
                found = self._addresses(host, port)
            except OSError as error:
                found = error
            except (ValueError, OverflowError) as error:  # the name is too long, or the port too high
                found = OSError(str(error))
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                    loop.call_soon_threadsafe(done, found)

        try:
            threading.Thread(target=run, name=f"resolve {host[:50]}", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(f"cannot start a thread to resolve {host}") from error
        return await answer

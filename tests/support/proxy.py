"""A small HTTP proxy that really forwards: CONNECT, and requests with an absolute URL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A listening proxy.

    Attributes:
        names: addresses (`HOST:PORT`) of hosts that no name server knows, by host and port.
        heads: request line and headers of each received request.
    """

    names: Mapping[str, str]
    port: int = 0
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://hub:s3cret@127.0.0.1:{self.port}"

    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            method, target, rest = head.split(" ", 2)
            place = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
            host, _, port = self.names.get(place, place).partition(":")
            there, back = await asyncio.open_connection(host, int(port or 80))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.removeprefix("http://").partition("/")[2]
                lines = [line for line in rest.split("\r\n") if not line.lower().startswith("proxy-")]
                back.write(" ".join((method, path, "\r\n".join(lines))).encode("latin-1"))
            with contextlib.closing(back):
                await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


@contextlib.asynccontextmanager
async def proxy(names: Mapping[str, str]) -> AsyncIterator[Proxy]:
    """Listen on a free port."""
    opened = Proxy(names)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(opened.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    opened.port = server.sockets[0].getsockname()[1]
    try:
        yield opened
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

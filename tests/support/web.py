"""An HTTP server for misbehaving registries. It sends exact bytes and records the requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Handler = Callable[[Request], "bytes | Awaitable[bytes] | AsyncIterator[bytes]"]


@dataclass
class Web:
    """A listening server. A test may change `handler` at any time. An empty response closes the connection.

    A response in parts (an asynchronous generator) is sent as it comes, and then the connection is closed.
    """

    handler: Handler
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
                    method, target, _ = first.split(" ")
                    headers = {
                        k.lower(): v for k, v in (line.split(": ", 1) if ": " in line else (line, "") for line in lines)
                    }
                    body = await reader.readexactly(int(headers.get("content-length", 0)))
                    request = Request(method, target, headers, body)
                    self.requests.append(request)
                    answer = self.handler(request)
                    if isinstance(answer, AsyncIterator):
                        async for part in answer:
                            writer.write(part)
                            await writer.drain()
                        break
                    if not isinstance(answer, bytes):
                        answer = await answer
                    writer.write(answer)
                    await writer.drain()
                    if (
                        b"content-length" not in answer.lower().partition(b"\r\n\r\n")[0]
                        or b"connection: close" in answer.lower()
                    ):
                        break
        finally:
            writer.close()


def reply(body: Any = b"", *, status: int = 200, length: int | None = None, **headers: str) -> bytes:
    """Build a response. Any body but bytes is sent as JSON. Underscores in header names become hyphens."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@contextlib.asynccontextmanager
async def web(handler: Handler, *, host: str = "127.0.0.1", tls: Any = None) -> AsyncIterator[Web]:
    """Listen on a free port."""
    served = Web(handler)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(served._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, host, 0, ssl=tls, limit=2**20)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""A response whose body is shared bytes, sent in blocks.

Many clients read the same page. A block is only copied when the client has received the previous one, so a slow client
costs one block, not one page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BLOCK_BYTES = 256 << 10


class Body(Response):
    """A response with a body of several parts.

    Args:
        parts: parts of the body, in order.
        media: media type.
        headers: additional headers.
    """

    def __init__(self, parts: Sequence[bytes], *, media: str, headers: Mapping[str, str]) -> None:
        length = str(sum(map(len, parts)))
        super().__init__(media_type=media, headers={**headers, "Content-Length": length})
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        for block in blocks(self._parts if scope["method"] != "HEAD" else ()):
            if last:
                await send({"type": "http.response.body", "body": last, "more_body": True})
                # Yield to other tasks, and notice a lost connection.
                await asyncio.sleep(0)
            last = block
        await send({"type": "http.response.body", "body": last, "more_body": False})


def blocks(parts: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Join the parts and split them into blocks of one size. The last block may be shorter."""
    gathered: list[memoryview] = []
    room = size
    for part in parts:
        rest = memoryview(part)
        while rest:
            taken, rest = rest[:room], rest[room:]
            gathered.append(taken)
            room -= len(taken)
            if not room:
                yield b"".join(gathered)
                gathered, room = [], size
    if gathered:
        yield b"".join(gathered)

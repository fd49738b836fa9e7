"""Response bodies, limited before they are decoded.

httpx's decoder inflates before the size can be checked: a gzip bomb of 400 KB took 295 MiB. Here, received bytes are
counted and inflated in small steps up to the limit. Decoded JSON takes many times its size (`{},` is 3 bytes and
becomes an object of 100), so its values are counted first.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import msgspec

from exporter.limits import Limit
from exporter.registry.errors import bad_answer

_T = TypeVar("_T", bound=msgspec.Struct)

# Called with the size of each decoded part before it is kept. It may wait, or raise `RegistryError`.
Take = Callable[[int], Awaitable[None]]

# zlib's `wbits` for each encoding; 47 detects gzip and zlib headers.
_WBITS = {"gzip": 47, "x-gzip": 47, "deflate": 47}
_STEP = 64 * 2**10
# Reading a buffered body never blocks, so yield to other tasks after this many parts.
_PARTS_PER_TURN = 128


async def read(
    chunks: AsyncIterator[bytes], *, encoding: str, limit: int, take: Take, parts: int = Limit.ANSWER_PARTS.most
) -> bytes:
    """Read and decode the body of a response.

    Args:
        chunks: the body as received, still encoded.
        encoding: its `Content-Encoding`; empty or `identity` is none.
        limit: maximum bytes, both received and decoded.
        take: called before a decoded part is kept.
        parts: maximum number of chunks: each costs time, however small.

    Raises:
        RegistryError: `bad_answer`, the body is too large, truncated, or in an encoding that was not requested.
    """
    name = encoding.strip().lower()
    if name not in _WBITS and name not in ("", "identity"):
        raise bad_answer(f"the response has an encoding that was not requested ({name[:20]!r})")
    inflate = zlib.decompressobj(_WBITS[name]) if name in _WBITS else None
    kept: list[bytes] = []
    count = raw = size = 0
    async for chunk in chunks:
        count += 1
        raw += len(chunk)
        if count > parts:
            raise bad_answer(f"the response has more than {parts} parts", limit=Limit.ANSWER_PARTS)
        if count % _PARTS_PER_TURN == 0:
            await asyncio.sleep(0)
        if raw > limit:
            raise bad_answer(f"the response is larger than {limit} bytes", limit=Limit.ANSWER_BYTES)
        for part in (chunk,) if inflate is None else _inflated(inflate, chunk):
            size += len(part)
            if size > limit:
                raise bad_answer(f"the decoded response is larger than {limit} bytes", limit=Limit.ANSWER_BYTES)
            await take(len(part))
            kept.append(part)
    if inflate is not None and raw and not inflate.eof:
        raise bad_answer("the compressed response is truncated")
    return b"".join(kept)


def _inflated(inflate: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """Yield the inflated chunk in parts of limited size."""
    try:
        while part := inflate.decompress(chunk, _STEP):
            yield part
            chunk = inflate.unconsumed_tail
    except zlib.error as error:
        raise bad_answer(f"cannot decompress the response: {error}") from error
    if inflate.unused_data:
        raise bad_answer("the compressed response has trailing data")


def decode(body: bytes, as_type: type[_T], *, limit: Limit | None = None, most: int | None = None) -> _T:
    """Decode a JSON object to a struct of the few fields that we read, skipping others.

    Args:
        body: the JSON.
        as_type: a struct. Its fields are scalars unless there is a limit.
        limit: limit on the number of JSON values, counted by their commas.
        most: their maximum number; by default that of the limit.

    Raises:
        RegistryError: `bad_answer`, the body is something else, nested too deeply, or has too many values.
    """
    if limit is not None and body.count(b",") >= (most := limit.most if most is None else most):
        raise bad_answer(f"the response has more than {most} values", limit=limit)
    try:
        return msgspec.json.decode(body, type=as_type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_answer(f"the response is not the expected JSON ({error or type(error).__name__})") from error

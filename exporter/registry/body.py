"""Bodies of answers, bounded before they are decoded.

httpx's own decoder inflates before anybody can check the size: a gzip bomb of 400 KB took 295 MiB. Here received bytes
are counted, and inflated up to the bound only.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec

from exporter.registry.errors import bad_answer

_T = TypeVar("_T", bound=msgspec.Struct)

# The `wbits` of zlib for each encoding; 47 detects gzip and zlib headers.
_WBITS = {"gzip": 47, "x-gzip": 47, "deflate": 47}


async def read(chunks: AsyncIterator[bytes], *, encoding: str, limit: int) -> bytes:
    """The decoded body of an answer.

    Args:
        chunks: the body as received, still encoded.
        encoding: its `Content-Encoding`; empty or `identity` is none.
        limit: bytes, both as received and as decoded.

    Raises:
        RegistryError: `bad_answer`, the body is larger, truncated, or in an encoding that was not requested.
    """
    name = encoding.strip().lower()
    if name not in _WBITS and name not in ("", "identity"):
        raise bad_answer(f"the answer has an encoding that was not requested ({name[:20]!r})")
    inflate = zlib.decompressobj(_WBITS[name]) if name in _WBITS else None
    parts: list[bytes] = []
    raw = size = 0
    async for chunk in chunks:
        raw += len(chunk)
        if raw > limit:
            raise bad_answer(f"the answer is larger than {limit} bytes")
        try:
            part = chunk if inflate is None else inflate.decompress(chunk, limit - size + 1)
        except zlib.error as error:
            raise bad_answer(f"the answer cannot be decompressed: {error}") from error
        size += len(part)
        if size > limit or (inflate is not None and inflate.unconsumed_tail):
            raise bad_answer(f"the decoded answer is larger than {limit} bytes")
        parts.append(part)
    if inflate is not None and raw and not inflate.eof:
        raise bad_answer("the compressed answer is truncated")
    return b"".join(parts)


def decode(body: bytes, as_type: type[_T]) -> _T:
    """A JSON object as a struct of the few fields that we read; other fields are skipped.

    Raises:
        RegistryError: `bad_answer`, it is something else or nested too deeply.
    """
    try:
        return msgspec.json.decode(body, type=as_type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_answer(f"the answer is not the expected JSON ({error or type(error).__name__})") from error

"""Answers of registries, bounded before they are decoded.

httpx's own decoder inflates first and asks later: 400 KB of a gzip bomb took 295 MiB. Here raw bytes are counted as they come, and
inflated into what is left of the bound and not a byte more.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec

from exporter.reasons import Reason
from exporter.registry.errors import RegistryError

_T = TypeVar("_T", bound=msgspec.Struct)

# What zlib is told of each encoding: 47 finds gzip and zlib headers by itself.
_WBITS = {"gzip": 47, "x-gzip": 47, "deflate": 47}


async def read(chunks: AsyncIterator[bytes], *, encoding: str, limit: int) -> bytes:
    """The decoded body of an answer.

    Args:
        chunks: the body as it comes, still encoded.
        encoding: its `Content-Encoding`; empty or `identity` is none.
        limit: bytes, of the body as it comes and as it is decoded.

    Raises:
        RegistryError: `bad_answer` where it is larger, cut short, or in an encoding that was not asked for.
    """
    name = encoding.strip().lower()
    if name not in _WBITS and name not in ("", "identity"):
        raise _bad(f"the answer is in an encoding that was not asked for ({name[:20]!r})")
    inflate = zlib.decompressobj(_WBITS[name]) if name in _WBITS else None
    parts: list[bytes] = []
    raw = size = 0
    async for chunk in chunks:
        raw += len(chunk)
        if raw > limit:
            raise _bad(f"the answer is larger than {limit} bytes")
        try:
            part = chunk if inflate is None else inflate.decompress(chunk, limit - size + 1)
        except zlib.error as error:
            raise _bad(f"the answer is not what its encoding says: {error}") from error
        size += len(part)
        if size > limit or (inflate is not None and inflate.unconsumed_tail):
            raise _bad(f"the decoded answer is larger than {limit} bytes")
        parts.append(part)
    if inflate is not None and raw and not inflate.eof:
        raise _bad("the compressed answer is cut short")
    return b"".join(parts)


def decode(body: bytes, as_type: type[_T]) -> _T:
    """A JSON object as a struct of the few fields that we read; everything else is passed over without being built.

    Raises:
        RegistryError: `bad_answer` where it is something else, or nested too deep.
    """
    try:
        return msgspec.json.decode(body, type=as_type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _bad(f"the answer is not the JSON that was expected ({error or type(error).__name__})") from error


def _bad(message: str) -> RegistryError:
    return RegistryError(message, reason=Reason.BAD_ANSWER)

"""What is sent: a status, headers and bytes; and `304 Not Modified` to whoever has the same already (RFC 9110)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.types import Send

from exporter.server.body import blocks

Headers = tuple[tuple[bytes, bytes], ...]
JSON = b"application/json"
_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
)
# An answer may change at any time, and asking again with its ETag costs nothing.
_REVALIDATE: Headers = ((b"cache-control", b"no-cache"),)
_DO_NOT_STORE: Headers = ((b"cache-control", b"no-store"),)
# RFC 9110, section 8.8.3; whether a validator is weak does not matter here (section 13.1.2).
_ETAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer.

    Attributes:
        parts: of the body.
        status: of the answer.
        media: of the body.
        headers: more of them.
        etag: the validator, in quotes.
    """

    parts: Sequence[bytes] = ()
    status: int = 200
    media: bytes = JSON
    headers: Headers = ()
    etag: bytes = b""

    @classmethod
    def of(cls, body: bytes) -> Reply:
        """An answer with a strong validator."""
        # Terminals want a line.
        body += b"\n"
        return cls(parts=(body,), etag=strong_etag(body))


def strong_etag(body: bytes) -> bytes:
    """A validator that another body does not have."""
    return b'"%s"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()


async def send_reply(reply: Reply, send: Send, *, known: Iterable[bytes]) -> int:
    """Send an answer, and return its status; the server leaves the body out where the request is HEAD.

    Args:
        reply: what to send.
        send: of ASGI.
        known: the values of `If-None-Match`.
    """
    status, parts, headers = reply.status, reply.parts, reply.headers + _ALWAYS
    headers += _REVALIDATE if status == 200 else _DO_NOT_STORE
    if reply.etag:
        headers += ((b"etag", reply.etag),)
    if reply.etag and _has(reply.etag, known):
        status, parts = 304, ()
    elif parts:
        headers += ((b"content-type", reply.media), (b"content-length", b"%d" % sum(map(len, parts))))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    last = b""
    for block in blocks(parts):
        if last:
            await send({"type": "http.response.body", "body": last, "more_body": True})
            # Others have their turn, and a connection that was lost is noticed.
            await asyncio.sleep(0)
        last = block
    await send({"type": "http.response.body", "body": last})
    return status


def _has(etag: bytes, known: Iterable[bytes]) -> bool:
    """Whether a client has what a validator stands for (RFC 9110, section 13.1.2)."""
    opaque = etag.removeprefix(b"W/")
    return any(value.strip() == b"*" or opaque in _ETAG.findall(value) for value in known)

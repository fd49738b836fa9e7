"""Responses: a status, headers and a body, or `304 Not Modified` if the client's copy is current (RFC 9110)."""

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
# A response may change at any time, and revalidating its ETag is cheap.
_REVALIDATE: Headers = ((b"cache-control", b"no-cache"),)
_DO_NOT_STORE: Headers = ((b"cache-control", b"no-store"),)
# RFC 9110, section 8.8.3. Whether an ETag is weak does not matter here (section 13.1.2).
_ETAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response.

    Attributes:
        parts: parts of the body.
        status: HTTP status.
        media: media type of the body.
        headers: additional headers.
        etag: the ETag, in quotes.
    """

    parts: Sequence[bytes] = ()
    status: int = 200
    media: bytes = JSON
    headers: Headers = ()
    etag: bytes = b""

    @classmethod
    def of(cls, body: bytes) -> Reply:
        """Return a response with a strong ETag."""
        # A final line break, for terminals.
        body += b"\n"
        return cls(parts=(body,), etag=strong_etag(body))


def strong_etag(body: bytes) -> bytes:
    """Return an ETag that no other body has."""
    return b'"%s"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()


async def send_reply(reply: Reply, send: Send, *, known: Iterable[bytes]) -> int:
    """Send a response and return its status. The server omits the body if the request is HEAD.

    Args:
        reply: response to send.
        send: ASGI's `send`.
        known: values of `If-None-Match`.
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
            # Yield to other tasks, and notice a lost connection.
            await asyncio.sleep(0)
        last = block
    await send({"type": "http.response.body", "body": last})
    return status


def _has(etag: bytes, known: Iterable[bytes]) -> bool:
    """Whether the client's copy matches an ETag (RFC 9110, section 13.1.2)."""
    opaque = etag.removeprefix(b"W/")
    return any(value.strip() == b"*" or opaque in _ETAG.findall(value) for value in known)

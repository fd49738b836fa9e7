"""The JSON of all findings for HTTP, rendered, compressed and hashed once per snapshot.

The document contains its creation time, so two responses about the same snapshot differ. Their ETag is therefore a weak
one (RFC 9110, section 8.8.1) that only depends on the findings.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.findings import Snapshot
from exporter.report import json_output

# RFC 1952: deflate, no flags, no time, an unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@dataclass(slots=True)
class _Rendered:
    """A snapshot and its renderings so far. `packed` is a raw deflate stream that may follow others."""

    snapshot: Snapshot
    body: bytes
    etag: bytes
    packed: bytes = b""


class FindingsDocument:
    """The document of the newest snapshot. Not safe for concurrent use.

    Args:
        snapshot: returns the newest snapshot; None before the first complete one.
        clock: returns epoch seconds.
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None], *, clock: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._rendered: _Rendered | None = None

    def render(self, *, gzip: bool) -> tuple[Sequence[bytes], bytes] | None:
        """Return the document in parts, and its ETag; None before the first snapshot. This may take a second."""
        snapshot = self._snapshot()
        if snapshot is None:
            return None
        known = self._rendered
        if known is None or known.snapshot is not snapshot:
            known = self._rendered = _render(snapshot)
        head = json_output.head(snapshot, now=self._clock())
        if not gzip:
            return (head, known.body), known.etag
        if not known.packed:
            known.packed = _deflate(known.body, zlib.Z_FINISH)
        # Data after a full flush does not depend on the data before it.
        check, size = zlib.crc32(known.body, zlib.crc32(head)), len(head) + len(known.body)
        tail = struct.pack("<II", check, size & 0xFFFFFFFF)
        return (_GZIP_HEADER, _deflate(head, zlib.Z_FULL_FLUSH), known.packed, tail), known.etag


def _render(snapshot: Snapshot) -> _Rendered:
    body = json_output.body(snapshot)
    digest = hashlib.blake2b(json_output.head(snapshot, now=0.0), digest_size=12)
    digest.update(body)
    return _Rendered(snapshot, body, b'W/"%s"' % digest.hexdigest().encode())


def _deflate(data: bytes, end: int) -> bytes:
    stream = zlib.compressobj(level=3, wbits=-15)
    return stream.compress(data) + stream.flush(end)

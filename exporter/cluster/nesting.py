"""Flattening of JSON that is nested too deeply for a recursive decoder.

If a definition has no schema for a value, an author of custom resources may nest it thousands of levels deep. The API
server accepts 10,000 levels, and msgspec fails at Python's recursion limit. One such object must not make its whole
page unreadable. Every field that we read is within the first ten levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

LEVELS = 64

# Brackets, and strings so that brackets inside them do not count. An unterminated string extends to the end of the
# message, which keeps the time linear. The decoder rejects it afterwards.
_TOKEN = re.compile(rb'[\[{\]}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

T = TypeVar("T")
Message = bytes | bytearray


def shallow(message: Message, levels: int = LEVELS) -> bytes:
    """Return the message with every array and object below a level replaced by `null`."""
    message = bytes(message)
    kept: list[bytes] = []
    depth, begin = 0, 0
    for token in _TOKEN.finditer(message):
        character = token[0][:1]
        if character in b"[{":
            depth += 1
            if depth == levels + 1:
                kept += message[begin : token.start()], b"null"
        elif character in b"]}":
            if depth == levels + 1:
                begin = token.end()
            depth -= 1
    if depth <= levels:
        kept.append(message[begin:])
    return b"".join(kept)


def tolerant(decode: Callable[[Message], T]) -> Callable[[Message], T]:
    """Return a decoder for small messages that also accepts deeply nested ones."""

    def decoded(message: Message) -> T:
        try:
            return decode(message)
        except RecursionError:
            return decode(shallow(message))

    return decoded

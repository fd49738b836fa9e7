"""JSON that nests too deep for a recursive decoder, made shallow.

An author of custom resources may nest values thousands of levels deep where the definition does not say what is valid.
The API server accepts 10,000 levels, and msgspec gives up at Python's recursion limit. One such object must not make
the page of a list unreadable that it is on. Nothing that we read is below the tenth level.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

LEVELS = 64

# Brackets, and strings so that brackets inside of them do not count. A string that does not end runs to the end of the
# message, so that the time stays linear; the decoder refuses it afterwards.
_TOKEN = re.compile(rb'[\[{\]}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

T = TypeVar("T")
Message = bytes | bytearray


def shallow(message: Message, levels: int = LEVELS) -> bytes:
    """The message with `null` in place of every array and object below a level."""
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
    """A decoder for small messages that also reads deep ones."""

    def decoded(message: Message) -> T:
        try:
            return decode(message)
        except RecursionError:
            return decode(shallow(message))

    return decoded

"""What was probably meant by an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 60
# Characters of a list that somebody reads to the end.
_LONGEST_LIST = 300


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the known one that is most like it, or where all are."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], sorted(known), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    listed = ", ".join(sorted(known))
    return f"; known keys are {listed}" if len(listed) <= _LONGEST_LIST else "; docs/configuration.md lists the keys"

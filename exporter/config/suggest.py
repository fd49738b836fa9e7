"""Suggestions for unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 60
# Length of a list that people still read to the end.
_LONGEST_LIST = 300


def closest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the most similar known name, or where to find them all."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], sorted(known), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    listed = ", ".join(sorted(known))
    return f"; known keys are {listed}" if len(listed) <= _LONGEST_LIST else "; docs/configuration.md lists the keys"

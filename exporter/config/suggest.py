"""What was probably meant by an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 60


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the known one that is most like it, or all of them."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known keys are {', '.join(sorted(known))}"

"""What the page is asked for: the parameters of its address, parsed and written.

The address holds the complete view (filter, order, place), so that a link to it shows the same, and the page works
without a script. A parameter with its default is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

from exporter.words import State

NO_NAMESPACE = "-"
"""The value of `namespace` for what has none: watched images. It is not a valid name of a namespace."""
LONGEST_TEXT = 200
_MOST_DIGITS = 9
_Choice = TypeVar("_Choice", bound=StrEnum)


class Sort(StrEnum):
    """What the rows are sorted by."""

    URGENCY = "urgency"
    WORKLOAD = "workload"
    IMAGE = "image"
    BEHIND = "behind"
    AGE = "age"
    OWNER = "owner"


class QueryError(ValueError):
    """A parameter has a value that it cannot have; the message says which, and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which rows are shown, and how.

    Attributes:
        namespace: only this one; empty for all, `NO_NAMESPACE` for rows without one.
        text: words that a row must contain, without regard to case; empty for all.
        state: only this one; None for all.
        sort: what the rows are sorted by.
        reverse: whether the last row comes first.
        start: how many rows come before the first one shown.
    """

    namespace: str = ""
    text: str = ""
    state: State | None = None
    sort: Sort = Sort.URGENCY
    reverse: bool = False
    start: int = 0

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> View:
        """The view that an address asks for. Parameters of other names are ignored.

        Raises:
            QueryError: a value is not one of those that are expected.
        """
        text = parameters.get("q", "")
        if len(text) > LONGEST_TEXT:
            raise QueryError(f"q: expected at most {LONGEST_TEXT} characters")
        start = parameters.get("from", "") or "0"
        if not (start.isascii() and start.isdecimal() and len(start) <= _MOST_DIGITS):
            raise QueryError(f"from: expected a number of at most {_MOST_DIGITS} digits")
        order = parameters.get("order", "")
        if order not in ("", "reverse"):
            raise QueryError("order: expected reverse, or nothing")
        state = parameters.get("state", "")
        return cls(
            namespace=parameters.get("namespace", ""),
            text=" ".join(text.split()),
            state=_choice("state", state, State) if state else None,
            sort=_choice("sort", parameters.get("sort", "") or Sort.URGENCY, Sort),
            reverse=order == "reverse",
            start=int(start),
        )

    def url(self, **changes: Any) -> str:
        """The relative address of this view with some attributes changed; any change but of `start` starts again."""
        view = replace(self, **{"start": 0, **changes})
        values = {
            "namespace": view.namespace,
            "q": view.text,
            "state": view.state or "",
            "sort": "" if view.sort is Sort.URGENCY else view.sort,
            "order": "reverse" if view.reverse else "",
            "from": view.start or "",
        }
        # An empty address would be that of the page with its present parameters.
        return f"?{urlencode(given)}" if (given := {name: value for name, value in values.items() if value}) else "./"

    @property
    def filtered(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.namespace or self.text or self.state)


def _choice(name: str, value: str, choices: type[_Choice]) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        raise QueryError(f"{name}: expected one of {_listed(choices)}") from None


def _listed(choices: Iterable[StrEnum]) -> str:
    return ", ".join(choice.value for choice in choices)

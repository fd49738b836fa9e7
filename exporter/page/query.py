"""The query parameters of the page's URL.

The URL holds the complete view (filter, order, position), so a link to it shows the same, and the page works without a
script. Parameters with their default are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

from exporter.words import State

NO_NAMESPACE = "-"
"""The value of `namespace` for watched images, which have none. It is not a valid namespace name."""
LONGEST_TEXT = 200
_MOST_DIGITS = 9
_Choice = TypeVar("_Choice", bound=StrEnum)


class Sort(StrEnum):
    """Sort order of the rows."""

    URGENCY = "urgency"
    WORKLOAD = "workload"
    IMAGE = "image"
    BEHIND = "behind"
    AGE = "age"
    OWNER = "owner"


class QueryError(ValueError):
    """A parameter has an invalid value. The message names it and says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which rows are shown, and how.

    Attributes:
        namespace: only this one; empty for all, `NO_NAMESPACE` for rows without one.
        text: words that a row must contain, case-insensitive; empty for all.
        state: only this one; None for all.
        sort: sort order.
        reverse: whether to reverse the order.
        start: number of rows before the first one shown.
    """

    namespace: str = ""
    text: str = ""
    state: State | None = None
    sort: Sort = Sort.URGENCY
    reverse: bool = False
    start: int = 0

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> View:
        """Parse the view from query parameters. Unknown parameters are ignored.

        Raises:
            QueryError: a parameter has an invalid value.
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
        """Return the relative URL of this view with changes. Any change but of `start` goes back to the first page."""
        view = replace(self, **{"start": 0, **changes})
        values = {
            "namespace": view.namespace,
            "q": view.text,
            "state": view.state or "",
            "sort": "" if view.sort is Sort.URGENCY else view.sort,
            "order": "reverse" if view.reverse else "",
            "from": view.start or "",
        }
        # An empty URL would keep the page's current parameters.
        return f"?{urlencode(given)}" if (given := {name: value for name, value in values.items() if value}) else "./"

    @property
    def filtered(self) -> bool:
        """Whether a filter applies."""
        return bool(self.namespace or self.text or self.state)


def _choice(name: str, value: str, choices: type[_Choice]) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        raise QueryError(f"{name}: expected one of {_listed(choices)}") from None


def _listed(choices: Iterable[StrEnum]) -> str:
    return ", ".join(choice.value for choice in choices)

"""An API operation as data. The dispatcher follows it, and the OpenAPI document is rendered from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from exporter.api.problems import Kind
from exporter.api.replies import Reply
from exporter.versions import STRATEGY_NAMES


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an operation.

    Attributes:
        given: parameter values by name.
        headers: names (in lower case) and values.
    """

    given: Mapping[str, str]
    headers: Sequence[tuple[bytes, bytes]] = ()

    def header(self, name: bytes) -> str:
        """Return the values of a header as one list."""
        return b",".join(value for key, value in self.headers if key == name).decode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an operation.

    Attributes:
        name: name in the query or path.
        place: `query` or `path`.
        description: its meaning, in a sentence.
        example: a value.
        required: whether it is required.
        schema: its JSON Schema.
    """

    name: str
    place: Literal["query", "path"]
    description: str
    example: str
    required: bool = True
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "minLength": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation at a path, for GET and HEAD.

    Attributes:
        name: its identifier in the OpenAPI document.
        path: path with parameters in braces.
        summary: a few words about the response.
        description: more about it, in Markdown.
        answer: struct of a successful response; None is any object.
        handle: produces the response, from a `handlers.Handlers` and the request.
        parameters: those of the path, in order, and of the query.
        problems: possible problems, in addition to those of every operation.
        lenient: whether to ignore unknown query parameters.
        public: whether it needs no token.
    """

    name: str
    path: str
    summary: str
    description: str
    answer: type[Any] | None
    handle: Callable[[Any, Asked], Awaitable[Reply]]
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[Kind, ...] = ()
    lenient: bool = False
    public: bool = False


def strategy_parameter(default: str) -> Parameter:
    """Declare the parameter `strategy`.

    Args:
        default: its default, in a few words.
    """
    return Parameter(
        name="strategy",
        place="query",
        description=f"The widest version change to consider; by default {default}. `bugfix` is an alias of `patch`.",
        example="patch",
        required=False,
        schema={"type": "string", "enum": list(STRATEGY_NAMES)},
    )

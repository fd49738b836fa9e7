"""An operation of the API as data: the dispatcher follows it, and the OpenAPI document is rendered from it."""

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
        given: the values of its parameters, by name.
        headers: names (in lower case) and values.
    """

    given: Mapping[str, str]
    headers: Sequence[tuple[bytes, bytes]] = ()

    def header(self, name: bytes) -> str:
        """The values of a header as one list."""
        return b",".join(value for key, value in self.headers if key == name).decode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an operation.

    Attributes:
        name: in the query or the path.
        place: where it is.
        description: what it means, in a sentence.
        example: a value.
        required: whether it must be there.
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
    """What can be asked at a path, by GET and HEAD.

    Attributes:
        name: its identifier in the OpenAPI document.
        path: with its parameters in braces.
        summary: what it answers, in a few words.
        description: more about that, in Markdown.
        answer: the struct of a successful answer; None is any object.
        handle: what makes the answer, from a `handlers.Handlers` and the request.
        parameters: of the path, in their order, and of the query.
        problems: why there may be no answer, in addition to what holds for every operation.
        lenient: whether unknown parameters of the query are ignored.
        public: whether it is answered without a token, too.
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
    """The parameter `strategy`.

    Args:
        default: what it is if it is not given, in a few words.
    """
    return Parameter(
        name="strategy",
        place="query",
        description=f"How far an offer may go; {default} if it is not given. `patch` and `bugfix` are the same.",
        example="patch",
        required=False,
        schema={"type": "string", "enum": list(STRATEGY_NAMES)},
    )

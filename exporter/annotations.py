"""Options of a container, which operators set by annotations on its pod template.

`image-patch.mojaloop.io/strategy: minor` applies to every container of the pod;
`image-patch.mojaloop.io/strategy.sidecar: minor` applies to one container and overrides the former. An invalid
annotation makes its container unknown, with a reason; it is never applied in part.

Regular expressions run in RE2, whose time is linear in the text: anyone who can create a pod can write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from exporter.images import InvalidReferenceError, Repository, parse_repository
from exporter.versions import STRATEGY_NAMES, Strategy

PREFIX = "image-patch.mojaloop.io/"
_NAMES = frozenset({"ignore", "strategy", "include-tags", "exclude-tags", "image"})
_LONGEST_EXPRESSION = 256
_LONGEST_SHOWN = 40


class InvalidAnnotationError(ValueError):
    """An invalid annotation; the message says which, and what is expected."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one container.

    Attributes:
        ignore: leave the container out.
        strategy: None is the configuration's.
        include, exclude: regular expressions that must, and must not, match the complete tag; empty is none.
        lookup: the repository whose tags are looked up, or None for the image's own.
    """

    ignore: bool = False
    strategy: Strategy | None = None
    include: str = ""
    exclude: str = ""
    lookup: Repository | None = None


def read_options(annotations: Iterable[tuple[str, str]], container: str) -> Options:
    """The options of one container.

    Args:
        annotations: of the pod template; those without our prefix are ignored.
        container: its name.

    Raises:
        InvalidAnnotationError: an annotation that applies to this container is invalid.
    """
    given: dict[str, str] = {}
    for key, value in sorted(annotations, key=lambda item: "." in item[0].removeprefix(PREFIX)):
        if not key.startswith(PREFIX):
            continue
        name, dot, of = key.removeprefix(PREFIX).partition(".")
        if name not in _NAMES:
            raise InvalidAnnotationError(f"{key}: unknown option; known options are {', '.join(sorted(_NAMES))}")
        if not dot or of == container:
            given[name] = value
    return Options(
        ignore=_flag(given.get("ignore")),
        strategy=_strategy(given.get("strategy")),
        include=_expression("include-tags", given.get("include-tags", "")),
        exclude=_expression("exclude-tags", given.get("exclude-tags", "")),
        lookup=_repository(given.get("image")),
    )


def acceptor(include: str, exclude: str) -> Callable[[str], bool] | None:
    """Which tags may be offered under two expressions that `read_options` accepted; None is all of them."""
    if not include and not exclude:
        return None
    wanted, unwanted = _compile(include) if include else None, _compile(exclude) if exclude else None
    return lambda tag: (
        (wanted is None or bool(wanted.fullmatch(tag))) and not (unwanted is not None and unwanted.fullmatch(tag))
    )


@lru_cache(maxsize=256)
def _compile(expression: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(expression, options=options)


def _flag(value: str | None) -> bool:
    if value is None or value in ("true", "false"):
        return value == "true"
    raise InvalidAnnotationError(f'{PREFIX}ignore: found {value[:_LONGEST_SHOWN]!r}, expected "true" or "false"')


def _strategy(value: str | None) -> Strategy | None:
    if value is None or value in STRATEGY_NAMES:
        return None if value is None else STRATEGY_NAMES[value]
    expected = ", ".join(STRATEGY_NAMES)
    raise InvalidAnnotationError(f"{PREFIX}strategy: found {value[:_LONGEST_SHOWN]!r}, expected one of {expected}")


def _expression(name: str, value: str) -> str:
    if len(value) > _LONGEST_EXPRESSION:
        raise InvalidAnnotationError(f"{PREFIX}{name}: longer than {_LONGEST_EXPRESSION} characters")
    try:
        if value:
            _compile(value)
    except re2.error as error:
        raise InvalidAnnotationError(f"{PREFIX}{name}: {value!r} is not a valid RE2 expression: {error}") from error
    return value


def _repository(value: str | None) -> Repository | None:
    try:
        return None if value is None else parse_repository(value)
    except InvalidReferenceError as error:
        raise InvalidAnnotationError(f"{PREFIX}image: {error}") from error

"""What an operator may say of a container by annotations on its pod template.

`image-patch.mojaloop.io/strategy: minor` holds for every container of the pod, `image-patch.mojaloop.io/strategy.sidecar: minor`
for one, and goes before. A bad annotation makes its container unknown with a reason; it is never half obeyed.

Regular expressions run in RE2, whose time is linear in the text: anyone who can create a pod writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from exporter.images import InvalidReferenceError, Repository, parse_repository
from exporter.versions import Strategy

PREFIX = "image-patch.mojaloop.io/"
_NAMES = frozenset({"ignore", "strategy", "include-tags", "exclude-tags", "image"})
_LONGEST_EXPRESSION = 256
# `bugfix` is what the older HTTP API called a patch.
_STRATEGIES = {"patch": Strategy.PATCH, "bugfix": Strategy.PATCH, "minor": Strategy.MINOR, "major": Strategy.MAJOR}


class InvalidAnnotationError(ValueError):
    """An annotation that cannot be obeyed; the message says which, and what is expected."""


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for one container.

    Attributes:
        ignore: leave it out altogether.
        strategy: None is the configuration's.
        include, exclude: regular expressions that a tag must, and must not, match as a whole; empty is none.
        lookup: the repository to look the tags up in, or None for the image's own.
    """

    ignore: bool = False
    strategy: Strategy | None = None
    include: str = ""
    exclude: str = ""
    lookup: Repository | None = None


def read_options(annotations: Iterable[tuple[str, str]], container: str) -> Options:
    """The options of one container.

    Args:
        annotations: of the pod template; those without our prefix are passed over.
        container: its name.

    Raises:
        InvalidAnnotationError: one that concerns this container is not understood.
    """
    said: dict[str, str] = {}
    for key, value in sorted(annotations, key=lambda item: "." in item[0].removeprefix(PREFIX)):
        if not key.startswith(PREFIX):
            continue
        name, dot, of = key.removeprefix(PREFIX).partition(".")
        if name not in _NAMES:
            raise InvalidAnnotationError(f"{key}: there is no such option; known are {', '.join(sorted(_NAMES))}")
        if not dot or of == container:
            said[name] = value
    return Options(
        ignore=_flag(said.get("ignore")),
        strategy=_strategy(said.get("strategy")),
        include=_expression("include-tags", said.get("include-tags", "")),
        exclude=_expression("exclude-tags", said.get("exclude-tags", "")),
        lookup=_repository(said.get("image")),
    )


def acceptor(include: str, exclude: str) -> Callable[[str], bool] | None:
    """Which tags may be offered under two expressions that `read_options` took; None is all of them."""
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
    raise InvalidAnnotationError(f'{PREFIX}ignore: {value[:40]!r} is neither "true" nor "false"')


def _strategy(value: str | None) -> Strategy | None:
    if value is None or value in _STRATEGIES:
        return None if value is None else _STRATEGIES[value]
    raise InvalidAnnotationError(f"{PREFIX}strategy: {value[:40]!r} is none of {', '.join(_STRATEGIES)}")


def _expression(name: str, value: str) -> str:
    if len(value) > _LONGEST_EXPRESSION:
        raise InvalidAnnotationError(f"{PREFIX}{name}: longer than {_LONGEST_EXPRESSION} characters")
    try:
        if value:
            _compile(value)
    except re2.error as error:
        raise InvalidAnnotationError(f"{PREFIX}{name}: {value!r} is no RE2 regular expression: {error}") from error
    return value


def _repository(value: str | None) -> Repository | None:
    try:
        return None if value is None else parse_repository(value)
    except InvalidReferenceError as error:
        raise InvalidAnnotationError(f"{PREFIX}image: {error}") from error

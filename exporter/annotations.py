r"""Options of a container, set by annotations on its pod template.

`image-patch.mojaloop.io/strategy: minor` applies to every container of the pod;
`image-patch.mojaloop.io/strategy.sidecar: minor` applies to one container and overrides the first form. An invalid
annotation makes its container unknown, with a reason. It is never applied in part.

A name close to an option (`exclude-tag`) counts as a misspelling and is invalid: ignoring it would offer wrong tags.
Other names under the prefix are ignored, because other tools may use them. Options for containers that do not exist are
ignored too. `Annotations.ignored` lists both for the log.

Anyone who can create a pod can write regular expressions, so they run in RE2, in time linear in the text. The size of
compiled expressions is limited as well, because a few characters (`\pL{1000}`) can compile to megabytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from exporter.images import InvalidReferenceError, Repository, parse_repository
from exporter.limits import Limit
from exporter.versions import STRATEGY_NAMES, Strategy

PREFIX = "image-patch.mojaloop.io/"
_NAMES = ("exclude-tags", "ignore", "image", "include-tags", "strategy")
_EXPRESSIONS = ("include-tags", "exclude-tags")
# Minimum difflib ratio of a misspelt option: `exclude` matches `exclude-tags` by .74, `ignore-until` matches `ignore`
# by .67.
_MISSPELT = 0.7
_LONGEST_SHOWN = 40


class InvalidAnnotationError(ValueError):
    """An annotation is invalid; the message says which, and what is expected."""


class LimitExceededError(InvalidAnnotationError):
    """Annotations that cost too much.

    Attributes:
        limit: the limit that they exceed.
    """

    def __init__(self, limit: Limit, message: str) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one container.

    Attributes:
        ignore: leave the container out.
        strategy: None for the configured one.
        include, exclude: regular expressions that must, or must not, match the complete tag; empty for none.
        lookup: the repository to look up instead of the image's own, or None.
    """

    ignore: bool = False
    strategy: Strategy | None = None
    include: str = ""
    exclude: str = ""
    lookup: Repository | None = None


class Annotations:
    """The annotations of a pod template, indexed once for all of its containers.

    Args:
        pairs: keys and values; those without our prefix are ignored.
        containers: the names of the pod's containers.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], containers: Collection[str]) -> None:
        self.ignored: list[str] = []
        self._for_all: dict[str, str] = {}
        self._for_one: dict[str, dict[str, str]] = {}
        self._checked: dict[str, InvalidAnnotationError | None] = {}
        ours = [(key.removeprefix(PREFIX), value) for key, value in pairs if key.startswith(PREFIX)]
        self._too_many = _too_many(ours)
        if self._too_many is None:
            known = frozenset(containers)
            for key, value in ours:
                self._add(key, value, known)

    def options(self, container: str) -> Options:
        """Return the options of a container.

        Raises:
            InvalidAnnotationError: an annotation that applies to this container is invalid.
            LimitExceededError: such an annotation exceeds a limit, or there are too many annotations.
        """
        if self._too_many is not None:
            raise self._too_many.with_traceback(None)
        given = self._for_all | self._for_one.get(container, {})
        if not given:
            return Options()
        for name in given:
            if name not in _NAMES:
                raise InvalidAnnotationError(f"{PREFIX}{name}: unknown option; did you mean {_closest(name)}?")
        return Options(
            ignore=_flag(given.get("ignore")),
            strategy=_strategy(given.get("strategy")),
            include=self._expression("include-tags", given.get("include-tags", "")),
            exclude=self._expression("exclude-tags", given.get("exclude-tags", "")),
            lookup=_repository(given.get("image")),
        )

    def _add(self, key: str, value: str, containers: Collection[str]) -> None:
        name, dot, container = key.partition(".")
        if name not in _NAMES and not _closest(name):
            self.ignored.append(f"{PREFIX}{key} is not an option")
        elif not dot:
            self._for_all[name] = value
        elif container in containers:
            self._for_one.setdefault(container, {})[name] = value
        else:
            self.ignored.append(f"{PREFIX}{key} names no container")

    def _expression(self, name: str, value: str) -> str:
        if value and value not in self._checked:
            self._checked[value] = _check(name, value)
        error = self._checked.get(value)
        if error is not None:
            # The error is raised for each container and would collect all of their tracebacks.
            raise error.with_traceback(None)
        return value


def acceptor(include: str, exclude: str) -> Callable[[str], bool] | None:
    """Return a filter for tags from two expressions that `Annotations` accepted; None accepts every tag."""
    if not include and not exclude:
        return None
    wanted, unwanted = _compile(include) if include else None, _compile(exclude) if exclude else None
    return lambda tag: (
        (wanted is None or bool(wanted.fullmatch(tag))) and not (unwanted is not None and unwanted.fullmatch(tag))
    )


def _too_many(ours: Collection[tuple[str, str]]) -> LimitExceededError | None:
    if len(ours) > Limit.ANNOTATION_COUNT.most:
        message = f"{len(ours)} annotations under {PREFIX}, more than {Limit.ANNOTATION_COUNT.most}"
        return LimitExceededError(Limit.ANNOTATION_COUNT, message)
    expressions = {value for key, value in ours if key.partition(".")[0] in _EXPRESSIONS}
    if len(expressions) > Limit.EXPRESSIONS.most:
        message = f"{len(expressions)} different regular expressions, more than {Limit.EXPRESSIONS.most}"
        return LimitExceededError(Limit.EXPRESSIONS, message)
    return None


@lru_cache(maxsize=256)
def _closest(name: str) -> str:
    """Return the option that a name misspells, or an empty string."""
    near = difflib.get_close_matches(name.lower(), _NAMES, n=1, cutoff=_MISSPELT)
    return near[0] if near else ""


# A repository's questions are answered together after each lookup, so few expressions are in use at a time.
@lru_cache(maxsize=32)
def _compile(expression: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = Limit.EXPRESSION_MEMORY.most
    compiled = re2.compile(expression, options=options)
    # The package's own cache would keep another 128.
    re2.purge()
    return compiled


def _check(name: str, value: str) -> InvalidAnnotationError | None:
    """Return the error of an expression; None if it is valid."""
    if len(value) > Limit.EXPRESSION_LENGTH.most:
        message = f"{PREFIX}{name}: longer than {Limit.EXPRESSION_LENGTH.most} characters"
        return LimitExceededError(Limit.EXPRESSION_LENGTH, message)
    try:
        _compile(value)
    except (re2.error, UnicodeError) as error:
        text = _text(error)
        if "too large" in text:
            message = f"{PREFIX}{name}: {value!r} needs more than {Limit.EXPRESSION_MEMORY.most} bytes when compiled"
            return LimitExceededError(Limit.EXPRESSION_MEMORY, message)
        return InvalidAnnotationError(f"{PREFIX}{name}: {value!r} is not a valid RE2 expression: {text}")
    return None


def _text(error: Exception) -> str:
    """Return RE2's message, which its package passes on as bytes."""
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)


def _flag(value: str | None) -> bool:
    if value is None or value in ("true", "false"):
        return value == "true"
    raise InvalidAnnotationError(f'{PREFIX}ignore: found {value[:_LONGEST_SHOWN]!r}, expected "true" or "false"')


def _strategy(value: str | None) -> Strategy | None:
    if value is None or value in STRATEGY_NAMES:
        return None if value is None else STRATEGY_NAMES[value]
    expected = ", ".join(STRATEGY_NAMES)
    raise InvalidAnnotationError(f"{PREFIX}strategy: found {value[:_LONGEST_SHOWN]!r}, expected one of {expected}")


def _repository(value: str | None) -> Repository | None:
    try:
        return None if value is None else parse_repository(value)
    except InvalidReferenceError as error:
        raise InvalidAnnotationError(f"{PREFIX}image: {error}") from error

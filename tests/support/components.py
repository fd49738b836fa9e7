"""Which tests need a real component, found by reading the tests instead of keeping a list.

A component is a binary that `make tools` builds with Go or installs from Debian. Every path to one goes through `need`.
At collection `needed_by` searches a test, its fixtures and the helpers that they call for a call of `need`. If it finds
one, the test gets the mark `components`. `make check` leaves these tests out. A test that the search misses is not
skipped: `need` fails in a test without the mark.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tools import find

MARK = "components"
# The test that runs, and None outside of one. Set by conftest.py.
running: pytest.Item | None = None


def need(*names: str) -> list[Path]:
    """The paths of these binaries; skips the test where one is missing, and fails it where CI=true.

    Continuous integration that skips tests without a word would prove nothing.
    """
    if running is not None and running.get_closest_marker(MARK) is None:
        pytest.fail(
            f"{running.nodeid} needs {', '.join(names)}, but `make check` cannot see that. Mark it:"
            f" @pytest.mark.{MARK}, or call `need` in the test, in one of its fixtures or in a helper of tests/."
        )
    found = {name: find(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        sentence = f"needs {', '.join(missing)}: run `make tools`"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return [path for path in found.values() if path is not None]


def needed_by(item: pytest.Item) -> bool:
    """Whether a test, or one of its fixtures, calls `need`."""
    if not isinstance(item, pytest.Function):
        return False
    fixtures = [definitions[-1].func for definitions in item._fixtureinfo.name2fixturedefs.values()]
    return any(reaches(function) for function in (item.function, *fixtures))


def reaches(function: Any, seen: set[Any] | None = None) -> bool:
    """Whether a function, or something of the tests that it names, calls `need`."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(getattr(function, "__func__", function))
    if function is need:
        return True
    if isinstance(function, type):
        methods = [value for value in vars(function).values() if isinstance(inspect.unwrap(value), FunctionType)]
        return any(reaches(method, seen) for method in methods)
    if not isinstance(function, FunctionType) or function in seen:
        return False
    if function.__module__ == __name__ or not function.__module__.startswith("tests."):
        return False
    seen.add(function)
    names = set(_names(function.__code__))
    modules: list[ModuleType] = []
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, ModuleType):
            modules.append(value)
        elif reaches(value, seen):
            return True
    return any(reaches(getattr(module, name, None), seen) for module in modules for name in names)


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function reads, also in the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)

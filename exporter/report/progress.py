"""A progress bar for long work, in a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress while the context lasts; yields `show(what, done, total)`."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    before = sys.stderr
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        with _log_to(sys.stderr, instead_of=before):
            yield show


@contextlib.contextmanager
def _log_to(stream: object, *, instead_of: object) -> Iterator[None]:
    """Print log lines above the bar: it replaces standard error, but log handlers still hold the original stream."""
    moved = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is instead_of
    ]
    for handler in moved:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(instead_of)

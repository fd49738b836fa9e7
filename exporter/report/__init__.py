"""What `check` prints: a module for each format, each of which turns a snapshot into text.

The server answers with the JSON too. Formats for people are imported only when they are asked for, because rich would
cost `serve` memory.
"""

from __future__ import annotations

import os
import sys

from exporter.findings import Snapshot
from exporter.report.json_output import render_json
from exporter.report.shell import render_commands

FORMATS = ("table", "json", "commands")


class OutputError(Exception):
    """Standard output cannot be written: it is closed, or its disk is full."""


def write(snapshot: Snapshot, output: str, *, now: float) -> None:
    """Write a snapshot to standard output.

    Args:
        snapshot: what to write.
        output: one of `FORMATS`.
        now: epoch seconds.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(_render(snapshot, output, now=now))


def write_text(text: str) -> None:
    """Write a text to standard output.

    Raises:
        OutputError: it cannot be written.
    """
    if sys.stdout is None:  # Python sets it to None if it was closed before the start
        raise OutputError("cannot write to standard output: it is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer cannot be written either. Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _render(snapshot: Snapshot, output: str, *, now: float) -> str:
    if output == "json":
        return render_json(snapshot, now=now).decode()
    if output == "commands":
        return render_commands(snapshot)
    from exporter.report.table import render_table  # noqa: PLC0415 - rich

    return render_table(snapshot, now=now)

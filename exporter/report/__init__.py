"""What `check` prints: a module for each format, each of which turns a snapshot into text.

The server answers with the JSON too. Formats for people are imported only when they are asked for, because rich would
cost `serve` memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from exporter.findings import Snapshot
from exporter.report.json_output import render_json
from exporter.report.shell import render_commands

_TEXTS: Mapping[str, Callable[[Snapshot], str]] = {
    "json": lambda snapshot: render_json(snapshot).decode(),
    "commands": render_commands,
}
FORMATS = ("table", *_TEXTS)


def write(snapshot: Snapshot, output: str, *, now: float) -> None:
    """Write a snapshot to standard output.

    Args:
        snapshot: what to write.
        output: one of `FORMATS`.
        now: epoch seconds.
    """
    if output == "table":
        from exporter.report.table import write_table  # noqa: PLC0415 - rich

        write_table(snapshot, now=now)
    else:
        sys.stdout.write(_TEXTS[output](snapshot))
    sys.stdout.flush()

"""A table for people, with a row for each image and tag, and a line of counts."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.findings import Finding
from exporter.logs import printable
from exporter.report.content import Content
from exporter.report.rows import counts, rows, where
from exporter.words import State

# Table lines are shorter than this: names, images and tags have at most some 250 characters each.
_LONGEST_LINE = 2000
_STYLES = {
    State.PATCH: "bold red",
    # "0 patches" must never read as "secure".
    State.SUPERSEDED: "yellow",
    State.UNKNOWN: "magenta",
    State.CURRENT: "green",
}


def render(content: Content) -> str:
    """Render the table and the counts: within the width of a terminal, otherwise in complete lines."""
    shown = table(content) if content.findings else None
    return as_text(shown, counts(content.snapshot), plain=content.plain)


def as_text(shown: Table | None, below: str = "", *, plain: bool = False) -> str:
    """Render a table and a line below it: within the width of a terminal, otherwise in complete lines.

    Args:
        shown: the table; None if there is none.
        below: the line; empty if there is none.
        plain: whether the text is not for the terminal, even if there is one.
    """
    output = Console()
    terminal = output.is_terminal and not plain
    text = io.StringIO()
    # In memory, so its writer handles write errors.
    console = Console(file=text, force_terminal=terminal, width=output.width, markup=False, highlight=False)
    if not terminal and shown is not None:
        # Pipes get complete lines.
        needed = console.measure(shown, options=console.options.update(max_width=_LONGEST_LINE)).maximum
        console.width = max(console.width, needed)
    if shown is not None:
        console.print(shown)
    if shown is not None and below:
        console.print()
    if below:
        console.print(below, soft_wrap=not terminal)
    # Cells are padded with blanks.
    return "".join(f"{line.rstrip(' ')}\n" for line in text.getvalue().splitlines())


def table(content: Content) -> Table:
    """Return a table with a row for each image and tag.

    Rows with a missed patch name every workload, and others only a few. If the table is wider than the terminal, cells
    are wrapped, beginning with the widest columns.
    """
    placed = any(finding.workload.kind for finding in content.findings)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("IMAGE", "PATCH"):
        shown.add_column(column, overflow="fold")
    for column in ("BEHIND", "MISSED FOR"):
        shown.add_column(column, justify="right", overflow="fold")
    shown.add_column("NEWER LINE", overflow="fold")
    if placed:
        shown.add_column("WHERE", overflow="fold")
    for row, findings in rows(content.findings, now=content.now).items():
        cells = [_text(row.image), _text(row.patch, _STYLES[row.state]), Text(row.behind), Text(row.age)]
        shown.add_row(*cells, _text(row.newer, "yellow"), *([_where(findings)] if placed else []))
    return shown


def _text(text: str, style: str = "") -> Text:
    """Return untrusted text without terminal control sequences."""
    return Text(printable(text), style)


def _where(findings: list[Finding]) -> Text:
    named, more = where(findings)
    return Text("\n".join([*map(printable, named), *([more] if more else [])]))

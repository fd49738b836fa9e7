"""A GitHub Flavored Markdown table and the counts, for people, in a pull request or wiki.

Names, tags and references are code spans, so nothing in them becomes a link, a mention or an emoji.
"""

from __future__ import annotations

import re

from exporter import words
from exporter.logs import printable
from exporter.report.content import Content
from exporter.report.rows import Row, counts, rows, where

# A backtick would end a code span, a pipe a cell, and a backslash may escape either.
_PLAIN = re.compile(r"[A-Za-z0-9._/:@+ ()-]+")
_COLUMNS = ("Image", "Patch", "Behind", "Missed for", "Newer line")


def render(content: Content) -> str:
    """Render the counts, a table with a row for each image and tag, and advice on unknown containers."""
    lines = [counts(content.snapshot), ""]
    placed = any(finding.workload.kind for finding in content.findings)
    found = rows(content.findings, now=content.now)
    if found:
        lines += [_line((*_COLUMNS, "Where") if placed else _COLUMNS)]
        lines += [_line(["---", "---", "--:", "--:", "---", *(["---"] if placed else [])])]
    for row, findings in found.items():
        named, more = where(findings)
        places = "<br>".join([*map(code, named), *([more] if more else [])])
        lines.append(_line([*_cells(row), *([places] if placed else [])]))
    reasons = dict.fromkeys(finding.reason for finding in content.findings if finding.reason is not None)
    if reasons:
        lines.append("")
    for reason in reasons:
        what, what_to_do = words.explain(reason)
        lines.append(f"- **{words.reason(reason)}:** {what} {what_to_do}")
    return "\n".join(lines).rstrip("\n") + "\n"


def _cells(row: Row) -> list[str]:
    patch = code(row.patch) if row.behind else row.patch
    return [code(row.image), patch, row.behind, row.age, code(row.newer)]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: str) -> str:
    """Return untrusted text as code. Characters that a code span cannot contain become character references."""
    text = printable(text)
    if not text.strip():
        return ""
    if _PLAIN.fullmatch(text):
        return f"`{text}`"
    return f"<code>{_numbered(text)}</code>"


def _numbered(text: str) -> str:
    return "".join(c if c.isalnum() or c in " /.-" else f"&#{ord(c)};" for c in text)

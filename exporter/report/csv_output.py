"""CSV (RFC 4180) for spreadsheets, with a row for each container.

A cell that a spreadsheet would read as a formula gets an apostrophe, as OWASP recommends ("CSV Injection"), because
names and references are untrusted. No valid value begins with such a character, so none is changed.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from exporter import words
from exporter.findings import NO_STATE, Finding
from exporter.logs import printable
from exporter.report.content import Content
from exporter.report.json_output import rfc3339

COLUMNS = (
    "namespace",
    "workload_kind",
    "workload",
    "container",
    "container_type",
    "image",
    "tag",
    "latest_tag",
    "state",
    "releases_behind",
    "published",
    "newer_line",
    "reason",
    "what_to_do",
    "reference",
    "digest",
    "manager",
    "source",
    "patch_command",
    "rollback_command",
    "advice",
)
# The first characters of formulas, also as full-width characters, which some spreadsheets accept.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def render(content: Content) -> str:
    """Render a header and a row for each container, in UTF-8, with the line endings of RFC 4180."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for finding in content.findings:
        writer.writerow([_cell(value) for value in _row(content, finding)])
    return text.getvalue()


def _row(content: Content, finding: Finding) -> tuple[Any, ...]:
    key, patch = finding.workload, content.patch_of(finding)
    manager = content.snapshot.workloads.get(key, NO_STATE).manager
    return (
        key.namespace,
        key.kind,
        key.name if key.kind else "",
        finding.container,
        finding.container_type,
        finding.image,
        finding.tag,
        finding.latest_tag if finding.patch_available else "",
        words.state(finding),
        finding.releases_behind,
        rfc3339(finding.published) if finding.published is not None else "",
        finding.newer_line,
        finding.reason,
        words.explain(finding.reason).what_to_do if finding.reason is not None else "",
        finding.reference,
        finding.digest,
        manager.name if manager is not None else "",
        manager.source if manager is not None else "",
        patch.patch_command if patch is not None else "",
        patch.rollback_command if patch is not None else "",
        patch.advice if patch is not None else "",
    )


def _cell(value: Any) -> str:
    text = "" if value is None else printable(str(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text

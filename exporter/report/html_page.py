"""A self-contained HTML page for people, to send, keep or print.

Its Content-Security-Policy permits only its own style sheet, so content that slips through escaping has no effect.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from exporter import __version__, words
from exporter.findings import Finding
from exporter.logs import printable
from exporter.report.content import Content
from exporter.report.json_output import rfc3339
from exporter.report.rows import counts, rows, where

_TEMPLATES = files("exporter") / "templates"


def render(content: Content) -> str:
    """Render a page with a section for each state that has findings, the most urgent first."""
    style = (_TEMPLATES / "report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True,
        finalize=_shown,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    found = rows(content.findings, now=content.now)
    sections = {
        state: [(row, findings) for row, findings in found.items() if row.state is state] for state in words.STATES
    }
    return (
        environment.from_string((_TEMPLATES / "report.html").read_text("utf-8")).render(
            changes=words.changes_url,
            counts=counts(content.snapshot),
            explain=words.explain,
            generated=rfc3339(content.now),
            patches=_patches,
            content=content,
            published=_published,
            sections=sections,
            states=words.STATES,
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=digest,
            version=__version__,
            where=where,
            workload=words.workload,
        )
        + "\n"
    )


def _shown(value: Any) -> Any:
    """Finalize an expression of the template: escape hidden characters and changes of text direction."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _patches(content: Content, findings: list[Finding]) -> list[Any]:
    """Return the patches for a row, each workload once."""
    found = (content.patch_of(finding) for finding in findings)
    return list(dict.fromkeys(patch for patch in found if patch is not None))


def _published(findings: list[Finding]) -> str:
    return rfc3339(findings[0].published) if findings[0].published is not None else ""

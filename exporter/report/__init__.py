"""The reports of `check`: formats by name, each of which renders `content.Content` as text.

The server returns the JSON, too. Other formats are imported on use, because rich and jinja2 would cost `serve` memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from exporter.report.content import Content


class Format(NamedTuple):
    """A format of `check --output`.

    Attributes:
        module: the module of this package whose `render` writes it.
        sort: the order of findings unless `--sort` is given, one of `content.SORTS`.
        purpose: in a few words.
    """

    module: str
    sort: str
    purpose: str


FORMATS = {
    "table": Format("table", "age", "for people, in a terminal"),
    "markdown": Format("markdown", "age", "for people, in a pull request or wiki"),
    "html": Format("html_page", "age", "for people: one page with commands, to send or print"),
    "csv": Format("csv_output", "name", "for spreadsheets"),
    "json": Format("json_output", "name", "for programs"),
    "junit": Format("junit", "name", "test report for Jenkins or GitLab"),
    "sarif": Format("sarif", "name", "for code scanning, with positions in manifests"),
    "commands": Format("shell", "name", "guarded kubectl patch commands for a shell"),
    "kustomize": Format("kustomize", "name", "for GitOps: a component with the new tags"),
}


def render(content: Content, output: str) -> str:
    """Render a report as text.

    Args:
        content: the findings to show.
        output: one of `FORMATS`.
    """
    text: str = import_module(f"{__name__}.{FORMATS[output].module}").render(content)
    return text

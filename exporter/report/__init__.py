"""What `check` prints: the formats by name, each of which turns `content.Content` into text.

The server answers with the JSON too. The other formats are imported only when they are asked for, because rich and
jinja2 would cost `serve` memory.
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
        purpose: what it is for, in a few words.
    """

    module: str
    sort: str
    purpose: str


FORMATS = {
    "table": Format("table", "age", "people, on a terminal"),
    "markdown": Format("markdown", "age", "people, in a pull request or a wiki"),
    "html": Format("html_page", "age", "people: one page with commands, to send or to print"),
    "csv": Format("csv_output", "name", "spreadsheets"),
    "json": Format("json_output", "name", "programs"),
    "junit": Format("junit", "name", "the test report of Jenkins or GitLab"),
    "sarif": Format("sarif", "name", "code scanning, with the lines of manifests"),
    "commands": Format("shell", "name", "a shell: guarded kubectl patch commands"),
    "kustomize": Format("kustomize", "name", "GitOps: a component with the new tags"),
}


def render(content: Content, output: str) -> str:
    """A report as text.

    Args:
        content: what to show.
        output: one of `FORMATS`.
    """
    text: str = import_module(f"{__name__}.{FORMATS[output].module}").render(content)
    return text

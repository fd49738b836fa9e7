"""Markdown as a renderer shows it."""

import pytest
from hypothesis import example, given
from lxml import html
from markdown_it import MarkdownIt

from exporter.logs import printable
from exporter.report.markdown import code, render
from exporter.workloads import reference_key
from tests.support.findings import HOSTILE, HOSTILE_SNAPSHOTS, SNAPSHOT, TEXTS, content, finding, snapshot

# Renderers of wikis permit HTML, and then remove what is dangerous.
GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(text):
    return html.fragment_fromstring(GFM.render(text), create_parent="div")


def cells(page):
    return [[cell.text_content() for cell in row.findall(".//td")] for row in page.findall(".//tbody/tr")]


def test_a_table_the_counts_and_what_to_do():
    page = rendered(render(content(SNAPSHOT, sort="age")))
    assert page.find("p").text.startswith("5 containers checked; 2 miss a patch; ")
    head = [cell.text for cell in page.findall(".//th")]
    assert head == ["Image", "Patch", "Behind", "Missed for", "Newer line", "Where"]
    assert cells(page) == [
        ["mojaloop/ledger:v1.0.0", "v1.0.2", "2", "43 days", "v2.0.0", "mojaloop deployment/ledger"],
        ["mojaloop/ledger:v1.0.2", "none", "", "", "v2.0.0", "mojaloop deployment/other"],
        ["Bad Image!!", "unknown: invalid reference", "", "", "", "z pod/p"],
        ["mojaloop/ledger:latest", "unknown: floating tag", "", "", "", "mojaloop job/once"],
    ]
    invalid, floating = (item.text_content() for item in page.findall(".//li"))
    assert invalid.startswith("invalid reference: ")
    assert floating.endswith("Run a tag that names a complete version.")


def test_references_by_themselves_have_no_place():
    page = rendered(render(content(snapshot([finding(key=reference_key(0), name="")]))))
    assert [cell.text for cell in page.findall(".//th")][-1] == "Newer line"
    assert len(cells(page)[0]) == 5


def test_nothing_to_show_is_the_counts():
    assert render(content(snapshot([]))) == "0 containers checked; 0 miss a patch; 0 unknown.\n"


@given(TEXTS)
@example("a\\|b")
@example("\r")
def test_any_text_is_code_in_one_cell(text):
    page = rendered(f"| a | b |\n| --- | --- |\n| {code(text)} | x |\n")
    first, second = cells(page)[0]
    assert (first.strip(), second) == (printable(text).strip(), "x")
    assert {element.tag for element in page.iter()} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.parametrize("text", HOSTILE)
def test_only_code_holds_what_anybody_wrote(text):
    """Mentions, references to issues, emoji and bare addresses are read in text, and not in code."""
    page = rendered(f"{code(text)}\n")
    (element,) = page.iter("code")
    assert page.text_content().strip() == element.text_content().strip()


@given(HOSTILE_SNAPSHOTS)
def test_no_name_leaves_the_table(shown):
    report = content(shown, sort="age")
    page = rendered(render(report))
    tags = {element.tag for element in page.iter()}
    assert tags <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "br", "ul", "li", "strong"}
    columns = len(page.findall(".//th"))
    assert all(len(row) == columns for row in cells(page))
    assert bool(cells(page)) == bool(shown.findings)

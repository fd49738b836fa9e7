"""The HTML page: what it shows, and that nothing in it runs."""

import base64
import hashlib
import re

import pytest
from hypothesis import given, settings
from lxml import html
from playwright.sync_api import sync_playwright

from exporter.logs import printable
from exporter.report.html_page import render
from exporter.workloads import WorkloadKey
from tests.support.components import need
from tests.support.findings import HOSTILE, HOSTILE_SNAPSHOTS, SNAPSHOT, UNKNOWN, content, finding, snapshot


def read(report):
    text = render(report)
    page = html.document_fromstring(text)
    tags = {element.tag for element in page.iter() if isinstance(element.tag, str)}
    assert not tags & {"script", "img", "iframe", "object", "link", "form", "base", "svg"}
    assert len(page.findall(".//style")) == 1
    for element in page.iter():
        assert not any(name.startswith("on") or name in ("style", "src") for name in element.attrib)
    for link in page.iter("a"):
        assert link.get("href").startswith("https://github.com/mojaloop/")
    return page


def sections(page):
    return {section.find("h2").text: section for section in page.iter("section")}


def cells(section):
    return [[" ".join(c.text_content().split()) for c in row] for row in section.findall(".//tbody/tr")]


def test_the_most_urgent_comes_first_with_its_commands():
    page = read(content(SNAPSHOT, sort="age"))
    found = sections(page)
    assert list(found) == ["Patch available", "Line superseded", "Unknown"]
    ((image, patch, behind, age, newer, where),) = cells(found["Patch available"])
    assert (image, patch, behind, age, newer) == (
        "mojaloop/ledger:v1.0.0",
        "v1.0.2 What changed",
        "2",
        "43 days",
        "v2.0.0",
    )
    assert where.startswith("mojaloop deployment/ledger Set the new tag in the values of the Helm release")
    commands = [code.text for code in found["Patch available"].findall(".//pre/code")]
    (group,) = content(SNAPSHOT).patches.values()
    assert commands == [group.patch_command, group.rollback_command]
    assert cells(found["Line superseded"]) == [["mojaloop/ledger:v1.0.2", "v2.0.0", "mojaloop deployment/other"]]
    assert cells(found["Unknown"])[1][1:3] == [
        "The tag does not name one release: its publisher moves it.",
        "Run a tag that names a complete version.",
    ]
    assert page.find(".//header/p").text.startswith("5 containers checked; 2 miss a patch; ")
    assert [time.get("datetime") for time in page.findall(".//header//time")] == ["2023-11-14T22:13:20Z"]


def test_the_policy_permits_the_style_sheet_and_nothing_else():
    page = read(content(SNAPSHOT))
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    (style,) = page.xpath("//style/text()")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import|https?:", style)


def test_headings_and_headers_are_marked():
    page = read(content(SNAPSHOT))
    assert page.get("lang") == "en"
    assert [element.tag for element in page.iter("h1", "h2")] == ["h1", "h2", "h2", "h2"]
    assert {head.get("scope") for head in page.iter("th")} == {"col"}
    for region in page.xpath("//*[@role='region']"):
        assert page.get_element_by_id(region.get("aria-labelledby")).tag == "h2"


def test_nothing_to_show():
    assert read(content(snapshot([]))).find(".//main/p").text == "No findings to show."


def test_an_age_that_is_not_known():
    assert cells(sections(read(content(snapshot([finding(published=None)]))))["Patch available"])[0][3] == "unknown"


@given(HOSTILE_SNAPSHOTS)
@settings(max_examples=40)
def test_any_name_is_text(shown):
    page = read(content(shown, sort="age"))
    text = " ".join(page.text_content().split())
    assert printable(text) == text
    for found in shown.findings:
        if found.reason is not None and found.reference.strip():
            assert " ".join(printable(found.reference).split()) in text


@pytest.fixture(scope="module")
def browser():
    (binary,) = need("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(binary), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    found = [
        one
        for number, text in enumerate(HOSTILE)
        for one in (
            finding(key=WorkloadKey(text, "Deployment", text), name=f"a{number}"),
            finding(key=WorkloadKey("z", text, f"{number}"), reason=UNKNOWN.reason, image="", tag="", reference=text),
        )
    ]
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(content(snapshot(found), sort="age")))
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_runs_nothing_and_asks_nobody(browser, hostile, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(hostile)
    assert (said, asked) == ([], [hostile])
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "only the tables scroll sideways"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    page.close()


def test_paper_shows_the_commands(browser, hostile):
    page = browser.new_page()
    page.goto(hostile)
    first = page.locator("pre").first
    assert first.bounding_box()["height"] == 0, "folded on a screen"
    page.emulate_media(media="print", color_scheme="dark")
    assert first.bounding_box()["height"] > 10
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()

"""The page in Chromium: by role, by keyboard, on a phone, in both themes, without scripts, and with hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

from exporter.reasons import Reason
from exporter.report.json_output import render_json
from exporter.workloads import Manager
from tests.support.browser import chromium, opened
from tests.support.http_server import until
from tests.support.page import DAY, NOW, Shown, found, hub, missing, page, snapshot

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture
def shown():
    return Shown(hub())


@pytest.fixture
def url(shown):
    with page(shown, refresh_seconds=0.3) as running:
        yield f"http://127.0.0.1:{running.port}"


@pytest.fixture
def tab(browser, url):
    with opened(browser, url, viewport=WIDE) as one:
        yield one


def row(tab, name):
    """The rows of the table that are about a workload."""
    return tab.locator("tbody").filter(has=tab.get_by_role("rowheader", name=name))


def rows(tab):
    return [text.split()[0] for text in tab.get_by_role("rowheader").all_inner_texts()]


def commands(snapshot_):
    """By workload, the commands that the API answers with."""
    document = json.loads(render_json(snapshot_, now=NOW))
    return {one["workload"]: (one["patch_command"], one["rollback_command"]) for one in document["workloads"]}


def test_each_part_has_its_role_and_name(browser, url):
    with opened(browser, url, viewport=WIDE) as tab:
        for role in ("banner", "main", "contentinfo", "search"):
            expect(tab.get_by_role(role)).to_be_visible()
        expect(tab.get_by_role("heading", level=1)).to_have_text("Image patches")
        expect(tab.get_by_role("heading", level=2)).to_have_text(["Totals", "Findings"])
        expect(tab).to_have_title("(4) Image patches")
        totals = tab.get_by_role("region", name="Totals")
        expect(totals.get_by_role("term")).to_have_text(
            [
                "Workloads that miss a patch",
                "Worst lag",
                "Median lag",
                "Superseded lines",
                "Unknown containers",
                "Watched containers",
            ]
        )
        expect(totals.get_by_role("definition")).to_have_text(["4", "90 days", "21 days", "1", "2", "8"])
        for name, role in (("Search", "searchbox"), ("Namespace", "combobox"), ("State", "combobox")):
            expect(tab.get_by_role(role, name=name)).to_be_visible()
        table = tab.get_by_role("region", name="Findings").get_by_role(
            "table", name="Findings by workload, image and tag"
        )
        expect(table.get_by_role("columnheader")).to_have_text(
            [
                "State",
                "Workload",
                "Image",
                "Running",
                "Newest patch",
                "Behind",
                "Missing for",
                "Newer lines",
                "Owner",
            ]
        )
        assert rows(tab) == ["quoting", "ledger", "mysql", "watched", "settlement", "broken", "vault", "fine"]
        quoting = row(tab, "quoting")
        cells = quoting.get_by_role("row").first.get_by_role("cell")
        expect(cells).to_have_text(
            ["Patch available", "mojaloop/quoting-service docker.io", "v1.0.0", "v1.0.9", "7", "90 days", "",
             "Helm mojaloop/moja"]
        )  # fmt: skip
        expect(quoting.get_by_role("link", name="Changes v1.0.0 to v1.0.9")).to_have_attribute(
            "href", "https://github.com/mojaloop/quoting-service/compare/v1.0.0...v1.0.9"
        )
        expect(row(tab, "ledger").get_by_role("link", name="Changes up to v3.0.1")).to_be_visible()
        expect(row(tab, "vault")).to_contain_text("Run a tag that names a complete version.")
        expect(row(tab, "mysql")).to_contain_text("Argo CD reverts a patch")
        expect(row(tab, "mysql").get_by_role("button")).to_have_count(0)
        expect(tab.get_by_role("link", name="metrics, as text and OpenMetrics")).to_be_visible()


@pytest.mark.parametrize("way", ["clipboard", "without the clipboard's interface"])
def test_a_button_copies_exactly_the_command_of_the_api(browser, url, shown, way):
    granted = ["clipboard-read", "clipboard-write"]
    with opened(browser, url, viewport=WIDE, permissions=granted) as tab:
        if way != "clipboard":
            # As over plain HTTP from another machine.
            tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
        for name, both in commands(shown.snapshot).items():
            if both == (None, None):
                continue
            for kind, command in zip(("patch", "rollback"), both, strict=True):
                button = row(tab, name).get_by_role("button", name=f"Copy {kind} command")
                button.focus()
                tab.keyboard.press("Enter")
                expect(tab.get_by_role("status")).to_have_text(f"Copied: the {kind} command of {name}.")
                assert tab.evaluate("navigator.clipboard.readText()") == command
                expect(button).to_be_focused()


def test_commands_can_be_seen_before_they_are_copied(browser, url, shown):
    with opened(browser, url, viewport=WIDE) as tab:
        ledger = row(tab, "ledger")
        patch, rollback = commands(shown.snapshot)["ledger"]
        expect(ledger.get_by_text(patch, exact=True)).to_be_hidden()
        ledger.get_by_text("Show commands").focus()
        tab.keyboard.press("Enter")
        expect(ledger.get_by_text(patch, exact=True)).to_be_visible()
        expect(ledger.get_by_text(rollback, exact=True)).to_be_visible()


def violations(tab):
    found_ = Axe().run(tab, options={"resultTypes": ["violations", "incomplete"]}).response
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found_["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["1280", "390"])
@pytest.mark.parametrize("state", ["complete", "incomplete", "empty"])
def test_axe_finds_nothing(browser, url, shown, scheme, viewport, state):
    if state == "incomplete":
        shown.snapshot = replace(shown.snapshot, listed=False)
    with opened(browser, url, viewport=viewport, color_scheme=scheme) as tab:
        if state == "empty":
            tab.get_by_role("searchbox").fill("nothing at all")
            expect(tab.get_by_text("No finding matches the filter.").last).to_be_visible()
        else:
            tab.get_by_text("Show commands").first.click()
            tab.get_by_role("button").first.click()
        assert violations(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_on_a_phone_the_table_is_still_one_to_a_screen_reader(browser, url):
    with opened(browser, url, viewport=PHONE) as tab:
        nodes = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        assert roles.count("table") == 1
        assert roles.count("columnheader") == 9
        assert roles.count("rowheader") == 8
        # The headings of columns are out of sight, and every value has its label.
        expect(tab.get_by_label("Sort by")).to_be_visible()


def test_the_keyboard_reaches_everything_in_its_order(browser, url):
    with opened(browser, url, viewport=WIDE) as tab:
        tab.keyboard.press("Tab")
        skip = tab.get_by_role("link", name="Skip to the findings")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        tab.keyboard.press("Enter")
        tab.keyboard.press("Tab")
        expect(tab.get_by_role("link", name="State", exact=True)).to_be_focused()
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus can be seen"
        reached = []
        for _ in range(40):
            tab.keyboard.press("Tab")
            reached.append(tab.evaluate("document.activeElement.textContent.trim()"))
        for name in ("Copy patch command", "Copy rollback command", "Changes v1.0.0 to v1.0.9", "Show commands"):
            assert name in reached


def test_filters_are_kept_in_the_address_and_the_way_back_works(browser, url):
    with opened(browser, url, viewport=WIDE) as tab:
        tab.get_by_role("combobox", name="State").select_option("Unknown")
        expect(tab.get_by_role("rowheader")).to_have_count(2)
        assert tab.url == f"{url}/?state=unknown"
        tab.get_by_role("searchbox").type("vault")
        expect(tab.get_by_role("rowheader")).to_have_count(1)
        expect(tab.get_by_role("searchbox")).to_be_focused()
        assert tab.url == f"{url}/?q=vault&state=unknown"
        expect(tab.get_by_role("status")).to_have_text(re.compile("^Filtered: 1 to 1 of 1"))
        tab.reload()
        assert rows(tab) == ["vault"]
        expect(tab.get_by_role("combobox", name="State")).to_have_value("unknown")
        tab.get_by_role("link", name="Show all findings").click()
        expect(tab.get_by_role("rowheader")).to_have_count(8)
        assert tab.url == f"{url}/"
        tab.go_back()
        expect(tab.get_by_role("rowheader")).to_have_count(1)
        expect(tab.get_by_role("searchbox")).to_have_value("vault")
        tab.get_by_role("combobox", name="Namespace").select_option("Watched images")
        expect(tab.get_by_text("No finding matches the filter.").last).to_be_visible()


def test_columns_sort_by_a_click_and_say_so(browser, url):
    with opened(browser, url, viewport=WIDE) as tab:
        tab.get_by_role("link", name="Behind").click()
        header = tab.get_by_role("columnheader", name="Behind")
        expect(header).to_have_attribute("aria-sort", "descending")
        assert rows(tab)[:2] == ["quoting", "ledger"]
        expect(tab.get_by_role("link", name="Behind")).to_be_focused()
        tab.keyboard.press("Enter")
        expect(header).to_have_attribute("aria-sort", "ascending")
        assert rows(tab)[-1] == "quoting"
        assert tab.url.endswith("?sort=behind&order=reverse")


def test_a_change_shows_by_itself_without_losing_the_place(browser, url, shown):
    shown.snapshot = snapshot(*hub().findings, *(found(f"more-{number:02}") for number in range(60)))
    with opened(browser, url, viewport=WIDE) as tab:
        row(tab, "ledger").get_by_text("Show commands").click()
        button = row(tab, "ledger").get_by_role("button", name="Copy rollback command")
        tab.evaluate("scrollTo(0, 300)")
        button.focus()
        tab.get_by_role("searchbox").evaluate("field => field.value = 'not sent yet'")
        place = tab.evaluate("scrollY")
        shown.snapshot = snapshot(
            *(one for one in shown.snapshot.findings if one.workload.name not in ("quoting", "more-59"))
        )
        expect(tab.get_by_role("rowheader", name="more-59")).to_have_count(0)
        expect(tab.get_by_role("status")).to_have_text("The list has changed.")
        expect(tab).to_have_title("(3) Image patches")
        expect(button).to_be_focused()
        expect(row(tab, "ledger").locator("details")).to_have_attribute("open", "")
        assert tab.evaluate("scrollY") == place
        expect(tab.get_by_role("searchbox")).to_have_value("not sent yet")


def test_while_nothing_changes_nothing_is_sent_or_announced(browser, url):
    with opened(browser, url, viewport=WIDE) as tab:
        answers = []
        # What the page itself changes is not a change of the list.
        tab.get_by_text("Show commands").first.click()
        tab.get_by_role("button").first.evaluate("button => button.classList.add('copied')")
        tab.on("response", lambda response: answers.append(response.status))
        first = tab.locator("tbody").first.element_handle()
        until(lambda: tab.wait_for_timeout(50) or answers.count(304) >= 3)
        assert set(answers[1:]) == {304}
        assert first.evaluate("row => row.isConnected")
        expect(tab.get_by_role("status")).to_be_empty()
        expect(tab.get_by_text("Last checked")).to_be_visible()


def test_the_page_says_when_the_exporter_no_longer_answers(browser, shown):
    with page(shown, refresh_seconds=0.2) as running:
        url = f"http://127.0.0.1:{running.port}"
        with opened(browser, url, viewport=WIDE, allowed=("ERR_INTERNET_DISCONNECTED",)) as tab:
            expect(tab.get_by_text("Last checked")).to_be_visible()
            tab.context.set_offline(True)
            notice = tab.get_by_text("The list may be out of date: no update from the exporter since").last
            expect(notice).to_be_visible()
            expect(tab.get_by_role("status")).to_contain_text("The list may be out of date")
            expect(tab.get_by_role("rowheader")).to_have_count(8)
            tab.context.set_offline(False)
            expect(tab.get_by_role("status")).to_have_text("The exporter is reachable again.")
            expect(notice).to_be_hidden()
            # A proxy in front of it, which answers with a page of its own.
            tab.route(re.compile(r"/$"), lambda route: route.fulfill(status=200, body="<h1>Log in</h1>"))
            expect(notice).to_be_visible()
            expect(tab.get_by_role("rowheader")).to_have_count(8)


def test_without_scripts_the_table_filters_and_sorts(browser, url):
    with opened(browser, url, viewport=WIDE, java_script_enabled=False) as tab:
        assert len(rows(tab)) == 8
        expect(tab.get_by_role("button", name="Copy")).to_have_count(0)
        tab.get_by_role("searchbox").fill("ledger wait")
        tab.get_by_role("button", name="Filter").click()
        assert rows(tab) == ["ledger"]
        tab.get_by_role("link", name="Show all findings").click()
        tab.get_by_role("link", name="Workload", exact=True).click()
        assert rows(tab)[0] == "watched"
        row(tab, "ledger").get_by_text("Show commands").click()
        expect(row(tab, "ledger").locator("pre").first).to_be_visible()


def test_pages_lead_to_each_other(browser, url, shown):
    shown.snapshot = snapshot(*(found(f"w-{number:03}") for number in range(150)))
    with opened(browser, url, viewport=PHONE) as tab:
        expect(tab.get_by_text("1 to 100 of 150")).to_be_visible()
        tab.get_by_role("navigation", name="Pages").get_by_role("link", name="Next").click()
        expect(tab.get_by_role("rowheader")).to_have_count(50)
        expect(tab.get_by_role("region", name="Findings")).to_be_focused()
        expect(tab.get_by_role("region", name="Findings")).to_be_in_viewport()
        tab.get_by_role("link", name="Previous").click()
        expect(tab.get_by_role("rowheader")).to_have_count(100)


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}</td></table>"
LONG = "w" * 253
HOSTILE = [
    MARKUP,
    LONG,
    "שלום-עולם",
    "\u202etxet",
    "&lt;b&gt;",
    "javascript:alert(3)",
    "a" * 63 + "." + "b" * 63,
]


def hostile(texts):
    """A snapshot with each text in every place that text of others can come to."""
    findings, managers = [], {}
    for number, text in enumerate(texts):
        name = f"n{number}-{text}"[:253]
        managers[name] = Manager("helm", text)
        where = {"namespace": text[:63], "container": text[:63]}
        findings += [
            found(name, image="", tag="", reference=text, reason=Reason.INVALID_REFERENCE, **where),
            found(name, image=f"docker.io/{text}", reference="x", tag=text[:128], minor=text[:128], **where),
            found(name, kind="X." + text, image=f"docker.io/{text}/{text}"[:255], reason=Reason.PENDING, **where),
        ]
    return snapshot(*findings, managers=managers)


def harmless(tab, viewport):
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"], "no horizontal scrolling"
    assert tab.locator("#findings script, #findings img, main script").count() == 0
    assert tab.evaluate("document.querySelectorAll('main').length") == 1
    clipped = """[...document.querySelectorAll("#findings td, #findings th")].filter(
        (cell) => cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth > 1).length"""
    assert tab.evaluate(clipped) == 0, "no text runs into the next cell"


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["1280", "390"])
def test_hostile_names_execute_nothing_and_break_no_layout(browser, url, shown, viewport):
    shown.snapshot = hostile(HOSTILE)
    with opened(browser, url, viewport=viewport) as tab:
        expect(tab.get_by_role("rowheader")).to_have_count(3 * len(HOSTILE))
        harmless(tab, viewport)
        expect(tab.locator(".image").filter(has_text=MARKUP)).not_to_have_count(0)
        assert violations(tab) == []
        tab.goto(f"{url}/?q=%3Cscript%3E")
        expect(tab.get_by_role("rowheader")).to_have_count(3)
        harmless(tab, viewport)


def test_a_hostile_address_executes_nothing(browser, url):
    asked = "?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&namespace=%27%3E%3Cimg%20src=x%20onerror=alert(2)%3E"
    with opened(browser, f"{url}/{asked}", viewport=WIDE, allowed=("status of 40",)) as tab:
        expect(tab.get_by_role("searchbox")).to_have_value('"><script>alert(1)</script>')
        harmless(tab, WIDE)
        tab.goto(f"{url}/?sort=%3Cscript%3Ealert(1)%3C/script%3E")
        assert "alert" not in tab.content()


@given(st.lists(st.text(min_size=1, max_size=253), min_size=1, max_size=6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_text_of_others_executes_or_breaks_the_layout(tab, shown, texts):
    shown.snapshot = hostile(text.replace("\0", "") or "x" for text in texts)
    tab.reload()
    for viewport in (WIDE, PHONE):
        tab.set_viewport_size(viewport)
        harmless(tab, viewport)


def test_what_was_seen_long_ago_is_shown_as_old(browser, url, shown):
    shown.now = NOW + 2 * DAY
    with opened(browser, url, viewport=WIDE) as tab:
        expect(tab.get_by_text("the last lookup of mojaloop/central-ledger was up to 2 days ago")).to_be_visible()


def test_a_long_command_wraps(browser, url, shown):
    shown.snapshot = snapshot(*(missing("many", container=f"c-{n}", position=n) for n in range(30)))
    for viewport in (WIDE, PHONE):
        with opened(browser, url, viewport=viewport) as tab:
            tab.get_by_text("Show commands").click()
            harmless(tab, viewport)

"""The page over HTTP: what it answers, what it costs, and that it can be read without a script."""

from __future__ import annotations

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.page import _FILES
from exporter.page.access import with_bearer
from exporter.page.rendering import Renderer
from tests.support.http_server import serving
from tests.support.page import NOW, Shown, found, hub, missing, page, snapshot

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def shown():
    return Shown(hub())


@pytest.fixture
def running(shown):
    with page(shown) as opened:
        yield opened


class Document(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, body):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(body.decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_answer_of_the_page_has_its_headers(running):
    paths = ["/", "/?state=unknown", "/?state=none", "/page/page.css", "/page/page.js"]
    for path in paths:
        status, headers, _ = running.get(path)
        assert status == (400 if path == "/?state=none" else 200)
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"].startswith("private, ")
    assert running.get("/")[1]["content-type"] == "text/html; charset=utf-8"
    assert running.get("/page/page.css")[1]["content-type"] == "text/css; charset=utf-8"
    assert running.get("/page/page.js")[1]["content-type"] == "text/javascript; charset=utf-8"
    assert running.get("/page/page.html")[0] == 404


def test_the_page_has_no_script_or_style_of_its_own_and_nothing_from_elsewhere(running):
    document = Document(running.get("/")[2])
    (script,), links = document.of("script"), document.of("link")
    assert script["src"].startswith("page/page.js?v=")
    assert [link["href"].partition(":")[0].partition("?")[0] for link in links] == ["data", "page/page.css"]
    assert not document.of("style")
    for _, attributes in document.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]


def test_the_addresses_of_files_name_their_content(running):
    document = Document(running.get("/")[2])
    sources = [document.of("script")[0]["src"], document.of("link")[1]["href"]]
    for source in sources:
        path, _, version = source.partition("?v=")
        _, headers, body = running.get(f"/{source}")
        assert body == (_FILES / path.removeprefix("page/")).read_bytes()
        assert "immutable" in headers["cache-control"]
        assert len(version) == 12


def test_without_a_script_everything_is_there(running, shown):
    document = Document(running.get("/")[2])
    for patch in shown.snapshot.patches:
        for command in (patch.patch_command, patch.rollback_command, patch.advice):
            assert command in document.text
    for finding in shown.snapshot.findings:
        assert finding.workload.name in document.text
    (form,) = document.of("form")
    assert (form["method"], form["action"]) == ("get", "./")
    fields = [field["name"] for tag in ("input", "select") for field in document.of(tag)]
    assert sorted(fields) == ["namespace", "order", "q", "sort", "state"]
    assert {"?sort=workload", "?sort=behind", "?state=patch"} <= {link.get("href") for link in document.of("a")}


def test_a_form_that_is_sent_as_it_is_filters(running):
    document = Document(running.get("/?q=LEDGER&namespace=&state=patch&sort=&order=")[2])
    assert document.text.count("Copy patch command") == 1
    assert "Filtered: 1 to 1 of 1" in document.text
    assert "No finding matches the filter." in Document(running.get("/?q=nothing+at+all")[2]).text


def test_a_value_that_cannot_be_is_answered_with_what_is_expected(running):
    status, headers, body = running.get("/?sort=price")
    assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert body == b"sort: expected one of urgency, workload, image, behind, age, owner\n"


def test_what_did_not_change_is_not_sent_again(running, shown):
    tag = running.get("/?sort=age")[1]["etag"]
    for known in (tag, f"W/{tag}"):
        status, headers, body = running.get("/?sort=age", If_None_Match=known)
        assert (status, headers["etag"], body) == (304, tag, b"")
        assert headers["content-security-policy"] == POLICY
    assert running.get("/", If_None_Match='"other"')[0] == 200
    shown.snapshot = hub()
    assert running.get("/?sort=age", If_None_Match=tag)[0] == 304, "another snapshot that says the same"
    shown.snapshot = snapshot(found("alone"))
    status, headers, body = running.get("/?sort=age", If_None_Match=tag)
    assert (status, headers["etag"] != tag, b"alone" in body) == (200, True, True)


def test_head_has_the_length_and_no_body(running):
    _, headers, body = running.get("/", "HEAD")
    assert int(headers["content-length"]) > 1000
    assert body == b""


def test_before_the_first_list_the_page_says_that_it_is_incomplete(running, shown):
    shown.snapshot = snapshot(listed=False)
    text = Document(running.get("/")[2]).text
    assert "The list is incomplete: not everything that is watched has been listed yet." in text
    assert "The cluster has not been listed yet." in text
    shown.snapshot = snapshot()
    assert "No watched workloads found." in Document(running.get("/")[2]).text


def test_equal_requests_of_one_moment_are_rendered_once(running, monkeypatch):
    rendered, render = [], Renderer.render

    def counted(self, *arguments, **more):
        rendered.append(arguments[1])
        return render(self, *arguments, **more)

    # Thousands of rows, so that all of them ask while the first is rendered.
    monkeypatch.setattr(Renderer, "render", counted)
    with page(Shown(snapshot(*(missing(f"w-{number:05}") for number in range(3000))))) as large:
        large.get("/page/page.css")
        with ThreadPoolExecutor(8) as pool:
            bodies = {body for _, _, body in pool.map(large.get, ["/?q=w-0"] * 8)}
    assert len(bodies) == 1
    assert 1 <= len(rendered) < 8


def test_the_time_of_the_page_is_shown(running):
    assert "As of 2027-01-15 08:00:00 UTC" in Document(running.get("/")[2]).text
    assert NOW == 1_800_000_000


def test_switched_off_there_is_a_list_of_links():
    with serving() as off:
        body = off.get("/")[2]
        assert b'href="/metrics"' in body
        assert b"<table" not in body
        assert off.get("/page/page.js")[0] == 404


IMPORTED = """
import sys
import exporter.__main__, exporter.cli, exporter.app
print(*(name for name in ("jinja2", "exporter.page.rendering", "exporter.page.rows") if name in sys.modules))
"""


def test_the_page_costs_nothing_until_it_is_requested():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# The API's token


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"Bearer t0ken", b"Bearer t0ken"),
        (b"Basic " + base64.b64encode(b"anybody:t0ken"), b"Bearer t0ken"),
        (b"basic   " + base64.b64encode(b":t0:ken"), b"Bearer t0:ken"),
        (b"Basic " + base64.b64encode(b"no colon"), b"Bearer "),
        (b"Basic not base64!", b"Basic not base64!"),
        (b"Basic", b"Bearer "),
        (b"", b""),
    ],
)
def test_a_password_is_read_as_a_bearer_token(sent, received):
    others = (b"accept", b"Basic x")
    assert with_bearer([others, (b"authorization", sent)]) == [others, (b"authorization", received)]


@given(st.binary())
def test_no_header_is_an_error(value):
    with_bearer([(b"authorization", value), (b"authorization", b"Basic " + value)])


def test_with_a_token_the_page_asks_for_it_as_a_password(shown):
    def may_read(headers):
        return [value for name, value in headers if name == b"authorization"] == [b"Bearer t0ken"]

    with page(shown, may_read=may_read) as running:
        status, headers, body = running.get("/")
        assert (status, b"token as the password" in body) == (401, True)
        assert headers["www-authenticate"].startswith("Basic realm=")
        assert headers["content-security-policy"] == POLICY
        assert running.get("/", Authorization="Basic " + base64.b64encode(b"a:wrong").decode())[0] == 401
        for sent in ("Basic " + base64.b64encode(b"a:t0ken").decode(), "Bearer t0ken"):
            assert b"<table" in running.get("/", Authorization=sent)[2]

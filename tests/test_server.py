"""What the server answers: pages in two formats, and no error of its own whatever it is asked."""

import contextlib
import gzip
import logging
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.server.body import blocks
from exporter.server.negotiation import accepts_gzip, accepts_openmetrics
from exporter.server.own_metrics import OwnMetrics
from exporter.telemetry import Telemetry
from tests.support.http_server import serving

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def without_process(page):
    """A page without what differs from one moment to the next."""
    return re.sub(rb"(?m)^(# \w+ )?process_.*\n", b"", page)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_own_metrics_are_those_of_the_library_whatever_changed(openmetrics):
    telemetry = Telemetry()
    telemetry.watch_registry("docker.io")
    encode = (openmetrics_text if openmetrics else text).generate_latest
    own = OwnMetrics(telemetry.registry)
    changes = [
        lambda: None,
        lambda: telemetry.registry_failures.labels("docker.io", "unreachable").inc(),
        lambda: telemetry.registry_duration.labels("docker.io").observe(0.2),
        lambda: telemetry.watch_registry("quay.io"),
        lambda: telemetry.containers.labels("judged").set(7),
        lambda: telemetry.window_open.labels("nights").set(1),
        lambda: (telemetry.window_open.clear(), telemetry.window_open.labels("weekend").set(1)),
    ]
    pages = []
    for change in changes:
        change()
        pages.append(without_process(own.render(encode, openmetrics=openmetrics)))
        assert pages[-1] == without_process(encode(telemetry.registry))
    assert len(set(pages)) == len(changes), "each change shows"


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"', True),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=abc", False),
        ("application/openmetrics-text;version=abc,application/openmetrics-text;version=1.0.0", True),
    ],
)
def test_which_clients_get_openmetrics(header, accepted):
    assert accepts_openmetrics(header) is accepted


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("gzip;q=abc", True),
        ("identity", False),
    ],
)
def test_which_clients_get_gzip(header, accepted):
    assert accepts_gzip(header) is accepted


@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(1, 20))
def test_blocks_hold_what_the_parts_hold(parts, size):
    found = list(blocks(parts, size))
    assert b"".join(found) == b"".join(parts)
    assert all(len(block) == size for block in found[:-1])
    assert all(found)


@pytest.fixture(scope="module")
def server():
    with serving(containers=3) as running:
        yield running


@pytest.mark.parametrize(
    ("accept", "media", "parse"),
    [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8", parse_openmetrics),
    ],
    ids=["text", "OpenMetrics"],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_page_in_each_format_and_encoding(server, accept, media, parse, encoding):
    status, headers, body = server.get("/metrics", Accept=accept, Accept_Encoding=encoding)
    assert (status, headers["content-type"], headers.get("content-encoding", "identity")) == (200, media, encoding)
    assert headers["vary"] == "Accept, Accept-Encoding"
    page = gzip.decompress(body) if encoding == "gzip" else body
    families = {family.name: family for family in parse(page.decode())}
    assert len(families["mojaloop_image_patch_available"].samples) == 3
    assert families["mojaloop_exporter_build_info"].samples[0].value == 1.0, "our own metrics follow"


def test_the_other_pages(server):
    assert server.get("/-/healthy")[0] == 200
    assert b'href="/metrics"' in server.get("/")[2]
    assert server.get("/none")[0] == 404
    assert server.get("/metrics/")[0] == 404, "no redirect to an address that a Host header names"


def test_a_route_that_is_passed_in_takes_the_place_of_a_page():
    with serving(routes=[Route("/", PlainTextResponse("another page"))]) as running:
        assert running.get("/")[2] == b"another page"
        assert running.get("/-/healthy")[0] == 200


def test_only_readiness_answers_503(server):
    server.ready = False
    try:
        assert server.get("/-/ready")[0] == 503
        assert server.get("/-/healthy")[0] == 200
    finally:
        server.ready = True
    assert server.get("/-/ready")[0] == 200


def test_head_has_the_length_and_no_body(server):
    _, headers, body = server.get("/metrics", "HEAD")
    assert int(headers["content-length"]) > 1000
    assert body == b""


@pytest.mark.parametrize(
    "header", [{"Accept": "application/openmetrics-text;version=abc"}, {"Accept": "text/plain;version=abc"}]
)
def test_a_version_that_is_not_a_number_is_answered(server, header):
    assert server.get("/metrics", **header)[0] == 200


def exchange(server, sent):
    """What the server answers to bytes until it closes the connection."""
    client = server.connect()
    answer = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        while received := client.recv(1 << 16):
            answer += received
    client.close()
    return answer


def failures(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


_LINE = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=60)
_PATHS = st.one_of(
    st.sampled_from(["/", "/metrics", "/-/healthy", "/-/ready", "/metrics/", "//", "*", "/%ff", "/?a"]),
    _LINE,
)
_MEDIA = st.text('applicationtextopenmetrics-/;=,.*q0123456789 version"abc\t', max_size=80)
_HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Transfer-Encoding",
                     "Upgrade", "X-Forwarded-Host"]),
    st.one_of(_LINE, _MEDIA, st.sampled_from(["chunked", "close", "100-continue", "websocket", "upgrade", "5", "["])),
)  # fmt: skip


@given(
    st.one_of(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "get", "CONNECT"]), _LINE),
    _PATHS,
    st.sampled_from(["1.1", "1.0", "2.0", "9"]),
    _HEADERS,
    st.binary(max_size=20),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_no_request_is_an_error_of_the_server(server, caplog, method, path, version, headers, body):
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    answer = exchange(server, "\r\n".join(lines).encode("latin-1") + body)
    assert not re.search(rb"(?m)^HTTP/1\.1 5", answer), answer
    assert failures(caplog) == []


@given(st.lists(st.sampled_from([
    b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00", b"\r\n",
    b"GET", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"xyz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 100,
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
]), max_size=6))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_no_order_of_bytes_is_an_error_of_the_server(server, caplog, parts):
    answer = exchange(server, b"".join(parts))
    assert not re.search(rb"(?m)^HTTP/1\.1 5", answer), answer
    assert failures(caplog) == []

"""One event a line, whatever is in it."""

import asyncio
import io
import json
import logging

import httpx
import pytest

from exporter import logs
from tests.support.web import reply, web


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers = list(root.handlers)
    before = [
        (root, root.level),
        *((logging.getLogger(name), logging.getLogger(name).level) for name in ("httpx", "httpcore", "uvicorn")),
    ]
    yield
    root.handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


def lines(form, level="info"):
    stream = io.StringIO()
    logs.configure(level, form, stream)
    return stream


def test_text():
    stream = lines("text")
    logging.getLogger("exporter.checker").warning("two\nlines of %s", "it")
    logging.getLogger("exporter.checker").debug("not at this level")
    (line,) = stream.getvalue().splitlines()
    assert line[:10].count("-") == 2
    assert line[24:] == r" WARNING exporter.checker two\nlines of it"
    assert line[23] == "Z"


def test_json():
    stream = lines("json")
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("exporter").exception("it broke\n")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["level"], event["logger"], event["message"]) == ("error", "exporter", "it broke\n")
    assert "ValueError: bad" in event["error"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_is_logged_breaks_a_line_or_the_stream(form):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    logs.configure("info", form, stream)
    everything = "".join(map(chr, [*range(0xA0), 0x2028, 0x2029, 0xDFFF, 0xD800]))
    logging.getLogger("exporter").info("%s end", everything)
    stream.flush()
    written = stream.buffer.getvalue().decode()
    (line,) = written.splitlines()
    assert line.isprintable()
    assert written == f"{line}\n"
    if form == "json":
        assert json.loads(line)["message"] == f"{everything} end"


async def _ask(**headers):
    async with web(lambda _: reply({}, set_cookie="s3cret")) as served, httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://{served.host}/", headers=headers)
        assert served.requests[0].headers["authorization"] == "Bearer s3cret"


def test_a_request_with_credentials_leaves_none_of_them_in_the_log():
    stream = lines("text", "debug")
    asyncio.run(_ask(authorization="Bearer s3cret"))
    assert "s3cret" not in stream.getvalue()
    logging.getLogger("httpcore").setLevel(logging.DEBUG)
    asyncio.run(_ask(authorization="Bearer s3cret"))
    assert "s3cret" in stream.getvalue(), "httpcore does write headers where nobody keeps it quiet"


def test_what_would_write_credentials_is_quiet_at_every_level():
    stream = lines("text", "debug")
    for name in ("httpx", "httpcore.http11", "aiohttp.client", "kubernetes.aio.client.rest"):
        logging.getLogger(name).debug("Authorization: Bearer s3cret")
        logging.getLogger(name).info("Authorization: Bearer s3cret")
    logging.getLogger("exporter").debug("ours")
    assert "s3cret" not in stream.getvalue()
    assert "ours" in stream.getvalue()


def test_bad_requests_of_anybody_are_not_logged():
    stream = lines("text")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("Exception in ASGI application")


def test_what_anybody_may_have_written_is_shown_printable_and_short():
    assert logs.shown("plain é") == "plain é"
    assert logs.shown("a\n\x1b[31m\u202eb\ud800") == r"a\n\x1b[31m\u202eb\ud800"
    assert logs.shown("a" * 1000) == "a" * 300 + "..."

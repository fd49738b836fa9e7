"""One event a line, whatever is in it."""

import io
import json
import logging

import pytest

from exporter import logs


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


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


def test_what_would_write_credentials_is_quiet_at_every_level():
    stream = lines("text", "debug")
    for name in ("httpx", "httpcore.http11", "aiohttp.client", "kubernetes.aio.client.rest"):
        logging.getLogger(name).debug("Authorization: Bearer s3cret")
        logging.getLogger(name).info("Authorization: Bearer s3cret")
    logging.getLogger("exporter").debug("ours")
    assert "s3cret" not in stream.getvalue()
    assert "ours" in stream.getvalue()

"""Whatever the API server or a proxy before it answers, the reflector asks again, and is right once the server is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.odd_api_server import BOOKMARK, Asked, asking, deployment, event, lines, page, well
from tests.support.web import reply

pytestmark = pytest.mark.anyio

DEEP = b'{"metadata":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
DIGITS = "9" * 5_000
HTML = b"<html><body>Sign in</body></html>"

# What is answered to any request: the exact bytes, and the reason that is counted.
ANSWERS: dict[str, tuple[bytes, str]] = {
    "503 in Latin-1": (reply("é".encode("latin-1"), status=503), "server_error"),
    "503 with a Latin-1 message": (reply(b'{"message":"\xe9"}', status=503), "server_error"),
    "503 in HTML": (reply(HTML, status=503), "server_error"),
    "503 with deep JSON": (reply(DEEP, status=503), "server_error"),
    "503 with a code of 5,000 digits": (reply(b'{"code":%s}' % DIGITS.encode(), status=503), "server_error"),
    "503 with a message of another type": (reply({"message": [1]}, status=503), "server_error"),
    "503 with null": (reply(None, status=503), "server_error"),
    "503 with a message of 1 MB": (reply({"message": "x" * 10**6}, status=503), "server_error"),
    "503 with a body that is cut off": (reply(b"{", status=503, length=1000), "server_error"),
    "500 without a body": (reply(status=500), "server_error"),
    "429 with a delay of 5,000 digits": (reply(status=429, Retry_After=DIGITS), "server_error"),
    "429 with a delay in superscript": (reply(status=429, Retry_After="\xb2"), "server_error"),
    "400": (reply(HTML, status=400), "server_error"),
    "404 of a built-in kind": (reply(b"404 page not found\n", status=404), "server_error"),
    "status 999": (reply(status=999), "server_error"),
    "a redirect": (reply(status=302, Location="/login"), "server_error"),
    "a redirect to a malformed host": (reply(status=302, Location="https://xn--/"), "server_error"),
    "a redirect to no address": (reply(status=302, Location="http://["), "server_error"),
    "a redirect to a long label": (reply(status=307, Location=f"http://{'ü' * 80}.example/"), "server_error"),
    "401 in HTML": (reply(HTML, status=401), "unauthorized"),
    "403 in Latin-1": (reply(b"\xe9", status=403), "forbidden"),
    "410 in Latin-1": (reply(b"\xe9", status=410), "expired"),
    "deep JSON": (reply(DEEP), "bad_answer"),
    "HTML": (reply(HTML, Content_Type="text/html"), "bad_answer"),
    "null": (reply(None), "bad_answer"),
    "a list": (reply([]), "bad_answer"),
    "a number of 5,000 digits": (reply(DIGITS.encode()), "bad_answer"),
    "NUL bytes": (reply(b"\0" * 100), "bad_answer"),
    "a byte order mark": (reply(b"\xef\xbb\xbf{}"), "bad_answer"),
    "UTF-16": (reply(json.dumps(page()).encode("utf-16")), "bad_answer"),
    "a Status with 200": (reply({"kind": "Status", "code": 500, "metadata": {}}), "bad_answer"),
    "a body that is cut off": (reply(b'{"metadata":', length=1000, Connection="close"), "unreachable"),
    "a chunk that is cut off": (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nff\r\n{"metadata"', "unreachable"
    ),
    "a chunk size that is not a number": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n{}\r\n", "unreachable"
    ),
    "a header of 100 KB": (reply({}, X="x" * 100_000), "unreachable"),
    "a header in Latin-1": (reply({}, X="é"), "bad_answer"),
    "10,000 headers": (reply({}, **{f"X{n}": "x" for n in range(10_000)}), "unreachable"),
    "a status line that is none": (b"HTTP/9 abc\r\nConnection: close\r\n\r\n", "unreachable"),
    "text instead of HTTP": (b"220 smtp.example.org ESMTP\r\n\r\n", "unreachable"),
    "nothing": (b"", "unreachable"),
    "gzip that is none": (reply(b"{}", Content_Encoding="gzip"), "unreachable"),
    "an encoding that nobody knows": (reply(b"\0{}", Content_Encoding="x"), "bad_answer"),
}  # fmt: skip

# What only a list can get wrong.
LISTS: dict[str, tuple[bytes, str]] = {
    "an empty body": (reply(b""), "bad_answer"),
    "a body of blanks": (reply(b" \n" * 1000), "bad_answer"),
    "a resource version of 5,000 digits": (reply(page(version=DIGITS)), "bad_answer"),
    "a resource version in Latin-1": (reply(b'{"metadata":{"resourceVersion":"\xe9"},"items":[]}'), "bad_answer"),
    "a resource version that is a number": (reply({"metadata": {"resourceVersion": 10}, "items": []}), "bad_answer"),
    "no resource version": (reply({"metadata": {}, "items": []}), "bad_answer"),
    "metadata of null": (reply({"metadata": None, "items": []}), "bad_answer"),
    "items that are an object": (reply({"metadata": {"resourceVersion": "10"}, "items": {}}), "bad_answer"),
    "an item of null": (reply(page(None)), "bad_answer"),
    "an item without metadata": (reply(page({})), "bad_answer"),
    "a name that is a number": (reply(page({"metadata": {"name": 5}})), "bad_answer"),
    "a token that is a number": (reply(page(**{"continue": 5})), "bad_answer"),
    "a token of 1 MB": (reply(page(**{"continue": "x" * 10**6})), "bad_answer"),
    "a list that is cut off": (reply(json.dumps(page()).encode()[:-5]), "bad_answer"),
    "two lists": (reply(json.dumps(page()).encode() * 2), "bad_answer"),
}

# What only a watch can get wrong.
WATCHES: dict[str, tuple[bytes, str]] = {
    "no events": (lines(), "silent"),
    "blank lines": (lines(b"\n\n\r\n"), "bad_answer"),
    "a line that is not JSON": (lines(BOOKMARK, b"hello\n"), "bad_answer"),
    "a line that is cut off": (lines(b'{"type":'), "silent"),
    "an event of null": (lines(b"null\n"), "bad_answer"),
    "an event without an object": (lines({"type": "ADDED"}), "bad_answer"),
    "an event of no known type": (lines(event(deployment(), "GONE")), "bad_answer"),
    "a type that is a number": (lines({"type": 5, "object": deployment()}), "bad_answer"),
    "an object of null": (lines({"type": "ADDED", "object": None}), "bad_answer"),
    "an object without metadata": (lines({"type": "ADDED", "object": {}}), "bad_answer"),
    "a bookmark without metadata": (lines({"type": "BOOKMARK", "object": {}}), "bad_answer"),
    "a bookmark of 5,000 digits": (lines(event({"metadata": {"resourceVersion": DIGITS}}, "BOOKMARK")), "bad_answer"),
    "a bookmark in Latin-1": (
        lines(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"\xe9"}}}\n'), "bad_answer"
    ),
    "an ERROR of null": (lines({"type": "ERROR", "object": None}), "server_error"),
    "an ERROR whose code is a text": (lines({"type": "ERROR", "object": {"code": "gone"}}), "server_error"),
    "an ERROR whose code has 5,000 digits": (
        lines(b'{"type":"ERROR","object":{"code":%s}}\n' % DIGITS.encode()), "server_error"
    ),
    "an ERROR in Latin-1": (lines(b'{"type":"ERROR","object":{"code":410,"message":"\xe9"}}\n'), "server_error"),
    "an ERROR that nests deep": (lines(b'{"type":"ERROR","object":%s}\n' % DEEP), "server_error"),
    "a line of NUL bytes": (lines(b"\0" * 1000 + b"\n"), "bad_answer"),
}  # fmt: skip

CASES = [
    *((place, name) for place in ("list", "page 2", "check", "watch") for name in ANSWERS),
    *((place, name) for place in ("list", "page 2") for name in LISTS),
    *(("watch", name) for name in WATCHES),
]


@pytest.mark.parametrize(("place", "name"), CASES, ids=[f"{place}: {name}" for place, name in CASES])
async def test_the_reflector_asks_again_and_is_right_once_the_server_is(place: str, name: str, tmp_path: Path) -> None:
    odd, reason = {**ANSWERS, **LISTS, **WATCHES}[name]
    left = 3

    def answer(asked: Asked) -> bytes:
        nonlocal left
        if asked.what == place and left:
            left -= 1
            return odd
        return well(asked)

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: left == 0)
        seen = len(found.asked())
        await found.until(lambda: [a.what for a in found.asked()[seen:]].count("watch") >= 3)
        assert found.images() == {"good": ["a/good:1.0.0"]}
        assert found.inventory.synced() == {"*": True}
        # What has no line end is not an event: the watch said nothing.
        reasons = {reason, "silent"} if place == "watch" and reason == "bad_answer" else {reason}
        assert reasons & found.restarts().keys(), found.restarts()
        assert found.unexpected() == 0

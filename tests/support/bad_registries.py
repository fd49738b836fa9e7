"""Misbehaving registries: `BAD` has a handler for each, and the reason that results from its tag lists."""

from __future__ import annotations

import asyncio
import gzip
import json

from exporter.reasons import Reason
from tests.support.web import reply


async def hang(_request):
    await asyncio.sleep(30)
    return b""


def slowly(_request):
    async def drip():
        await asyncio.sleep(0.3)
        return b""

    return drip()


def endless(request):
    page = request.target.partition("last=")[2] or "0"
    link = f'</v2/mojaloop/central-ledger/tags/list?last={int(page) + 1}>; rel="next"'
    return reply({"tags": [f"v1.0.{page}"]}, Link=link)


def circle(_request):
    return reply({"tags": ["v1.0.0"]}, Link='</v2/mojaloop/central-ledger/tags/list?n=1000>; rel="next"')


def same_again(request):
    return reply({"tags": ["v1.0.0"]}, Link=f'<{request.target}1>; rel="next"')


def forever(part, *, first=b"HTTP/1.1 200 OK\r\n\r\n", pause=0.0):
    """Return a handler that repeats one part forever."""

    async def answer(_request):
        yield first
        while True:
            yield part
            await asyncio.sleep(pause)

    return answer


def next_page(link):
    return lambda _: reply({"tags": ["v1.0.0"]}, Link=link)


# Host names that httpx accepts in a URL, but fails on when the host is read.
MALFORMED_HOSTS = ("xn--a", "xn--", "xn--zzzzzz99999", "xn--0.pt")
# None of these is the header of a last page.
UNREADABLE_LINKS = (
    "</v2/x?last=a; rel=next",
    '</v2/x?last=a>; rel="next',
    '</v2/x?last=a>; rel = "next" "x"',
    '"/v2/x?last=a"; rel="next"',
    "/v2/x?last=a; rel=next",
    "</v2/x?last=a> rel=next",
    "</v2/x?last=a>; rel=<next>",
    "</v2/x?last=a>; =next",
    "</v2/x?last=a>; rel=next; title=\u00e9",
    "<http://[::1>; rel=next",
    "<http://a:99999/>; rel=next",
    "<>; rel=next",
    "<" + "a" * 9000 + ">; rel=next",
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


BAD = {
    **{
        f"{what} with the host {host}": (answer, reason)
        for host in MALFORMED_HOSTS
        for what, answer, reason in (
            ("a redirect", lambda _, h=host: reply(status=307, Location=f"http://{h}/v2/x"), Reason.BAD_ANSWER),
            ("a Link", next_page(f'<http://{host}/v2/x>; rel="next"'), Reason.BAD_ANSWER),
            ("a next", lambda _, h=host: reply({"tags": ["v1"], "next": f"//{h}/v2/x"}), Reason.BAD_ANSWER),
            (
                "a realm",
                lambda _, h=host: reply(status=401, WWW_Authenticate=f'Bearer realm="http://{h}/token"'),
                Reason.UNAUTHORIZED,
            ),
        )
    },
    **{f"the Link {link[:40]!r}": (next_page(link), Reason.BAD_ANSWER) for link in UNREADABLE_LINKS},
    "a next page without an address": (
        lambda _: reply({"tags": ["v1"], "next": "http://[::1"}),
        Reason.BAD_ANSWER,
    ),
    "300,000 tags on one page": (
        lambda _: reply(
            gzip.compress(json.dumps({"tags": [f"v{n}" for n in range(300_000)]}, separators=(",", ":")).encode()),
            Content_Encoding="gzip",
        ),
        Reason.BAD_ANSWER,
    ),
    "data after a gzip body": (
        lambda _: reply(gzip.compress(b'{"tags": ["v1"]}') + b"x" * 100, Content_Encoding="gzip"),
        Reason.BAD_ANSWER,
    ),
    "status 101": (lambda _: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxxx", Reason.BAD_ANSWER),
    "answers 1xx without end": (forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, first=b""), Reason.BAD_ANSWER),
    "a header without end": (forever(b"x" * 10_000, first=b"HTTP/1.1 200 OK\r\nX: "), Reason.BAD_ANSWER),
    "a body without end": (forever(b"x" * 100_000), Reason.BAD_ANSWER),
    "tiny chunks without end": (forever(b"1\r\n \r\n" * 1000, first=CHUNKED), Reason.BAD_ANSWER),
    "extensions of chunks without end": (
        forever(b"1;x=" + b"x" * 60_000 + b"\r\n \r\n", first=CHUNKED),
        Reason.BAD_ANSWER,
    ),
    "a byte now and then": (forever(b" ", pause=0.2), Reason.UNREACHABLE),
    "a header now and then": (forever(b"X: y\r\n", first=b"HTTP/1.1 200 OK\r\n", pause=0.2), Reason.UNREACHABLE),
    "1xx now and then": (forever(b"HTTP/1.1 102 x\r\n\r\n", first=b"", pause=0.2), Reason.UNREACHABLE),
    "closes at once": (lambda _: b"", Reason.BAD_ANSWER),
    "is silent": (hang, Reason.UNREACHABLE),
    "closes after a while": (slowly, Reason.BAD_ANSWER),
    "401 without a challenge": (lambda _: reply(status=401), Reason.UNAUTHORIZED),
    "401 with an unknown scheme": (lambda _: reply(status=401, WWW_Authenticate="Negotiate"), Reason.UNAUTHORIZED),
    "403": (lambda _: reply(status=403), Reason.UNAUTHORIZED),
    "404": (lambda _: reply({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404), Reason.NOT_FOUND),
    "429": (lambda _: reply(status=429), Reason.RATE_LIMITED),
    "500": (lambda _: reply(status=500), Reason.UNREACHABLE),
    "503": (lambda _: reply(status=503), Reason.UNREACHABLE),
    "418": (lambda _: reply(status=418), Reason.BAD_ANSWER),
    "204": (lambda _: reply(status=204), Reason.BAD_ANSWER),
    "304 to an unconditional request": (lambda _: reply(status=304), Reason.BAD_ANSWER),
    "a truncated body": (lambda _: reply({"tags": ["v1.0.0"]}, length=500, Connection="close"), Reason.BAD_ANSWER),
    "HTML": (lambda _: reply(b"<html>captive portal</html>", Content_Type="text/html"), Reason.BAD_ANSWER),
    "another protocol": (lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason.BAD_ANSWER),
    "tags that are not strings": (lambda _: reply({"tags": [1, 2]}), Reason.BAD_ANSWER),
    "deep JSON": (lambda _: reply(b'{"x":' * 100_000), Reason.BAD_ANSWER),
    "huge JSON": (lambda _: reply({"tags": ["x" * 100] * 100_000}), Reason.BAD_ANSWER),
    "a gzip bomb": (lambda _: reply(gzip.compress(bytes(2**25)), Content_Encoding="gzip"), Reason.BAD_ANSWER),
    "brotli": (lambda _: reply(b"\x0b\x02", Content_Encoding="br"), Reason.BAD_ANSWER),
    "endless pages": (endless, Reason.BAD_ANSWER),
    "pages in a loop": (circle, Reason.BAD_ANSWER),
    "pages with the same tags": (same_again, Reason.BAD_ANSWER),
    "a next page elsewhere": (
        lambda _: reply({"tags": ["v1"]}, Link='<http://192.0.2.1/v2/x>; rel="next"'),
        Reason.BAD_ANSWER,
    ),
    "a redirect elsewhere": (lambda _: reply(status=307, Location="http://192.0.2.1/v2/x"), Reason.BAD_ANSWER),
    "a redirect to itself": (lambda r: reply(status=307, Location=r.target), Reason.BAD_ANSWER),
    "a redirect to nowhere": (lambda _: reply(status=307), Reason.BAD_ANSWER),
    "a redirect to another protocol": (lambda _: reply(status=307, Location="file:///etc/passwd"), Reason.BAD_ANSWER),
    "a redirect with an invalid address": (lambda _: reply(status=302, Location="http://[::1"), Reason.BAD_ANSWER),
    "endless headers": (lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000, Reason.BAD_ANSWER),
}

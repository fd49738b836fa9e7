"""Requests of a session: bad registries, redirects and rate limits, over real sockets."""

import asyncio
import email.utils
import gzip
from ipaddress import ip_network

import pytest

from exporter.findings import Reason
from tests.support.registry_client import FAST, NOW, TokenRegistry, at, client, entry_for, refused, tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio


# Bad registries. A row has what one answers, and the reason that results.


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


BAD = {
    "closes at once": (lambda _: b"", Reason.BAD_ANSWER),
    "is silent": (hang, Reason.UNREACHABLE),
    "goes away": (slowly, Reason.BAD_ANSWER),
    "401 without a challenge": (lambda _: reply(status=401), Reason.UNAUTHORIZED),
    "401 with an unknown scheme": (lambda _: reply(status=401, WWW_Authenticate="Negotiate"), Reason.UNAUTHORIZED),
    "403": (lambda _: reply(status=403), Reason.UNAUTHORIZED),
    "404": (lambda _: reply({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404), Reason.NOT_FOUND),
    "429": (lambda _: reply(status=429), Reason.RATE_LIMITED),
    "500": (lambda _: reply(status=500), Reason.UNREACHABLE),
    "503": (lambda _: reply(status=503), Reason.UNREACHABLE),
    "418": (lambda _: reply(status=418), Reason.BAD_ANSWER),
    "204": (lambda _: reply(status=204), Reason.BAD_ANSWER),
    "304 that nobody asked for": (lambda _: reply(status=304), Reason.BAD_ANSWER),
    "a body cut short": (lambda _: reply({"tags": ["v1.0.0"]}, length=500, Connection="close"), Reason.BAD_ANSWER),
    "HTML": (lambda _: reply(b"<html>captive portal</html>", Content_Type="text/html"), Reason.BAD_ANSWER),
    "no HTTP": (lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason.BAD_ANSWER),
    "tags that are no strings": (lambda _: reply({"tags": [1, 2]}), Reason.BAD_ANSWER),
    "deep JSON": (lambda _: reply(b'{"x":' * 100_000), Reason.BAD_ANSWER),
    "huge JSON": (lambda _: reply({"tags": ["x" * 100] * 100_000}), Reason.BAD_ANSWER),
    "a gzip bomb": (lambda _: reply(gzip.compress(bytes(2**25)), Content_Encoding="gzip"), Reason.BAD_ANSWER),
    "brotli": (lambda _: reply(b"\x0b\x02", Content_Encoding="br"), Reason.BAD_ANSWER),
    "pages without end": (endless, Reason.BAD_ANSWER),
    "pages in a circle": (circle, Reason.BAD_ANSWER),
    "pages that say the same": (same_again, Reason.BAD_ANSWER),
    "a next page elsewhere": (lambda _: reply({"tags": ["v1"]}, Link='<http://192.0.2.1/v2/x>; rel="next"'), Reason.BAD_ANSWER),
    "a redirect elsewhere": (lambda _: reply(status=307, Location="http://192.0.2.1/v2/x"), Reason.BAD_ANSWER),
    "a redirect to itself": (lambda r: reply(status=307, Location=r.target), Reason.BAD_ANSWER),
    "a redirect to nowhere": (lambda _: reply(status=307), Reason.BAD_ANSWER),
    "a redirect to another protocol": (lambda _: reply(status=307, Location="file:///etc/passwd"), Reason.BAD_ANSWER),
    "a redirect that is no address": (lambda _: reply(status=302, Location="http://[::1"), Reason.BAD_ANSWER),
    "headers without end": (lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000, Reason.BAD_ANSWER),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_registry(bad):
    answer, reason = BAD[bad]
    async with (
        web(answer) as server,
        web(lambda _: reply({"tags": ["v1.0.0"]})) as other,
        client(entry_for(server), entry_for(other), limits=FAST) as ours,
    ):
        await refused(ours.tags(at(server)), reason)
        assert ours.failures(server.host) == {reason.value: 1.0}
        assert (await ours.tags(at(other))).names == ("v1.0.0",), "other registries go on"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": email.utils.formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"X_Retry_After": str(int(NOW) + 60)}, 60.0),
        ({"Retry_After": "485009h"}, 60.0),
        ({"Retry_After": "1746032400"}, 3600.0),
        ({}, 60.0),
    ],
)
async def test_a_rate_limited_registry_gets_no_further_request(headers, wait):
    async with (
        web(lambda _: reply(status=429, **headers)) as server,
        web(lambda _: reply({"tags": ["v1.0.0"]})) as other,
        client(entry_for(server), entry_for(other)) as ours,
    ):
        error = await refused(ours.tags(at(server)), Reason.RATE_LIMITED)
        assert error.retry_after == pytest.approx(wait, abs=1)
        again = await refused(ours.tags(at(server, "mojaloop/another")), Reason.RATE_LIMITED)
        assert again.retry_after == pytest.approx(wait, abs=1)
        assert len(server.requests) == 1
        await ours.tags(at(other))


async def test_a_rate_limit_of_docker_hubs_api_does_not_close_its_registry():
    def answer(request):
        return reply(status=429) if request.path.startswith("/hub/") else reply({"tags": ["v1.0.0"]})

    async with web(answer) as server:
        hub = entry_for(server, api="dockerhub", hub_endpoint=f"http://localhost:{server.port}/hub")
        async with client(hub) as ours:
            await refused(ours.created(at(server), "v1.0.0"), Reason.RATE_LIMITED)
            await ours.tags(at(server))


async def test_the_announced_rate_limit_is_a_metric():
    answer = reply({"tags": ["v1"]}, RateLimit_Remaining="76;w=21600")
    async with web(lambda _: answer) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        left = ours.value("mojaloop_exporter_registry_ratelimit_remaining", {"registry": server.host})
        assert left == 76


async def test_a_redirect_to_an_allowed_host_is_followed_without_credentials():
    registry = TokenRegistry()
    async with web(lambda _: reply({"tags": ["v1.0.7"]}), host="127.0.0.2") as region:

        def answer(request):
            first = registry(request)
            if b'"tags"' in first:
                return reply(status=307, Location=f"http://127.0.0.2:{region.port}/v2/images/tags/list")
            return first

        async with web(answer) as server, client(entry_for(server, redirect_hosts=("127.0.0.*",))) as ours:
            assert (await ours.tags(at(server))).names == ("v1.0.7",)
        assert [r.headers.get("authorization") for r in region.requests] == [None]


async def test_a_redirect_to_a_private_address_makes_no_connection():
    async with web(lambda _: reply({"tags": ["v1"]}), host="127.0.0.2") as inside:
        location = f"http://127.0.0.2:{inside.port}/latest/meta-data"
        only = (ip_network("127.0.0.1/32"),)
        async with web(lambda _: reply(status=307, Location=location)) as server:
            async with client(entry_for(server, redirect_hosts=("*",), allow_private=only)) as ours:
                await refused(ours.tags(at(server)), Reason.PRIVATE_ADDRESS)
            async with client(entry_for(server)) as ours:
                await refused(ours.tags(at(server)), Reason.BAD_ANSWER, "redirect_hosts")
        assert inside.connections == 0


async def test_a_redirect_from_https_to_http_is_refused(tmp_path):
    context = tls(tmp_path)
    async with web(lambda _: reply(status=307, Location="http://127.0.0.1:1/x"), tls=context) as server:
        entry = entry_for(server, insecure=False, ca_file=tmp_path / "cert.pem", redirect_hosts=("*",))
        async with client(entry) as ours:
            await refused(ours.tags(at(server)), Reason.BAD_ANSWER, "from https to 'http'")

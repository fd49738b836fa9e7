"""Requests of a session: bad registries, redirects and rate limits, over real sockets."""

import email.utils
from ipaddress import ip_network

import pytest

from exporter.reasons import Reason
from exporter.registry.session import ClosedHosts
from tests.support.bad_registries import BAD
from tests.support.registry_client import FAST, NOW, TokenRegistry, at, client, entry_for, refused, tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio


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
        assert ours.value("mojaloop_exporter_unexpected_errors_total", {"source": "registry"}) == 0
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


async def test_closed_hosts_are_bounded_and_open_again():
    closed = ClosedHosts()
    closed.close("short.example", 0.0)
    closed.close("registry.example", 60.0)
    for number in range(300):
        closed.close(f"{number}.example", 3600.0)
        closed.close("registry.example", 10.0 + number)
    assert len(closed._until) <= 101
    assert closed.left("short.example") <= 0
    assert closed.left("registry.example") == pytest.approx(309, abs=2), "the later end counts"
    assert closed.left("0.example") <= 0, "of too many the first to open is open"
    assert closed.left("299.example") > 3000

"""Nobody gets in: what a name stands for is checked where the connection is made, and a listening socket proves it."""

import asyncio
import contextlib
from ipaddress import ip_address, ip_network

import httpcore
import pytest

from exporter.registry.network import CheckedBackend, PrivateAddressError, may_be_contacted, resolve

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::",
        "2002:a00:1::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not may_be_contacted(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_public_addresses(address):
    assert may_be_contacted(ip_address(address))


def test_a_private_network_may_be_allowed_and_no_other():
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert may_be_contacted(ip_address("10.1.2.3"), allowed=allowed)
    assert may_be_contacted(ip_address("::ffff:10.1.2.3"), allowed=allowed)
    assert may_be_contacted(ip_address("fd00::1"), allowed=allowed)
    assert not may_be_contacted(ip_address("10.2.0.1"), allowed=allowed)


async def arrived(port, got):
    """How many connections came, once all of them are there: a last one of the test's own comes after them."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    while not any(peer.get_extra_info("peername") == writer.get_extra_info("sockname") for peer in got):
        await asyncio.sleep(0.001)
    writer.close()
    return len(got) - 1


@contextlib.asynccontextmanager
async def listening():
    """A socket of this machine, and the connections that it got."""
    got = []

    async def taken(_, writer):
        got.append(writer)
        writer.close()

    server = await asyncio.start_server(taken, "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got


def backend(*answers, allowed=()):
    """A backend whose resolver gives these answers one after another."""
    left = list(answers)

    async def scripted(host, port):
        return left.pop(0) if left else await resolve(host, port)

    return CheckedBackend(allowed=lambda _: allowed, resolve=scripted)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
async def test_no_spelling_of_this_machine_is_connected_to(host):
    async with listening() as (port, got):
        with pytest.raises(PrivateAddressError, match="allow_private"):
            await backend().connect_tcp(host, port, timeout=2)
        assert await arrived(port, got) == 0


async def test_a_name_that_may_not_be_contacted_at_the_second_question_only_is_refused_there():
    checked = backend(["127.0.0.1"], ["127.0.0.2"], allowed=[ip_network("127.0.0.1/32")])
    async with listening() as (port, got):
        stream = await checked.connect_tcp("rebind.example", port, timeout=2)
        await stream.aclose()
        with pytest.raises(PrivateAddressError, match=r"127\.0\.0\.2"):
            await checked.connect_tcp("rebind.example", port, timeout=2)
        assert await arrived(port, got) == 1


async def test_a_private_address_beside_a_public_one_is_refused_whole():
    async with listening() as (port, got):
        with pytest.raises(PrivateAddressError):
            await backend(["1.1.1.1", "127.0.0.1"]).connect_tcp("mixed.example", port, timeout=2)
    assert got == []


async def test_an_allowed_network_is_connected_to():
    async with listening() as (port, got):
        stream = await backend(["127.0.0.1"], allowed=[ip_network("127.0.0.0/8")]).connect_tcp(
            "inside.example", port, timeout=2
        )
        await stream.aclose()
        assert await arrived(port, got) == 1


async def test_a_name_without_an_address_and_a_resolver_that_hangs():
    async def hangs(_host, _port):
        await asyncio.sleep(60)

    async def none(_host, _port):
        raise OSError("no such name")

    with pytest.raises(httpcore.ConnectTimeout):
        await CheckedBackend(allowed=lambda _: (), resolve=hangs).connect_tcp("slow.example", 443, timeout=0.05)
    with pytest.raises(httpcore.ConnectError, match="no address"):
        await CheckedBackend(allowed=lambda _: (), resolve=none).connect_tcp("none.example", 443, timeout=1)
    with pytest.raises(httpcore.ConnectError):
        await CheckedBackend(allowed=lambda _: ()).connect_unix_socket("/run/x")

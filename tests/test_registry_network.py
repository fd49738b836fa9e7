"""Private addresses get no connection, whatever a name resolves to; a listening socket proves it."""

import asyncio
import contextlib
from ipaddress import ip_network

import httpcore
import pytest

from exporter.limits import Limit
from exporter.registry import RegistryError
from exporter.registry.network import BoundedStream, CheckedBackend, PrivateAddressError
from exporter.registry.resolver import Resolver

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def listening():
    """A listening port, and a function that tells how many connections it has accepted."""
    accepted = asyncio.Queue()

    async def connected(_, writer):
        accepted.put_nowait(writer.get_extra_info("peername")[1])
        writer.close()

    server = await asyncio.start_server(connected, "0.0.0.0", 0)

    async def connections():
        # Connections are accepted in their order, so that those before this one have been counted when it arrives.
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        ours, count = writer.get_extra_info("sockname")[1], 0
        while await accepted.get() != ours:
            count += 1
        writer.close()
        return count

    async with server:
        port = server.sockets[0].getsockname()[1]
        yield port, connections


def backend(*answers, allowed=()):
    """A backend whose resolver gives these answers one after another."""
    left, system = list(answers), Resolver()

    async def scripted(host, port):
        return left.pop(0) if left else await system(host, port)

    return CheckedBackend(allowed=lambda _: allowed, resolve=scripted)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
async def test_no_spelling_of_loopback_gets_a_connection(host):
    async with listening() as (port, connections):
        with pytest.raises(PrivateAddressError, match="allow_private"):
            await backend().connect_tcp(host, port, timeout=2)
        assert await connections() == 0


async def test_a_second_dns_answer_is_checked_as_the_first():
    checked = backend(["127.0.0.1"], ["127.0.0.2"], allowed=[ip_network("127.0.0.1/32")])
    async with listening() as (port, connections):
        stream = await checked.connect_tcp("rebind.example", port, timeout=2)
        await stream.aclose()
        with pytest.raises(PrivateAddressError, match=r"127\.0\.0\.2"):
            await checked.connect_tcp("rebind.example", port, timeout=2)
        assert await connections() == 1


async def test_a_name_with_a_public_and_a_private_address_is_refused():
    async with listening() as (port, connections):
        with pytest.raises(PrivateAddressError):
            await backend(["1.1.1.1", "127.0.0.1"]).connect_tcp("mixed.example", port, timeout=2)
        assert await connections() == 0


async def test_an_address_in_an_allowed_network_gets_a_connection():
    async with listening() as (port, connections):
        stream = await backend(["127.0.0.1"], allowed=[ip_network("127.0.0.0/8")]).connect_tcp(
            "inside.example", port, timeout=2
        )
        await stream.aclose()
        assert await connections() == 1


async def test_a_name_without_an_address_and_a_resolver_that_hangs():
    async def hangs(_host, _port):
        await asyncio.sleep(60)

    async def none(_host, _port):
        raise OSError("no such name")

    with pytest.raises(httpcore.ConnectTimeout):
        await CheckedBackend(allowed=lambda _: (), resolve=hangs).connect_tcp("slow.example", 443, timeout=0.05)
    with pytest.raises(httpcore.ConnectError, match="has no address"):
        await CheckedBackend(allowed=lambda _: (), resolve=none).connect_tcp("none.example", 443, timeout=1)
    with pytest.raises(httpcore.ConnectError):
        await CheckedBackend(allowed=lambda _: (), resolve=none).connect_unix_socket("/run/x")


class Flood(httpcore.AsyncNetworkStream):
    """A peer that always has more to send."""

    def __init__(self):
        self.asked = []

    async def read(self, max_bytes, timeout=None):
        self.asked.append(max_bytes)
        return b"x" * max_bytes

    async def write(self, buffer, timeout=None):
        pass


async def received(stream):
    """How many bytes a connection takes in until it gives up, and the limit that it names."""
    count = 0
    try:
        while True:
            count += len(await stream.read(65536))
    except RegistryError as error:
        return count, error.limit


async def test_a_connection_receives_a_bounded_number_of_bytes_for_each_request():
    peer = Flood()
    stream = BoundedStream(peer, head=50_000)
    for _ in range(2):
        await stream.write(b"GET / HTTP/1.1")
        count, limit = await received(stream)
        assert (count <= 50_000, limit) == (True, Limit.ANSWER_HEAD_BYTES)
    await stream.write(b"GET / HTTP/1.1")
    stream.expect_body(1_000_000)
    count, limit = await received(stream)
    assert (1_000_000 <= count <= 1_050_000, limit) == (True, Limit.ANSWER_BYTES)
    assert max(peer.asked) <= 2**14, "h11 gets little at a time"


async def test_a_flood_lets_other_tasks_run():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await received(BoundedStream(Flood(), head=2**20))
    task.cancel()
    assert turns >= 2**20 / 2**14

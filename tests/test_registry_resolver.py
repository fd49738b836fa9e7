"""Names are resolved in a few threads of each registry; stalled ones keep nobody else waiting."""

import asyncio
import threading

import pytest

from exporter.registry.resolver import Resolver, system_addresses

pytestmark = pytest.mark.anyio


class Stalling:
    """A resolver of the system whose name servers do not answer for some names until they are told to."""

    def __init__(self):
        self.open = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, host, port):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        if host.startswith("stalled"):
            self.open.wait(60)
        with self._lock:
            self.running -= 1
        return ["192.0.2.1"]


@pytest.fixture
def stalling():
    system = Stalling()
    yield system
    system.open.set()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def gives_up(resolver, host):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await resolver(host, 443)


async def test_stalled_names_are_bounded_in_threads_and_counted(stalling):
    counted = []
    ours = Resolver(most=4, addresses=stalling, exceeded=lambda: counted.append(1))
    other = Resolver(most=4, addresses=stalling)
    for number in range(4):
        await gives_up(ours, f"stalled-{number}.example")
    assert counted == [], "each had a thread"
    for number in range(20):
        await gives_up(ours, f"stalled-{number}.example")
    await gives_up(ours, "quick.example")
    assert (stalling.running, len(counted)) == (4, 21)
    assert await other("quick.example", 443) == ["192.0.2.1"], "another registry has threads of its own"
    # The event loop's own executor, which the client of the Kubernetes API resolves names in, is free.
    assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 443)
    stalling.open.set()
    await until(lambda: stalling.running == 0)
    assert await ours("quick.example", 443) == ["192.0.2.1"], "threads are free again when the system answers"
    assert stalling.most <= 5


async def test_threads_do_not_keep_the_process_from_ending(stalling):
    await gives_up(Resolver(addresses=stalling), "stalled.example")
    (thread,) = (one for one in threading.enumerate() if one.name == "resolve stalled.example")
    assert thread.daemon


@pytest.mark.parametrize("error", [OSError("x"), UnicodeError("x"), OverflowError("x")])
async def test_a_name_that_cannot_be_resolved(error):
    def fails(_host, _port):
        raise error

    resolver = Resolver(most=1, addresses=fails)
    for _ in range(2):
        with pytest.raises(OSError, match="x"):
            await resolver("none.example", 443)


@pytest.mark.parametrize("host", ["a" * 300, "a..b", ".", "xn--\u00e9", "[::1", "a\x00b"])
async def test_names_that_the_system_refuses(host):
    with pytest.raises(OSError):
        await Resolver()(host, 443)


def test_the_system_knows_every_spelling_of_an_address():
    assert system_addresses("127.1", 80) == ["127.0.0.1"]
    assert system_addresses("0x7f000001", 80) == ["127.0.0.1"]

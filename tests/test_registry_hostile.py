"""A hostile registry next to a good one: whatever it does, and all of it at once, the good one is looked up as ever."""

import asyncio
import gzip
import itertools
import json
import re
import socket
import threading

import pytest

from exporter.images import Repository
from exporter.limits import Limit
from exporter.registry import Limits, RegistryEntry, RegistryError
from tests.support.bad_registries import BAD
from tests.support.registries import registry
from tests.support.registry_client import LOOPBACK, client, entry_for
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
CREATED = 1689973964.0  # 2023-07-21T21:12:44Z
# Shorter than usual, so that every fault comes up often, but long enough for the good one on a slow machine; a rate
# limit of the hostile registry ends at once.
HURRIED = Limits(connect=1.0, read=6.0, request=6.0, lookup=12.0, pause=0.0, pages=20)


def packed(document):
    return reply(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 1), Content_Encoding="gzip")


LARGE = packed({"tags": [f"v{n}.{n % 7}.0-snapshot" for n in range(190_000)]})
LONG_NAMES = packed({"tags": ["x" * 5000 + str(n) for n in range(500)]})
TINY_OBJECTS = packed({"manifests": [{}] * 1_000_000})


def large_token(request):
    if request.path == "/token":
        return packed({"token": "x" * 3_900_000})
    return reply(status=401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')


def token_for_a_year(request):
    if request.path == "/token":
        return reply({"token": "x" * 10_000, "expires_in": 31_536_000})
    if "authorization" in request.headers:
        return reply({"tags": ["v1.0.0"]})
    return reply(status=401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')


def blob_at_a_stalled_name(request):
    if "/manifests/" in request.path:
        return reply({"config": {"digest": "sha256:" + "0" * 64}})
    return reply(status=307, Location=f"https://{next(NUMBERS)}.stalled.example/blob")


NUMBERS = itertools.count()
BEHAVIOURS = {name: answer for name, (answer, _) in BAD.items()} | {
    **{f"a large list, {number}": lambda _: LARGE for number in range(8)},
    "an ETag that cannot be sent back": lambda _: reply({"tags": ["v1.0.0"]}, ETag='"\u00e9"'),
    "names that are too long": lambda _: LONG_NAMES,
    "tiny objects": lambda _: TINY_OBJECTS,
    "a large token": large_token,
    **{f"a token for a year, {number}": token_for_a_year for number in range(80)},
    **{f"a blob at a stalled name, {number}": blob_at_a_stalled_name for number in range(8)},
}
NAMES = list(BEHAVIOURS)
# The limits that it runs into.
SEEN = (
    Limit.TAGS,
    Limit.ANSWER_BYTES,
    Limit.ANSWER_HEAD_BYTES,
    Limit.MANIFEST_VALUES,
    Limit.REQUEST_SECONDS,
    Limit.TOKEN_BYTES,
)


def hostile(request):
    """A registry whose repositories are called `x/N`, and each behaves in its own way."""
    # The scope of a token has the repository too. Some behaviours refer to a path of their own.
    number = re.search(r"[/A]x(?:/|%2F)(\d+)", request.target)
    return BEHAVIOURS[NAMES[int(number[1])] if number else "endless pages"](request)


@pytest.fixture
def stalled_names(monkeypatch):
    """Names under `stalled.example`, whose servers never answer: getaddrinfo does not return."""
    real, end = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host, *rest, **more):
        if "stalled" in str(host):
            end.wait(120)
            raise OSError("no server answered")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    end.set()


@pytest.fixture
def good(tmp_path):
    with registry("registry", tmp_path) as opened:
        opened.push("mojaloop/ledger", [f"v1.0.{n}" for n in range(40)], created="2023-07-21T21:12:44Z")
        yield opened


async def test_a_good_registry_is_looked_up_while_a_hostile_one_does_everything_at_once(good, stalled_names):
    ledger = Repository(good.host, "mojaloop/ledger")
    theirs = RegistryEntry(name=good.host, insecure=True, allow_private=LOOPBACK)
    async with web(hostile) as server, client(entry_for(server), theirs, limits=HURRIED) as ours:
        etags, failed, ended = {}, set(), set()

        async def attack(number):
            repository = Repository(server.host, f"x/{number}")
            questions = (lambda: ours.tags(repository, etag=etags.get(number)), lambda: ours.created(repository, "v1"))
            for which, question in itertools.cycle(enumerate(questions)):
                try:
                    answer = await question()
                    assert answer is None or len(answer.names) in (0, 1, 190_000)
                    etags[number] = '"\u00e9"'
                except RegistryError:
                    failed.add(NAMES[number])
                ended.add((number, which))
                await asyncio.sleep(0)

        attacks = [asyncio.create_task(attack(number)) for number in range(len(NAMES))]
        rounds = 0
        try:
            while len(ended) < 2 * len(NAMES) or rounds < 20:
                found = await ours.tags(ledger)
                assert sorted(found.names) == sorted(f"v1.0.{n}" for n in range(40))
                assert await ours.created(ledger, "v1.0.7") == CREATED
                rounds += 1
            assert [task for task in attacks if task.done()] == []
            attacked = ours.client._generation.registries[server.host]
            assert len(attacked.auth) <= Limit.TOKENS.most
            threads = [thread for thread in threading.enumerate() if thread.name.startswith("resolve")]
            assert len(threads) <= 2 * Limit.NAME_LOOKUPS.most
        finally:
            for task in attacks:
                task.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)

        assert failed >= BAD.keys()
        assert ours.failures(good.host) == {}
        assert ours.value("mojaloop_exporter_unexpected_errors_total", {"source": "registry"}) == 0
        for limit in SEEN:
            assert ours.exceeded(limit) >= 1, limit
        assert not attacked.large.locked(), "whoever gave up holds nothing"
        assert ours.client._large._value == Limit.LARGE_LOOKUPS.most

"""What holds through an HTTP proxy that really forwards: verification, credentials, limits, and literal addresses."""

import asyncio
import gzip
import json

import pytest

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import RegistryEntry
from tests.support.bad_registries import BAD
from tests.support.proxy import proxy
from tests.support.registry_client import FAST, TokenRegistry, basic, client, refused, tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
NAME = "registry.example"
LEDGER = Repository(NAME, "mojaloop/central-ledger")
PRIVATE = [
    "169.254.169.254",
    "127.0.0.1:1",
    "0x7f000001",
    "2130706433",
    "127.1",
    "localhost",
    "[::1]",
    "[64:ff9b:1::1]",
]


async def test_a_tunnel_is_verified_against_the_name_and_hides_credentials(tmp_path):
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("registry-s3cret")
    registry = TokenRegistry(wants=basic("hub", "registry-s3cret"))
    registry.realm = f"https://{NAME}/token"
    files = {"username_file": tmp_path / "user", "password_file": tmp_path / "password"}
    async with web(registry, tls=tls(tmp_path, f"DNS:{NAME}")) as server:
        names = {f"{NAME}:443": server.host, "other.example:443": server.host}
        entries = [RegistryEntry(name=name, ca_file=tmp_path / "cert.pem", **files) for name in (NAME, "other.example")]
        async with proxy(names) as between, client(*entries, proxy=between.url) as ours:
            assert (await ours.tags(LEDGER)).names == ("v1.0.0",)
            await refused(ours.tags(Repository("other.example", "x/y")), Reason.UNREACHABLE, "(?i)certificate")
    assert set(between.targets()) == {f"{NAME}:443", "other.example:443"}
    for head in between.heads:
        assert basic("hub", "s3cret") in head
        assert "\nauthorization" not in head.lower()
    assert any(r.headers.get("authorization") == basic("hub", "registry-s3cret") for r in server.requests)
    assert not any("proxy-authorization" in r.headers for r in server.requests)


@pytest.mark.parametrize("bad", ["a gzip bomb", "huge JSON", "answers 1xx without end", "tiny chunks without end",
                                 "a byte now and then", "closes at once"])  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_limits_hold_through_a_proxy(tmp_path, bad, scheme):
    answer, reason = BAD[bad]
    context = tls(tmp_path, f"DNS:{NAME}") if scheme == "https" else None
    entry = RegistryEntry(name=NAME, insecure=scheme == "http", ca_file=tmp_path / "cert.pem" if context else None)
    async with (
        web(answer, tls=context) as server,
        proxy({NAME: server.host, f"{NAME}:443": server.host}) as between,
        client(entry, proxy=between.url, limits=FAST) as ours,
    ):
        await refused(ours.tags(LEDGER), reason)


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("how", ["redirect", "blob", "realm", "endpoint"])
async def test_a_proxy_is_never_asked_for_a_private_address(host, how):
    address = f"http://{host}/latest/meta-data"
    document = json.dumps({"config": {"digest": "sha256:" + "0" * 64}}).encode()

    def answer(request):
        if how == "realm":
            return reply(status=401, WWW_Authenticate=f'Bearer realm="{address}"')
        return reply(document) if "/manifests/" in request.path else reply(status=307, Location=address)

    more = {"token_hosts": (host.strip("[]"), "localhost"), "redirect_hosts": ("*",)}
    endpoint = {"endpoint": address} if how == "endpoint" else {}
    entry = RegistryEntry(name=NAME, insecure=True, **more, **endpoint)
    async with (
        web(answer) as server,
        proxy({NAME: server.host}) as between,
        client(entry, proxy=between.url) as ours,
    ):
        question = ours.created(LEDGER, "v1.0.0") if how == "blob" else ours.tags(LEDGER)
        await refused(question, Reason.PRIVATE_ADDRESS)
    assert all(NAME in target for target in between.targets())


async def test_a_proxy_is_trusted_to_refuse_names_of_private_addresses():
    async with web(lambda _: reply({"tags": ["v1.0.0"]})) as inside:

        def answer(_request):
            return reply(status=307, Location="http://inside.example/v2/x")

        entry = RegistryEntry(name=NAME, insecure=True, redirect_hosts=("inside.example",))
        async with (
            web(answer) as server,
            proxy({NAME: server.host, "inside.example": inside.host}) as between,
            client(entry, proxy=between.url) as ours,
        ):
            assert (await ours.tags(LEDGER)).names == ("v1.0.0",)


async def forever(_request):
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


async def silent(_request):
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("answer", "reason", "limit"),
    [
        (forever, Reason.BAD_ANSWER, Limit.ANSWER_HEAD_BYTES),
        (silent, Reason.UNREACHABLE, None),
        (lambda _: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, Reason.BAD_ANSWER, None),
        (lambda _: reply(status=502), Reason.UNREACHABLE, None),
        (lambda _: reply(gzip.compress(b"no TLS")), Reason.UNREACHABLE, None),
        (lambda _: b"", Reason.BAD_ANSWER, None),
    ],
)
async def test_a_proxy_that_misbehaves(answer, reason, limit):
    async with (
        web(answer) as bad,
        client(RegistryEntry(name=NAME), proxy=f"http://{bad.host}", limits=FAST) as ours,
    ):
        error = await refused(ours.tags(LEDGER), reason)
        assert error.limit is limit


@pytest.mark.parametrize("insecure", [True, False])
async def test_a_dead_proxy_is_named_without_its_credentials(insecure):
    async with client(RegistryEntry(name=NAME, insecure=insecure), proxy="http://hub:s3cret@127.0.0.1:1") as ours:
        error = await refused(ours.tags(LEDGER), Reason.UNREACHABLE, r"^cannot connect to the proxy 127\.0\.0\.1:1$")
        assert "s3cret" not in str(error)


async def test_a_proxy_that_has_no_address_is_named():
    async with client(RegistryEntry(name=NAME), proxy="http://none.invalid:1") as ours:
        await refused(ours.tags(LEDGER), Reason.UNREACHABLE, r"^the proxy none\.invalid has no address$")


async def test_a_proxy_that_refuses_is_named():
    async with (
        web(lambda _: reply(status=407)) as between,
        client(RegistryEntry(name=NAME), proxy=f"http://{between.host}") as ours,
    ):
        await refused(ours.tags(LEDGER), Reason.UNREACHABLE, "^the proxy returned 407")

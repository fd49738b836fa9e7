"""Connections to registries: TLS, proxies, and addresses that get none."""

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_network

import pytest

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryEntry, RegistryError
from tests.support.registry_client import LOOPBACK, at, basic, client, entry_for, refused, tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio


async def test_a_registry_that_refuses_connections():
    async with web(lambda _: b"") as server:
        pass
    async with client(entry_for(server)) as ours:
        await refused(ours.tags(at(server)), Reason.UNREACHABLE, f"^cannot connect to {server.host}$")
        assert ours.failures(server.host) == {"unreachable": 1.0}


async def test_what_to_add_for_a_registry_that_is_not_allowed_is_logged_once(caplog):
    async with client() as ours:
        for path in ("a/b", "a/c"):
            with pytest.raises(RegistryError, match="not allowed"):
                ours.client.lookup_repository(Repository("hub.example:5000", path))
    (record,) = caplog.records
    assert record.getMessage().endswith('add it to the configuration: registries: {"hub.example:5000": {allow: true}}')


async def test_what_is_logged_of_registries_that_are_not_allowed_is_bounded(caplog):
    async with client() as ours:
        for number in range(300):
            with contextlib.suppress(RegistryError):
                ours.client.lookup_repository(Repository(f"r{number}.example", "a/b"))
    assert len(caplog.records) == 100


async def test_plain_http_where_tls_is_expected():
    async def answer(reader, writer):
        await reader.read(1)
        writer.write(reply(status=400))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(RegistryEntry(name=name, allow_private=LOOPBACK)) as ours:
        said = rf"the server does not speak TLS; if {name} uses plain HTTP, set insecure: true in its entry"
        await refused(ours.tags(Repository(name, "a/b")), Reason.UNREACHABLE, said)


@pytest.mark.parametrize("how", ["tls", "status 400"])
async def test_tls_where_plain_http_is_expected(tmp_path, how):
    # nginx, Apache and Go's servers answer with status 400; others with an alert of TLS, or not at all.
    def answer(_):
        return (
            reply(b"Client sent an HTTP request to an HTTPS server.\n", status=400) if how != "tls" else b"\x15\x03\x01"
        )

    async with web(answer) as server, client(entry_for(server)) as ours:
        said = rf"; if {server.host} uses HTTPS, remove insecure from its entry of registries"
        await refused(ours.tags(at(server)), Reason.BAD_ANSWER, said)


async def test_a_registry_with_certificates_of_its_own(tmp_path):
    context = tls(tmp_path)
    async with web(lambda _: reply({"tags": ["v1.0.0"]}), tls=context) as server:
        async with client(entry_for(server, insecure=False, ca_file=tmp_path / "cert.pem")) as ours:
            assert (await ours.tags(at(server))).names == ("v1.0.0",)
        async with client(entry_for(server, insecure=False)) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE, "(?i)certificate")
        async with client(entry_for(server, insecure=False, ca_file=tmp_path / "none.pem")) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE)


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "127.1", "0x7f000001", "localhost", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::1]"]
)
async def test_an_allowed_registry_at_a_private_address_gets_no_connection(name):
    async with web(lambda _: reply({"tags": ["v1"]}), host="::1" if name == "[::1]" else "0.0.0.0") as server:
        entry = RegistryEntry(name=f"{name}:{server.port}", insecure=True)
        repository = Repository(entry.name, "a/b")
        async with client(entry) as ours:
            with contextlib.suppress(RegistryError):
                repository = ours.client.lookup_repository(repository)
            error = await refused(ours.tags(repository), Reason.PRIVATE_ADDRESS, "allow_private")
            assert error.reason.permanent
        assert server.connections == 0


async def test_a_second_dns_answer_with_a_private_address_is_refused():
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def rebinding(_host, _port):
        return answers.pop(0)

    async with web(lambda _: reply({"tags": ["v1"]}, Connection="close"), host="0.0.0.0") as server:
        entry = RegistryEntry(
            name=f"rebind.example:{server.port}", insecure=True, allow_private=(ip_network("127.0.0.1/32"),)
        )
        async with client(entry, resolve=rebinding) as ours:
            repository = Repository(entry.name, "a/b")
            await ours.tags(repository)
            await refused(ours.tags(repository), Reason.PRIVATE_ADDRESS)
        assert server.connections == 1


async def test_requests_go_to_the_proxy():
    async with web(lambda _: reply({"tags": ["v1.0.0"]})) as proxy:
        entry = RegistryEntry(name="registry.example", insecure=True)
        async with client(entry, proxy=f"http://{proxy.host}") as ours:
            await ours.tags(Repository("registry.example", "a/b"))
        assert [r.target for r in proxy.requests] == ["http://registry.example/v2/a/b/tags/list?n=1000"]


async def test_proxies_of_the_environment_are_ignored(monkeypatch):
    async with web(lambda _: reply({"tags": ["v1"]})) as server, web(lambda _: b"") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        async with client(entry_for(server)) as ours:
            await ours.tags(at(server))
        assert proxy.connections == 0


async def test_the_certificate_is_verified_against_the_name_and_not_the_address(tmp_path):
    async def local(_host, _port):
        return ["127.0.0.1"]

    context = tls(tmp_path, "DNS:registry.example")
    async with web(lambda _: reply({"tags": ["v1.0.0"]}), tls=context) as server:
        names = [f"{host}:{server.port}" for host in ("registry.example", "other.example", "127.0.0.1")]
        trusted = {"allow_private": LOOPBACK, "ca_file": tmp_path / "cert.pem"}
        async with client(*(RegistryEntry(name=name, **trusted) for name in names), resolve=local) as ours:
            assert (await ours.tags(Repository(names[0], "a/b"))).names == ("v1.0.0",)
            for name in names[1:]:
                await refused(ours.tags(Repository(name, "a/b")), Reason.UNREACHABLE, "(?i)certificate")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("scheme", "asked"), [("http", "GET"), ("https", "CONNECT")])
async def test_a_proxy_gets_the_credentials_of_its_url(scheme, asked):
    async with web(lambda _: reply(status=407)) as proxy:
        entry = RegistryEntry(name="registry.example", insecure=scheme == "http")
        async with client(entry, proxy=f"http://hub:s3cr%40et@{proxy.host}") as ours:
            error = await refused(ours.tags(Repository("registry.example", "a/b")), match="407")
        assert "s3cr" not in str(error)
        (request,) = proxy.requests
        assert request.method == asked
        assert request.headers["proxy-authorization"] == basic("hub", "s3cr@et")


async def test_a_tls_handshake_that_never_ends():
    # The server waits for the end of a request, and the handshake has none.
    async with (
        web(lambda _: b"") as server,
        client(entry_for(server, insecure=False), limits=Limits(connect=0.2)) as ours,
    ):
        await refused(ours.tags(at(server)), Reason.UNREACHABLE, "timed out")
        assert (server.connections, server.requests) == (1, [])


async def test_names_that_are_never_resolved_hold_up_their_own_registry_only(monkeypatch):
    end, stalled = threading.Event(), []

    def getaddrinfo(host, port, *_rest, **_more):
        if host == "stalled.example":
            stalled.append(host)
            end.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    limits = Limits(connect=1.0)
    async with web(lambda _: reply({"tags": ["v1.0.0"]}, Connection="close")) as server:
        entries = [
            RegistryEntry(name=f"{host}:{server.port}", insecure=True, allow_private=LOOPBACK)
            for host in ("stalled.example", "good.example")
        ]
        async with client(*entries, limits=limits) as ours:

            async def attack(number):
                await refused(ours.tags(Repository(entries[0].name, f"x/{number}")), Reason.UNREACHABLE)

            attacks = [asyncio.create_task(attack(number)) for number in range(8)]
            while not all(task.done() for task in attacks):
                assert (await ours.tags(Repository(entries[1].name, "a/b"))).names == ("v1.0.0",)
            await asyncio.gather(*attacks)
            assert len(stalled) == Limit.NAME_LOOKUPS.most
            assert ours.exceeded(Limit.NAME_LOOKUPS) == 8 - Limit.NAME_LOOKUPS.most
            assert ours.failures(entries[0].name) == {"unreachable": 8}
            end.set()

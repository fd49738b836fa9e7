"""Registries over real sockets: what they answer, how they fail, and what never reaches whom."""

import asyncio
import base64
import contextlib
import email.utils
import hashlib
import json
import logging
import time
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from exporter.findings import Reason
from exporter.images import Repository
from exporter.registry import Api, Limits, RegistryClient, RegistryEntry, RegistryError
from exporter.telemetry import Telemetry
from tests.support.bad_registries import BAD, endless
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
LOOPBACK = (ip_network("127.0.0.0/8"),)
NOW = 1_700_000_000.0
# Long enough for a busy machine.
FAST = Limits(connect=1.5, read=1.5, request=3.0, lookup=9.0, pages=20)
INDEX = "application/vnd.oci.image.index.v1+json"


def entry_for(server, **more):
    return RegistryEntry(**{"name": server.host, "insecure": True, "allow_private": LOOPBACK, **more})


@contextlib.asynccontextmanager
async def client(*entries, limits=FAST, **more):
    telemetry = Telemetry()
    async with RegistryClient(entries, telemetry=telemetry, limits=limits, clock=lambda: NOW, **more) as opened:
        yield SimpleNamespace(
            client=opened,
            tags=opened.tags,
            created=opened.created,
            failures=lambda host: {
                sample.labels["reason"]: sample.value
                for family in telemetry.registry.collect()
                if family.name == "mojaloop_exporter_registry_failures"
                for sample in family.samples
                if sample.name.endswith("_total") and sample.labels["registry"] == host and sample.value
            },
            requests=lambda host: telemetry.registry.get_sample_value(
                "mojaloop_exporter_registry_requests_total", {"registry": host}
            ),
            value=telemetry.registry.get_sample_value,
        )


def at(server, path="mojaloop/central-ledger"):
    return Repository(server.host, path)


async def refused(awaitable, reason=None, match=None):
    with pytest.raises(RegistryError, match=match) as caught:
        await awaitable
    if reason is not None:
        assert caught.value.reason is reason
    return caught.value


# Lists of tags.


async def test_a_list_on_one_page():
    async with (
        web(lambda _: reply({"name": "x", "tags": ["v1.0.0", "v1.0.1"]}, ETag='"1"')) as server,
        client(entry_for(server)) as ours,
    ):
        answer = await ours.tags(at(server))
        assert (answer.names, answer.etag, answer.not_modified) == (("v1.0.0", "v1.0.1"), '"1"', False)
        assert [r.target for r in server.requests] == ["/v2/mojaloop/central-ledger/tags/list?n=1000"]
        assert server.requests[0].headers["user-agent"].startswith("mojaloop-image-patch-exporter/")
        assert ours.requests(server.host) == 1


async def test_pages_by_link_and_by_next_in_the_body():
    def answer(request):
        if "last=b" in request.target:
            return reply({"tags": ["v1.0.2"]}, ETag='"3"')
        if "last=a" in request.target:
            return reply({"tags": ["v1.0.1"], "next": "/v2/mojaloop/central-ledger/tags/list?n=1000&last=b"})
        return reply(
            {"tags": ["v1.0.0"]}, Link='</v2/mojaloop/central-ledger/tags/list?n=1000&last=a>; rel="next"', ETag='"1"'
        )

    async with web(answer) as server, client(entry_for(server)) as ours:
        found = await ours.tags(at(server))
    assert found.names == ("v1.0.0", "v1.0.1", "v1.0.2")
    assert found.etag is None, "a page's ETag says nothing of the others"


async def test_an_unchanged_list():
    def answer(request):
        return (
            reply(status=304) if request.headers.get("if-none-match") == '"1"' else reply({"tags": ["v1"]}, ETag='"1"')
        )

    async with web(answer) as server, client(entry_for(server)) as ours:
        known = await ours.tags(at(server))
        again = await ours.tags(at(server), etag=known.etag)
        assert again.not_modified
        assert again.etag == '"1"'


async def test_what_is_no_tag_is_left_out():
    names = ["v1.0.0", "$(reboot)", "a b", "", "x" * 129, "v1'; true #"]
    async with web(lambda _: reply({"tags": names})) as server, client(entry_for(server)) as ours:
        assert (await ours.tags(at(server))).names == ("v1.0.0",)


async def test_a_hundred_thousand_tags_on_one_page_are_taken():
    many = [f"v{n}.{n}.0-snapshot.{n}" for n in range(100_000)]
    async with web(lambda _: reply({"tags": many})) as server, client(entry_for(server), limits=Limits()) as ours:
        assert len((await ours.tags(at(server))).names) == 100_000


async def test_as_many_pages_as_the_bound_are_taken_and_one_more_is_not():
    def pages(last):
        def answer(request):
            page = int(request.target.partition("last=")[2] or 1)
            link = f'</v2/mojaloop/central-ledger/tags/list?last={page + 1}>; rel="next"'
            return reply({"tags": [f"v1.0.{page}"]}, **({"Link": link} if page < last else {}))

        return answer

    async with web(pages(FAST.pages)) as server, client(entry_for(server)) as ours:
        assert len((await ours.tags(at(server))).names) == FAST.pages
    async with web(pages(FAST.pages + 1)) as server, client(entry_for(server)) as ours:
        await refused(ours.tags(at(server)), Reason.BAD_ANSWER, f"{FAST.pages} pages")
        assert len(server.requests) == FAST.pages


async def test_the_limit_that_a_registry_tells_is_a_metric():
    answer = reply({"tags": ["v1"]}, RateLimit_Remaining="76;w=21600")
    async with web(lambda _: answer) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        left = ours.value("mojaloop_exporter_registry_ratelimit_remaining", {"registry": server.host})
        assert left == 76


# Bad registries. Each is a row: what it answers, and the reason that comes of it.


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


async def test_a_registry_that_refuses_connections():
    async with web(lambda _: b"") as server:
        pass
    async with client(entry_for(server)) as ours:
        await refused(ours.tags(at(server)), Reason.UNREACHABLE)
        assert ours.failures(server.host) == {"unreachable": 1.0}


async def test_plain_http_where_tls_is_expected():
    async with web(lambda _: reply({"tags": ["v1"]})) as server, client(entry_for(server, insecure=False)) as ours:
        await refused(ours.tags(at(server)), Reason.UNREACHABLE)


async def test_a_whole_question_has_its_time():
    async def drip(request):
        await asyncio.sleep(0.2)
        return endless(request)

    async with web(drip) as server, client(entry_for(server), limits=Limits(lookup=0.7)) as ours:
        began = time.monotonic()
        await refused(ours.tags(at(server)), Reason.UNREACHABLE, "whole answer")
        assert time.monotonic() - began < 5


# Retry-After.


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
async def test_a_registry_that_wants_to_be_left_alone_is(headers, wait):
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


async def test_docker_hubs_own_limit_does_not_stop_its_registry():
    def answer(request):
        return reply(status=429) if request.path.startswith("/hub/") else reply({"tags": ["v1.0.0"]})

    async with web(answer) as server:
        hub = entry_for(server, api=Api.DOCKERHUB, hub_endpoint=f"http://localhost:{server.port}/hub")
        async with client(hub) as ours:
            await refused(ours.created(at(server), "v1.0.0"), Reason.RATE_LIMITED)
            await ours.tags(at(server))


# Authentication.


class TokenRegistry:
    """A registry with a token service on the same server, as distribution's specification has it."""

    def __init__(self, *, wants="", expires=300):
        self.wants, self.expires = wants, expires
        self.challenge = 'Bearer realm="{realm}",service="registry.example",scope="repository:everything:push"'
        self.realm = ""
        self.tokens = 0

    def __call__(self, request):
        if request.path == "/token":
            if request.headers.get("authorization", "") != self.wants and b"refresh_token=" not in request.body:
                return reply(status=401)
            self.tokens += 1
            return reply({"token": f"t{self.tokens}", "expires_in": self.expires})
        if request.headers.get("authorization") == f"Bearer t{self.tokens}" and self.tokens:
            return reply({"tags": ["v1.0.0"]})
        return reply(
            status=401,
            WWW_Authenticate=self.challenge.format(realm=self.realm or f"http://{request.headers['host']}/token"),
        )


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_an_anonymous_token_is_asked_for_once_and_for_what_we_need_only():
    registry = TokenRegistry()
    async with web(registry) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        await ours.tags(at(server))
        assert [r.target for r in server.requests if r.path == "/token"] == [
            "/token?service=registry.example&scope=repository%3Amojaloop%2Fcentral-ledger%3Apull"
        ]
        assert registry.tokens == 1
        assert ours.requests(server.host) == 4


async def test_an_expired_token_is_asked_for_anew():
    registry = TokenRegistry(expires=5)
    async with web(registry) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        await ours.tags(at(server))
        assert registry.tokens == 2


async def test_credentials_from_files_go_to_the_token_service(tmp_path):
    (tmp_path / "user").write_text("hub\n")
    (tmp_path / "password").write_text("s3cret pass\n")
    registry = TokenRegistry(wants=basic("hub", "s3cret pass"))
    async with web(registry) as server:
        entry = entry_for(server, username_file=tmp_path / "user", password_file=tmp_path / "password")
        async with client(entry) as ours:
            assert (await ours.tags(at(server))).names == ("v1.0.0",)
            (tmp_path / "password").write_text("rotated")
            registry.wants, registry.tokens = basic("hub", "rotated"), 5
            assert (await ours.tags(at(server))).names == ("v1.0.0",), "a rotated secret is read again"


async def test_basic_authentication(tmp_path):
    def answer(request):
        if request.headers.get("authorization") == basic("hub", "s3cret"):
            return reply({"tags": ["v1.0.0"]})
        return reply(status=401, WWW_Authenticate='Basic realm="x"')

    async with web(answer) as server:
        config = {"auths": {server.host: {"auth": base64.b64encode(b"hub:s3cret").decode()}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        async with client(entry_for(server, docker_config_file=tmp_path / "config.json")) as ours:
            await ours.tags(at(server))
            await ours.tags(at(server))
            assert len(server.requests) == 3, "credentials are not offered before they are asked for, and then kept"
        (tmp_path / "config.json").write_text(
            json.dumps({"auths": {server.host: {"username": "hub", "password": "no"}}})
        )
        async with client(entry_for(server, docker_config_file=tmp_path / "config.json")) as ours:
            await refused(ours.tags(at(server)), Reason.UNAUTHORIZED)


async def test_an_identity_token_of_docker_is_a_refresh_token(tmp_path):
    registry = TokenRegistry(wants="never")
    async with web(registry) as server:
        config = {"auths": {f"https://{server.host}/v2/": {"identitytoken": "idtok"}}, "credsStore": "x"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        async with client(entry_for(server, docker_config_file=tmp_path / "config.json")) as ours:
            await ours.tags(at(server))
        (asked,) = [r for r in server.requests if r.path == "/token"]
        assert asked.method == "POST"
        assert b"refresh_token=idtok" in asked.body


@pytest.mark.parametrize("content", [None, "no json: s3cret", '{"auths": {"%s": {"auth": "s3cret!"}}}', "\xff"])
async def test_credentials_that_cannot_be_read(tmp_path, content, caplog):
    async with web(TokenRegistry()) as server:
        file = tmp_path / "config.json"
        if content is not None:
            file.write_bytes(content.replace("%s", server.host).encode("latin-1"))
        async with client(entry_for(server, docker_config_file=file)) as ours:
            error = await refused(ours.tags(at(server)), Reason.UNAUTHORIZED, "config.json")
    assert "s3cret" not in str(error)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "realm",
    [
        "http://{evil}/token",
        "http://{evil}@127.0.0.1/token",
        "https://{evil}/token",
        "file:///etc/passwd",
        "no address",
        "//",
        "",
    ],
)
async def test_a_hostile_challenge_reaches_nobody(tmp_path, realm):
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("s3cret")
    registry = TokenRegistry(wants=basic("hub", "s3cret"))
    async with web(lambda _: reply({"token": "x"}), host="127.0.0.2") as evil, web(registry) as server:
        registry.realm = realm.format(evil=f"127.0.0.2:{evil.port}") or " "
        entry = entry_for(server, username_file=tmp_path / "user", password_file=tmp_path / "password")
        async with client(entry) as ours:
            await refused(ours.tags(at(server)), Reason.UNAUTHORIZED)
        assert evil.connections == 0
        assert all("authorization" not in r.headers for r in server.requests)


async def test_a_token_service_that_the_entry_allows(tmp_path):
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("s3cret")
    tokens, registry = TokenRegistry(wants=basic("hub", "s3cret")), TokenRegistry()
    registry.tokens = 1
    async with web(tokens, host="127.0.0.2") as service, web(registry) as server:
        registry.realm = f"http://127.0.0.2:{service.port}/token"
        files = {"username_file": tmp_path / "user", "password_file": tmp_path / "password"}
        async with client(entry_for(server, token_hosts=("127.0.0.2",), **files)) as ours:
            await ours.tags(at(server))
        assert service.requests[0].headers["authorization"] == basic("hub", "s3cret")
        assert [r.headers.get("authorization") for r in server.requests] == [None, "Bearer t1"]


@pytest.mark.parametrize(
    "answer",
    [reply(b"<html>"), reply({"token": ""}), reply({"token": "a b"}), reply({"token": 5}), reply(b"[" * 50_000)],
    ids=["HTML", "empty", "spaces", "a number", "deep"],
)
async def test_a_token_service_that_answers_with_no_token(answer):
    registry = TokenRegistry()
    async with (
        web(lambda r: answer if r.path == "/token" else registry(r)) as server,
        client(entry_for(server)) as ours,
    ):
        await refused(ours.tags(at(server)), Reason.BAD_ANSWER)


# Redirects.


async def test_a_redirect_that_the_entry_names_is_followed_without_credentials():
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


async def test_from_https_to_http_is_no_redirect(tmp_path):
    context = tls(tmp_path)
    async with web(lambda _: reply(status=307, Location="http://127.0.0.1:1/x"), tls=context) as server:
        entry = entry_for(server, insecure=False, ca_file=tmp_path / "cert.pem", redirect_hosts=("*",))
        async with client(entry) as ours:
            await refused(ours.tags(at(server)), Reason.BAD_ANSWER, "from https to 'http'")


async def test_a_registry_with_certificates_of_its_own(tmp_path):
    context = tls(tmp_path)
    async with web(lambda _: reply({"tags": ["v1.0.0"]}), tls=context) as server:
        async with client(entry_for(server, insecure=False, ca_file=tmp_path / "cert.pem")) as ours:
            assert (await ours.tags(at(server))).names == ("v1.0.0",)
        async with client(entry_for(server, insecure=False)) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE, "(?i)certificate")
        async with client(entry_for(server, insecure=False, ca_file=tmp_path / "none.pem")) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE)


def tls(folder):
    import ssl
    import subprocess

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


# Publish times.


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def image(created, *, index=False, blob_at=None, config=None):
    """A registry with one image, `v1.0.1`."""
    config = json.dumps({"created": created, "os": "linux"}).encode() if config is None else config
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest(config)}, "layers": []}).encode()
    several = [
        {"digest": digest(b"attestation"), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest(manifest), "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    top = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": several}).encode() if index else manifest

    def answer(request):
        last = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            assert INDEX in request.headers["accept"]
            return reply(
                {"v1.0.1": top, digest(manifest): manifest}.get(last, b""), status=200 if last != "v9" else 404
            )
        if "/blobs/" in request.path and last == digest(config):
            return reply(config) if blob_at is None else reply(status=307, Location=blob_at())
        return reply(status=404)

    return answer, config


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2023-07-21T21:12:44.123456789Z", 1689973964.123456),
        ("2023-07-21T21:12:44+02:00", 1689966764.0),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("2012-12-31T23:59:59Z", None),
        ("2099-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        (None, None),
    ],
)
async def test_when_an_image_was_published(created, expected):
    answer, _ = image(created)
    async with web(answer) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") == pytest.approx(expected)
        assert len(server.requests) == 2


async def test_an_index_takes_one_request_more_and_its_attestations_are_passed_over():
    answer, _ = image("2023-07-21T21:12:44Z", index=True)
    async with web(answer) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") == 1689973964.0
        assert len(server.requests) == 3


async def test_a_blob_may_come_from_any_host_without_credentials():
    answer, config = image("2023-07-21T21:12:44Z", blob_at=lambda: f"http://127.0.0.2:{cdn.port}/blob?signature=s3cret")
    async with web(lambda _: reply(config), host="127.0.0.2") as cdn, web(answer) as server:
        async with client(entry_for(server, redirect_hosts=("127.0.0.2",))) as ours:
            assert await ours.created(at(server), "v1.0.1") == 1689973964.0
        assert "authorization" not in cdn.requests[0].headers
        async with client(entry_for(server, allow_private=(ip_network("127.0.0.1/32"),))) as ours:
            await refused(ours.created(at(server), "v1.0.1"), Reason.PRIVATE_ADDRESS)
        assert len(cdn.requests) == 1


@pytest.mark.parametrize("named", ["../../../secret", "sha256:xyz", "", "http://evil/", "md5:" + "0" * 32])
async def test_a_manifest_that_names_no_digest(named):
    async with web(lambda _: reply({"config": {"digest": named}})) as server, client(entry_for(server)) as ours:
        await refused(ours.created(at(server), "v1.0.1"), Reason.BAD_ANSWER, "no digest")
        assert len(server.requests) == 1


async def test_a_configuration_that_is_not_what_its_digest_says():
    answer, _ = image("2023-07-21T21:12:44Z")

    def lies(request):
        return reply({"created": "2020-01-01T00:00:00Z"}) if "/blobs/" in request.path else answer(request)

    async with web(lies) as server, client(entry_for(server)) as ours:
        await refused(ours.created(at(server), "v1.0.1"), Reason.BAD_ANSWER, "digest says")


async def test_an_image_without_a_configuration_has_no_date():
    async with web(lambda _: reply({"schemaVersion": 1, "history": []})) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") is None


async def test_docker_hub_is_asked_by_its_own_api_and_pulls_nothing():
    said = {"name": "v1.0.1", "last_updated": "2023-07-22T00:00:00.123Z", "tag_last_pushed": "2023-07-21T21:12:44Z"}
    async with web(lambda _: reply(said)) as hub:
        entry = RegistryEntry(
            name="docker.io",
            api=Api.DOCKERHUB,
            endpoint="http://127.0.0.1:1",
            hub_endpoint=f"http://{hub.host}",
            allow_private=LOOPBACK,
        )
        async with client(entry) as ours:
            assert await ours.created(Repository("docker.io", "mojaloop/central-ledger"), "v1.0.1") == 1689973964.0
        assert [r.target for r in hub.requests] == ["/v2/repositories/mojaloop/central-ledger/tags/v1.0.1"]


# Nobody gets in.


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


async def test_a_name_that_turns_private_at_the_second_question():
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


async def test_a_registry_that_is_not_allowed_is_never_asked():
    async with web(lambda _: reply({"tags": ["v1"]})) as server:
        for entries in ((), (entry_for(server, allow=False),), (entry_for(server, name=f"{server.host}/other"),)):
            async with client(*entries) as ours:
                with pytest.raises(RegistryError) as caught:
                    ours.client.lookup_repository(at(server))
                assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
                await refused(ours.tags(at(server)), Reason.REGISTRY_NOT_ALLOWED)
        assert server.connections == 0


async def test_a_proxy_is_asked_in_place_of_the_registry():
    async with web(lambda _: reply({"tags": ["v1.0.0"]})) as proxy:
        entry = RegistryEntry(name="registry.example", insecure=True)
        async with client(entry, proxy=f"http://{proxy.host}") as ours:
            await ours.tags(Repository("registry.example", "a/b"))
        assert [r.target for r in proxy.requests] == ["http://registry.example/v2/a/b/tags/list?n=1000"]


async def test_proxies_of_the_environment_are_passed_over(monkeypatch):
    async with web(lambda _: reply({"tags": ["v1"]})) as server, web(lambda _: b"") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        async with client(entry_for(server)) as ours:
            await ours.tags(at(server))
        assert proxy.connections == 0


async def test_no_secret_is_logged_at_any_level(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="exporter")
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("s3cret")
    registry = TokenRegistry(wants=basic("hub", "s3cret"))
    async with web(registry) as server:
        files = {"username_file": tmp_path / "user", "password_file": tmp_path / "password"}
        async with client(entry_for(server, **files)) as ours:
            await ours.tags(at(server))
            registry.wants, registry.tokens = "else", 7
            error = await refused(ours.tags(at(server)))
    said = "".join(r.getMessage() for r in caplog.records if r.name.startswith("exporter")) + repr(error) + str(error)
    for secret in ("s3cret", basic("hub", "s3cret")[6:], "Bearer t"):
        assert secret not in said


# Mirrors.


async def test_a_mirror_is_looked_up_at_its_source():
    hub = RegistryEntry(name="docker.io", api=Api.DOCKERHUB)
    mirrors = (
        RegistryEntry(name="mirror.gcr.io", mirror_of="docker.io"),
        RegistryEntry(name="ghcr.io/hub/proxy", mirror_of="docker.io"),
        RegistryEntry(name="ghcr.io/hub/quay", mirror_of="quay.io/cilium"),
        RegistryEntry(name="ghcr.io"),
        RegistryEntry(name="quay.io"),
        RegistryEntry(name="a.example", mirror_of="b.example"),
        RegistryEntry(name="b.example", mirror_of="a.example"),
    )
    async with client(hub, *mirrors) as ours:
        look = ours.client.lookup_repository
        assert look(Repository("mirror.gcr.io", "mojaloop/x")) == Repository("docker.io", "mojaloop/x")
        assert look(Repository("mirror.gcr.io", "redis")) == Repository("docker.io", "library/redis")
        assert look(Repository("ghcr.io", "hub/proxy/mojaloop/x")) == Repository("docker.io", "mojaloop/x")
        assert look(Repository("ghcr.io", "hub/quay/operator")) == Repository("quay.io", "cilium/operator")
        assert look(Repository("ghcr.io", "mojaloop/vault-utils")) == Repository("ghcr.io", "mojaloop/vault-utils")
        with pytest.raises(RegistryError, match="mirror one another"):
            look(Repository("a.example", "x"))
        with pytest.raises(RegistryError, match="mirrors nothing"):
            look(Repository("ghcr.io", "hub/proxy"))

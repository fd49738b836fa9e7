"""Authentication at registries: tokens, credentials, and who never gets them."""

import base64
import json
import logging

import pytest

from exporter.limits import Limit
from exporter.reasons import Reason
from tests.support.registry_client import TokenRegistry, at, basic, client, entry_for, refused
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio


async def test_an_anonymous_token_has_the_scope_that_we_need_and_is_reused():
    registry = TokenRegistry()
    async with web(registry) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        await ours.tags(at(server))
        assert [r.target for r in server.requests if r.path == "/token"] == [
            "/token?service=registry.example&scope=repository%3Amojaloop%2Fcentral-ledger%3Apull"
        ]
        assert registry.tokens == 1
        assert ours.requests(server.host) == 4


async def test_an_expired_token_is_replaced():
    registry = TokenRegistry(expires=5)
    async with web(registry) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        await ours.tags(at(server))
        assert registry.tokens == 2


async def test_credentials_are_read_from_files_for_every_token(tmp_path):
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


def issuing(token, expires=300):
    """A registry whose token service issues one token for any scope."""

    def answer(request):
        if request.path == "/token":
            return reply({"token": token, "expires_in": expires})
        if "authorization" in request.headers:
            return reply({"tags": ["v1.0.0"]})
        return reply(status=401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')

    return answer


async def test_tokens_of_a_registry_are_few_and_the_latest_are_kept():
    async with web(issuing("t")) as server, client(entry_for(server)) as ours:
        auth = ours.client._generation.registries[server.host].auth
        for number in range(Limit.TOKENS.most + 20):
            await ours.tags(at(server, f"mojaloop/r{number}"))
        assert len(auth) == Limit.TOKENS.most
        asked = server.paths().count("/token")
        await ours.tags(at(server, f"mojaloop/r{number}"))
        assert server.paths().count("/token") == asked


async def test_an_expired_token_is_dropped_and_none_is_kept_for_years():
    now = [0.0]
    async with web(issuing("t", expires=10**12)) as server, client(entry_for(server)) as ours:
        auth = ours.client._generation.registries[server.host].auth
        auth._clock = lambda: now[0]
        await ours.tags(at(server, "mojaloop/a"))
        now[0] = 3600.0
        await ours.tags(at(server, "mojaloop/b"))
        assert len(auth) == 1
        await ours.tags(at(server, "mojaloop/a"))
        assert server.paths().count("/token") == 3


async def test_a_token_has_a_bounded_size():
    most = Limit.TOKEN_BYTES.most
    async with web(issuing("t" * most)) as server, client(entry_for(server)) as ours:
        await ours.tags(at(server))
        server.handler = issuing("t" * (most + 1))
        await refused(ours.tags(at(server, "mojaloop/other")), Reason.BAD_ANSWER, f"more than {most} bytes")
        assert len(ours.client._generation.registries[server.host].auth) == 1
        assert ours.exceeded(Limit.TOKEN_BYTES) == 1


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
async def test_a_hostile_challenge_causes_no_request(tmp_path, realm):
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
async def test_an_invalid_answer_of_a_token_service(answer):
    registry = TokenRegistry()
    async with (
        web(lambda r: answer if r.path == "/token" else registry(r)) as server,
        client(entry_for(server)) as ours,
    ):
        await refused(ours.tags(at(server)), Reason.BAD_ANSWER)


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

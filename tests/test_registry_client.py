"""Questions to registries: mirrors, allowed registries, time limits and counting, over real sockets."""

import asyncio
import contextlib
import gc
import time
import weakref
from collections import Counter
from dataclasses import replace

import httpx
import pytest

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryEntry, RegistryError, TagList
from exporter.registry import client as module
from tests.support.registry_client import TokenRegistry, at, basic, client, entry_for, refused
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio


async def test_a_registry_that_is_not_allowed_gets_no_connection():
    async with web(lambda _: reply({"tags": ["v1"]})) as server:
        for entries in ((), (entry_for(server, allow=False),), (entry_for(server, name=f"{server.host}/other"),)):
            async with client(*entries) as ours:
                with pytest.raises(RegistryError) as caught:
                    ours.client.lookup_repository(at(server))
                assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
                await refused(ours.tags(at(server)), Reason.REGISTRY_NOT_ALLOWED)
        assert server.connections == 0


async def test_other_entries_hold_for_what_is_asked_from_then_on_and_questions_end_as_they_began():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_):
        asked.set()
        await answer.wait()
        return reply({"tags": ["v1.0.0"]})

    async with web(slow) as old, web(lambda _: reply({"tags": ["v2.0.0"]})) as new, client(entry_for(old)) as ours:
        repository = at(old)
        with pytest.raises(RegistryError):
            ours.client.lookup_repository(at(new))
        asking = asyncio.create_task(ours.tags(repository))
        await asked.wait()
        before = weakref.ref(ours.client._generation.http)
        moved = replace(entry_for(old), endpoint=f"http://{new.host}")
        await ours.client.configure([moved, entry_for(new)])
        assert (await ours.tags(repository)).names == ("v2.0.0",)
        assert ours.client.lookup_repository(at(new)) == at(new)
        assert not before().is_closed
        answer.set()
        assert (await asking).names == ("v1.0.0",)
        assert before() is None or before().is_closed, "nobody uses it any more"
        idle = ours.client._generation.http
        await ours.client.configure([])
        assert idle.is_closed
        await refused(ours.tags(repository), Reason.REGISTRY_NOT_ALLOWED)


async def test_names_that_are_not_valid_tags_are_left_out():
    names = ["v1.0.0", "$(reboot)", "a b", "", "x" * 129, "v1'; true #"]
    async with web(lambda _: reply({"tags": names})) as server, client(entry_for(server)) as ours:
        assert (await ours.tags(at(server))).names == ("v1.0.0",)


async def test_a_question_has_a_time_limit_over_all_of_its_requests():
    async def endless(request):
        await asyncio.sleep(0.2)
        last = int(request.target.partition("last=")[2] or 0) + 1
        link = f'</v2/mojaloop/central-ledger/tags/list?last={last}>; rel="next"'
        return reply({"tags": [f"v1.0.{last}"]}, Link=link)

    async with web(endless) as server, client(entry_for(server), limits=Limits(lookup=0.7)) as ours:
        began = time.monotonic()
        await refused(ours.tags(at(server)), Reason.UNREACHABLE, "complete response")
        assert time.monotonic() - began < 5


class Failing:
    """A kind of registry that runs into a defect."""

    def __init__(self, error):
        self.error = error

    async def list_tags(self, session, *, etag):
        raise self.error

    async def publish_time(self, session, tag):
        raise self.error


@pytest.mark.parametrize(
    "error", [RecursionError("x"), UnicodeEncodeError("ascii", "\u00e9", 0, 1, "x"), KeyError("x")]
)
async def test_an_unexpected_error_is_one_bad_answer_with_a_traceback(monkeypatch, caplog, error):
    monkeypatch.setattr(module, "REGISTRY_KINDS", {**module.REGISTRY_KINDS, "other": Failing(error)})
    async with (
        web(lambda _: reply({"tags": ["v1.0.0"]})) as server,
        client(RegistryEntry(name="a.example", api="other"), entry_for(server)) as ours,
    ):
        repository = Repository("a.example", "x/y")
        for question in (ours.tags(repository), ours.created(repository, "v1.0.0")):
            await refused(question, Reason.BAD_ANSWER, type(error).__name__)
        assert ours.value("mojaloop_exporter_unexpected_errors_total", {"source": "registry"}) == 2
        assert ours.failures("a.example") == {"bad_answer": 2}
        assert (await ours.tags(at(server))).names == ("v1.0.0",)
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[1] for record in logged] == [error, error]
    assert "a.example/x/y" in logged[0].getMessage()


@pytest.mark.parametrize("error", [MemoryError(), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_what_is_no_defect_of_a_lookup_goes_on(monkeypatch, error):
    monkeypatch.setattr(module, "REGISTRY_KINDS", {**module.REGISTRY_KINDS, "other": Failing(error)})
    async with client(RegistryEntry(name="a.example", api="other")) as ours:
        with pytest.raises(type(error)):
            await ours.tags(Repository("a.example", "x/y"))
        assert ours.value("mojaloop_exporter_unexpected_errors_total", {"source": "registry"}) == 0


async def test_an_error_of_whoever_uses_a_listing_is_not_one_of_the_registry():
    async with web(lambda _: reply({"tags": ["v1.0.0"]})) as server, client(entry_for(server)) as ours:
        with pytest.raises(KeyError):
            async with ours.client.listing(at(server)):
                raise KeyError("catalogue")
        assert ours.failures(server.host) == {}
        assert ours.value("mojaloop_exporter_unexpected_errors_total", {"source": "registry"}) == 0


async def test_lists_are_kept_for_as_many_lookups_as_a_registry_has_turns():
    async with web(lambda _: reply({"tags": ["v1.0.0"]})) as server, client(entry_for(server)) as ours:
        held, stored = [], asyncio.Event()

        async def look_up(number):
            async with ours.client.listing(at(server, f"mojaloop/r{number}")) as found:
                held.append(found)
                await stored.wait()

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(look_up(number))
            while len(held) < 4:
                await asyncio.sleep(0.01)
            assert len(server.requests) == 4, "a further list would be kept until the catalogue has time for it"
            stored.set()
        assert len(held) == 20


async def test_large_lists_do_not_add_up():
    tags = [f"v{number}.0.0-snapshot" for number in range(20_000)]
    running, most = Counter(), Counter()

    async with contextlib.AsyncExitStack() as opened:
        servers = [await opened.enter_async_context(web(lambda _: reply({"tags": tags}))) for _ in range(3)]
        ours = await opened.enter_async_context(client(*map(entry_for, servers), limits=Limits()))

        async def look_up(server, number):
            async with ours.client.listing(at(server, f"mojaloop/r{number}")) as found:
                assert len(found.names) == 20_000
                for what in (server.host, "all"):
                    running[what] += 1
                    most[what] = max(most[what], running[what])
                await asyncio.sleep(0.01)  # while it is stored
                for what in (server.host, "all"):
                    running[what] -= 1

        async with asyncio.TaskGroup() as group:
            for server in servers:
                for number in range(6):
                    group.create_task(look_up(server, number))
        assert most["all"] <= Limit.LARGE_LOOKUPS.most
        assert {most[server.host] for server in servers} == {1}


async def test_waiting_for_other_large_lists_does_not_count_as_time_of_the_request():
    tags = [f"v{number}.0.0-snapshot" for number in range(20_000)]
    limits = Limits(request=1.0)
    async with web(lambda _: reply({"tags": tags})) as server, client(entry_for(server), limits=limits) as ours:
        async with ours.client.listing(at(server)):
            other = asyncio.create_task(ours.tags(at(server, "mojaloop/other")))
            await asyncio.wait([other], timeout=1.5)
            assert not other.done()
        assert len((await other).names) == 20_000
        assert ours.exceeded(Limit.LARGE_LOOKUPS) == 0
    async with (
        web(lambda _: reply({"tags": tags})) as server,
        client(entry_for(server), limits=Limits(lookup=0.5)) as ours,
        ours.client.listing(at(server)),
    ):
        await refused(ours.tags(at(server, "mojaloop/other")), Reason.UNREACHABLE, "no complete response")
        assert ours.exceeded(Limit.LARGE_LOOKUPS) == 1


async def test_an_answer_is_freed_without_the_garbage_collector(monkeypatch):
    bodies = []
    real = httpx.Response.__init__

    def remember(self, *rest, **more):
        real(self, *rest, **more)
        bodies.append(weakref.ref(self))

    monkeypatch.setattr(httpx.Response, "__init__", remember)
    async with web(TokenRegistry()) as server, client(entry_for(server)) as ours:
        gc.disable()
        try:
            await ours.tags(at(server))
            assert len(bodies) == 3
            assert [body() for body in bodies] == [None, None, None]
        finally:
            gc.enable()


async def test_the_time_limits_of_a_lookup_and_a_request_are_counted():
    async def silent(_request):
        await asyncio.sleep(30)

    async with web(silent) as server:
        async with client(entry_for(server), limits=Limits(lookup=0.1)) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE)
            assert ours.exceeded(Limit.LOOKUP_SECONDS) == 1
        async with client(entry_for(server), limits=Limits(request=0.1)) as ours:
            await refused(ours.tags(at(server)), Reason.UNREACHABLE)
            assert ours.exceeded(Limit.REQUEST_SECONDS) == 1


async def test_an_annotation_leads_to_no_registry_with_credentials_unless_its_entry_permits_it(tmp_path):
    image, private = Repository("public.example", "team/app"), Repository("private.example", "other/secret")
    entries = [
        RegistryEntry(name="public.example"),
        RegistryEntry(name="private.example", docker_config_file=tmp_path / "config.json"),
        RegistryEntry(name="mirror.example", mirror_of="private.example"),
    ]
    async with client(*entries) as ours:
        look = ours.client.lookup_repository
        assert look(private) == private, "what runs may be looked up"
        assert look(private, image) == image, "nobody's credentials are used"
        for instead in (private, Repository("mirror.example", "other/secret")):
            with pytest.raises(RegistryError, match="allow_annotations") as caught:
                look(image, instead)
            assert caught.value.reason is Reason.REGISTRY_NOT_ALLOWED
    async with client(entries[0], replace(entries[1], allow_annotations=True)) as ours:
        assert ours.client.lookup_repository(image, private) == private


async def test_credentials_of_a_path_prefix_are_used_below_it_only(tmp_path):
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("s3cret")
    registry = TokenRegistry(wants=basic("hub", "s3cret"))
    files = {"username_file": tmp_path / "user", "password_file": tmp_path / "password"}
    async with web(registry) as server:
        ours_only = entry_for(server, name=f"{server.host}/mojaloop", **files)
        async with client(entry_for(server), ours_only) as ours:
            assert (await ours.tags(at(server, "mojaloop/central-ledger"))).names == ("v1.0.0",)
            await refused(ours.tags(at(server, "other/secret")), Reason.UNAUTHORIZED)
        sent = [r.headers.get("authorization") for r in server.requests if r.path == "/token"]
        assert sent == [basic("hub", "s3cret"), None]


async def test_tags_of_a_mirror_are_looked_up_in_the_mirrored_registry():
    hub = RegistryEntry(name="docker.io", api="dockerhub")
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
        with pytest.raises(RegistryError, match="mirror each other"):
            look(Repository("a.example", "x"))
        with pytest.raises(RegistryError, match="does not mirror"):
            look(Repository("ghcr.io", "hub/proxy"))


async def test_the_entry_chooses_the_kind_and_names_of_any_kind_are_checked(monkeypatch):
    class Kind:
        async def list_tags(self, session, *, etag):
            return TagList(("v1.0.0", "$(reboot)", str(session.repository), etag), etag, not_modified=False)

        async def publish_time(self, session, tag):
            return session.now() if tag == "v1.0.0" else None

    monkeypatch.setattr(module, "REGISTRY_KINDS", {**module.REGISTRY_KINDS, "other": Kind()})
    async with client(RegistryEntry(name="a.example", api="other"), RegistryEntry(name="b.example")) as ours:
        repository = Repository("a.example", "x/y")
        assert await ours.tags(repository, etag='"1"') == TagList(("v1.0.0",), '"1"', not_modified=False)
        assert await ours.created(repository, "v1.0.0") == 1_700_000_000.0
        assert await ours.created(repository, "v1.0.1") is None
        assert ours.failures("a.example") == {}

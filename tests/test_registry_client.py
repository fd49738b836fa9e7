"""Questions to registries: mirrors, allowed registries, time limits and counting, over real sockets."""

import asyncio
import time

import pytest

from exporter.findings import Reason
from exporter.images import Repository
from exporter.registry import Limits, RegistryEntry, RegistryError, TagList
from exporter.registry import client as module
from tests.support.registry_client import at, client, entry_for, refused
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
        await refused(ours.tags(at(server)), Reason.UNREACHABLE, "complete answer")
        assert time.monotonic() - began < 5


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
        assert await ours.tags(repository, etag="known") == TagList(("v1.0.0", "known"), "known", not_modified=False)
        assert await ours.created(repository, "v1.0.0") == 1_700_000_000.0
        assert await ours.created(repository, "v1.0.1") is None
        assert ours.failures("a.example") == {}

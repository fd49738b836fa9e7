"""What the operations are answered from, without a socket: lists of tags are made one at a time, and kept."""

import asyncio

import pytest

from exporter.api.declare import Asked
from exporter.api.handlers import Handlers
from exporter.catalogue import KnownTag, TagListing
from exporter.images import Repository
from exporter.versions import TagKind

pytestmark = pytest.mark.anyio


class Query:
    """A query that takes a while to list tags, and counts how many lists are made at a time."""

    def __init__(self, count=1):
        self.count, self.made, self.at_once, self.most = count, [], 0, 0
        self.changes = 0

    def repository(self, name):
        return Repository("docker.io", name)

    def stamp(self, _repository):
        return self.changes

    def looked_up(self, _repository):
        return 1.6e9

    async def tags(self, repository):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.made.append(repository.path)
        tags = tuple(KnownTag(f"v1.0.{n}", TagKind.FINAL, None) for n in range(self.count))
        return TagListing(self.count, tags)


def handlers(query):
    return Handlers(query, lambda: None, clock=lambda: 0.0)


async def ask(opened, *names):
    return await asyncio.gather(*(opened.tags(Asked({"repository": name})) for name in names))


async def test_a_list_that_many_ask_for_is_made_once_until_the_tags_change():
    query = Query()
    opened = handlers(query)
    replies = await ask(opened, *["a/b"] * 50)
    assert len({id(reply) for reply in replies}) == len(query.made) == 1
    query.changes += 1
    await ask(opened, "a/b")
    assert len(query.made) == 2


async def test_lists_are_made_one_at_a_time():
    query = Query()
    await ask(handlers(query), *[f"a/{n}" for n in range(20)])
    assert (len(query.made), query.most) == (20, 1)


async def test_what_is_kept_of_lists_is_bounded():
    query = Query(count=10_000)
    opened = handlers(query)
    names = [f"a/{n}" for n in range(20)]
    sizes = [sum(map(len, reply.parts)) for reply in await ask(opened, *names)]
    assert sum(sizes) > 8 << 20
    await ask(opened, *reversed(names))
    assert 20 < len(query.made) < 40, "some of them are kept, and not all"

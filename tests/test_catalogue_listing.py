"""The list of a repository's tags: in the order of their versions, bounded, and of one database."""

import json
from pathlib import Path

import pytest

from exporter.catalogue import Catalogue
from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.versions import TagKind, describe, place

pytestmark = pytest.mark.anyio
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
RECORDED = Path(__file__).parent.parent / "exporter" / "demo" / "data" / "tags"


def opened(directory=None, **more):
    return Catalogue.open(directory, clock=lambda: 1e6, telemetry=Telemetry(), **more)


async def listed(catalogue, most=1_000):
    listing = await catalogue.list_tags(LEDGER, most=most)
    return None if listing is None else (listing.count, [tag.name for tag in listing.tags])


async def test_every_real_tag_that_is_a_version_is_listed_once(tmp_path):
    names = [row["name"] for row in json.loads((RECORDED / "central-ledger.json").read_text())]
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, names, running=[])
        listing = await catalogue.list_tags(LEDGER, most=10_000)
    found = [tag.name for tag in listing.tags]
    assert sorted(found) == sorted({name for name in names if place(name) is not None})
    assert listing.count == len(found) > 300
    assert found == sorted(found, key=lambda name: describe(name).order)
    finals = [tag.name for tag in listing.tags if tag.kind is TagKind.FINAL]
    assert finals == sorted(finals, key=lambda name: [int(part) for part in name.removeprefix("v").split(".")])


async def test_of_very_many_tags_the_highest_are_listed():
    names = [f"v1.{minor}.{patch}" for minor in range(100) for patch in range(70)]
    async with await opened() as catalogue:
        await catalogue.store(LEDGER, names, running=[])
        assert await listed(catalogue, most=3) == (7_000, ["v1.99.67", "v1.99.68", "v1.99.69"])
        assert await listed(catalogue, most=7_000) == (7_000, names)


async def test_a_repository_that_was_never_looked_up_has_no_list():
    async with await opened() as catalogue:
        assert await listed(catalogue) is None
        await catalogue.store(LEDGER, ["latest"], running=[])
        assert await listed(catalogue) == (0, [])


async def test_publish_times_are_listed_where_they_are_known():
    async with await opened() as catalogue:
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=[])
        await catalogue.record_published(LEDGER, "v1.0.1", 9e5)
        await catalogue.record_published(LEDGER, "v1.0.0", None)
        listing = await catalogue.list_tags(LEDGER, most=9)
        assert [(tag.name, tag.published) for tag in listing.tags] == [("v1.0.0", None), ("v1.0.1", 9e5)]


async def test_damage_while_a_list_is_read_starts_it_again(tmp_path):
    names = [f"v1.0.{patch}" for patch in range(5_000)]
    async with await opened(tmp_path) as catalogue:
        await catalogue.store(LEDGER, names, running=[])
        await catalogue._run(lambda db: db.execute("UPDATE release SET name = '$(reboot)' WHERE name = 'v1.0.4999'"))
        assert await listed(catalogue) is None, "the file was set aside, and nothing of it is listed"
        await catalogue.store(LEDGER, ["v1.0.0"], running=[])
        assert await listed(catalogue) == (1, ["v1.0.0"])


async def test_the_revision_rises_with_every_change_and_with_nothing_else(tmp_path):
    async with await opened(tmp_path, most=1_000) as catalogue:
        seen = [catalogue.revision(LEDGER)]

        def changed():
            seen.append(catalogue.revision(LEDGER))
            return seen[-1] not in seen[:-1]

        await catalogue.store(LEDGER, ["v1.0.0"], running=[])
        assert changed()
        await catalogue.store(LEDGER, ["v1.0.0"], running=[])
        await catalogue.confirm(LEDGER)
        assert not changed()
        await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1"], running=[])
        assert changed()
        await catalogue.record_published(LEDGER, "v1.0.1", 1.0)
        assert changed()
        await catalogue.store(LEDGER, ["v1.0.0"], running=[])
        assert not changed(), "one list without a tag says nothing"
        await catalogue.confirm(LEDGER)
        assert changed()
        others = {f"docker.io/a/{name}": ("hub",) for name in "bc"}
        await catalogue.store(Repository("docker.io", "a/b"), ["v1.0.0"], running=[])
        assert not changed()
        await catalogue.store(
            Repository("docker.io", "a/c"), [f"v1.0.{n}" for n in range(8)], running=[], in_use=others
        )
        assert await listed(catalogue) is None, "forgotten, to make room"
        assert changed()

"""The catalogue has a size: what is not in use goes first, and no namespace takes the room of the others."""

import asyncio

import pytest

from exporter.catalogue import Catalogue, TooLargeError
from exporter.images import Repository
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.verdicts import Question
from exporter.workloads import OPERATOR

pytestmark = pytest.mark.anyio
YEAR = 365 * 86400.0


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def repository(name):
    return Repository("docker.io", f"mojaloop/{name}")


def tags(count):
    return [f"v1.0.{patch}" for patch in range(count)]


# What 100 such tags take is the unit of the tests.
UNIT = 6_000


def opened(directory=None, clock=None, **more):
    return Catalogue.open(directory, clock=clock or Clock(), telemetry=Telemetry(), **more)


async def names(catalogue):
    return {name.removeprefix("docker.io/mojaloop/") for name in await catalogue.lookups()}


def used(**namespaces):
    """Which namespaces use which repositories, as the poller says it."""
    users = {}
    for namespace, repositories in namespaces.items():
        for name in repositories.split():
            users.setdefault(str(repository(name)), []).append(namespace)
    return users


@pytest.mark.parametrize("years", [-10, 0, 0.25, 10], ids=lambda years: f"{years} years")
async def test_no_clock_empties_it(tmp_path, years):
    clock = Clock()
    clock.now += 20 * YEAR
    async with await opened(tmp_path, clock) as catalogue:
        await catalogue.store(repository("ledger"), tags(2), running=[])
    clock.now += years * YEAR
    async with await opened(tmp_path, clock) as catalogue:
        assert await names(catalogue) == {"ledger"}


async def test_below_its_limit_nothing_is_forgotten():
    async with await opened(most=4 * UNIT) as catalogue:
        for name in ("a", "b", "c"):
            await catalogue.store(repository(name), tags(100), running=[], in_use={})
        assert await names(catalogue) == {"a", "b", "c"}


async def test_what_is_not_in_use_goes_first_and_the_oldest_of_it_before_the_rest():
    clock = Clock()
    async with await opened(clock=clock, most=4 * UNIT) as catalogue:
        for name in ("used", "old", "new"):
            clock.now += 1
            await catalogue.store(repository(name), tags(100), running=[], in_use={})
        await catalogue.store(repository("more"), tags(150), running=[], in_use=used(hub="used more"))
        assert await names(catalogue) == {"used", "new", "more"}
        await catalogue.store(repository("most"), tags(100), running=[], in_use=used(hub="used more most"))
        assert await names(catalogue) == {"used", "more", "most"}


async def test_a_namespace_that_takes_most_makes_room_for_the_others():
    async with await opened(most=5 * UNIT) as catalogue:
        users = used(hub="ledger quoting", hostile="big small")
        await catalogue.store(repository("ledger"), tags(100), running=[], in_use=users)
        await catalogue.store(repository("small"), tags(50), running=[], in_use=users)
        await catalogue.store(repository("big"), tags(300), running=[], in_use=users)
        await catalogue.store(repository("quoting"), tags(100), running=[], in_use=users)
        assert await names(catalogue) == {"ledger", "quoting", "small"}
        with pytest.raises(TooLargeError, match="no room") as refused:
            await catalogue.store(repository("big"), tags(300), running=[], in_use=users)
        assert refused.value.limit is Limit.CATALOGUE_BYTES
        assert await names(catalogue) == {"ledger", "quoting", "small"}


async def test_a_repository_that_others_use_too_is_not_the_one_that_goes():
    async with await opened(most=5 * UNIT) as catalogue:
        users = used(hub="ledger quoting", hostile="ledger quoting own")
        for name, count in (("ledger", 150), ("quoting", 150)):
            await catalogue.store(repository(name), tags(count), running=[], in_use=users)
        with pytest.raises(TooLargeError):
            await catalogue.store(repository("own"), tags(300), running=[], in_use=users)
        assert await names(catalogue) == {"ledger", "quoting"}


async def test_what_the_operator_names_takes_no_room_from_others_and_is_kept():
    async with await opened(most=3 * UNIT) as catalogue:
        users = {**used(hub="ledger", hostile="big"), **{str(repository(name)): [OPERATOR] for name in "abcde"}}
        await catalogue.store(repository("ledger"), tags(100), running=[], in_use=users)
        for name in "abcde":
            await catalogue.store(repository(name), tags(100), running=[], in_use=users)
        await catalogue.store(repository("big"), tags(100), running=[], in_use=users)
        assert await names(catalogue) == {"ledger", "big", *"abcde"}
        # Once the operator names them no more, they are what is not in use.
        for name in "abcd":
            del users[str(repository(name))]
        await catalogue.store(repository("ledger"), tags(101), running=[], in_use=users)
        assert {"ledger", "big", "e"} <= await names(catalogue) < {"ledger", "big", *"abcde"}


async def test_a_repository_that_is_too_large_keeps_its_last_answer():
    async with await opened(most_each=3 * UNIT) as catalogue:
        await catalogue.store(repository("ledger"), tags(100), running=["v1.0.0"])
        with pytest.raises(TooLargeError) as refused:
            await catalogue.store(repository("ledger"), tags(400), running=["v1.0.0"])
        assert refused.value.limit is Limit.REPOSITORY_BYTES
        (verdict,) = await catalogue.judge(repository("ledger"), [Question("v1.0.0")])
        assert verdict.latest == "v1.0.99"


async def test_a_repository_with_many_tags_does_not_delay_the_answers_about_another(tmp_path):
    async with await opened(tmp_path) as catalogue:
        big, small = repository("big"), repository("small")
        await catalogue.store(small, tags(100), running=[])
        await catalogue.store(big, tags(30_000), running=[])
        judging = asyncio.create_task(catalogue.judge(big, [Question(f"v1.0.{patch}") for patch in range(1000)]))
        (verdict,) = await catalogue.judge(small, [Question("v1.0.0")])
        assert verdict.latest == "v1.0.99"
        assert not judging.done()
        storing = asyncio.create_task(catalogue.store(big, tags(30_001), running=[]))
        (verdict,) = await catalogue.judge(small, [Question("v1.0.98")])
        assert verdict.latest == "v1.0.99"
        assert not storing.done()
        assert [verdict.behind for verdict in await judging] == list(range(29_999, 28_999, -1))
        assert (await storing).changed

"""Questions about watched images: the checker's rules, kept answers, and nothing about what is not watched."""

import pytest

from exporter.catalogue import Catalogue
from exporter.evaluate import Evaluator
from exporter.images import Repository
from exporter.query import Kept, Query, Refusal, RefusedError
from exporter.reasons import Reason
from exporter.registry import RegistryEntries, RegistryEntry
from exporter.telemetry import Telemetry
from exporter.versions import Strategy

pytestmark = pytest.mark.anyio
NOW = 1_000_000.0
LEDGER = Repository("docker.io", "mojaloop/ledger")
MIRROR = RegistryEntry(name="m.io", mirror_of="docker.io")


class Polled:
    """What a query reads of a poller."""

    def __init__(self, *watched):
        self.watched = set(watched)
        self.failures, self.lookups = {}, {}

    def uses(self, repository):
        return repository in self.watched


class Registry:
    """What a query reads of a registry client."""

    def __init__(self, *entries):
        self.entries = RegistryEntries(entries)


class Asked(Catalogue):
    """A catalogue that counts how often it judges."""

    judged = 0

    async def judge(self, repository, questions):
        self.judged += 1
        return await super().judge(repository, questions)


@pytest.fixture
async def catalogue():
    async with await Asked.open(None, clock=lambda: NOW, telemetry=Telemetry()) as opened:
        await opened.store(LEDGER, ["v1.0.0", "v1.0.1"], running=[])
        yield opened


def evaluator(**more):
    def never(*_):
        raise AssertionError("it logs, and anybody may ask")

    return Evaluator(**{"strategy": Strategy.PATCH, "selects_image": never, "lookup_repository": never, **more})


def query(catalogue, poller=None, *, registry=None, guarded=False, rules=None):
    if poller is None:
        poller = Polled(LEDGER)
    return Query(
        evaluator=lambda: rules or evaluator(),
        catalogue=catalogue,
        poller=poller,
        registry=registry or Registry(RegistryEntry(name="docker.io"), MIRROR),
        guarded=guarded,
    )


async def refused(awaitable):
    with pytest.raises(RefusedError) as caught:
        await awaitable
    return caught.value


async def latest(query, reference="mojaloop/ledger:v1.0.0", strategy=None):
    return (await query.image(reference, strategy)).finding.latest_tag


async def test_an_answer_is_kept_until_the_tags_change(catalogue):
    asking = query(catalogue)
    for _ in range(3):
        assert await latest(asking) == "v1.0.1"
    assert catalogue.judged == 1
    await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.0.2"], running=[])
    for _ in range(3):
        assert await latest(asking) == "v1.0.2"
    assert catalogue.judged == 2
    await catalogue.confirm(LEDGER)
    assert await latest(asking) == "v1.0.2"
    assert catalogue.judged == 2, "nothing changed"


async def test_a_publish_time_is_in_the_next_answer(catalogue):
    asking = query(catalogue)
    assert (await asking.image("mojaloop/ledger:v1.0.0")).finding.published is None
    await catalogue.record_published(LEDGER, "v1.0.1", 900_000.0)
    assert (await asking.image("mojaloop/ledger:v1.0.0")).finding.published == 900_000.0


async def test_a_withdrawn_tag_is_no_longer_answered(catalogue):
    asking = query(catalogue)
    for _ in range(2):
        await catalogue.store(LEDGER, ["v1.0.0"], running=[])
    assert await latest(asking) == "v1.0.0"


async def test_questions_differ_by_tag_and_strategy_and_not_by_how_they_are_written(catalogue):
    asking = query(catalogue)
    await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.1.0"], running=[])
    assert await latest(asking, strategy=Strategy.MINOR) == "v1.1.0"
    assert await latest(asking) == "v1.0.1"
    assert await latest(asking, "docker.io/mojaloop/ledger:v1.0.1") == "v1.0.1"
    before = catalogue.judged
    assert await latest(asking, "docker.io/mojaloop/ledger:v1.0.0") == "v1.0.1"
    assert await latest(asking, "m.io/mojaloop/ledger:v1.0.0") == "v1.0.1"
    assert catalogue.judged == before


async def test_the_rules_are_those_that_hold_when_it_is_asked(catalogue):
    await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v1.1.0"], running=[])
    rules = [evaluator()]
    asking = Query(
        evaluator=lambda: rules[-1],
        catalogue=catalogue,
        poller=Polled(LEDGER),
        registry=Registry(RegistryEntry(name="docker.io")),
        guarded=False,
    )
    assert await latest(asking) == "v1.0.1"
    rules.append(evaluator(strategy=Strategy.MINOR))
    assert await latest(asking) == "v1.1.0"


async def test_what_is_not_watched_is_not_answered_though_the_catalogue_knows_it(catalogue):
    poller = Polled()
    asking = query(catalogue, poller)
    assert (await refused(asking.image("mojaloop/ledger:v1.0.0"))).refusal is Refusal.NOT_WATCHED
    with pytest.raises(RefusedError, match="is not watched"):
        asking.repository("mojaloop/ledger")
    assert catalogue.judged == 0
    poller.watched.add(LEDGER)
    assert await latest(asking) == "v1.0.1"
    poller.watched.clear()
    assert (await refused(asking.image("mojaloop/ledger:v1.0.0"))).refusal is Refusal.NOT_WATCHED, "nor what is kept"


@pytest.mark.parametrize(
    ("failure", "refusal", "reason"),
    [
        (None, Refusal.NOT_LOOKED_UP, Reason.PENDING),
        (Reason.UNREACHABLE, Refusal.NOT_LOOKED_UP, Reason.UNREACHABLE),
        (Reason.LIMIT_EXCEEDED, Refusal.NOT_LOOKED_UP, Reason.LIMIT_EXCEEDED),
        (Reason.NOT_FOUND, Refusal.NOT_FOUND, Reason.NOT_FOUND),
    ],
)
async def test_before_the_first_lookup_the_reason_says_what_there_is_to_wait_for(catalogue, failure, refusal, reason):
    other = Repository("docker.io", "mojaloop/other")
    poller = Polled(other)
    if failure:
        poller.failures[other] = failure
    asking = query(catalogue, poller)
    for question in (asking.image("mojaloop/other:v1.0.0"), asking.tags(asking.repository("mojaloop/other"))):
        error = await refused(question)
        assert (error.refusal, error.reason) == (refusal, reason)


async def test_a_failed_lookup_keeps_the_last_answer_and_its_time(catalogue):
    poller = Polled(LEDGER)
    poller.lookups[LEDGER], poller.failures[LEDGER] = NOW, Reason.UNREACHABLE
    judged = await query(catalogue, poller).image("mojaloop/ledger:v1.0.0")
    assert (judged.finding.reason, judged.finding.latest_tag, judged.looked_up) == (None, "v1.0.1", NOW)


async def test_a_tag_that_its_repository_does_not_have_has_that_reason(catalogue):
    judged = await query(catalogue).image("mojaloop/ledger:v3.0.0")
    assert (judged.finding.reason, judged.finding.latest_tag) == (Reason.TAG_NOT_FOUND, None)


@pytest.mark.parametrize(
    ("more", "guarded", "named"),
    [
        ({}, False, True),
        ({"docker_config_file": "x"}, False, False),
        ({"username_file": "x", "password_file": "y"}, False, False),
        ({"docker_config_file": "x"}, True, True),
        ({"docker_config_file": "x", "expose_tags": True}, False, True),
    ],
)
async def test_tags_of_an_entry_with_credentials_are_named_to_whoever_may_know_them(catalogue, more, guarded, named):
    registry = Registry(RegistryEntry(name="docker.io", **more), MIRROR)
    asking = query(catalogue, registry=registry, guarded=guarded)
    for reference in ("mojaloop/ledger:v1.0.0", "m.io/mojaloop/ledger:v1.0.0"):
        if named:
            assert await latest(asking, reference) == "v1.0.1"
            assert asking.repository(reference.removesuffix(":v1.0.0")) == LEDGER
        else:
            assert (await refused(asking.image(reference))).refusal is Refusal.NOT_EXPOSED
            with pytest.raises(RefusedError, match="expose_tags"):
                asking.repository(reference.removesuffix(":v1.0.0"))


async def test_a_private_registry_says_nothing_of_what_is_watched(catalogue):
    asking = query(catalogue, registry=Registry(RegistryEntry(name="docker.io", docker_config_file="x")))
    answers = {str(await refused(asking.image(f"mojaloop/{name}:v1.0.0"))) for name in ("ledger", "other")}
    assert {answer.replace("ledger", "other") for answer in answers} == {answers.pop().replace("ledger", "other")}


async def test_the_stamp_of_a_repository_changes_with_its_tags_and_with_each_lookup(catalogue):
    poller = Polled(LEDGER)
    asking = query(catalogue, poller)
    stamps = [asking.stamp(LEDGER)]
    await catalogue.store(LEDGER, ["v1.0.0", "v1.0.1", "v9.9.9"], running=[])
    stamps.append(asking.stamp(LEDGER))
    poller.lookups[LEDGER] = NOW
    stamps.append(asking.stamp(LEDGER))
    assert len(set(stamps)) == 3
    assert asking.stamp(LEDGER) == stamps[-1]


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first():
    kept = Kept(10, size=len)
    kept.put("a", 1, "aaaa")
    kept.put("b", 1, "bbbb")
    assert kept.get("a", 1) == "aaaa"
    kept.put("c", 1, "cccc")
    assert [kept.get(key, 1) for key in "abc"] == ["aaaa", None, "cccc"]
    assert kept.get("a", 2) is None, "made from something else"
    kept.put("a", 2, "a" * 6)
    assert [kept.get("a", 2), kept.get("c", 1)] == ["a" * 6, "cccc"]
    kept.put("d", 1, "d" * 11)
    assert [kept.get(key, 1) for key in "bcd"] == [None, None, None]
    kept.put("e", 1, "e" * 10)
    assert kept.get("e", 1) == "e" * 10

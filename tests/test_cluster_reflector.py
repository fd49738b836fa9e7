"""When a reflector asks again, on an API server that answers what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exporter.cluster.aggregator import WorkloadAggregator
from exporter.cluster.connection import ApiError, UnreachableError
from exporter.cluster.reflector import Reflector, WatchContext
from exporter.inventory import Inventory, ScopeState
from exporter.kinds import KINDS
from exporter.telemetry import Telemetry
from tests.support.following import Remembering

pytestmark = pytest.mark.anyio

REFUSED = UnreachableError("connection refused")
EXPIRED = ApiError(410, "too old resource version")
FORBIDDEN = ApiError(403, "deployments.apps is forbidden")
MISSING = ApiError(404, "404 page not found")
RECHECK = 180.0
BUSY = ApiError(500, "etcdserver: request timed out")
ENDED: list[bytes] = []


UNAUTHORIZED = ApiError(401, "Unauthorized")


def page(version: str) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": version}, "items": []}).encode()


def bookmark(version: str) -> bytes:
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}).encode()


class OverError(Exception):
    """The test has seen enough."""


class Answers:
    """In the place of a connection: answers requests by the script, lists beyond it by an empty one of version 10.

    Args:
        watches: what each watch says before it ends, or how it fails.
        lists: the version of each list, or how it fails.
    """

    credentials_generation = 1

    def __init__(self, *watches: Exception | list[bytes], lists: Sequence[Exception | str] = ()) -> None:
        self._watches = [*watches, OverError()]
        self._lists = list(lists)
        self.asked: list[str] = []

    @asynccontextmanager
    async def get(self, path: str, *, params: dict[str, str], accept: str) -> AsyncIterator[bytes]:
        self.asked.append("list" if params["limit"] != "1" else "newest")
        answer = self._lists.pop(0) if self._lists else "10"
        if isinstance(answer, Exception):
            raise answer
        yield page(answer)

    async def read_credentials(self, *, refused: int) -> None:
        self.credentials_generation += refused == self.credentials_generation

    @asynccontextmanager
    async def stream(self, path: str, *, params: dict[str, str], accept: str, silence: float):
        self.asked.append(f"watch {params['resourceVersion']}")
        answer = self._watches.pop(0)
        if isinstance(answer, Exception):
            raise answer

        async def lines():
            for line in answer:
                yield [line]

        yield lines()


async def follow(
    answers: Answers, inventory: Inventory | None = None, *, kind: str = "Deployment", required: bool = True
) -> list[float]:
    """Let a reflector follow the script, and say how long it waited after each watch."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    inventory, telemetry = inventory or Inventory(), Telemetry()
    around: dict[str, Any] = {
        "connection": answers,
        "inventory": inventory,
        "aggregator": WorkloadAggregator(inventory, telemetry=telemetry),
    }
    context = WatchContext(
        **around, telemetry=telemetry, clock=lambda: 0.0, exclude=lambda _: False, fetching=asyncio.Semaphore(1),
        sleep=sleep, recheck=RECHECK,
    )  # fmt: skip
    with pytest.raises(OverError):
        await Reflector(kind=KINDS[kind], watched_namespace="*", required=required, context=context).run()
    return waited


@pytest.mark.parametrize("refused", [0, 1, 5, 50])
async def test_the_first_410_lists_at_once_however_long_the_server_was_away(refused: int) -> None:
    waited = await follow(answers := Answers(*[REFUSED] * refused, EXPIRED))
    assert waited[-1] == 0
    assert answers.asked[-2:] == ["list", "watch 10"]


async def test_a_second_410_waits_although_the_first_did_not() -> None:
    first, *others = await follow(Answers(*[EXPIRED] * 8))
    assert first == 0
    for wait, most in zip(others, [1, 2, 4, 8, 16, 30, 30], strict=True):
        assert most / 2 <= wait <= most


@pytest.mark.parametrize(
    ("failure", "longest"),
    [
        (REFUSED, [0.2, 0.4, 0.8, 1.6, 3, 3]),
        (BUSY, [0.5, 1, 2, 4, 8, 16, 30, 30]),
        (FORBIDDEN, [1, 2, 4, 8, 16, 32, 60, 60]),
    ],
    ids=["refused", "busy", "forbidden"],
)
async def test_each_further_failure_of_a_kind_waits_longer_up_to_a_limit(
    failure: Exception, longest: list[float]
) -> None:
    waited = await follow(Answers(*[failure] * len(longest)))
    for wait, most in zip(waited, longest, strict=True):
        assert most / 2 <= wait <= most


async def test_failures_of_one_kind_do_not_lengthen_the_wait_after_another() -> None:
    *_, busy, forbidden, refused = await follow(Answers(*[REFUSED] * 20, BUSY, FORBIDDEN, REFUSED))
    assert busy <= 0.5
    assert forbidden <= 1
    assert refused > 1, "that it was refused before is not forgotten"


async def test_what_a_watch_says_ends_all_counting() -> None:
    waited = await follow(Answers(*[REFUSED] * 9, EXPIRED, [bookmark("10")], REFUSED, EXPIRED))
    ended, refused, expired = waited[-3:]
    assert ended <= 0.5
    assert refused <= 0.2
    assert expired == 0


async def test_a_server_that_asks_to_be_left_alone_is() -> None:
    assert await follow(Answers(ApiError(429, "too many requests", retry_after=17))) == [17]


async def test_watches_that_end_at_once_in_silence_are_not_asked_for_without_pause() -> None:
    waited = await follow(answers := Answers(ENDED, ENDED, ENDED))
    assert waited == sorted(waited)
    assert 0.25 <= waited[0] <= 0.5
    assert answers.asked == ["list", "watch 10"] * 4, "a watch that said nothing proves nothing"


@pytest.mark.parametrize(
    ("newest", "then"),
    [("10", ["watch 10"]), ("11", ["watch 10"]), ("9", ["list", "watch 9"]), ("x", ["list", "watch 9"])],
    ids=["same", "further", "back", "incomparable"],
)
@pytest.mark.parametrize("end", [[], [REFUSED, REFUSED]], ids=["early", "refused"])
async def test_after_an_interruption_a_watch_goes_on_only_where_the_server_has_not_gone_back(
    newest: str, then: list[str], end: list[Exception]
) -> None:
    await follow(answers := Answers([bookmark("10")], lists=["10", *end, newest, "9"]))
    assert answers.asked == ["list", "watch 10", *["newest"] * (len(end) + 1), *then]


@pytest.mark.parametrize(
    ("said", "then"), [("9", "list"), ("10", "newest"), ("11", "newest"), ("x", "newest")],
    ids=["back", "same", "further", "incomparable"],
)  # fmt: skip
async def test_a_bookmark_that_goes_back_is_followed_by_a_list(said: str, then: str) -> None:
    waited = await follow(answers := Answers([bookmark(said)]))
    assert answers.asked[2] == then
    assert (waited[0] == 0) == (then == "list")


async def test_a_server_that_still_starts_may_refuse_for_a_moment(caplog: pytest.LogCaptureFixture) -> None:
    inventory = Remembering()
    starting = [REFUSED, FORBIDDEN, UNAUTHORIZED, BUSY, FORBIDDEN]
    await follow(answers := Answers([bookmark("10")], lists=["10", *starting]), inventory)
    assert inventory.states == [ScopeState.PENDING, ScopeState.SYNCED]
    assert answers.asked == ["list", "watch 10", *["newest"] * 6, "watch 10"]
    assert "may not" not in caplog.text


@pytest.mark.parametrize(
    ("lists", "believed"),
    [([FORBIDDEN], True), ([REFUSED, *[FORBIDDEN] * 3], False), ([REFUSED, *[FORBIDDEN] * 4], True)],
    ids=["running", "starting", "started"],
)
async def test_rights_that_are_missing_are_said_once_it_is_sure(
    lists: list[Exception], believed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    inventory = Remembering()
    await follow(Answers(lists=lists), inventory)
    assert inventory.states == [ScopeState.PENDING, *[ScopeState.FORBIDDEN] * believed, ScopeState.SYNCED]
    assert caplog.text.count("not permitted to list or watch Deployment") == believed


@pytest.mark.parametrize("required", [True, False], ids=["named", "by default"])
async def test_a_kind_that_is_not_installed_is_looked_for_now_and_then(required: bool) -> None:
    inventory = Remembering()
    missing = [MISSING] * 5
    waited = await follow(Answers(lists=missing), inventory, kind="Rollout", required=required)
    assert waited == [RECHECK] * 5
    held_back = [ScopeState.NOT_INSTALLED] * required
    assert inventory.states == [ScopeState.PENDING, *held_back, ScopeState.SYNCED]


async def test_a_kind_is_not_taken_for_removed_while_a_server_still_starts() -> None:
    inventory = Remembering()
    starting = [REFUSED, MISSING, MISSING, MISSING]
    answers = Answers([bookmark("10")], lists=["10", *starting])
    waited = await follow(answers, inventory, kind="Rollout", required=False)
    assert answers.asked == ["list", "watch 10", *["newest"] * 5, "watch 10"]
    assert max(waited) < RECHECK
    assert inventory.synced() == {"*": True}
    assert inventory.scopes()["Rollout", "*"] is ScopeState.SYNCED


async def test_a_built_in_kind_that_is_not_found_is_a_fault_of_the_server() -> None:
    inventory = Remembering()
    waited = await follow(Answers(lists=[MISSING] * 5), inventory)
    assert max(waited) < RECHECK
    assert inventory.states == [ScopeState.PENDING, ScopeState.SYNCED]

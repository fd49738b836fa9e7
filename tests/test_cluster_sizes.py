"""Lists and watches of any size cost a bounded amount of memory at a time, and end."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.cluster.paging import EMPTY_PAGES, FIRST_ITEMS, PAGE_BYTES, PAGE_ITEMS
from exporter.limits import Limit
from tests.support.odd_api_server import BOOKMARK, Asked, asking, deployment, event, lines, page
from tests.support.web import reply

pytestmark = pytest.mark.anyio


def paged(items: list[Any], sizes: list[int] | None = None) -> Callable[[Asked], bytes]:
    """An API server that gives as many of the items as it is asked for, and notes the size of each page."""

    def answer(asked: Asked) -> bytes:
        if asked.what == "watch":
            return lines(BOOKMARK)
        begin, limit = int(asked.query.get("continue", 0)), int(asked.query["limit"])
        end = begin + limit
        found = reply(page(*items[begin:end], **({"continue": str(end)} if end < len(items) else {})))
        if sizes is not None and asked.what != "check":
            sizes.append(len(found))
        return found

    return answer


def limits(asked: list[Asked]) -> list[int]:
    """How many objects were asked for in the requests of the first list."""
    lists = itertools.takewhile(lambda one: one.what != "watch", asked)
    return [int(one.query["limit"]) for one in lists]


def padded(size: int, count: int) -> list[Any]:
    things = [deployment(f"d-{number}") for number in range(count)]
    for thing in things:
        thing["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "x" * size}
    return things


async def test_small_objects_are_read_in_large_pages(tmp_path: Path) -> None:
    async with asking(tmp_path, paged(padded(10, 2_000))) as found:
        await found.until(lambda: len(found.images()) == 2_000)
        await found.until(lambda: "watch" in {one.what for one in found.asked()})
        assert limits(found.asked()) == [FIRST_ITEMS, 4 * FIRST_ITEMS, *[PAGE_ITEMS] * 4]


async def test_large_objects_are_read_in_small_pages(tmp_path: Path) -> None:
    sizes: list[int] = []
    async with asking(tmp_path, paged(padded(250_000, 120), sizes)) as found:
        await found.until(lambda: len(found.images()) == 120)
        await found.until(lambda: "watch" in {one.what for one in found.asked()})
        first, *others = sizes[: len(limits(found.asked()))]
        assert first < Limit.ANSWER.most
        assert max(others) <= PAGE_BYTES
        assert found.exceeded() == {}


async def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(tmp_path: Path) -> None:
    async with asking(tmp_path, paged(padded(1_400_000, 20))) as found:
        await found.until(lambda: len(found.images()) == 20)
        assert limits(found.asked())[:3] == [FIRST_ITEMS, FIRST_ITEMS // 4, FIRST_ITEMS // 16]
        assert found.exceeded() == {}
        assert found.inventory.synced() == {"*": True}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
async def test_an_answer_without_end_is_refused_and_what_is_known_stays(compressed: bool, tmp_path: Path) -> None:
    body = b" " * 50_000_000
    endless = reply(gzip.compress(body), Content_Encoding="gzip") if compressed else reply(body)
    good, better = paged([deployment()]), paged([deployment("better")])
    state = "good"

    def answer(asked: Asked) -> bytes:
        return {"good": good, "endless": lambda _: endless, "better": better}[state](asked)

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: found.images() == {"good": ["a/good:1.0.0"]})
        state = "endless"
        await found.until(lambda: found.exceeded().get("kubernetes_answer", 0) >= 2)
        assert found.restarts()["bad_answer"] >= 2
        assert found.images() == {"good": ["a/good:1.0.0"]}
        state = "better"
        await found.until(lambda: found.images() == {"better": ["a/good:1.0.0"]})


@pytest.mark.parametrize(
    ("tokens", "items", "most"),
    [
        (itertools.count(), [deployment()], 40),
        (itertools.repeat("same"), [deployment()], 2),
        (itertools.cycle(["a", "b", "c"]), [deployment()], 4),
        (itertools.count(), [], EMPTY_PAGES + 1),
    ],
    ids=["always another", "always the same", "in a circle", "without objects"],
)
async def test_a_list_that_does_not_end_is_given_up(tokens: Any, items: list[Any], most: int, tmp_path: Path) -> None:
    def answer(_: Asked) -> bytes:
        return reply(page(*items, **{"continue": str(next(tokens))}))

    async with asking(tmp_path, answer, most_pages=40) as found:
        await found.until(lambda: found.restarts().get("bad_answer", 0) == 1)
        asked = [one.what for one in found.asked()]
        assert [*asked, "list"].index("list", 1) == most
        assert found.exceeded() == ({"kubernetes_list_pages": 1} if most == 40 else {})
        assert found.inventory.synced() == {"*": False}


async def test_a_hundred_thousand_events_at_once_leave_room_for_others(tmp_path: Path) -> None:
    changes = (deployment(f"d-{n % 1_000}", f"a/b:1.0.{n}", version=f"{n + 11}") for n in range(100_000))
    said = lines(BOOKMARK, *(event(change) for change in changes))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def answer(asked: Asked) -> bytes:
        return said if asked.what == "watch" else reply(page())

    async with asking(tmp_path, answer) as found:
        task = asyncio.create_task(others())
        await found.until(lambda: found.images().get("d-999") == ["a/b:1.0.99999"], 60)
        task.cancel()
        assert len(found.images()) == 1_000
        # Others have a turn for each piece that the socket gives.
        assert turns > len(said) // 2**20


@pytest.mark.parametrize("ended", [True, False], ids=["one line", "no line end"])
async def test_an_event_without_end_breaks_the_watch_and_what_is_known_stays(ended: bool, tmp_path: Path) -> None:
    said = lines(BOOKMARK, b'{"type":"ADDED","object":"' + b"x" * 50_000_000 + b'"}\n' * ended)

    def answer(asked: Asked) -> bytes:
        return said if asked.what == "watch" else reply(page(deployment()))

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: found.exceeded().get("kubernetes_answer", 0) >= 2)
        assert found.restarts()["bad_answer"] >= 2
        assert found.images() == {"good": ["a/good:1.0.0"]}
        assert found.inventory.synced() == {"*": True}


async def test_the_largest_object_that_etcd_holds_is_read_from_lists_and_watches(tmp_path: Path) -> None:
    listed, watched = padded(1_500_000, 1)[0], deployment("watched")
    # The API server writes "<" as six characters.
    watched["metadata"]["annotations"] = {"a": "<" * 1_500_000}
    line = json.dumps(event(watched)).replace("<", "\\u003c").encode() + b"\n"

    def answer(asked: Asked) -> bytes:
        return lines(BOOKMARK, line) if asked.what == "watch" else reply(page(listed))

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: found.images().keys() == {"d-0", "watched"})
        assert found.exceeded() == {}

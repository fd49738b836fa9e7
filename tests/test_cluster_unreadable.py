"""One object that cannot be read stays one object: the others go on, and what is known about it stays."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from exporter.cluster import nesting, reading
from exporter.cluster.nesting import shallow
from tests.support.odd_api_server import BOOKMARK, Asked, asking, deployment, event, lines, page, template
from tests.support.web import reply

pytestmark = pytest.mark.anyio

IMAGE, NEW = ["a/good:1.0.0"], ["a/good:1.0.1"]


def broken(**fields: Any) -> dict[str, Any]:
    """The Deployment `bad` with fields of another type."""
    return {**deployment("bad"), **fields}


BROKEN = {
    "containers that are an object": broken(spec={"template": {"spec": {"containers": {"image": 5}}}}),
    "a container that is a number": broken(spec={"template": {"spec": {"containers": [5]}}}),
    "a specification that is a list": broken(spec=[]),
    "a status that is a text": broken(status="fine"),
    "labels that are a list": broken(metadata={**deployment("bad")["metadata"], "labels": [5]}),
    "a generation of 5,000 digits": broken(metadata={**deployment("bad")["metadata"], "generation": "DIGITS"}),
}


def written(thing: dict[str, Any]) -> bytes:
    return json.dumps(thing).replace('"DIGITS"', "9" * 5_000).encode()


def listing(*things: bytes) -> bytes:
    return reply(b'{"metadata":{"resourceVersion":"10"},"items":[' + b",".join(things) + b"]}")


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("place", ["list", "watch"])
async def test_the_others_go_on_and_what_is_known_of_it_stays(
    place: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    things = [written(deployment("bad")), written(deployment("good"))]
    later: list[bytes] = []

    def answer(asked: Asked) -> bytes:
        return lines(BOOKMARK, *later) if asked.what == "watch" else listing(*things)

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: found.images() == {"bad": IMAGE, "good": IMAGE})
        bad, good = written(BROKEN[name]), written(deployment("good", *NEW))
        if place == "list":
            things[:] = bad, good
            later.append(b'{"type":"ERROR","object":{"code":410}}\n')
        else:
            later.extend(b'{"type":"MODIFIED","object":%s}\n' % it for it in (bad, good))
        await found.until(lambda: found.images() == {"bad": IMAGE, "good": NEW})
        assert found.unexpected() >= 1
        assert found.inventory.synced() == {"*": True}
        said = [record for record in caplog.records if "cannot read Deployment ns/bad" in record.getMessage()]
        assert said[0].levelno == logging.ERROR
        assert said[0].exc_info is not None
        # It is read again with the next list, without an event.
        later.clear()
        things[:] = written(deployment("bad", *NEW)), good
        await found.until(lambda: found.images() == {"bad": NEW, "good": NEW})


async def test_an_object_that_was_never_readable_is_left_out(tmp_path: Path) -> None:
    bad = BROKEN["a container that is a number"]
    answer = listing(written(bad), written(deployment("good")))
    async with asking(tmp_path, lambda asked: lines(BOOKMARK) if asked.what == "watch" else answer) as found:
        await found.until(lambda: found.images() == {"good": IMAGE})
        assert found.inventory.synced() == {"*": True}
        assert found.restarts().get("bad_answer", 0) == 0


async def test_an_object_that_is_deleted_is_gone_although_it_was_unreadable(tmp_path: Path) -> None:
    gone = event(BROKEN["a specification that is a list"], "DELETED")
    said = [BOOKMARK]
    answer = listing(written(deployment("bad")), written(deployment("good")))
    async with asking(tmp_path, lambda asked: lines(*said) if asked.what == "watch" else answer) as found:
        await found.until(lambda: found.images() == {"bad": IMAGE, "good": IMAGE})
        said.append(gone)
        await found.until(lambda: found.images() == {"good": IMAGE})


async def test_a_defect_of_ours_concerns_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_workloads = reading.to_workloads

    def defective(kind: Any, thing: Any, **more: Any) -> Any:
        if thing.metadata.name == "bad":
            raise ZeroDivisionError
        return to_workloads(kind, thing, **more)

    monkeypatch.setattr(reading, "to_workloads", defective)
    answer = listing(written(deployment("bad")), written(deployment("good")))
    async with asking(tmp_path, lambda asked: lines(BOOKMARK) if asked.what == "watch" else answer) as found:
        await found.until(lambda: found.images() == {"good": IMAGE})
        assert found.unexpected() >= 1


POD = {"name": "kafka-0", "namespace": "ns", "uid": "1", "resourceVersion": "5", "generation": 1}


@pytest.mark.parametrize(
    "body",
    [reply(b"<html>"), reply(b""), reply({"metadata": POD, "spec": []}), reply(None), reply(b" " * 17_000_000)],
    ids=["HTML", "nothing", "another type", "null", "too large"],
)
async def test_a_specification_that_cannot_be_read_is_asked_for_again(body: bytes, tmp_path: Path) -> None:
    good = reply({"metadata": POD, "spec": template("a/kafka:1.0.0")["spec"]})
    specification = body

    def answer(asked: Asked) -> bytes:
        if asked.what == "object":
            return specification
        return lines(BOOKMARK) if asked.what == "watch" else reply(page({"metadata": POD}))

    async with asking(tmp_path, answer, kind="Pod") as found:
        await found.until(lambda: found.unexpected() >= 2)
        assert found.inventory.synced() == {"*": True}
        assert found.images() == {}
        specification = good
        await found.until(lambda: found.images() == {"kafka-0": ["a/kafka:1.0.0"]})


@pytest.mark.parametrize("place", ["list", "watch"])
@pytest.mark.parametrize("levels", [500, 960, 985, 1_000, 5_000, 9_990])
async def test_a_custom_resource_may_nest_as_deep_as_the_api_server_accepts(
    place: str, levels: int, tmp_path: Path
) -> None:
    deep = written({**deployment("deep"), "status": {"more": "DEEP"}})
    deep = deep.replace(b'"DEEP"', b'{"a":' * levels + b"1" + b"}" * levels)
    added = b'{"type":"ADDED","object":' + deep + b"}\n"
    listed = listing(*([deep] if place == "list" else []), written(deployment("good")))
    said = lines(BOOKMARK, *([added] if place == "watch" else []))
    async with asking(tmp_path, lambda asked: said if asked.what == "watch" else listed, kind="Rollout") as found:
        await found.until(lambda: found.images() == {"deep": IMAGE, "good": IMAGE})
        assert found.unexpected() == 0
        assert found.restarts().get("bad_answer", 0) == 0


async def test_no_depth_makes_an_object_shallow_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_the_loop(message: bytes) -> bytes:
        raise AssertionError(f"{len(message)} bytes are made shallow on the event loop")

    # What runs in a thread has another name for it.
    monkeypatch.setattr(nesting, "shallow", on_the_loop)
    events = []
    for levels in range(850, 1_010):
        thing = written({**deployment(f"d-{levels}", version=str(levels)), "status": "DEEP"})
        deep = b'{"a":' * levels + b"1" + b"}" * levels
        events.append(b'{"type":"ADDED","object":' + thing.replace(b'"DEEP"', deep) + b"}\n")

    def answer(asked: Asked) -> bytes:
        return lines(BOOKMARK, *events) if asked.what == "watch" else listing()

    async with asking(tmp_path, answer, kind="Rollout") as found:
        await found.until(lambda: len(found.images()) == len(events))
        assert found.unexpected() == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b'{"a":[1,{"b":2}],"c":3}', b'{"a":[1,null],"c":3}'),
        (b'{"a":["]}","\\"[{"],"c":[[],[[]]]}', b'{"a":["]}","\\"[{"],"c":[null,null]}'),
        (b'["\\\\",[["x"]]]', b'["\\\\",[null]]'),
        (b"[[[", b"[[null"),
        (b'["never ends [', b'["never ends ['),
        (b"", b""),
    ],
)
def test_a_message_is_made_shallow_without_touching_its_strings(message: bytes, expected: bytes) -> None:
    assert shallow(message, 2) == expected

"""Any history: two patchers without a Lease whose requests interleave, fail, get lost or arrive late, and people.

Whatever happens, an image is changed at most once each way by the patcher, one workload at a time, and every approval
ends in a state that is true.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cluster import ApiError, UnreachableError
from exporter.patcher.api import CALL_SECONDS
from exporter.patcher.patch import FIELD_MANAGER
from tests.support.approvals import AFTER, BEFORE
from tests.support.model_cluster import ModelTransport, set_image
from tests.support.model_hub import FINAL, ModelHub
from tests.support.patching import Killed

# A request that the API server has not begun after this time it never carries out (`--request-timeout`).
REQUEST_SECONDS = 60.0
NAMES = ("first", "second")


@dataclass
class Request:
    """A request that waits for its turn."""

    what: str
    send: Any
    answer: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """A transport whose requests wait until the test says which is next, and what becomes of it."""

    def __init__(self, history: History, replica: int) -> None:
        self._history, self._replica = history, replica

    async def call(self, method: str, path: str, **more: Any) -> bytes:
        history = self._history

        async def send() -> bytes:
            return await ModelTransport(history.hub.cluster).call(method, path, **more)

        began = history.hub.clock.now
        request = Request(f"{method} {path}", send)
        history.waiting[self._replica] = request
        fate = await request.answer
        del history.waiting[self._replica]
        if history.hub.clock.now - began > CALL_SECONDS:
            raise UnreachableError("no answer in time")
        if fate in ("409", "429", "500"):
            raise ApiError(int(fate), "injected")
        if fate == "killed":
            raise Killed
        if fate == "late":
            if method != "GET":
                history.late.append((history.hub.clock.now, send))
            raise UnreachableError("injected")
        answer = await send()
        if fate == "lost":
            raise UnreachableError("injected")
        if fate == "killed after":
            raise Killed
        return answer


class History:
    """A hub with two workloads, an approval for each, and two patchers."""

    def __init__(self, behaviour: str) -> None:
        self.hub = ModelHub(behaviours={AFTER: behaviour})
        self.waiting: dict[int, Request] = {}
        self.late: list[tuple[float, Any]] = []
        self.tasks: dict[int, asyncio.Task[float]] = {}
        self.engines: dict[int, Any] = {}
        self.touched: set[str] = set()
        for name in NAMES:
            self.hub.create(name)
            self.hub.approve(name, name)
        self.original = {name: self.hub.cluster.get("deployments", name)["spec"] for name in NAMES}

    async def turn(self, replica: int, fate: str) -> None:
        """Let the next request of a patcher have its fate, and let everything run until all wait again."""
        if replica not in self.tasks:
            self.engines.setdefault(replica, self.hub.patcher.engine(Turns(self, replica), identity=str(replica)))
            self.tasks[replica] = asyncio.create_task(self.engines[replica].cycle())
            await self._settled()
        if replica in self.waiting:
            before = len(self.hub.cluster.changes)
            self.waiting[replica].answer.set_result(fate)
            await self._settled()
            self._check(before)

    async def cycle(self, replica: int, at: int, fate: str) -> None:
        """Let a patcher look at everything once; one of its requests, the last if there are fewer, has the fate."""
        number = 0
        while True:
            await self.turn(replica, fate if number == at else "ok")
            number += 1
            if replica not in self.tasks:
                return

    async def until(self, replica: int, what: str) -> None:
        """Let a patcher go on until it is about to send this request; time passes between two looks."""
        for _ in range(400):
            if replica in self.waiting and self.waiting[replica].what == what:
                return
            if replica not in self.tasks:
                self.pass_time(1.0)
            await self.turn(replica, "ok")
        raise AssertionError(f"{replica} never sends {what}")

    def pass_time(self, seconds: float) -> None:
        self.hub.clock.now += seconds
        self.hub.cluster.tick(self.hub.clock.now)

    async def _settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        for replica, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[replica]
                if isinstance(task.exception(), Killed):
                    del self.engines[replica]
                elif (error := task.exception()) is not None:
                    raise error

    async def arrive(self) -> None:
        """A request that was believed to be lost is carried out."""
        if not self.late:
            return
        sent, send = self.late.pop(0)
        before = len(self.hub.cluster.changes)
        if self.hub.clock.now - sent < REQUEST_SECONDS:
            try:
                await send()
            except ApiError:
                return
            finally:
                self._check(before)

    def _check(self, before: int) -> None:
        """One workload at a time: whoever is patched now, no other rollout is on its way."""
        for change in self.hub.cluster.changes[before:]:
            if (change.by, change.before) != (FIELD_MANAGER, BEFORE):
                continue
            for other in set(NAMES) - {change.workload}:
                status = self.hub.status(other)
                begun = status.get("patched") and status.get("state") not in FINAL
                assert not begun, f"{change.workload} is patched during the rollout of {other}"

    def person(self, what: str, name: str) -> None:
        """Somebody does something to a workload."""
        cluster = self.hub.cluster
        if what == "undoes":
            if cluster.image("deployments", name) == AFTER:
                self.touched.add(name)
                cluster.edit("deployments", name, lambda document: set_image(document, BEFORE))
        elif what == "sets another image":
            self.touched.add(name)
            cluster.edit("deployments", name, lambda document: set_image(document, "mojaloop/ledger:v9.9.9"))
        elif what == "scales":
            now = cluster.get("deployments", name)["spec"]["replicas"]
            cluster.edit("deployments", name, lambda document: document["spec"].update(replicas=now % 3 + 1))
        elif what == "labels":
            cluster.edit("deployments", name, lambda document: document["metadata"].update(labels={"a": "b"}))
        elif what == "stops":
            self.hub.windows.open = False
        elif what == "goes on":
            self.hub.windows.open = True

    async def finish(self) -> None:
        """Without any more faults, everything comes to its end."""
        self.hub.windows.open = True
        self.hub.settings(stop_on_failure=False)
        self.engines.clear()
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        self.waiting.clear()
        for _ in range(300):
            await self.hub.look()
            if all(self.hub.state(name) in FINAL for name in NAMES):
                return
        raise AssertionError([self.hub.status(name) for name in NAMES])

    def check_the_end(self) -> None:
        for name in NAMES:
            ours = [
                (c.before, c.after) for c in self.hub.cluster.changes if (c.workload, c.by) == (name, FIELD_MANAGER)
            ]
            assert ours in ([], [(BEFORE, AFTER)], [(BEFORE, AFTER), (AFTER, BEFORE)]), (name, ours)
            status, image = self.hub.status(name), self.hub.cluster.image("deployments", name)
            if name in self.touched:
                continue
            expected = {"Applied": AFTER, "RolledBack": BEFORE, "Refused": BEFORE}
            assert image == expected[status["state"]], (name, status)
            if status["state"] == "Refused":
                assert ours == [], status
            spec = self.hub.cluster.get("deployments", name)["spec"]
            before = {**self.original[name], "replicas": spec["replicas"]}
            if image == BEFORE:
                assert spec == before


FATES = st.sampled_from(["ok"] * 7 + ["409", "429", "500", "lost", "late", "killed", "killed after"])
TURN = st.tuples(st.just("turn"), st.integers(0, 1), FATES)
TIME = st.tuples(st.just("time"), st.sampled_from([1.0, 4.0, 20.0]))
ARRIVE = st.tuples(st.just("arrive"))
PERSON = st.tuples(
    st.just("person"),
    st.sampled_from(["undoes", "sets another image", "scales", "labels", "stops", "goes on"]),
    st.sampled_from(NAMES),
)
CYCLE = st.tuples(st.just("cycle"), st.integers(0, 1), st.integers(0, 8), FATES)
STEPS = st.lists(st.one_of(*[CYCLE] * 6, *[TURN] * 4, TIME, ARRIVE, PERSON), min_size=10, max_size=60)


async def run(behaviour: str, steps: list[Any]) -> History:
    history = History(behaviour)
    for kind, *values in steps:
        if kind == "turn":
            await history.turn(*values)
        elif kind == "until":
            await history.until(*values)
        elif kind == "cycle":
            await history.cycle(*values)
        elif kind == "time":
            history.pass_time(*values)
        elif kind == "arrive":
            await history.arrive()
        else:
            history.person(*values)
    while history.late:
        await history.arrive()
    await history.finish()
    return history


@settings(max_examples=150)
@given(st.sampled_from(["works", "never_ready", "crashes"]), STEPS)
def test_any_history_ends_well(behaviour, steps):
    history = asyncio.run(run(behaviour, steps))
    history.check_the_end()


ROOT = "/apis/apps/v1/namespaces/hub/deployments"
LOOK = ("cycle", 0, 99, "ok")
# Right before the patch of the first workload.
TO_PATCH = ("until", 0, f"PATCH {ROOT}/first")
BEFORE_PATCH = [LOOK, LOOK, TO_PATCH]
WAIT = [("time", 4.0), LOOK]
DANGEROUS = {
    "the other patcher begins another workload": (
        "works",
        [
            LOOK,
            # One patcher cannot read the first workload and turns to the second, while the other patches the first.
            ("until", 0, f"GET {ROOT}/first"),
            ("turn", 0, "500"),
            *[("cycle", 1, 99, "ok")] * 3,
            LOOK,
            LOOK,
        ],
    ),
    "the patch arrives after somebody stopped patching": (
        "works",
        [*BEFORE_PATCH, ("turn", 0, "late"), ("person", "stops", "first"), LOOK, LOOK, ("arrive",)],
    ),
    "the patch arrives after its rollout was rolled back": (
        "crashes",
        [*BEFORE_PATCH, ("turn", 0, "late"), *WAIT * 9, ("arrive",), *WAIT * 3],
    ),
    "both patchers send the patch": (
        "works",
        [LOOK, LOOK, TO_PATCH, ("until", 1, f"PATCH {ROOT}/first"), ("turn", 0, "ok"), *[("turn", 1, "ok")] * 3],
    ),
    "one patcher gives up what the other one is about to send": (
        "works",
        [LOOK, LOOK, *[("time", 20.0)] * 6, ("turn", 1, "ok"), ("person", "stops", "first"), ("time", 8.0), LOOK]
        + [("cycle", 1, 99, "ok")] * 2,
    ),
    "the patch is undone while nobody looks": (
        "works",
        [*BEFORE_PATCH, ("turn", 0, "killed after"), ("person", "undoes", "first"), *[("time", 4.0)] * 3, LOOK, LOOK],
    ),
    "the rollback arrives twice": (
        "crashes",
        [
            *BEFORE_PATCH,
            ("turn", 0, "ok"),
            ("until", 0, f"PATCH {ROOT}/first"),
            ("turn", 0, "late"),
            *WAIT,
            ("arrive",),
        ],
    ),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_dangerous_history_ends_well(name):
    history = asyncio.run(run(*DANGEROUS[name]))
    assert history.hub.cluster.changes
    history.check_the_end()

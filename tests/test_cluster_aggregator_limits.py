"""Sums cost no more than they have to, and workloads and namespaces have limits that nobody else feels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.cluster import aggregator as module
from exporter.cluster.aggregator import SHOWN, ObjectRef, WorkloadAggregator
from exporter.cluster.templates import merge, to_workloads
from exporter.inventory import Inventory
from exporter.kinds import KINDS
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.workloads import Workload, WorkloadKey
from tests.support.objects import KEY, part, thing
from tests.support.odd_api_server import BOOKMARK, Asked, asking, deployment, event, lines, page, template
from tests.support.web import reply

MOST = Limit.CONTAINERS.most


class Sums:
    """An aggregator, its inventory, and how many parts were merged how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None, **limits: int) -> None:
        self.inventory, self.telemetry = Inventory(), Telemetry()
        self.aggregator = WorkloadAggregator(self.inventory, telemetry=self.telemetry, **limits)
        self.merged: list[int] = []
        if monkeypatch is not None:
            monkeypatch.setattr(module, "merge", self._merge)

    def _merge(self, parts: Any) -> Workload:
        self.merged.append(len(parts))
        return merge(parts)

    def put(self, *objects: tuple[ObjectRef, Workload | None]) -> None:
        for ref, it in objects:
            self.aggregator.put(ref, () if it is None else (it,))
        self.aggregator.publish()

    def containers(self) -> dict[str, tuple[int, bool]]:
        """By workload, how many containers it has, and whether it was refused."""
        return {key.name: (len(it.containers), it.limit_exceeded) for key, it in self.inventory.workloads().items()}

    def exceeded(self, limit: Limit) -> float:
        return self.telemetry.limits_exceeded.labels(limit.label)._value.get()


def pod(number: int) -> ObjectRef:
    return ObjectRef("Pod", "ns", f"kafka-{number}")


def single(name: str, containers: int, namespace: str = "ns") -> tuple[ObjectRef, Workload]:
    key = WorkloadKey(namespace, "Deployment", name)
    return ObjectRef("Deployment", namespace, name), part(*[f"{name}:1.0.0"] * containers, key=key, declared=True)


def test_the_pods_of_an_owner_are_merged_once_for_all_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = Sums(monkeypatch)
    sums.put(*((pod(number), part(f"a:1.0.{number % 2}")) for number in range(4_000)))
    assert sums.merged == [2], "most pods say the same"
    assert sums.containers() == {"kafka": (2, False)}
    sums.put((pod(0), None), (pod(2), None), (pod(1), part("a:1.0.0")))
    assert sums.merged == [2, 2]
    sums.put(*((pod(number), None) for number in range(1, 4_000, 2)))
    assert sums.merged == [2, 2, 1]
    assert sums.containers() == {"kafka": (1, False)}
    sums.put(*((pod(number), None) for number in range(4_000)))
    assert sums.containers() == {}


def test_pods_that_together_have_too_many_containers_are_refused_and_judged_again_later() -> None:
    sums = Sums()
    sums.put(*((pod(number), part(f"a:1.0.{number}")) for number in range(MOST + 1)))
    assert sums.containers() == {"kafka": (1, True)}
    assert sums.exceeded(Limit.CONTAINERS) == 1
    sums.put((pod(MOST + 1), part("a:2.0.0")))
    assert sums.exceeded(Limit.CONTAINERS) == 1, "it was refused before"
    sums.put((pod(MOST + 1), None), (pod(0), None))
    assert sums.containers() == {"kafka": (MOST, False)}


def test_a_template_counts_however_many_pods_it_has() -> None:
    sums = Sums()
    own = part("a:2.0.0", declared=True)
    sums.put(
        *((pod(number), part(f"a:1.0.{number}")) for number in range(MOST + 1)), (ObjectRef("Rollout", "ns", "k"), own)
    )
    assert sums.inventory.workloads() == {KEY: own}


def test_a_namespace_with_too_many_containers_keeps_what_was_there_and_others_do_not_feel_it() -> None:
    sums = Sums(most=10)
    sums.put(single("first", 6))
    sums.put(single("big", 5), single("small", 4), single("hub", 10, "other"))
    assert sums.containers() == {"first": (6, False), "big": (1, True), "small": (4, False), "hub": (10, False)}
    assert sums.exceeded(Limit.NAMESPACE_CONTAINERS) == 1
    sums.put(single("small", 5))
    assert sums.containers()["small"] == (1, True), "it grew"
    assert sums.exceeded(Limit.NAMESPACE_CONTAINERS) == 2
    sums.put(single("first", 3))
    assert sums.containers()["big"] == (5, False), "there is room now"
    assert sums.containers()["small"] == (1, True)
    sums.put((ObjectRef("Deployment", "ns", "big"), None))
    assert sums.containers() == {"first": (3, False), "small": (5, False), "hub": (10, False)}
    sums.put(*((ObjectRef("Deployment", "ns", name), None) for name in ("first", "small")))
    sums.put(single("third", 10))
    assert sums.containers()["third"] == (10, False), "what is gone no longer counts"


def test_of_many_refused_workloads_some_are_shown() -> None:
    sums = Sums(most=2)
    sums.put(single("first", 2), *(single(f"more-{number:03}", 1) for number in range(SHOWN + 50)))
    assert len(sums.containers()) == 1 + SHOWN
    assert sums.exceeded(Limit.NAMESPACE_CONTAINERS) == SHOWN + 50
    sums.put((ObjectRef("Deployment", "ns", "first"), None))
    assert sorted(it for it in sums.containers().items() if not it[1][1]) == [
        ("more-000", (1, False)),
        ("more-001", (1, False)),
    ]
    sums.put(*((ObjectRef("Deployment", "ns", f"more-{number:03}"), None) for number in range(SHOWN + 50)))
    assert sums.containers() == {}


@pytest.mark.parametrize(
    ("containers", "value", "refused"),
    [(MOST, 0, False), (MOST + 1, 0, True), (1, Limit.ANNOTATIONS.most - 60, False), (1, Limit.ANNOTATIONS.most, True)],
)
def test_a_workload_exceeds_its_limits_by_containers_or_annotations(containers: int, value: int, refused: bool) -> None:
    annotations = {"image-patch.mojaloop.io/exclude-tags": "x" * value, "other": "y" * 200_000}
    declared = template(*[f"a:1.0.{number}" for number in range(containers)])
    spec = {"template": {**declared, "metadata": {"annotations": annotations}}}
    (found,) = to_workloads(KINDS["Deployment"], thing(spec=spec))
    assert (found.exceeded() is not None) is refused
    merged = merge([found])
    assert merged.limit_exceeded is refused
    assert len(merged.containers) == (1 if refused else containers)
    assert (merged.annotations == ()) is refused


def test_what_cannot_be_a_name_or_a_reference_is_not_held_in_full() -> None:
    spec = {"template": {"spec": {"containers": [{"name": "n" * 10**6, "image": "a:" + "1" * 10**6}]}}}
    (found,) = to_workloads(KINDS["Rollout"], thing(spec=spec))
    assert len(found.containers[0].name) < 400
    assert len(found.containers[0].image) < 700
    longest = f"{'r' * 255}:{'1' * 128}@sha512:{'0' * 128}"
    spec = {"template": {"spec": {"containers": [{"name": "n" * 253, "image": longest}]}}}
    (found,) = to_workloads(KINDS["Rollout"], thing(spec=spec))
    assert (found.containers[0].name, found.containers[0].image) == ("n" * 253, longest)


@pytest.mark.anyio
async def test_a_workload_with_too_many_containers_is_refused_and_counted_once(tmp_path: Path) -> None:
    images = [f"a/b:1.0.{number}" for number in range(MOST + 1)]
    listed = [deployment("hostile", *images), deployment("good")]

    def answer(asked: Asked) -> bytes:
        return lines(BOOKMARK) if asked.what == "watch" else reply(page(*listed))

    async with asking(tmp_path, answer) as found:
        await found.until(lambda: len(found.images()) == 2)
        hostile = found.workload("hostile")
        assert hostile.limit_exceeded
        assert [container.image for container in hostile.containers] == images[:1]
        assert not found.workload("good").limit_exceeded
        assert found.exceeded() == {"workload_containers": 1}


@pytest.mark.anyio
async def test_objects_of_one_namespace_do_not_crowd_out_others_and_are_looked_at_again(tmp_path: Path) -> None:
    hostile = [deployment(f"hostile-{number}", namespace="b") for number in range(10)]
    listed = [deployment("known"), *hostile, deployment("late", namespace="z")]
    watched: list[Any] = []

    def answer(asked: Asked) -> bytes:
        return lines(BOOKMARK, *watched) if asked.what == "watch" else reply(page(*listed))

    async with asking(tmp_path, answer, most_objects=3) as found:
        await found.until(lambda: len(found.images()) == 5)
        assert set(found.images()) == {"known", "hostile-0", "hostile-1", "hostile-2", "late"}
        assert found.exceeded()["namespace_objects"] >= 7
        assert found.inventory.synced() == {"*": True}
        watched[:] = [
            event(deployment("hostile-11", namespace="b", version="11")),
            event(deployment("hostile-1", "a/good:1.0.1", namespace="b", version="12")),
            event(deployment("new", version="13"), "ADDED"),
        ]
        await found.until(lambda: "new" in found.images() and found.images()["hostile-1"] == ["a/good:1.0.1"])
        assert "hostile-11" not in found.images()
        watched.clear()
        del hostile[:8], listed[1:9]
        await found.until(lambda: set(found.images()) == {"known", "hostile-8", "hostile-9", "late"})


@pytest.mark.anyio
async def test_many_pods_of_one_owner_are_fetched_and_merged_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = Sums(monkeypatch)
    owner = [{"kind": "StrimziPodSet", "apiVersion": "core.strimzi.io/v1", "name": "kafka", "controller": True}]
    count = 1_000
    pods = {
        f"kafka-{number}": {
            "metadata": {
                "name": f"kafka-{number}", "namespace": "ns", "uid": f"{number}", "resourceVersion": "5",
                "generation": 1, "ownerReferences": owner,
            },
            "spec": template(f"a/kafka:1.0.{number % 3}")["spec"],
        }
        for number in range(count)
    }  # fmt: skip

    def answer(asked: Asked) -> bytes:
        if asked.what == "object":
            return reply(pods[asked.target.rpartition("/")[2]])
        if asked.what == "watch":
            return lines(BOOKMARK)
        return reply(page(*({"metadata": pod["metadata"]} for pod in pods.values())))

    async with asking(tmp_path, answer, kind="Pod") as found:
        await found.until(lambda: found.inventory.synced() == {"*": True})
        assert found.images() == {"kafka": [f"a/kafka:1.0.{number}" for number in range(3)]}
        assert sum(sums.merged) <= 3 * (count // 200 + 1)
        assert [one.what for one in found.asked()].count("object") == count

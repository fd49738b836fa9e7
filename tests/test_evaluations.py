"""Namespaces take turns, so that one with many slow workloads delays only itself."""

import itertools

import pytest

from exporter.evaluate import Evaluated
from exporter.evaluations import Evaluations
from exporter.workloads import Workload, WorkloadKey

pytestmark = pytest.mark.anyio


def workloads(namespace, count):
    keys = [WorkloadKey(namespace, "Deployment", f"d{number:04}") for number in range(count)]
    return {key: Workload(key=key, containers=()) for key in keys}


class Recorder:
    """Evaluates nothing, takes a second of its clock for each workload, and records the order."""

    def __init__(self):
        self.order = []

    def __call__(self, workload):
        self.order.append(workload.key)
        return Evaluated([], 0)

    def clock(self):
        return float(len(self.order))


async def test_namespaces_take_turns():
    recorder = Recorder()
    await Evaluations(recorder).round(workloads("hostile", 1000) | workloads("hub", 3) | workloads("other", 1))
    assert [key.namespace for key in recorder.order[:7]] == ["hostile", "hub", "other"] + ["hostile", "hub"] * 2
    assert len(recorder.order) == 1004


async def test_a_round_ends_in_time_and_the_next_one_goes_on():
    recorder = Recorder()
    evaluations = Evaluations(recorder, recorder.clock)
    changed = workloads("hostile", 10)
    done = await evaluations.round(changed, seconds=4.0)
    assert (len(done), evaluations.waiting) == (4, True)
    done |= await evaluations.round(workloads("hub", 1), seconds=4.0)
    assert WorkloadKey("hub", "Deployment", "d0000") in recorder.order[4:6], "before most of what was left over"
    done |= await evaluations.round({}, seconds=4.0)
    assert (len(done), evaluations.waiting) == (11, False)
    assert len(recorder.order) == 11, "each of them once"


async def test_every_round_gets_somewhere():
    recorder = Recorder()
    evaluations = Evaluations(recorder, recorder.clock)
    waiting = await evaluations.round(workloads("hub", 3), seconds=0.0)
    assert len(waiting) == 1


async def test_what_is_gone_or_changed_while_it_waits_is_not_evaluated_as_it_was():
    evaluated = []

    def evaluate(workload):
        evaluated.append(workload)
        return Evaluated([], 0)

    evaluations = Evaluations(evaluate, itertools.count().__next__)
    first, second, third = changed = workloads("hub", 3)
    await evaluations.round(changed, seconds=0.0)
    newer = Workload(key=third, containers=(), annotations=(("a", "b"),))
    done = await evaluations.round({second: None, third: newer})
    assert done == {second: None, third: (newer, Evaluated([], 0))}
    assert evaluated == [changed[first], newer]
    assert not evaluations.waiting


async def test_what_is_gone_is_reported_even_if_nothing_is_evaluated():
    evaluations = Evaluations(Recorder())
    key = WorkloadKey("hub", "Deployment", "d")
    assert await evaluations.round({key: None}) == {key: None}
    assert await evaluations.round({}) == {}

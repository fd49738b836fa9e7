"""The aggregator merges the parts of a workload that several objects contribute."""

from __future__ import annotations

from dataclasses import replace

from exporter.cluster.aggregator import ObjectRef, WorkloadAggregator
from exporter.cluster.templates import merge, to_workloads
from exporter.inventory import Inventory
from exporter.kinds import KINDS
from exporter.telemetry import Telemetry
from exporter.workloads import Manager, Workload, WorkloadKey
from tests.support.objects import KEY, part, refers


def test_shares() -> None:
    inventory = Inventory()
    aggregator = WorkloadAggregator(inventory, telemetry=Telemetry())
    first, second = ObjectRef("Pod", "ns", "kafka-0"), ObjectRef("Pod", "ns", "kafka-1")
    aggregator.put(first, (part("a:1.0.0"),))
    aggregator.publish()
    aggregator.put(second, (part("a:1.0.1"),))
    aggregator.publish()
    assert [c.image for c in inventory.workloads()[KEY].containers] == ["a:1.0.0", "a:1.0.1"]
    assert inventory.take_changes() == {KEY}
    aggregator.put(first, (part("a:1.0.0"),))
    aggregator.publish()
    aggregator.put(ObjectRef("Pod", "ns", "nobody"), ())
    aggregator.publish()
    assert inventory.take_changes() == set()
    other = WorkloadKey("ns", "Pod", "kafka-0")  # recreated under the same name, without an owner
    aggregator.put(first, (part("a:1.0.0", key=other),))
    aggregator.publish()
    assert {key: len(workload.containers) for key, workload in inventory.workloads().items()} == {KEY: 1, other: 1}
    aggregator.put(second, ())
    aggregator.publish()
    assert list(inventory.workloads()) == [other]
    assert inventory.take_changes() == {KEY, other}
    assert aggregator.get(second) == ()
    assert aggregator.get(first) == (part("a:1.0.0", key=other),)


def test_a_workloads_own_template_goes_before_what_it_controls_whichever_comes_first() -> None:
    key = WorkloadKey("ns", "Rollout", "web")
    own, old = part("a:1.0.1", key=key, declared=True), part("a:1.0.0", key=key)
    progress = part(key=key, rollout_incomplete=True)
    for parts in ((own, old), (old, own)):
        assert merge(parts) == own
        assert merge((*parts, progress)) == part("a:1.0.1", key=key, declared=True, rollout_incomplete=True)
    assert merge((progress, old)) == part("a:1.0.0", key=key, rollout_incomplete=True)
    inventory = Inventory()
    aggregator = WorkloadAggregator(inventory, telemetry=Telemetry())
    rollout, replica_set = ObjectRef("Rollout", "ns", "web"), ObjectRef("ReplicaSet", "ns", "web-1")
    for ref, it in ((replica_set, old), (rollout, own)):
        aggregator.put(ref, (it,))
        aggregator.publish()
    assert inventory.workloads() == {key: own}
    aggregator.put(rollout, ())
    aggregator.publish()
    assert inventory.workloads() == {key: old}, "its definition was removed"


def test_a_rollout_that_refers_to_a_deployment_tells_of_its_progress_and_covers_its_replica_sets() -> None:
    deployment, rollout = WorkloadKey("ns", "Deployment", "web"), WorkloadKey("ns", "Rollout", "thing")
    parts = to_workloads(KINDS["Rollout"], refers(apiVersion="apps/v1", kind="Deployment", name="web"))
    assert set(parts) == {
        Workload(key=rollout, containers=()),
        Workload(key=deployment, containers=(), declared=False, rollout_incomplete=True),
    }
    inventory = Inventory()
    aggregator = WorkloadAggregator(inventory, telemetry=Telemetry())
    aggregator.put(ObjectRef("ReplicaSet", "ns", "thing-1"), (part("a:1.0.0", key=rollout),))
    aggregator.publish()
    aggregator.put(ObjectRef("Rollout", "ns", "thing"), parts)
    aggregator.publish()
    assert inventory.workloads() == {}
    template = part("a:1.0.1", key=deployment, declared=True, manager=Manager("helm", "ns/web"))
    aggregator.put(ObjectRef("Deployment", "ns", "web"), (template,))
    aggregator.publish()
    assert inventory.workloads() == {deployment: replace(template, rollout_incomplete=True)}

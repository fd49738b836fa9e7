"""The images of a list are put into the inventory, changed and removed, in a scope of their own."""

import pytest

from exporter.images import Repository, parse
from exporter.inventory import Inventory, ScopeState
from exporter.versions import Strategy
from exporter.watchlist import WatchedImage, WatchList
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey
from tests.support.objects import KEY

LEDGER = WatchedImage(reference=parse("mojaloop/central-ledger:v19.13.1"), name="central-ledger")
SDK = WatchedImage(reference=parse("mojaloop/sdk-scheme-adapter"))


@pytest.fixture
def inventory():
    return Inventory()


def test_a_reference_with_a_tag_is_a_workload_in_no_namespace(inventory):
    WatchList(inventory).replace([LEDGER])
    key = WorkloadKey("", "Image", "central-ledger")
    container = Container("", ContainerType.CONTAINER, "mojaloop/central-ledger:v19.13.1", 0)
    assert dict(inventory.workloads()) == {key: Workload(key=key, containers=(container,))}
    assert inventory.repositories == frozenset()
    assert key.is_image
    assert not KEY.is_image


def test_a_strategy_is_an_annotation(inventory):
    WatchList(inventory).replace([WatchedImage(reference=parse("a/b:v1.0.0"), name="b", strategy=Strategy.MINOR)])
    (workload,) = inventory.workloads().values()
    assert workload.annotations == (("image-patch.mojaloop.io/strategy", "minor"),)


def test_a_repository_is_looked_up_and_not_judged(inventory):
    WatchList(inventory).replace([SDK])
    assert not inventory.workloads()
    assert inventory.repositories == {Repository("docker.io", "mojaloop/sdk-scheme-adapter")}
    assert inventory.listed()


def test_a_list_has_a_scope_and_an_empty_one_has_none(inventory):
    watch_list = WatchList(inventory)
    watch_list.replace([])
    assert inventory.synced() == {}
    assert not inventory.changed.is_set()
    watch_list.replace([LEDGER])
    assert dict(inventory.scopes()) == {("Image", ""): ScopeState.SYNCED}
    assert inventory.synced() == {"": True}
    watch_list.replace([])
    assert inventory.synced() == {}
    assert not inventory.workloads()


def test_a_new_list_changes_what_differs_and_leaves_the_cluster_alone(inventory):
    other = Workload(key=KEY, containers=())
    inventory.put(other)
    inventory.set_scope("Deployment", "*", ScopeState.PENDING)
    quoting = WatchedImage(reference=parse("mojaloop/quoting-service:v1.0.0"), name="quoting")
    watch_list = WatchList(inventory)
    watch_list.replace([LEDGER, quoting, SDK])
    inventory.take_changes()
    newer = WatchedImage(reference=parse("mojaloop/central-ledger:v19.13.2"), name="central-ledger")
    watch_list.replace([newer, quoting])
    assert {key.name for key in inventory.take_changes()} == {"central-ledger"}
    assert inventory.repositories == frozenset()
    inventory.changed.clear()
    watch_list.replace([newer, quoting])
    assert not inventory.changed.is_set(), "an equal list changes nothing"
    watch_list.replace([])
    assert {key.name for key in inventory.take_changes()} == {"central-ledger", "quoting"}
    assert dict(inventory.workloads()) == {KEY: other}
    assert inventory.synced() == {"*": False}

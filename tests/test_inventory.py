"""The state of each scope, and when the inventory counts as synced."""

from __future__ import annotations

from exporter.inventory import Inventory, ScopeState
from tests.support.objects import KEY


def test_scopes() -> None:
    inventory = Inventory()
    assert inventory.synced() == {}
    inventory.set_scope("Job", "a", ScopeState.PENDING)
    inventory.set_scope("Pod", "a", ScopeState.SYNCED)
    inventory.set_scope("Pod", "b", ScopeState.SYNCED)
    assert inventory.synced() == {"a": False, "b": True}
    inventory.changed.clear()
    inventory.set_scope("Pod", "b", ScopeState.SYNCED)
    inventory.remove(KEY)
    assert not inventory.changed.is_set()
    inventory.set_scope("Job", "a", ScopeState.SYNCED)
    assert inventory.changed.is_set()
    for state in (ScopeState.FORBIDDEN, ScopeState.NOT_INSTALLED):
        inventory.set_scope("Pod", "b", state)
        assert inventory.synced() == {"a": True, "b": False}
    inventory.set_scope("Rollout", "a", ScopeState.PENDING)
    assert inventory.synced()["a"] is False
    inventory.changed.clear()
    inventory.drop_scope("Rollout", "a")
    assert inventory.changed.is_set()
    assert inventory.synced()["a"] is True
    inventory.changed.clear()
    inventory.drop_scope("Rollout", "a")
    assert not inventory.changed.is_set()


def test_everything_is_listed_once_nothing_is_pending():
    inventory = Inventory()
    assert not inventory.listed(), "before anything is watched"
    inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
    inventory.set_scope("Job", "*", ScopeState.PENDING)
    assert not inventory.listed()
    inventory.set_scope("Job", "*", ScopeState.FORBIDDEN)
    assert inventory.listed()

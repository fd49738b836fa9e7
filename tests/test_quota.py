"""How many containers of a namespace are judged: the same workloads on every replica."""

import random

import pytest

from exporter.quota import Quota
from exporter.workloads import WorkloadKey


def key(name, namespace="hub"):
    return WorkloadKey(namespace, "Deployment", name)


def test_below_the_limit_all_are_judged_and_namespaces_do_not_count_together():
    quota = Quota(10)
    for namespace in ("a", "b"):
        for name in ("x", "y"):
            quota.put(key(name, namespace), 5)
    assert not quota.exceeded("a")
    assert quota.split("a") == ([key("x", "a"), key("y", "a")], ())
    assert quota.split("nowhere") == ((), ())


@pytest.mark.parametrize("seed", range(5))
def test_the_first_by_kind_and_name_are_judged_in_whatever_order_they_came(seed):
    quota, keys = Quota(10), [key(f"w-{number:02}") for number in range(20)]
    for one in random.Random(seed).sample(keys, 20):
        quota.put(one, 3)
    assert quota.exceeded("hub")
    assert quota.split("hub") == (keys[:3], keys[3:])


def test_of_what_is_refused_some_are_shown():
    quota = Quota(10)
    for number in range(1000):
        quota.put(key(f"w-{number:04}"), 1)
    judged, shown = quota.split("hub")
    assert (len(judged), len(shown)) == (10, 100)


def test_a_workload_that_changes_or_goes_makes_room():
    quota = Quota(10)
    quota.put(key("a"), 8)
    quota.put(key("b"), 5)
    assert quota.split("hub") == ([key("a")], [key("b")])
    quota.put(key("a"), 5)
    assert not quota.exceeded("hub")
    quota.put(key("a"), 11)
    assert quota.split("hub") == ([], [key("a"), key("b")])
    quota.remove(key("a"))
    quota.remove(key("a"))
    assert quota.split("hub") == ([key("b")], ())
    quota.remove(key("b"))
    assert quota.split("hub") == ((), ())


def test_a_workload_without_containers_counts():
    quota = Quota(10)
    for number in range(11):
        quota.put(key(f"w-{number:02}"), 0)
    assert quota.exceeded("hub")

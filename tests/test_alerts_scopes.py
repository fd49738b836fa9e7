"""Scopes and clusters that change: what was configured away is not down, and what is down is not configured away."""

import pytest

from tests.support.promtool import (
    AVAILABLE,
    DAY,
    DOWN,
    HOUR,
    Case,
    Page,
    asked_for,
    ever,
    fails,
    firing,
    named,
    passes,
    rules_under_test,
    run,
)

# In steps of ten minutes: the old pod ends after an hour, and the new one, which started before that, is scraped 20
# minutes later.
ENDS, BEGINS = "1x6 stale", "_x8 1x1000"


def moved(before, after, *, alerts=(1, 1)):
    """The exporter before and after; how many alerts fire then; and that it is down never, for twice as long as
    the rules look back."""
    return Case(
        [before, after],
        [(60, firing(AVAILABLE), alerts[0]), (120, firing(AVAILABLE), alerts[1]), (12 * HOUR, ever(DOWN, 12), 0)],
        minutes=10,
    )


def old_pod(cluster, *scopes):
    page = Page(cluster, "10.0.0.1:9090")
    for scope in scopes:
        page.synced(ENDS, scope)
    return page.add("process_start_time_seconds", "0x6 stale")


def new_pod(cluster, *scopes):
    page = Page(cluster, "10.0.0.2:9090")
    for scope in scopes:
        page.synced(BEGINS, scope)
    return page.add("process_start_time_seconds", "_x8 3500x1000").container(BEGINS)


def from_the_cluster_to_names():
    """A new pod watches names: the cluster's scope is not down, and what nobody watches any more has ended."""
    before = old_pod("north", "*").container(ENDS).container(ENDS, namespace="gone", workload="x")
    return moved(before, new_pod("north", "mojaloop"), alerts=(2, 1))


def from_names_to_the_cluster():
    return moved(old_pod("north", "mojaloop", "gone").container(ENDS), new_pod("north", "*"))


def a_namespace_is_dropped_by_a_new_pod():
    before = old_pod("north", "mojaloop", "dropped").container(ENDS).container(ENDS, namespace="dropped", workload="x")
    return moved(before, new_pod("north", "mojaloop"), alerts=(2, 1))


def a_namespace_is_dropped_at_the_same_address():
    before = Page("north").synced(ENDS, "dropped").container(ENDS, namespace="dropped", workload="x")
    return moved(before, Page("north").synced("1x1008", "mojaloop").container("1x1008"), alerts=(2, 1))


def a_cluster_label_is_added():
    """By the scrape, at the same address: one alert before and one after, and nothing is down."""
    return moved(Page().synced(ENDS).container(ENDS), Page("north").synced("_x7 1x1000").container("_x7 1x1000"))


def a_cluster_label_is_added_by_an_upgrade():
    """The pod is another one as well."""
    return moved(old_pod(None, "*").container(ENDS), new_pod("north", "*"))


def a_cluster_label_is_added_and_the_exporter_goes_down_later():
    before, after = Page().synced("1x60 stale"), Page("north").synced("_x61 1x60 stale").container("_x61 1x60 stale")
    return Case([before, after], [(200, firing(DOWN), 1), (200, firing(AVAILABLE), 1)])


def down_and_not_configured_away():
    """A young exporter that crashes is down, and so is one of a scope while the others answer."""
    young = Page("north", "1").synced("1x5 stale", started="0x5 stale").container("1x5 stale")
    return Case([young], [(60, firing(DOWN), 1), (60, firing(AVAILABLE, cluster="north"), 1)])


def one_of_two_scopes_is_down():
    one = Page("north", "1", job="one").synced("1x60 stale", "mojaloop", started="0x60 stale").container("1x60 stale")
    two = Page("north", "2", job="two").synced("1x200", "other", started="_x70 4200x120")
    return Case(
        [one, two],
        [(100, firing(DOWN), 1), (100, firing(DOWN, watched_namespace="mojaloop"), 1), (100, firing(AVAILABLE), 1)],
    )


def one_cluster_is_down_while_the_other_is_upgraded():
    """Neither the other cluster's label nor its younger process says anything about this one."""
    one = Page("north", "1").synced("1x60 stale", started="0x60 stale").container("1x60 stale")
    two = Page("south", "2").synced("1x61 stale", started="0x61 stale")
    new = Page("south", "3").synced("_x64 1x100", started="_x64 3780x100")
    return Case(
        [one, two, new], [(100, firing(DOWN), 1), (100, firing(DOWN, cluster="north"), 1), (100, firing(AVAILABLE), 1)]
    )


CASES = named(
    from_the_cluster_to_names,
    from_names_to_the_cluster,
    a_namespace_is_dropped_by_a_new_pod,
    a_namespace_is_dropped_at_the_same_address,
    a_cluster_label_is_added,
    a_cluster_label_is_added_by_an_upgrade,
    a_cluster_label_is_added_and_the_exporter_goes_down_later,
    down_and_not_configured_away,
    one_of_two_scopes_is_down,
    one_cluster_is_down_while_the_other_is_upgraded,
)


@pytest.mark.parametrize("case", CASES)
def test_what_hubs_meet(tmp_path, case):
    passes(tmp_path, case())


@pytest.mark.parametrize(
    "case", named(from_the_cluster_to_names, a_cluster_label_is_added, a_cluster_label_is_added_by_an_upgrade)
)
def test_for_as_long_as_a_scope_is_remembered_it_is_not_down(tmp_path, case):
    week = Case(case().pages, [(7 * DAY - HOUR, ever(DOWN, 7 * 24 - 2), 0)], minutes=10)
    status, said = run(tmp_path, week, asked_for(rules_under_test(), week), promtools=["promtool3"])
    assert status == 0, said


MUTATIONS = {
    from_the_cluster_to_names: ('{job=""} - 900\n', '{job=""}\n'),
    a_namespace_is_dropped_at_the_same_address: (
        "              >= on (scrape_job, scrape_instance) group_left ()\n",
        "              >= 0 * on (scrape_job, scrape_instance) group_left ()\n",
    ),
    a_cluster_label_is_added_by_an_upgrade: (") < 3600", ") < 0"),
    one_cluster_is_down_while_the_other_is_upgraded: ('{cluster="",job=""}', '{job=""}'),
}


@pytest.mark.parametrize("case", MUTATIONS, ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case(), *MUTATIONS[case])

"""Unavailable is not fixed: when the rules hold an alert about a missing patch, and when they end it.

Every case runs with and without a `cluster` label, and names the part of the rules that serves it: without that part
the case fails.
"""

import pytest

from tests.support.promtool import AVAILABLE, DAY, DOWN, OVERDUE, Case, Page, fails, firing, passes


def held(*pages, end=(), **more):
    """A case about AVAILABLE: minutes, and how many fire there."""
    return Case(pages, [(minute, firing(AVAILABLE), count) for minute, count in end], **more)


def down_for_hours(cluster):
    page = Page(cluster).synced("1x60 _x180 1x60").container("1x60 _x180 1x60")
    return held(page, end=[(60, 1), (150, 1), (239, 1), (290, 1)])


def restarted_on_an_empty_disk(cluster):
    """It has listed the cluster, and looks every repository up for the first time."""
    page = Page(cluster).synced("1x60 _x30 1x60").container("1x60 _x40 1x60").unknown("_x91 1x10 stale", "pending")
    return held(page, end=[(60, 1), (95, 1), (101, 1), (150, 1)])


def restarted_and_nothing_is_listed_yet(cluster):
    page = Page(cluster).synced("1x60 0x30 1x60").container("1x60 _x30 1x60")
    return held(page, end=[(60, 1), (75, 1), (91, 1), (140, 1)])


def one_image_fails_and_the_cluster_is_known(cluster):
    page = Page(cluster).synced("1x180").container("1x60 stale").unknown("_x61 1x120")
    return held(page, end=[(60, 1), (100, 1), (179, 1)])


def the_image_that_failed_is_deleted(cluster):
    """A registry that never answers does not keep the alert of a workload that is gone."""
    page = Page(cluster).synced("1x180").container("1x60 stale").unknown("_x61 1x60 stale", "unauthorized")
    other = Page(cluster, "b", job="other").synced("0x180", "other")
    return held(page, other, end=[(60, 1), (120, 1), (123, 0)])


def another_image_of_the_workload_is_unknown(cluster):
    """The workload is there, and the container that missed the patch is gone, before the cluster is known again."""
    page = (
        Page(cluster).synced("1x60 0x60").container("1x60 stale").unknown("_x61 1x60", container="other", tag="v3.0.0")
    )
    return held(page, end=[(60, 1), (62, 0)])


def patched(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale").container("_x61 0x60", tag="v1.0.2", behind=0)
    return held(page, end=[(60, 1), (62, 0), (100, 0)])


def patched_before_the_cluster_is_known_again(cluster):
    page = Page(cluster).synced("1x60 0x60").container("1x60 stale").container("_x61 0x60", tag="v1.0.2", behind=0)
    return held(page, end=[(60, 1), (62, 0)])


def deleted(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale")
    return held(page, end=[(60, 1), (62, 0)])


def deleted_in_a_scope_of_its_own(cluster):
    page = Page(cluster).synced("1x120", "mojaloop").synced("0x120", "other").container("1x60 stale")
    return held(page, end=[(60, 1), (62, 0)])


def another_scope_ends_nothing(cluster):
    ours = Page(cluster).synced("1x60 _x60", "mojaloop").container("1x60 _x60")
    other = Page(cluster, "b").synced("1x120", "other").container("1x120", namespace="other", workload="x")
    return held(ours, other, end=[(60, 2), (100, 2)])


def another_cluster_ends_nothing(cluster):
    ours = Page(cluster).synced("1x60 stale").container("1x60 stale")
    other = Page("south", "b", job="other").synced("1x120")
    return held(ours, other, end=[(60, 1), (100, 1)])


def changed_to_a_floating_tag(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale").unknown("_x61 1x60", "floating_tag", tag="latest")
    return held(page, end=[(60, 1), (62, 0)])


def the_same_tag_has_a_lasting_reason(cluster):
    """An annotation that cannot be read: the exporter judges the container otherwise."""
    page = Page(cluster).synced("1x120").container("1x60 stale").unknown("_x61 1x60", "invalid_annotation")
    return held(page, end=[(60, 1), (62, 0)])


def changed_to_a_floating_tag_before_the_cluster_is_known(cluster):
    page = Page(cluster).synced("1x60 0x60").container("1x60 stale").unknown("_x61 1x60", "floating_tag", tag="latest")
    return held(page, end=[(60, 1), (62, 0)])


def ends_seven_days_after_the_last_scrape(cluster):
    page = Page(cluster).synced("1x2 stale").container("1x2 stale")
    return held(page, end=[(60, 1), (7 * DAY + 30, 1), (7 * DAY + 90, 0)], minutes=30)


def what_was_resolved_does_not_come_back(cluster):
    """It is patched, and an hour later the exporter goes down: what was held before is not held again."""
    page = Page(cluster).synced("1x120 _x60").container("1x60 stale")
    page.container("_x61 0x60 _x60", tag="v1.0.2", behind=0)
    return held(page, end=[(60, 1), (100, 0), (170, 0)])


def two_replicas_that_disagree(cluster):
    """One knows a release more: one alert, and the command to the newest patch."""
    one = Page(cluster).synced("1x120").container("1x120", latest="v1.0.1", behind=1, patch="older")
    two = Page(cluster, "b").synced("1x120").container("1x120", patch="newest")
    known = 'count(mojaloop:workload_patch_missing{{patch_command="{}"}}) or vector(0)'
    return Case(
        [one, two], [(60, firing(AVAILABLE), 1), (60, known.format("newest"), 1), (60, known.format("older"), 0)]
    )


def two_replicas_that_know_as_much(cluster):
    """Of equals the one chosen first stays chosen, also while a third comes and goes."""
    pages = [Page(cluster, name).synced("1x120").container(values, patch=f"of {name}")
             for name, values in (("m", "1x120"), ("a", "_x10 1x110"), ("z", "_x20 1x100"))]  # fmt: skip
    chosen = 'count(mojaloop:workload_patch_missing{patch_command="of m"}) or vector(0)'
    return Case(pages, [(minute, chosen, 1) for minute in range(5, 110, 5)])


def one_replica_of_two_goes(cluster):
    one = Page(cluster).synced("1x60 stale").container("1x60 stale")
    two = Page(cluster, "b").synced("1x120").container("1x120")
    return Case([one, two], [(60, firing(AVAILABLE), 1), (100, firing(AVAILABLE), 1), (100, firing(DOWN), 0)])


def a_still_newer_patch_neither_resolves_nor_restarts(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale").container("_x61 1x60", latest="v1.0.3", behind=3)
    return held(page, end=[(minute, 1) for minute in (60, 61, 62, 63, 100)])


def an_old_patch_stays_old_on_an_empty_disk(cluster):
    """Its publish time is not known; it was first seen long ago, and then by a new disk just now."""
    page = Page(cluster).synced("1x60 _x39 1x80").container("1x60 _x39 1x80", first_seen=0)
    for series in page.series:
        if "first_seen" in series["series"]:
            series["values"] = f"{-20 * DAY * 60}x60 _x39 {100 * 60}x80"
    return Case([page], [(minute, firing(OVERDUE), 1) for minute in (60, 90, 120, 170)])


def the_command_does_not_arrive(cluster):
    """The scrape drops the metric with the commands: patches are still missing, and new ones are still found."""
    page = Page(cluster).synced("1x200").container("1x200").container("_x61 1x140", workload="later", behind=1)
    for series in page.series:
        if "workload_patch" in series["series"]:
            series["values"] = "_x200" if "later" in series["series"] else "1x60 stale"
    return held(page, end=[(60, 1), (62, 1), (80, 2), (190, 2)])


def nothing_but_that_a_patch_is_missing_arrives(cluster):
    page = Page(cluster).synced("1x200").container("1x200")
    for series in page.series:
        if "releases_behind" in series["series"]:
            series["values"] = "2x60 stale"
    return held(page, end=[(60, 1), (62, 1), (190, 1)])


LAST = (
    "              == on () group_left ()"
    ' max(last_over_time(mojaloop:workload_patch_missing{workload="",job=""}[6h]))\n'
    "            unless on (cluster)"
)
SAME_IMAGE = "and on (cluster, namespace, workload_kind, workload, image, tag) (\n              mojaloop_image_status"
CASES = {
    down_for_hours: (
        'last_over_time(mojaloop:workload_patch_missing{workload!="",workload_kind!="Image",job=""}[6h])',
        'mojaloop:workload_patch_missing{workload="none"}',
    ),
    restarted_on_an_empty_disk: ('reason=~"pending|', 'reason=~"'),
    restarted_and_nothing_is_listed_yet: (
        'mojaloop:exporter_scope_synced{watched_namespace="*",job=""} == 1\n            unless',
        "mojaloop:exporter_scope_synced\n            unless",
    ),
    one_image_fails_and_the_cluster_is_known: (SAME_IMAGE, SAME_IMAGE.replace("and on", "unless on")),
    the_image_that_failed_is_deleted: (
        '            unless on (cluster) mojaloop:exporter_scope_synced{watched_namespace="*",job=""} == 1\n'
        "            unless",
        "            unless",
    ),
    another_image_of_the_workload_is_unknown: (
        "            unless on (cluster, namespace, workload_kind, workload)\n"
        '            mojaloop_image_status_unknown{exported_namespace=""}\n',
        "",
    ),
    patched: None,
    patched_before_the_cluster_is_known_again: (
        "            unless on (cluster, namespace, workload_kind, workload)\n"
        '            mojaloop_image_patch_available{exported_namespace=""}\n',
        "",
    ),
    deleted: (
        '            and on (cluster) mojaloop:exporter_scope_synced{watched_namespace!="",job=""} < 1\n',
        "            or on (cluster, namespace, workload_kind, workload, image, tag)"
        ' last_over_time(mojaloop:workload_patch_missing{workload!="",job=""}[6h])\n',
    ),
    deleted_in_a_scope_of_its_own: (
        '"namespace", "$1", "watched_namespace"',
        '"namespace", "none", "watched_namespace"',
    ),
    another_scope_ends_nothing: (
        'unless on (cluster, namespace) mojaloop:exporter_scope_synced{namespace!="",job=""} == 1\n            and',
        'unless on (cluster) mojaloop:exporter_scope_synced{namespace!="",job=""} == 1\n            and',
    ),
    another_cluster_ends_nothing: (
        'unless on (cluster) mojaloop:exporter_scope_synced{watched_namespace="*",job=""} == 1\n            unless',
        'unless on () mojaloop:exporter_scope_synced{watched_namespace="*",job=""} == 1\n            unless',
    ),
    changed_to_a_floating_tag: None,
    the_same_tag_has_a_lasting_reason: ('reason=~"pending|', 'reason=~"invalid_annotation|pending|'),
    changed_to_a_floating_tag_before_the_cluster_is_known: (
        "            unless on (cluster, namespace, workload_kind, workload)\n"
        '            mojaloop_image_status_unknown{exported_namespace=""}\n',
        "",
    ),
    ends_seven_days_after_the_last_scrape: ("time() - 604800", "time() - 10 * 604800"),
    what_was_resolved_does_not_come_back: (LAST, "              > 0\n            unless on (cluster)"),
    two_replicas_that_disagree: (
        "topk by (cluster, namespace, workload_kind, workload, image, tag) (1,\n              max by",
        "bottomk by (cluster, namespace, workload_kind, workload, image, tag) (1,\n              max by",
    ),
    two_replicas_that_know_as_much: None,
    one_replica_of_two_goes: None,
    a_still_newer_patch_neither_resolves_nor_restarts: (
        '"latest_tag", "", "", "")',
        '"latest_tag", "$1", "latest_tag", "(.*)")',
    ),
    an_old_patch_stays_old_on_an_empty_disk: (
        '            or last_over_time(mojaloop:workload_patch_since_timestamp_seconds{job=""}[6h])\n',
        "",
    ),
    the_command_does_not_arrive: (
        'mojaloop_image_patch_available{exported_namespace=""} == 1\n                    unless',
        'mojaloop_image_patch_available{exported_namespace="x"} == 1\n                    unless',
    ),
    nothing_but_that_a_patch_is_missing_arrives: (
        '              or mojaloop_image_patch_available{exported_namespace=""} == 1\n',
        "",
    ),
}


# One promtool for each is enough: they seldom disagree, and each of them sees every case.
@pytest.mark.parametrize(("cluster", "promtool"), [(None, "promtool"), ("north", "promtool3")])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_unavailable_is_not_fixed(tmp_path, case, cluster, promtool):
    passes(tmp_path, case(cluster), promtools=[promtool])


@pytest.mark.parametrize("case", [case for case, mutation in CASES.items() if mutation], ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case("north"), *CASES[case])

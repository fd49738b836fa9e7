"""Watched images: held by the exporters that reported them last, next to clusters and to exporters with other lists.

Every case names the part of the rules that serves it: without that part the case fails.
"""

import pytest

from tests.support.promtool import AVAILABLE, DAY, DOWN, Case, Page, ever, fails, firing, passes

DISAGREE, MIXED = "MojaloopImagePatchReplicasDisagree", "MojaloopImageVersionsMixed"
NOTHING, RENAMED = "MojaloopImagePatchNothingWatched", "MojaloopImagePatchLabelsRenamed"
ENDS, BEGINS = "1x60 stale", "_x61 1x120"
IMAGES, CLUSTER = {"workload_kind": "Image"}, {"workload_kind": "Deployment"}


def watcher(values="1x180", instance="w", *, job="watch", cluster="north", **more):
    """An exporter without a cluster."""
    return Page(cluster, instance, job=job).synced(values, "", **more)


def hub(values="1x180", instance="hub", *, job="hub", **more):
    """An exporter of the cluster."""
    return Page("north", instance, job=job).synced(values, **more)


def held(*pages, end, **more):
    """A case about AVAILABLE: minutes, how many fire there, and of which labels."""
    return Case(pages, [(minute, firing(AVAILABLE, **labels), count) for minute, count, labels in end], **more)


def a_live_cluster_does_not_end_what_a_watcher_holds():
    one, other = watcher(ENDS).watched(ENDS), hub().container("1x180")
    return held(one, other, end=[(60, 2, {}), (170, 1, IMAGES), (170, 1, CLUSTER)])


def a_live_watcher_does_not_end_what_a_cluster_holds():
    one, other = watcher().watched("1x180"), hub(ENDS).container(ENDS)
    return held(one, other, end=[(60, 2, {}), (170, 1, IMAGES), (170, 1, CLUSTER)])


def a_watcher_that_is_down_does_not_keep_what_a_cluster_no_longer_has():
    one, other = watcher(ENDS).watched(ENDS), hub().container("1x100 stale")
    return held(one, other, end=[(90, 2, {}), (102, 0, CLUSTER), (170, 1, IMAGES)])


def a_watcher_that_is_down_does_not_keep_what_no_namespace_has():
    """Nobody watches the namespace any more, and the watcher says nothing about namespaces."""
    one, other = watcher(ENDS).watched(ENDS), Page("north", "hub", job="hub")
    other.synced(ENDS, "gone").synced("1x180", "mojaloop").container(ENDS, namespace="gone")
    return held(one, other, end=[(60, 2, {}), (63, 0, CLUSTER), (170, 1, IMAGES)])


def one_exporter_has_both_scopes():
    away = "1x60 stale _x59 1x60"
    page = hub(away).synced(away, "").container(away).watched(away)
    case = held(page, end=[(60, 2, {}), (119, 2, {}), (125, 2, {}), (175, 2, {})])
    return Case(case.pages, [*case.expected, (100, firing(DOWN), 2), (100, firing(DOWN, **IMAGES), 1)])


def an_image_that_is_removed_from_both_scopes_ends():
    page = hub().synced("1x180", "").container(ENDS).watched(ENDS)
    return held(page, end=[(60, 2, {}), (62, 0, {})])


def an_entry_is_removed():
    page = watcher().watched(ENDS).watched("1x180", workload="other")
    return held(page, end=[(60, 2, {}), (62, 1, {}), (62, 1, {"workload": "other"})])


def the_list_names_the_new_tag():
    page = watcher().watched(ENDS).watched("_x61 0x120", tag="v1.0.2", behind=0)
    return held(page, end=[(60, 1, {}), (62, 0, {})])


def the_list_named_the_new_tag_while_the_exporter_was_down():
    page = watcher("1x60 stale _x59 1x60").watched(ENDS).watched("_x121 0x60", tag="v1.0.2", behind=0)
    return held(page, end=[(60, 1, {}), (119, 1, {}), (123, 0, {})])


def lists_differ(*, job="watch", workload="other", **labels):
    """One exporter is down, the other is live and has another list."""
    one, two = watcher(ENDS).watched(ENDS), watcher(instance="x", job=job).watched("1x180", workload=workload, **labels)
    alerts = held(one, two, end=[(60, 2, {}), (75, 2, {}), (170, 2, {})])
    return Case(alerts.pages, [*alerts.expected, (60, firing(DOWN), 0), (170, firing(DOWN, **IMAGES), 1)])


def two_lists_and_one_exporter_is_down():
    return lists_differ()


def two_lists_in_one_job_and_the_live_exporter_restarts():
    """It is younger than the last scrape of the other one, but was there before: it is not the successor."""
    one = watcher(ENDS, started="0x60 stale").watched(ENDS)
    two = watcher("1x89 stale _x9 1x100", "x", started="0x89 stale _x9 5900x100")
    two.watched("1x89 stale _x9 1x100", workload="other")
    alerts = held(one, two, end=[(60, 2, {}), (85, 2, {}), (120, 2, {}), (170, 2, {})])
    return Case(alerts.pages, [*alerts.expected, (170, firing(DOWN, **IMAGES), 1)])


def two_lists_of_two_jobs():
    return lists_differ(job="other")


def two_lists_with_one_name_at_two_tags():
    return lists_differ(workload="central-ledger", tag="v1.0.1", behind=1)


def two_lists_and_an_entry_of_the_live_one_is_removed():
    """The exporter that is down never had it."""
    one, two = watcher(ENDS).watched(ENDS), watcher(instance="x").watched("1x120 stale", workload="other")
    return held(one, two, end=[(110, 2, {}), (122, 1, {}), (122, 1, {"workload": "central-ledger"})])


def two_lists_with_an_image_in_common():
    """The live exporter names a new tag: its word counts, as the other one is down."""
    one = watcher(ENDS).watched(ENDS)
    two = watcher(instance="x").watched("1x120 stale").watched("_x121 0x60", tag="v1.0.2", behind=0)
    return held(one, two, end=[(60, 1, {}), (110, 1, {}), (122, 0, {})])


def one_of_two_replicas_goes():
    """Equal lists: nothing is down, and what is removed later ends."""
    one = watcher(ENDS).watched(ENDS).watched(ENDS, workload="other")
    two = watcher(instance="x").watched("1x180").watched("1x120 stale", workload="other")
    alerts = held(one, two, end=[(60, 2, {}), (110, 2, {}), (122, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (175, ever(DOWN, 3), 0)])


def an_entry_is_removed_before_its_exporter_goes_down():
    """What was resolved does not come back, and nothing is down: a replica has the rest of the list."""
    one = watcher("1x180").watched("1x180", workload="other")
    two = watcher("1x100 stale", "x").watched("1x62 stale").watched("1x100 stale", workload="other")
    alerts = held(one, two, end=[(60, 2, {}), (64, 1, {}), (120, 1, {}), (170, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (175, ever(DOWN, 3), 0)])


def both_replicas_go():
    one, two = watcher(ENDS).watched(ENDS), watcher("1x90 stale", "x").watched("1x90 stale")
    alerts = held(one, two, end=[(60, 1, {}), (170, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (90, firing(DOWN), 0), (120, firing(DOWN, **IMAGES), 1)])


def replaced(after, *, start="_x61 3500x120"):
    """The pod ends after an hour; a new one at another address has started before."""
    before = watcher(ENDS, "10.0.0.1", started="0x60 stale").watched(ENDS).watched(ENDS, workload="other")
    return before, after.add("process_start_time_seconds", start)


def a_replaced_pod():
    """It comes 20 minutes later; one entry is still on its list."""
    late = "_x81 1x100"
    pages = replaced(watcher(late, "10.0.0.2").watched(late), start="_x81 3500x100")
    alerts = held(*pages, end=[(60, 2, {}), (80, 2, {}), (83, 1, {}), (170, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (175, firing(DOWN), 0)])


def a_replaced_pod_that_has_not_read_its_list():
    after = watcher("_x61 0x20 1x100", "10.0.0.2").watched("_x82 1x100")
    return held(*replaced(after), end=[(60, 2, {}), (80, 2, {}), (84, 1, {}), (170, 1, {})])


def a_replaced_pod_on_an_empty_disk():
    after = watcher(BEGINS, "10.0.0.2").watched("_x72 1x110")
    after.unknown("_x61 1x10 stale", "pending", kind="Image", namespace="", container="", workload="central-ledger")
    return held(*replaced(after), end=[(60, 2, {}), (70, 1, {}), (75, 1, {}), (170, 1, {})])


def the_list_is_configured_away():
    """The same address answers without watched images, and with a cluster."""
    page = hub().synced(ENDS, "").watched(ENDS).container("1x180")
    alerts = held(page, end=[(60, 2, {}), (62, 1, {}), (62, 1, CLUSTER)])
    return Case(alerts.pages, [*alerts.expected, (175, ever(DOWN, 3), 0)])


def the_list_is_configured_away_by_a_new_pod():
    alerts = held(*replaced(hub(BEGINS, "10.0.0.2", job="watch")), end=[(60, 2, {}), (63, 0, {})])
    return Case(alerts.pages, [*alerts.expected, (175, ever(DOWN, 3), 0)])


def a_cluster_label_is_added():
    before, after = watcher("1x60 stale", cluster=None).watched(ENDS), watcher(BEGINS).watched(BEGINS)
    alerts = held(before, after, end=[(60, 1, {}), (80, 1, {"cluster": "north"}), (80, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (175, ever(DOWN, 3), 0)])


def another_cluster_ends_nothing():
    one, two = watcher(ENDS).watched(ENDS), watcher("1x180", "x", cluster="south")
    return held(one, two, end=[(60, 1, {}), (170, 1, {})])


def prometheus_restarts():
    """Nothing is scraped or evaluated for four hours; the exporter does not come back, and the cluster's does."""
    ends, back = "1x6 _x24 stale", "1x6 _x24 1x30"
    return held(
        watcher(ends).watched(ends),
        hub(back).container(back),
        end=[(60, 2, {}), (330, 2, {}), (600, 2, {})],
        minutes=10,
    )


def ends_seven_days_after_the_last_scrape():
    page = watcher("1x2 stale").watched("1x2 stale")
    return held(page, end=[(60, 1, {}), (7 * DAY + 30, 1, {}), (7 * DAY + 90, 0, {})], minutes=30)


def one_image_cannot_be_judged():
    page = watcher().watched(ENDS)
    page.unknown(BEGINS, "unauthorized", kind="Image", namespace="", container="", workload="central-ledger")
    return held(page, end=[(60, 1, {}), (170, 1, {})])


def one_image_is_judged_otherwise():
    page = watcher().watched(ENDS)
    page.unknown(BEGINS, "invalid_annotation", kind="Image", namespace="", container="", workload="central-ledger")
    return held(page, end=[(60, 1, {}), (62, 0, {})])


def the_scrape_begins_to_change_labels():
    """Without honor_labels, the target's namespace takes the place of the empty one. What was held stays."""
    page = watcher(ENDS).watched(ENDS)
    wrong = Page("north", "w", job="watch", more={"namespace": "monitoring"})
    wrong.add("mojaloop_exporter_synced", BEGINS, watched_namespace="")
    wrong.add("mojaloop_exporter_scrape_check", BEGINS, exported_namespace="kept", exported_container="kept")
    wrong.watched(BEGINS, workload="central-ledger").watched(BEGINS, workload="other")
    for series in wrong.series:
        series["series"] = series["series"].replace('namespace="",', 'namespace="monitoring",')
    alerts = held(page, wrong, end=[(60, 1, {}), (75, 1, {}), (170, 1, {})])
    return Case(alerts.pages, [*alerts.expected, (75, firing(RENAMED), 1), (170, firing(RENAMED), 1)])


def another_exporter_does_not_hide_that_labels_are_changed():
    bad = Page("north", "w", job="watch").add("mojaloop_exporter_synced", "1x60", watched_namespace="")
    bad.add("mojaloop_exporter_scrape_check", "1x60", exported_namespace="kept", namespace="monitoring")
    return Case([bad, watcher("1x60", "x").watched("1x60")], [(30, firing(RENAMED), 1)])


def the_same_exporter_is_scraped_twice():
    bad = Page("north", "w", job="pods").add("mojaloop_exporter_synced", "1x180", watched_namespace="")
    bad.add("mojaloop_exporter_scrape_check", "1x180", exported_namespace="kept", namespace="monitoring")
    alerts = held(bad, watcher().watched(ENDS), end=[(60, 1, {}), (62, 0, {})])
    return Case(alerts.pages, [*alerts.expected, (30, firing(RENAMED), 0)])


def nobody_disagrees_and_nothing_is_mixed():
    """Lists may differ from one another and from what a cluster runs, and hubs of two releases may share one."""
    one = hub("1x90").container("0x90", behind=0).add("mojaloop_exporter_samples", "1x90", metric="mojaloop_image_info")
    two = watcher("1x90").watched("0x90", behind=0).watched("0x90", behind=0, tag="v1.0.1", workload="other")
    three = watcher("1x90", "x").watched("0x90", behind=0, workload="third")
    return Case([one, two, three], [(80, firing(alert), 0) for alert in (DISAGREE, MIXED)])


def two_clusters_disagree_whatever_is_watched():
    pages = [
        Page(None, name).synced("1x60").synced("1x60", "").container("0x60", behind=0, namespace=name) for name in "ab"
    ]
    for page in pages:
        page.watched("0x60", behind=0).watched("0x60", behind=0, workload="other")
        page.add("mojaloop_exporter_samples", "3x60", metric="mojaloop_image_info")
    return Case(pages, [(50, firing(DISAGREE), 1)])


def a_list_of_repositories_is_no_fault():
    return Case([watcher("1x180")], [(170, firing(NOTHING), 0), (170, firing(DOWN), 0)])


def a_list_of_repositories_whose_exporter_is_down():
    return Case([watcher(ENDS)], [(60, firing(DOWN), 0), (120, firing(DOWN, **IMAGES), 1)])


def watched_images_do_not_hide_an_empty_cluster():
    page = hub("1x90").synced("1x90", "").watched("0x90", behind=0)
    page.unknown("1x90", "floating_tag", kind="Image", namespace="", container="", workload="other")
    return Case([page], [(80, firing(NOTHING), 1)])


MEMORY = (
    "          or on (cluster, workload, image, tag)\n          (\n            last_over_time(mojaloop:watched_image"
)
MARK = '== on () group_left () max(last_over_time(mojaloop:workload_patch_missing{workload="",job=""}[6h]))\n'
HELD = 'mojaloop:watched_image_exporter{workload!="",job=""}'
WATCHED = "namespace:mojaloop_image_containers:watched"
CASES = {
    a_live_cluster_does_not_end_what_a_watcher_holds: (
        '              or\n              mojaloop:exporter_scrape_timestamp_seconds{watched_namespace="",job=""}\n',
        "",
    ),
    a_live_watcher_does_not_end_what_a_cluster_holds: (
        'mojaloop:exporter_scope_synced{watched_namespace="*",job=""} == 1\n            unless',
        'mojaloop:exporter_scope_synced{job=""} == 1\n            unless',
    ),
    a_watcher_that_is_down_does_not_keep_what_a_cluster_no_longer_has: None,
    a_watcher_that_is_down_does_not_keep_what_no_namespace_has: (
        'mojaloop:exporter_scope_synced{watched_namespace!="",job=""} < 1',
        'mojaloop:exporter_scope_synced{job=""} < 1',
    ),
    one_exporter_has_both_scopes: (HELD, HELD.replace("!=", "=")),
    an_image_that_is_removed_from_both_scopes_ends: None,
    an_entry_is_removed: (
        'mojaloop:exporter_target_synced{watched_namespace="",job=""} < 1',
        'mojaloop:exporter_target_synced{watched_namespace="",job=""} <= 1',
    ),
    the_list_names_the_new_tag: None,
    the_list_named_the_new_tag_while_the_exporter_was_down: None,
    two_lists_and_one_exporter_is_down: (MEMORY, MEMORY.replace("(cluster, workload, image, tag)", "(cluster)")),
    two_lists_in_one_job_and_the_live_exporter_restarts: (
        'last_over_time(mojaloop:exporter_first_start_timestamp_seconds{job=""}[1h])\n',
        'last_over_time(mojaloop:exporter_first_start_timestamp_seconds{job="none"}[1h])\n',
    ),
    two_lists_of_two_jobs: None,
    two_lists_with_one_name_at_two_tags: (
        "unless on (cluster, workload, image, tag)\n            mojaloop_image_patch_available",
        "unless on (cluster, workload)\n            mojaloop_image_patch_available",
    ),
    two_lists_and_an_entry_of_the_live_one_is_removed: (
        "              unless on (cluster, scrape_job, scrape_instance)\n",
        "              unless on (cluster, scrape_job)\n",
    ),
    two_lists_with_an_image_in_common: None,
    one_of_two_replicas_goes: None,
    an_entry_is_removed_before_its_exporter_goes_down: (
        f"{MARK}            unless on (cluster, workload, image, tag)\n            (",
        "> 0\n            unless on (cluster, workload, image, tag)\n            (",
    ),
    both_replicas_go: None,
    a_replaced_pod: None,
    a_replaced_pod_that_has_not_read_its_list: (
        '(mojaloop:exporter_target_synced{watched_namespace="",job=""}) == 0',
        '(mojaloop:exporter_target_synced{watched_namespace="",job=""}) == 2',
    ),
    a_replaced_pod_on_an_empty_disk: None,
    the_list_is_configured_away: None,
    the_list_is_configured_away_by_a_new_pod: None,
    a_cluster_label_is_added: None,
    another_cluster_ends_nothing: None,
    prometheus_restarts: (HELD, HELD.replace("!=", "=")),
    ends_seven_days_after_the_last_scrape: ("time() - 604800", "time() - 10 * 604800"),
    one_image_cannot_be_judged: None,
    one_image_is_judged_otherwise: None,
    the_scrape_begins_to_change_labels: (
        'mojaloop_image_patch_available{namespace="",workload_kind="Image"}\n            unless',
        'mojaloop_image_patch_available{workload_kind="Image"}\n            unless',
    ),
    another_exporter_does_not_hide_that_labels_are_changed: (
        "unless on (cluster, watched_namespace, instance)",
        "unless on (cluster, watched_namespace)",
    ),
    the_same_exporter_is_scraped_twice: None,
    nobody_disagrees_and_nothing_is_mixed: (f'({WATCHED}{{namespace!="",job=""}})', f'({WATCHED}{{job=""}})'),
    two_clusters_disagree_whatever_is_watched: (
        'count by (cluster, job, instance) (mojaloop_image_info{namespace="",workload_kind="Image"})',
        'count by (cluster, job, instance) (mojaloop_image_info{namespace="",workload_kind="none"})',
    ),
    a_list_of_repositories_is_no_fault: None,
    a_list_of_repositories_whose_exporter_is_down: (
        '                or mojaloop_exporter_synced{watched_namespace=""}\n',
        "",
    ),
    watched_images_do_not_hide_an_empty_cluster: (
        f'last_over_time({WATCHED}{{namespace!="",job=""}}[15m])',
        f'last_over_time({WATCHED}{{job=""}}[15m])',
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_operators_of_watch_lists_meet(tmp_path, case):
    passes(tmp_path, case())


@pytest.mark.parametrize("case", [case for case, mutation in CASES.items() if mutation], ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case(), *CASES[case])

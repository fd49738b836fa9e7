"""What hubs meet: Jobs that come and go, long scrape intervals, scopes that change, scrapes that change what they bring.

Each case is one that the rules once got wrong. They either do what they should, or an alert says that they cannot.
"""

import pytest

from tests.support.promtool import (
    AVAILABLE,
    DAY,
    DOWN,
    IMAGE,
    OVERDUE,
    Case,
    Page,
    fails,
    firing,
    named,
    passes,
    same,
)

OLD = -30 * DAY * 60
RENAMED, MISSING, NOTHING = (
    "MojaloopImagePatchLabelsRenamed",
    "MojaloopImagePatchSamplesMissing",
    "MojaloopImagePatchNothingWatched",
)
DISAGREE, SCRAPES, NOT_SYNCED = (
    "MojaloopImagePatchReplicasDisagree",
    "MojaloopImagePatchExporterScrapesFail",
    "MojaloopImagePatchExporterNotSynced",
)
NOT_ROLLED_OUT, SUPERSEDED = "MojaloopImagePatchNotRolledOut", "MojaloopImagePatchLineSuperseded"
MIXED, UNKNOWN = "MojaloopImageVersionsMixed", "MojaloopImageStatusUnknown"
ONE = 'namespace="mojaloop",workload_kind="Deployment",workload="ledger",container="main",container_type="container"'


def ever(alert, hours):
    """For how many evaluations an alert fired within the last hours."""
    return f'sum(count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[{hours}h])) or vector(0)'


# Jobs, gaps and long intervals.


def a_job_of_five_minutes_every_hour():
    page = (
        Page()
        .synced("1x1440")
        .container(" ".join(["1x4 stale _x53"] * 24), kind="Job", workload="nightly", published=OLD)
    )
    return Case([page], [(DAY, ever(OVERDUE, 24), 0), (DAY, ever(AVAILABLE, 24), 0)])


def finished_jobs_of_an_image_that_is_refused():
    """An hourly Job whose image always answers 401: none of its runs is missed, and none of its alerts stays."""
    page = Page().synced("1x1500").container("1x60 stale", kind="Job", workload="run-0")
    for number in range(24):
        page.unknown(f"_x{number * 60} 1x30 stale", "unauthorized", kind="Job", workload=f"run-{number}")
    return Case([page], [(59, firing(AVAILABLE), 1), (120, firing(AVAILABLE), 0), (1490, firing(AVAILABLE), 0)])


def page_of_everything(values):
    page = Page().synced(values)
    page.add(
        "mojaloop_workload_rollout_incomplete",
        same(values, 1),
        namespace="mojaloop",
        workload_kind="Deployment",
        workload="ledger",
    )
    page.container(same(values, 0), behind=0).container(same(values, 0), behind=0, workload="b", tag="v1.0.1")
    return page.upgrade(same(values, 1)).unknown(same(values, 1), workload="c")


LASTING = (NOT_ROLLED_OUT, SUPERSEDED, MIXED, UNKNOWN)


def a_gap_of_fourteen_minutes():
    page = page_of_everything("1x120 stale _x12 1x100")
    return Case([page], [(minute, firing(alert), 1) for alert in LASTING for minute in (119, 122, 130, 134, 136)])


def two_gaps_before_their_time():
    """An exporter that is restarted now and then does not restart the wait."""
    page = page_of_everything("1x20 stale _x5 1x20 stale _x5 1x60")
    return Case([page], [(35, firing(NOT_ROLLED_OUT), 1), *((65, firing(alert), 1) for alert in LASTING[1:])])


def scraped_every_ten_minutes():
    page = page_of_everything("1x60").container("1x60", workload="d", published=OLD)
    at = [
        (minute, firing(alert), 1)
        for alert in (*LASTING, AVAILABLE, OVERDUE)
        for minute in (130, 134, 138, 139, 140, 150)
    ]
    return Case([sparse(page, 10)], [*at, (150, ever(DOWN, 3), 0)])


def not_synced_and_scraped_every_ten_minutes():
    return Case([sparse(Page().synced("0x60"), 10)], [(minute, firing(NOT_SYNCED), 1) for minute in (90, 99, 100)])


def sparse(page, minutes):
    """A page that is scraped at every so many minutes of a case of one minute."""
    for series in page.series:
        value, _, count = series["values"].partition("x")
        series["values"] = " ".join([f"{value} _x{minutes - 1}"] * int(count))
    return page


def every_second_scrape_fails():
    page = Page().synced("1x2").container("1x2", published=OLD)
    for series in page.series:
        series["values"] = " ".join([f"{series['values'].partition('x')[0]} stale"] * 100)
    up = [{"series": 'up{instance="a",job="patch"}', "values": " ".join(["1 0"] * 100)}]
    at = [(minute, firing(alert), 1) for alert in (AVAILABLE, OVERDUE, SCRAPES) for minute in (100, 101, 150, 151)]
    return Case([page], [*at, (190, ever(DOWN, 3), 0)], series=up)


def an_exporter_that_is_scraped_well():
    up = [{"series": f'up{{instance="{name}",job="patch"}}', "values": "1x60 0x2 1x140"} for name in "ab"]
    return Case([Page().synced("1x60 stale stale 1x140")], [(200, ever(SCRAPES, 4), 0)], series=up)


# Scopes and clusters.


# Of a week, in steps of ten minutes: at the seventh sample the old pod ends, at the eighth the new one answers.
ENDS, BEGINS, WEEK = "1x6 stale", "_x8 1x1000", 7 * DAY - 60


def moved(before, after, *, alerts=(1, 1)):
    """The exporter before and after; how many alerts fire then; and never that it is down."""
    return Case(
        [before, after],
        [(60, firing(AVAILABLE), alerts[0]), (120, firing(AVAILABLE), alerts[1]), (WEEK, ever(DOWN, 165), 0)],
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
    return page.add("process_start_time_seconds", "_x8 4700x1000").container(BEGINS)


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
    two = Page("south", "2").synced("1x61 stale _x2 1x100", started="0x61 stale _x2 3780x100")
    return Case(
        [one, two], [(100, firing(DOWN), 1), (100, firing(DOWN, cluster="north"), 1), (100, firing(AVAILABLE), 1)]
    )


# Nothing fails in silence.


def a_metric_is_dropped(metric):
    page = Page("north").synced("1x120").container("1x120").add("mojaloop_exporter_samples", "1x120", metric=metric)
    page.series = [series for series in page.series if not series["series"].startswith(metric + "{")]
    return Case([page], [(60, firing(MISSING), 1), (60, firing(MISSING, metric=metric), 1)])


def releases_behind_are_dropped():
    return a_metric_is_dropped("mojaloop_image_patch_releases_behind")


def commands_are_dropped():
    return a_metric_is_dropped("mojaloop_workload_patch_releases_behind")


def info_is_dropped():
    return a_metric_is_dropped("mojaloop_image_info")


def the_counts_are_dropped():
    page = Page("north").synced("1x120")
    page.series = [series for series in page.series if "exporter_samples" not in series["series"]]
    return Case([page], [(60, firing(MISSING, metric="mojaloop_exporter_samples"), 1)])


def labels_are_dropped_so_that_samples_collide():
    page = (
        Page("north")
        .synced("1x120")
        .container("1x120")
        .add("mojaloop_exporter_samples", "3x120", metric="mojaloop_image_info")
    )
    return Case([page], [(60, firing(MISSING, metric="mojaloop_image_info"), 1)])


def every_sample_arrives():
    page = Page("north").synced("1x120").container("1x120").container("1x120", container="wait", init=True)
    page.add("mojaloop_exporter_samples", "2x120", metric="mojaloop_image_info").add(
        "mojaloop_exporter_samples", "0x120", metric="mojaloop_image_status_unknown"
    )
    page.add("mojaloop_exporter_samples", "1x120", metric="mojaloop_workload_patch_releases_behind")
    other = Page("north", "b").synced("1x120").container("1x120")
    return Case([page, other], [(60, firing(alert), 0) for alert in (MISSING, DISAGREE, RENAMED, NOTHING)])


def dropped_and_scraped_every_ten_minutes():
    page = sparse(
        Page("north").synced("1x12").add("mojaloop_exporter_samples", "4x12", metric="mojaloop_image_info"), 10
    )
    return Case([page], [(minute, firing(MISSING), 1) for minute in (50, 55, 59, 60)])


def no_container_is_watched():
    page = Page("north").synced("1x120")
    return Case([page], [(59, firing(NOTHING), 0), (61, firing(NOTHING), 1), (61, firing(DOWN), 0)])


def no_container_of_a_namespace_is_watched():
    page = Page("north").synced("1x120", "mojaloop").synced("1x120", "empty").container("0x120", behind=0)
    return Case([page], [(61, firing(NOTHING), 1), (61, firing(NOTHING, watched_namespace="empty"), 1)])


def only_containers_that_cannot_be_judged():
    page = Page("north").synced("1x120").unknown("1x120", "invalid_reference")
    return Case([page], [(100, firing(NOTHING), 0)])


def enforced_namespace_label():
    """The Prometheus operator overwrites `namespace`, and renames nothing."""
    page = Page("north").synced("1x60 _x60").container("1x60 stale")
    for one in ("mojaloop_exporter_synced", "mojaloop_exporter_scrape_check", "mojaloop_exporter_samples"):
        page.add(
            one,
            "_x61 1x60",
            namespace="monitoring",
            **{"watched_namespace": "*"} if one.endswith("synced") else {"container": "kept"},
        )
    page.container("_x61 1x60", namespace="monitoring", workload="other")
    for series in page.series[:3]:
        series["values"] = series["values"].replace("_x60", "stale")
    held = [
        (70, firing(AVAILABLE), 1),
        (119, firing(AVAILABLE), 1),
        (119, firing(AVAILABLE, namespace="monitoring"), 0),
    ]
    return Case([page], [(60, firing(RENAMED), 0), (70, firing(RENAMED), 1), *held])


def renamed_labels():
    """Nothing of such a scrape becomes an alert, as its namespaces are wrong; what was held stays."""
    page = Page("north").synced("1x60 stale").container("1x60 stale")
    wrong = Page("north").add("mojaloop_exporter_synced", "_x61 1x60", watched_namespace="*", namespace="monitoring")
    wrong.add(
        "mojaloop_exporter_scrape_check",
        "_x61 1x60",
        exported_namespace="kept",
        exported_container="kept",
        namespace="monitoring",
        container="exporter",
    )
    wrong.container("_x61 1x60", workload="other")
    for series in wrong.series:
        series["series"] = series["series"].replace(
            'namespace="mojaloop"', 'exported_namespace="mojaloop",namespace="monitoring"'
        )
    return Case(
        [page, wrong],
        [(70, firing(RENAMED), 1), (119, firing(AVAILABLE), 1), (119, firing(AVAILABLE, workload="ledger"), 1)],
    )


def renamed_labels_of_a_second_scrape():
    """Another job scrapes the same exporter as it should: nothing is lost."""
    good = Page("north", "a").synced("1x120").container("1x120")
    second = Page("north", "a", job="pods").add("mojaloop_exporter_synced", "1x120", watched_namespace="*")
    second.add("mojaloop_exporter_scrape_check", "1x120", exported_namespace="kept", exported_container="kept")
    return Case([good, second], [(60, firing(RENAMED), 0), (60, firing(AVAILABLE), 1)])


def one_of_two_scopes_is_renamed():
    good = Page("north", "a", job="one").synced("1x120", "mojaloop").container("1x120")
    second = Page("north", "b", job="two").add("mojaloop_exporter_synced", "1x120", watched_namespace="other")
    second.add("mojaloop_exporter_scrape_check", "1x120", exported_namespace="kept", exported_container="kept")
    return Case(
        [good, second], [(60, firing(RENAMED), 1), (60, firing(RENAMED, job="two"), 1), (60, firing(AVAILABLE), 1)]
    )


def two_clusters_without_a_label():
    """They cannot be told from two replicas; an alert says so while both are there."""
    pages = [Page(None, name).synced("1x120").container("1x120", workload=f"ledger-{name}") for name in "ab"]
    for page in pages:
        page.add("mojaloop_exporter_samples", "1x120", metric="mojaloop_image_info")
    return Case(pages, [(60, firing(DISAGREE), 1), (60, firing(AVAILABLE), 2)])


def two_clusters_without_a_label_that_watch_names():
    pages = [
        Page(None, name).synced("1x120", "mojaloop").container("1x120", workload=f"ledger-{name}") for name in "ab"
    ]
    return Case(pages, [(60, firing(DISAGREE), 1)])


def exporters_of_two_scopes_agree():
    pages = [Page("north", name, job=name).synced("1x120", name).container("1x120", namespace=name) for name in "ab"]
    return Case(pages, [(60, firing(DISAGREE), 0), (60, firing(AVAILABLE), 2)])


def recorded_series_are_federated():
    """From another Prometheus with the same rules: they carry the labels of that scrape, and are that Prometheus' alerts."""
    page = Page("north").synced("1x60 stale").container("1x60 stale", published=OLD)
    w = {"namespace": "mojaloop", "workload_kind": "Deployment", "workload": "ledger", "image": IMAGE, "tag": "v1.0.0"}
    far = Page("south", "far:9090", job="federate")
    for name in (
        "mojaloop:workload_patch_known",
        "mojaloop:workload_patch_missing",
        "mojaloop:workload_patch_since_timestamp_seconds",
    ):
        far.add(name, "0+60x240", **w, latest_tag="v1.0.2", behind="2").add(
            name, "0+60x240", **w, cluster="north", latest_tag="v1.0.1", behind="1"
        )
    far.add("mojaloop:workload_patch_missing", "0+60x240")
    far.add("mojaloop:exporter_scope_synced", "-1x240", watched_namespace="*").add(
        "mojaloop:exporter_scope_synced", "1x240", watched_namespace="*", cluster="north"
    )
    far.add(
        "mojaloop:exporter_scrape_timestamp_seconds",
        "0+60x10 stale",
        watched_namespace="*",
        scrape_job="patch",
        scrape_instance="z",
    )
    for name in (
        "namespace:mojaloop_image_containers:watched",
        "namespace:mojaloop_image_containers:judged",
        "namespace:mojaloop_image_containers:overdue",
    ):
        far.add(name, "5x240", namespace="mojaloop", cluster="north")
    far.add("mojaloop:exporter_samples_missing", "4x240", metric="x", scrape_job="patch")
    alerts = [(59, firing(AVAILABLE), 1), (59, firing(OVERDUE), 1), (59, firing(DOWN), 0), (59, firing(MISSING), 0)]
    return Case(
        [page, far],
        [*alerts, (200, firing(AVAILABLE), 1), (200, firing(DOWN), 1), (200, firing(DOWN, cluster="north"), 1)],
    )


def a_workload_of_a_federated_name_is_not_doubled():
    page, far = Page("north").synced("1x60").container("1x60"), Page("north", "far", job="federate")
    far.add(
        "mojaloop:workload_patch_missing",
        "0+60x60",
        namespace="mojaloop",
        workload_kind="Deployment",
        workload="other",
        image=IMAGE,
        tag="v1.0.0",
    )
    return Case([page, far], [(59, firing(AVAILABLE), 1)])


# Replicas that differ on whether a container can be judged.


def known_to_one_replica():
    one, two = (
        Page("north", "a").synced("1x120").container("0x120", behind=0),
        Page("north", "b").synced("1x120").unknown("1x120", "not_found"),
    )
    return Case([one, two], [(100, firing(UNKNOWN), 0)])


def an_image_that_is_always_refused():
    """What it once missed is held as long as it runs, and an alert says that it cannot be judged."""
    page = Page("north").synced("1x2000").container("1x6 stale").unknown("_x7 1x2000", "unauthorized")
    return Case(
        [page], [(minute, firing(alert), 1) for minute in (200, 13 * DAY) for alert in (AVAILABLE, UNKNOWN)], minutes=10
    )


CASES = named(
    a_job_of_five_minutes_every_hour, finished_jobs_of_an_image_that_is_refused, a_gap_of_fourteen_minutes, two_gaps_before_their_time,
    scraped_every_ten_minutes, not_synced_and_scraped_every_ten_minutes, every_second_scrape_fails, an_exporter_that_is_scraped_well,
    from_the_cluster_to_names, from_names_to_the_cluster, a_namespace_is_dropped_by_a_new_pod, a_namespace_is_dropped_at_the_same_address,
    a_cluster_label_is_added, a_cluster_label_is_added_by_an_upgrade, a_cluster_label_is_added_and_the_exporter_goes_down_later,
    down_and_not_configured_away, one_of_two_scopes_is_down, one_cluster_is_down_while_the_other_is_upgraded, releases_behind_are_dropped,
    commands_are_dropped, info_is_dropped, the_counts_are_dropped, labels_are_dropped_so_that_samples_collide, every_sample_arrives,
    dropped_and_scraped_every_ten_minutes, no_container_is_watched, no_container_of_a_namespace_is_watched, only_containers_that_cannot_be_judged,
    enforced_namespace_label, renamed_labels, renamed_labels_of_a_second_scrape, one_of_two_scopes_is_renamed, two_clusters_without_a_label,
    two_clusters_without_a_label_that_watch_names, exporters_of_two_scopes_agree, recorded_series_are_federated,
    a_workload_of_a_federated_name_is_not_doubled, known_to_one_replica, an_image_that_is_always_refused,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_hubs_meet(tmp_path, case):
    passes(tmp_path, case())


MUTATIONS = {
    a_job_of_five_minutes_every_hour: ("for: 15m  # value: overdue_for", "for: 0m  # value: overdue_for"),
    scraped_every_ten_minutes: ("[15m]", "[5m]"),
    not_synced_and_scraped_every_ten_minutes: ('max_over_time(mojaloop:exporter_scope_synced{job=""}[15m]) == 0', 'mojaloop:exporter_scope_synced{job=""} == 0'),
    from_the_cluster_to_names: ('{job=""} - 900\n', '{job=""}\n'),
    a_namespace_is_dropped_at_the_same_address: ("                >= on (scrape_job, scrape_instance) group_left ()\n", "                >= 0 * on (scrape_job, scrape_instance) group_left ()\n"),
    a_cluster_label_is_added_by_an_upgrade: (") < 3600", ") < 0"),
    one_cluster_is_down_while_the_other_is_upgraded: ('{cluster="",job=""}', '{job=""}'),
    enforced_namespace_label: (' unless mojaloop_exporter_scrape_check{namespace="kept",container="kept"})', " unless mojaloop_exporter_scrape_check)"),
    renamed_labels: ('workload_patch_releases_behind{exported_namespace=""}', "workload_patch_releases_behind"),
    renamed_labels_of_a_second_scrape: ("            unless on (cluster, watched_namespace)\n", "            unless on (cluster, watched_namespace, job)\n"),
    recorded_series_are_federated: ('workload!="",job=""', 'workload!=""'),
    known_to_one_replica: ("unless on (cluster, namespace, workload_kind, workload, container, container_type) mojaloop_image_patch_available", "unless on (instance) mojaloop_image_patch_available"),
}  # fmt: skip


@pytest.mark.parametrize("case", MUTATIONS, ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case(), *MUTATIONS[case])

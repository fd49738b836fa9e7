"""Nothing fails in silence: scrapes that drop or change metrics, exporters that watch nothing, and federation."""

import pytest

from tests.support.promtool import AVAILABLE, DOWN, IMAGE, OVERDUE, Case, Page, fails, firing, named, passes, sparse

OLD = -30 * 86400
RENAMED, MISSING = "MojaloopImagePatchLabelsRenamed", "MojaloopImagePatchSamplesMissing"
DISAGREE, NOTHING = "MojaloopImagePatchReplicasDisagree", "MojaloopImagePatchNothingWatched"


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
    """From another Prometheus with the same rules: its alerts are its own, and its series have a `job` here."""
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


CASES = named(
    releases_behind_are_dropped,
    commands_are_dropped,
    info_is_dropped,
    the_counts_are_dropped,
    labels_are_dropped_so_that_samples_collide,
    every_sample_arrives,
    dropped_and_scraped_every_ten_minutes,
    no_container_is_watched,
    no_container_of_a_namespace_is_watched,
    only_containers_that_cannot_be_judged,
    enforced_namespace_label,
    renamed_labels,
    renamed_labels_of_a_second_scrape,
    one_of_two_scopes_is_renamed,
    two_clusters_without_a_label,
    two_clusters_without_a_label_that_watch_names,
    exporters_of_two_scopes_agree,
    recorded_series_are_federated,
    a_workload_of_a_federated_name_is_not_doubled,
)


@pytest.mark.parametrize("case", CASES)
def test_what_hubs_meet(tmp_path, case):
    passes(tmp_path, case())


MUTATIONS = {
    enforced_namespace_label: (
        '  unless mojaloop_exporter_scrape_check{namespace="kept",container="kept"}',
        "  unless mojaloop_exporter_scrape_check",
    ),
    renamed_labels: ("or mojaloop_exporter_synced * 0", "or mojaloop_exporter_synced"),
    renamed_labels_of_a_second_scrape: (
        "            unless on (cluster, watched_namespace)\n",
        "            unless on (cluster, watched_namespace, job)\n",
    ),
    recorded_series_are_federated: ('workload!="",job=""', 'workload!=""'),
}


@pytest.mark.parametrize("case", MUTATIONS, ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case(), *MUTATIONS[case])

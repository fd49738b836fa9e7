"""Alerts about the exporter: silent just before their time, and firing after it with exactly these words."""

import pytest

from tests.support.promtool import (
    DAY,
    DOWN,
    GRAFANA,
    HOUR,
    IMAGE,
    Case,
    Page,
    about_the_exporter,
    firing,
    passes,
    said,
    silent_and_then_firing,
)

HEALTH = f"{GRAFANA}-exporter"
LAST_LOOKUP = "mojaloop_image_lookup_timestamp_seconds"
STAYS = "New patches go unnoticed. Firing alerts keep firing until 7 days after the last scrape."


def down():
    page = Page("north").synced("1x10 stale", "mojaloop")
    return (
        page,
        25,
        27,
        about_the_exporter(
            DOWN,
            {"watched_namespace": "mojaloop"},
            "The image patch exporter is down.",
            f"No exporter for namespace mojaloop is scraped. {STAYS}",
        ),
    )


def down_for_the_cluster():
    page = Page("north").synced("1x10 stale")
    return (
        page,
        25,
        27,
        about_the_exporter(
            DOWN,
            {"watched_namespace": "*"},
            "The image patch exporter is down.",
            f"No exporter for the cluster is scraped. {STAYS}",
        ),
    )


def down_for_watched_images():
    page = Page("north").synced("1x10 stale", "")
    return (
        page,
        25,
        27,
        about_the_exporter(
            DOWN,
            {"workload_kind": "Image"},
            "The image patch exporter is down.",
            f"An exporter that watches images is not scraped. {STAYS}",
        ),
    )


def never_there():
    return (
        Page("north"),
        14,
        16,
        said(
            DOWN,
            {},
            "The image patch exporter is down.",
            f"No exporter for the cluster is scraped. {STAYS}",
            dashboard_url=HEALTH,
        ),
    )


NOT_SYNCED = (
    "The image patch exporter is not in sync.",
    "The exporter has not listed the cluster, or receives no changes from there. It may lack permissions, or not reach "
    "the API server. New patches may go unnoticed, and alerts of deleted workloads keep firing.",
)


def not_synced():
    return (
        Page("north").synced("0x90"),
        59,
        61,
        about_the_exporter(
            "MojaloopImagePatchExporterNotSynced",
            {"watched_namespace": "*"},
            *NOT_SYNCED,
        ),
    )


def a_list_that_is_not_followed():
    return (
        Page("north").synced("0x90", ""),
        59,
        61,
        about_the_exporter(
            "MojaloopImagePatchExporterNotSynced",
            {"workload_kind": "Image"},
            NOT_SYNCED[0],
            "An exporter does not follow its list of watched images. New patches may go unnoticed, "
            "and alerts of images that were removed from the list keep firing.",
        ),
    )


def no_longer_synced():
    # The exporter says so 5 minutes after the last list or watch worked, and the rule bridges gaps of 15 minutes.
    return (
        Page("north").synced("1x10 0x120"),
        84,
        87,
        about_the_exporter("MojaloopImagePatchExporterNotSynced", {"watched_namespace": "*"}, *NOT_SYNCED),
    )


def scrapes_fail():
    page = Page("north").synced("1x120").add("up", " ".join(["1 0"] * 40))
    return (
        page,
        25,
        27,
        said(
            "MojaloopImagePatchExporterScrapesFail",
            {"scrape_job": "patch", "scrape_instance": "a"},
            "Many scrapes of the image patch exporter fail.",
            "Scrapes of a (job patch) alternated between success and failure 27 times in the last hour.",
            dashboard_url=HEALTH,
        ),
    )


def renamed():
    page = Page("north").add("mojaloop_exporter_synced", "1x30", watched_namespace="*")
    page.add(
        "mojaloop_exporter_scrape_check",
        "1x30",
        exported_namespace="kept",
        exported_container="kept",
        namespace="monitoring",
    )
    return (
        page,
        4,
        6,
        about_the_exporter(
            "MojaloopImagePatchLabelsRenamed",
            {"job": "patch"},
            "Prometheus changes the labels of the image patch exporter's metrics.",
            "The scrape of job patch changes the labels namespace and container. It raises no new alerts until"
            " it has honor_labels: true (honorLabels in a ServiceMonitor) and no enforced namespace label.",
            severity="critical",
        ),
    )


def samples_missing():
    page = (
        Page("north")
        .synced("1x90")
        .container("0x90", behind=0)
        .add("mojaloop_exporter_samples", "2x90", metric="mojaloop_image_info")
    )
    return (
        page,
        29,
        31,
        about_the_exporter(
            "MojaloopImagePatchSamplesMissing",
            {"scrape_job": "patch", "metric": "mojaloop_image_info"},
            "Metrics of the image patch exporter are missing.",
            "1 sample of mojaloop_image_info does not arrive from job patch: the scrape drops or relabels them, "
            "or the exporter is older than these rules.",
        ),
    )


def nothing_watched():
    page = Page("north").synced("1x90", "mojaloop")
    return (
        page,
        59,
        61,
        about_the_exporter(
            "MojaloopImagePatchNothingWatched",
            {"watched_namespace": "mojaloop"},
            "The image patch exporter watches no containers.",
            "The exporter has listed namespace mojaloop and found no container to watch. "
            "Its configuration may exclude all of them.",
        ),
    )


def a_configuration_that_cannot_be_loaded():
    """Of one replica; the other has not read the new file yet."""
    page = Page("north").synced("1x60").add("mojaloop_exporter_config_last_reload_successful", "1x5 0x55")
    page.series += Page("north", "b").add("mojaloop_exporter_config_last_reload_successful", "1x60").series
    return (
        page,
        15,
        17,
        about_the_exporter(
            "MojaloopImagePatchConfigReloadFailed",
            {"job": "patch"},
            "The image patch exporter cannot reload its configuration.",
            "The configuration file of an exporter of job patch has changed and is invalid. The previous "
            "configuration stays in effect until the file is corrected. The exporter's log has the error.",
        ),
    )


def disagree():
    page = (
        Page("north")
        .synced("1x60")
        .container("0x60", behind=0)
        .add("mojaloop_exporter_samples", "1x60", metric="mojaloop_image_info")
    )
    other = (
        Page("north", "b")
        .synced("1x60")
        .container("0x60", workload="other", behind=0)
        .add("mojaloop_exporter_samples", "1x60", metric="mojaloop_image_info")
    )
    page.series += other.series
    return (
        page,
        14,
        16,
        about_the_exporter(
            "MojaloopImagePatchReplicasDisagree",
            {},
            "Replicas of the image patch exporter report different containers.",
            "Together they report 2 containers, more than any of them alone. "
            "Two clusters may share this Prometheus without a cluster label, or the watch of one replica is stuck.",
        ),
    )


def stale():
    page = Page("north").add(LAST_LOOKUP, f"-{5 * HOUR * 60}x100", registry="docker.io", image=IMAGE)
    return (
        page,
        75,
        77,
        about_the_exporter(
            "MojaloopImageLookupStale",
            {"registry": "docker.io", "image": IMAGE},
            "The tags of an image have not been looked up for hours.",
            f"The last successful lookup of {IMAGE} was 6h 17m 0s ago. Newer patches of it go unnoticed.",
        ),
    )


def failing():
    page = Page("north").add(
        "mojaloop_exporter_registry_failures_total", "0x5 1+1x120", registry="docker.io", reason="unreachable"
    )
    return (
        page,
        65,
        70,
        about_the_exporter(
            "MojaloopRegistryFailing",
            {"registry": "docker.io", "reason": "unreachable"},
            "Requests to a registry keep failing.",
            "60 requests to docker.io failed in the last hour: unreachable.",
        ),
    )


def failing_once_an_hour():
    page = Page("north").add(
        "mojaloop_exporter_registry_failures_total", "0x5 1x49 2x49 3x60", registry="docker.io", reason="not_found"
    )
    return (
        page,
        65,
        70,
        about_the_exporter(
            "MojaloopRegistryFailing",
            {"registry": "docker.io", "reason": "not_found"},
            "Requests to a registry keep failing.",
            "1 request to docker.io failed in the last hour: not_found.",
        ),
    )


WORKLOAD = {"namespace": "mojaloop", "workload_kind": "Deployment", "workload": "ledger", "tag": "v1.0.2"}
APPROVAL = "mojaloop_image_patch_approval"


def about_the_patcher(alert, own, summary, description):
    url = f"{GRAFANA}-workload?var-namespace=mojaloop&var-workload=ledger"
    return said(alert, {"cluster": "north", **own}, summary, description, dashboard_url=url)


def rolled_back():
    page = Page("north", job="patcher").add(APPROVAL, "1x10", **WORKLOAD, state="RollingBack")
    page.add(APPROVAL, "_x10 1x60", **WORKLOAD, state="RolledBack")
    return (
        page,
        9,
        11,
        about_the_patcher(
            "MojaloopImagePatchRolledBack",
            {**WORKLOAD, "state": "RolledBack"},
            "An approved patch failed.",
            "The patch of Deployment mojaloop/ledger to v1.0.2 failed, and the patcher restored the old image. No "
            "other patch starts until somebody acknowledges or deletes the approval, unless patcher.on_failure is "
            "continue.",
        ),
    )


def failed_where_the_scrape_renames_labels():
    renamed_ = {**WORKLOAD, "namespace": "patching", "exported_namespace": "mojaloop", "state": "Failed"}
    return (
        Page("north", job="patcher").add(APPROVAL, "_x10 1x60", **renamed_),
        9,
        11,
        about_the_patcher(
            "MojaloopImagePatchRolledBack",
            {**WORKLOAD, "state": "Failed"},
            "An approved patch failed.",
            "The patch of Deployment mojaloop/ledger to v1.0.2 did not end as approved, and the patcher could not "
            "restore the old image. No other patch starts until somebody acknowledges or deletes the approval, unless "
            "patcher.on_failure is continue.",
        ),
    )


def stuck():
    """In whatever states it was meanwhile; it waited for its window for hours before, which does not count."""
    page = Page("north", job="patcher").add(APPROVAL, "1x150", **WORKLOAD, state="Waiting")
    page.add(APPROVAL, "_x150 1x60", **WORKLOAD, state="RollingOut")
    page.add(APPROVAL, "_x211 1x120", **WORKLOAD, state="RollingBack")
    return (
        page,
        269,
        271,
        about_the_patcher(
            "MojaloopImagePatchApprovalStuck",
            WORKLOAD,
            "An approved patch is stuck.",
            "The patch of Deployment mojaloop/ledger to v1.0.2 has been in progress for hours. No other patch starts "
            "until it ends.",
        ),
    )


def about_patchers(description):
    return about_the_exporter("MojaloopImagePatcherDown", {"job": "patcher"}, "The image patcher is down.", description)


LOOKED = "mojaloop_patcher_last_look_timestamp_seconds"
NOT_APPLIED = "Approved patches are not applied, and a running rollout is not watched."


def no_patcher_works():
    """One is gone; its replica waits for a turn that never comes."""
    page = Page("north", job="patcher").add(LOOKED, "0+60x60 stale")
    page.series += Page("north", "b", "patcher").add(LOOKED, "0x200").series
    return page, 90, 92, about_patchers(f"The patcher of job patcher read the approvals 32m 0s ago. {NOT_APPLIED}")


CASES = (
    rolled_back,
    failed_where_the_scrape_renames_labels,
    stuck,
    no_patcher_works,
    down,
    down_for_the_cluster,
    down_for_watched_images,
    never_there,
    not_synced,
    a_list_that_is_not_followed,
    no_longer_synced,
    scrapes_fail,
    renamed,
    samples_missing,
    nothing_watched,
    a_configuration_that_cannot_be_loaded,
    disagree,
    stale,
    failing,
    failing_once_an_hour,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_silent_just_before_its_time_and_firing_after_it(tmp_path, case):
    silent_and_then_firing(tmp_path, *case())


# By the longest time between two lookups, in minutes: when the last lookup is stale, at the earliest.
INTERVALS = {
    None: 6 * HOUR,
    10: 6 * HOUR,
    HOUR: 6 * HOUR,
    3 * HOUR: 7 * HOUR,
    DAY: 28 * HOUR,
    7 * DAY: 7 * DAY + 4 * HOUR,
}


@pytest.mark.parametrize(("interval", "stale_after"), INTERVALS.items())
def test_a_lookup_is_stale_some_hours_after_the_next_one_was_due(tmp_path, interval, stale_after):
    # The last lookup was so long ago that it is stale after an hour.
    last = (HOUR - stale_after) * 60
    page = Page("north").synced("1x20").add(LAST_LOOKUP, f"{last}x20", registry="docker.io", image=IMAGE)
    # A replica that is configured otherwise, and another cluster: the longest time counts, in each cluster.
    for minutes, cluster, instance in ((interval, "north", "a"), (10, "north", "b"), (70 * DAY, "south", "c")):
        if interval is not None:
            other = Page(cluster, instance).add("mojaloop_exporter_lookup_interval_seconds", f"{minutes * 60}x20")
            page.series += other.series
    alerts = [
        (HOUR, firing("MojaloopImageLookupStale"), 0),
        (HOUR + 30, firing("MojaloopImageLookupStale"), 1),
    ]
    passes(tmp_path, Case([page], alerts, minutes=10))


def quiet(alert, page, *at, minutes=1):
    return Case([page], [(minute, firing(alert), 0) for minute in at], minutes=minutes)


@pytest.mark.parametrize(
    "case",
    [
        # A hub without a patcher.
        quiet("MojaloopImagePatcherDown", Page("north").synced("1x120").container("1x120"), 60, 120),
        # A new patcher whose old pod is gone, and one of another job.
        quiet(
            "MojaloopImagePatcherDown",
            Page("north", job="old").add(LOOKED, "0+60x60 stale").add(LOOKED, "_x60 3600+60x120", job="patcher"),
            60,
            120,
            180,
        ),
        # It was uninstalled two days ago.
        quiet(
            "MojaloopImagePatcherDown",
            Page("north", job="patcher").add(LOOKED, "0+600x6 stale"),
            2 * DAY,
            minutes=10,
        ),
        # Night after night an approval waits for a window, and others were carried out.
        quiet(
            "MojaloopImagePatchApprovalStuck",
            Page("north", job="patcher")
            .add(APPROVAL, "1x300", **WORKLOAD, state="Waiting")
            .add(APPROVAL, "1x300", **{**WORKLOAD, "workload": "other"}, state="Applied"),
            300,
            2900,
            minutes=10,
        ),
        # Somebody acknowledged the failure.
        quiet(
            "MojaloopImagePatchRolledBack",
            Page("north", job="patcher").add(APPROVAL, "1x30 stale", **WORKLOAD, state="RolledBack"),
            60,
        ),
        quiet(
            "MojaloopImagePatchRolledBack",
            Page("north", job="patcher").add(APPROVAL, "1x60", **WORKLOAD, state="Refused"),
            30,
        ),
    ],
    ids=["no patcher", "replaced", "uninstalled", "waiting", "acknowledged", "refused"],
)
def test_what_is_as_it_should_be_is_silent(tmp_path, case):
    passes(tmp_path, case)

"""Jobs that come and go, gaps, long scrape intervals, and images that cannot be judged: each once misled the rules."""

import pytest

from tests.support.promtool import (
    AVAILABLE,
    DAY,
    DOWN,
    HOUR,
    OVERDUE,
    Case,
    Page,
    ever,
    fails,
    firing,
    named,
    passes,
    same,
    sparse,
)

OLD = -30 * DAY * 60
SCRAPES, NOT_SYNCED = "MojaloopImagePatchExporterScrapesFail", "MojaloopImagePatchExporterNotSynced"
NOT_ROLLED_OUT, SUPERSEDED = "MojaloopImagePatchNotRolledOut", "MojaloopImagePatchLineSuperseded"
MIXED, UNKNOWN = "MojaloopImageVersionsMixed", "MojaloopImageStatusUnknown"


def a_job_of_five_minutes_every_hour():
    """For longer than the rules look back, which is 6 hours."""
    page = (
        Page()
        .synced("1x480")
        .container(" ".join(["1x4 stale _x53"] * 8), kind="Job", workload="nightly", published=OLD)
    )
    return Case([page], [(8 * HOUR, ever(OVERDUE, 8), 0), (8 * HOUR, ever(AVAILABLE, 8), 0)])


def finished_jobs_of_an_image_that_is_refused():
    """An hourly Job whose image always answers 401: none of its runs is missed, and none of its alerts stays."""
    page = Page().synced("1x150").container("1x6 stale", kind="Job", workload="run-0")
    for number in range(24):
        page.unknown(f"_x{number * 6} 1x3 stale", "unauthorized", kind="Job", workload=f"run-{number}")
    at = [(50, firing(AVAILABLE), 1), (120, firing(AVAILABLE), 0), (1490, firing(AVAILABLE), 0)]
    return Case([page], at, minutes=10)


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


def known_to_one_replica():
    one, two = (
        Page("north", "a").synced("1x120").container("0x120", behind=0),
        Page("north", "b").synced("1x120").unknown("1x120", "not_found"),
    )
    return Case([one, two], [(100, firing(UNKNOWN), 0)])


def an_image_that_is_always_refused():
    """What it once missed is held as long as it runs, and an alert says that it cannot be judged."""
    page = Page("north").synced("1x200").container("1x1 stale").unknown("_x2 1x200", "unauthorized")
    at = [(minute, firing(alert), 1) for minute in (4 * HOUR, 8 * DAY) for alert in (AVAILABLE, UNKNOWN)]
    return Case([page], at, minutes=HOUR)


CASES = named(
    a_job_of_five_minutes_every_hour,
    finished_jobs_of_an_image_that_is_refused,
    a_gap_of_fourteen_minutes,
    two_gaps_before_their_time,
    scraped_every_ten_minutes,
    not_synced_and_scraped_every_ten_minutes,
    every_second_scrape_fails,
    an_exporter_that_is_scraped_well,
    known_to_one_replica,
    an_image_that_is_always_refused,
)


@pytest.mark.parametrize("case", CASES)
def test_what_hubs_meet(tmp_path, case):
    passes(tmp_path, case())


MUTATIONS = {
    a_job_of_five_minutes_every_hour: ("for: 15m  # value: overdue_for", "for: 0m  # value: overdue_for"),
    scraped_every_ten_minutes: ("[15m]", "[5m]"),
    not_synced_and_scraped_every_ten_minutes: (
        'max_over_time(mojaloop:exporter_scope_synced{job=""}[15m]) == 0',
        'mojaloop:exporter_scope_synced{job=""} == 0',
    ),
    known_to_one_replica: (
        "unless on (cluster, namespace, workload_kind, workload, container, container_type, image, tag)\n",
        "unless on (instance)\n",
    ),
}


@pytest.mark.parametrize("case", MUTATIONS, ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    fails(tmp_path, case(), *MUTATIONS[case])

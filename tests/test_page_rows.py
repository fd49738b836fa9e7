"""The rows and totals of the page, and that they are dropped with their snapshot."""

import gc
import weakref
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.collector import Exposition
from exporter.page.query import NO_NAMESPACE, Sort, View
from exporter.page.rows import Tables, make_table, select
from exporter.reasons import Reason
from exporter.words import State
from exporter.workloads import Manager
from grafana.board import OVERVIEW
from tests.support.dashboards import panel_of, substituted
from tests.support.page import DAY, NOW, found, hub, missing, snapshot
from tests.support.promtool import Case, labels, passes


def names(rows):
    return [row.workload.name for row in rows]


def test_missing_patches_come_first_by_age_and_what_is_up_to_date_last():
    table = make_table(hub())
    assert [(row.state, row.workload.name) for row in table.rows] == [
        (State.PATCH, "quoting"),
        (State.PATCH, "ledger"),
        (State.PATCH, "mysql"),
        (State.PATCH, "watched"),
        (State.SUPERSEDED, "settlement"),
        (State.UNKNOWN, "broken"),
        (State.UNKNOWN, "vault"),
        (State.CURRENT, "fine"),
    ]
    assert table.namespaces == ("", "backing", "mojaloop")


def test_containers_of_one_image_and_tag_are_one_row_with_their_command():
    (row,) = (row for row in make_table(hub()).rows if row.workload.name == "ledger")
    assert {finding.container for finding in row.findings} == {"main", "wait"}
    assert row.since == NOW - 40 * DAY, "the oldest"
    assert row.patch is not None
    assert row.patch.patch_command.count('"replace"') == 2


def test_containers_that_are_judged_differently_are_rows_of_their_own():
    rows = make_table(
        snapshot(
            missing("ledger"),
            found("ledger", container="pinned"),
            found("ledger", container="wrong", reason=Reason.INVALID_ANNOTATION),
            found("ledger", container="bad", reason=Reason.INVALID_REFERENCE, image="", tag="", reference="A"),
            found("ledger", container="worse", reason=Reason.INVALID_REFERENCE, image="", tag="", reference="B"),
        )
    ).rows
    assert [(row.state, row.findings[0].container) for row in rows] == [
        (State.PATCH, "main"),
        (State.UNKNOWN, "bad"),
        (State.UNKNOWN, "worse"),
        (State.UNKNOWN, "wrong"),
        (State.CURRENT, "pinned"),
    ]
    assert [row.patch is not None for row in rows] == [True, False, False, False, False]


def test_where_no_date_is_known_the_age_counts_from_when_it_was_first_seen():
    (row,) = make_table(snapshot(missing("ledger", published=None, first_seen=NOW - DAY))).rows
    assert row.since == NOW - DAY
    rows = make_table(snapshot(missing("a", published=None, first_seen=None), missing("b"))).rows
    assert [row.workload.name for row in rows] == ["b", "a"]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(state=State.UNKNOWN), ["broken", "vault"]),
        (View(namespace="backing"), ["mysql", "broken", "vault"]),
        (View(namespace=NO_NAMESPACE), ["watched"]),
        (View(namespace="none"), []),
        (View(text="LEDGER wait"), ["ledger"]),
        (View(text="$(re"), ["broken"]),
        (View(text="argocd"), ["mysql"]),
        (View(text="v1.0.9"), ["quoting"]),
        (View(text="floating_tag"), ["vault"]),
        (View(text="mysql quoting"), []),
        (View(sort=Sort.WORKLOAD, state=State.PATCH), ["watched", "mysql", "ledger", "quoting"]),
        (View(sort=Sort.IMAGE, state=State.PATCH), ["mysql", "ledger", "quoting", "watched"]),
        (View(sort=Sort.BEHIND, state=State.PATCH), ["quoting", "ledger", "mysql", "watched"]),
        (View(sort=Sort.BEHIND, state=State.PATCH, reverse=True), ["watched", "mysql", "ledger", "quoting"]),
        (View(sort=Sort.AGE, namespace="mojaloop"), ["quoting", "ledger", "settlement", "fine"]),
        (View(sort=Sort.OWNER, state=State.PATCH), ["mysql", "quoting", "ledger", "watched"]),
    ],
)
def test_what_a_view_shows(view, expected):
    assert names(select(make_table(hub()), view)) == expected


def test_the_order_by_owner_is_by_name_then_source():
    managers = {"a": Manager("helm", "z"), "b": Manager("helm", "a"), "c": Manager("flux", "x")}
    table = make_table(snapshot(*(found(name) for name in "abcd"), managers=managers))
    assert names(select(table, View(sort=Sort.OWNER))) == ["c", "b", "a", "d"]


def test_a_table_is_made_once_for_a_snapshot_and_dropped_with_it():
    tables, shown = Tables(), hub()
    table = tables.of(shown)
    assert tables.of(shown) is table
    other = hub()
    assert tables.of(other) is not table
    held = weakref.ref(other)
    del other
    gc.collect()
    assert held() is None, "the table does not keep its snapshot"
    assert tables._table is None


PANELS = {
    "Workloads that miss a patch": "workloads",
    "Worst lag": "worst",
    "Median lag": "median",
    "Superseded lines": "superseded",
    "Unknown containers": "unknown",
}
WATCHED = "sum(namespace:mojaloop_image_containers:watched)"


def test_each_total_is_the_number_of_the_overview_dashboard(tmp_path):
    """What the shipped rules and the dashboard's queries make of the metrics of the same snapshot."""
    shown = snapshot(
        *hub().findings,
        found("other", minor="v1.4.0"),
        found("other", container="second", minor="v1.4.0", reference="mojaloop/central-ledger:v1.0.0"),
        missing("again", namespace="backing", minor="v1.3.0", published=None, first_seen=NOW - 7 * DAY),
        missing("again", namespace="backing", container="third", image="docker.io/bitnami/redis", days=5),
    )
    # promtool's time begins at 0.
    minutes = 10
    shown = snapshot(*(_moved(finding, by=minutes * 60 - NOW) for finding in shown.findings))
    totals = make_table(shown).totals
    exprs = {title: substituted(panel_of(OVERVIEW, title, "stat")["targets"][0]["expr"]) for title in PANELS}
    values = {title: getattr(totals, field) for title, field in PANELS.items()}
    assert min(totals.workloads, totals.superseded, totals.unknown) > 1
    for title in ("Worst lag", "Median lag"):
        values[title] = minutes * 60 - values[title]
    expected = [(minutes, exprs[title], values[title]) for title in PANELS]
    passes(tmp_path, Case([], [*expected, (minutes, WATCHED, totals.watched)], series=_series(shown, minutes)))


def _moved(finding, *, by):
    times = {name: getattr(finding, name) for name in ("published", "first_seen")}
    return replace(finding, **{name: None if at is None else at + by for name, at in times.items()})


def _series(shown, minutes):
    """The samples of a page of metrics, the same for so many minutes, in promtool's notation."""
    text = b"".join(Exposition(shown).chunks(openmetrics=False)).decode()
    target = {"job": "patch", "instance": "a"}
    return [
        {"series": f"{sample.name}{{{labels(**target, **sample.labels)}}}", "values": f"{sample.value:f}x{minutes}"}
        for family in parse(text)
        for sample in family.samples
    ]

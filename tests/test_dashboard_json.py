"""The JSON of the dashboards: what the generator writes, the SDK's schema, and the rules of Grafana's linter."""

from __future__ import annotations

import json
import re

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from exporter.demo.alerts import RULES
from grafana.board import EXPORTER, OVERVIEW, WORKLOAD
from grafana.generate import BOARDS, HERE, render
from tests.support.dashboards import DASHBOARDS, panel_of, panels, queries

UIDS = {board["uid"] for board in DASHBOARDS.values()}
OVERDUE_SECONDS = int(re.search(r"(\d+)  # value: overdue_seconds", RULES.read_text())[1])


def test_the_files_are_what_the_generator_writes():
    assert {file.name: file.read_text() for file in HERE.glob("*.json")} == render(), "run `make dashboards`"
    assert len(render()) == len(BOARDS) == 5


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    for board in DASHBOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken = set()
        for panel in board["panels"]:
            grid = panel["gridPos"]
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken, panel["title"]
            assert grid["x"] + grid["w"] <= 24
            taken |= cells


def test_the_schema_of_the_sdk_takes_them_as_they_are():
    for name, content in render().items():
        board = models.Dashboard.from_json(json.loads(content))
        again = json.loads(JSONEncoder(sort_keys=True).encode(board))
        assert again["uid"] == name.removesuffix(".json")
        assert [(p["title"], p["type"], p["gridPos"]) for p in again["panels"]] == [
            (p["title"], p["type"], p["gridPos"]) for p in json.loads(content)["panels"]
        ]


def test_every_link_leads_somewhere():
    text = json.dumps(DASHBOARDS) + RULES.read_text()
    linked = set(re.findall(r"/d/([a-z-]+)", text))
    assert linked
    assert linked <= UIDS
    for board in DASHBOARDS.values():
        dashboards, runbook = board["links"]
        assert dashboards["tags"] == ["mojaloop-image-patch"] == board["tags"]
        assert (RULES.parent.parent / runbook["url"].partition("/blob/main/")[2]).is_file()


def test_no_dashboard_repeats_a_threshold_that_an_installation_may_change():
    text = "".join(render().values())
    assert "14 days" not in text
    assert str(OVERDUE_SECONDS) not in text


def test_the_list_of_alerts_names_no_data_source():
    """Grafana compares the option with names of data sources, and replaces no variable in it."""
    options = panel_of(WORKLOAD, "Annotations of the alerts", "alertlist")["options"]
    assert "datasource" not in options
    assert options["alertName"] == "MojaloopImage"
    # A variable that is not formatted as a regular expression becomes `{a,b}`.
    assert set(re.findall(r"\$\{?(\w+:?\w*)", options["alertInstanceLabelFilter"])) == {
        "namespace:regex",
        "workload:regex",
    }


def test_every_mark_says_what_happened_to_which_workload():
    marks = [mark for board in DASHBOARDS.values() for mark in board["annotations"].get("list") or ()]
    assert len(marks) == 8
    for mark in marks:
        named = {"workload_kind", "workload", *(["tag"] if "approval" in mark["expr"] else [])}
        assert set(re.findall(r"{{(\w+)}}", mark["titleFormat"])) == named
        assert f"by (cluster, namespace, workload_kind, workload{', tag' if 'tag' in named else ''})" in mark["expr"]


def test_a_link_reads_only_columns_of_its_table_and_is_complete_for_a_watched_image():
    """Cluster is the exception: it has no column without a `cluster` label."""
    linked = 0
    for _, panel in panels():
        for override in panel["fieldConfig"]["overrides"]:
            for link in next((p["value"] for p in override["properties"] if p["id"] == "links"), ()):
                renamed = next(t for t in panel["transformations"] if t["id"] == "organize")["options"]["renameByName"]
                read = set(re.findall(r"\${__data\.fields\.(\w+)}", link["url"]))
                assert read - {"Cluster"} <= set(renamed.values()), (panel["title"], link["url"])
                assert "Namespace" not in read, "of a watched image it is empty"
                linked += 1
    assert linked


def test_no_legend_and_no_title_of_a_mark_separates_labels_that_may_be_empty():
    for _, panel in panels():
        for target in panel.get("targets") or ():
            assert "}}/{{" not in target.get("legendFormat", ""), panel["title"]
    assert not any(
        "}}/{{" in mark["titleFormat"]
        for board in DASHBOARDS.values()
        for mark in board["annotations"].get("list") or ()
    )


def test_a_table_says_where_there_is_no_namespace():
    for _, panel in panels():
        if panel["type"] == "table" and "namespace" in panel["transformations"][-1]["options"]["renameByName"]:
            (column,) = (o for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == "Namespace")
            ((mapping, *_),) = (p["value"] for p in column["properties"] if p["id"] == "mappings")
            assert mapping["options"] == {"match": "empty", "result": {"text": "(watched images)", "index": 0}}


def test_no_chart_adds_a_series_without_a_name():
    for board, panel in panels():
        for target in panel.get("targets") or ():
            if panel["type"] != "stat":
                assert "vector(" not in target["expr"], (board["uid"], panel["title"])


WITHOUT_IMAGE = (
    "namespace:mojaloop_image_containers:judged",
    "mojaloop_workload_managed_by",
    "mojaloop_image_patch_approval",
)


def test_the_image_filters_everything_on_the_overview():
    """But the zeros of namespaces that miss nothing, owners and approvals, which have no image."""
    for panel in DASHBOARDS[f"{OVERVIEW}.json"]["panels"]:
        for target in panel["targets"]:
            for metric, selected in re.findall(r"(\w+:?\w+:?\w*){([^}]*namespace=~[^}]*)}", target["expr"]):
                if metric not in WITHOUT_IMAGE:
                    assert 'workload_kind=~"$kind"' in selected, (panel["title"], metric)
                    assert 'image=~"$image"' in selected, (panel["title"], metric)


# The rules of Grafana's dashboard linter (grafana/dashboard-linter, docs/index.md), by their names.


def test_template_datasource_rule():
    for board in DASHBOARDS.values():
        first = board["templating"]["list"][0]
        assert (first["type"], first["name"], first["label"], first["query"]) == (
            "datasource",
            "datasource",
            "Data source",
            "prometheus",
        )


def test_template_job_rule():
    """On the health dashboard alone: recorded series have no job."""
    for board in DASHBOARDS.values():
        jobs = [v for v in board["templating"]["list"] if v["name"] == "job"]
        assert len(jobs) == (board["uid"] == EXPORTER)
        for job in jobs:
            assert (job["type"], job["multi"], job["allValue"], job["datasource"]["uid"]) == (
                "query",
                True,
                ".*",
                "${datasource}",
            )


def test_template_label_promql_rule():
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"][1:]:
            assert re.fullmatch(r"label_values\([a-z_]+(\{[^}]*\})?, \w+\)", variable["query"])


def test_template_on_time_change_reload_rule():
    assert all(
        variable["refresh"] == 2 for board in DASHBOARDS.values() for variable in board["templating"]["list"][1:]
    )


def test_panel_datasource_rule():
    for _, panel in panels():
        if panel["type"] != "text":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panel_title_description_rule():
    for _, panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")


def test_panel_units_rule():
    for _, panel in panels():
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panel_no_targets_rule():
    assert all(panel.get("targets") for _, panel in panels() if panel["type"] not in ("text", "alertlist"))


def test_target_rate_interval_rule():
    for place, expr, _ in queries():
        assert set(re.findall(r"(?:rate|increase)\([^\[]+\[([^\]]+)\]", expr)) <= {"$__rate_interval"}, place


def test_target_counter_agg_rule():
    for place, expr, _ in queries():
        for name in re.findall(r"\w+_total", expr):
            # The one exception counts what happened since a process began.
            assert f"rate({name}" in expr or name == "mojaloop_exporter_catalogue_resets_total", place


def test_target_job_rule():
    for place, expr, _ in queries():
        if place.startswith(EXPORTER):
            assert 'job=~"$job"' in expr, place


def test_uneditable_dashboard_rule():
    for board in DASHBOARDS.values():
        assert board["editable"] is False
        assert board["uid"]
        assert len(board["uid"]) <= 40


def test_no_panel_needs_a_plugin():
    assert {panel["type"] for _, panel in panels()} <= {
        "stat",
        "timeseries",
        "table",
        "state-timeline",
        "text",
        "alertlist",
    }

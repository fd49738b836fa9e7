"""What the dashboards' queries count, by promtool: a few samples, a query, and what the panel shows."""

from __future__ import annotations

import json
import subprocess

import pytest

from grafana.board import EXPORTER, IMAGES, OVERVIEW, WORKLOAD
from tests.support.components import need
from tests.support.dashboards import DASHBOARDS, panel_of, substituted

IN_HUB = 'namespace="hub",workload_kind="Deployment"'
LEDGER = f'{IN_HUB},workload="ledger",image="docker.io/mojaloop/central-ledger",tag="v1.0.0"'
QUOTING = f'{IN_HUB},workload="quoting",image="docker.io/mojaloop/quoting-service",tag="v2.0.0"'
MAIN = 'container="main",container_type="container"'
TARGET = 'job="patch",instance="a"'
COMMANDS = 'latest_tag="v1.0.2",behind="2",patch_command="kubectl patch",rollback_command="kubectl undo",advice="Do."'
UPGRADE = f"mojaloop_image_upgrade_available{{{TARGET},{MAIN},{LEDGER}"


def answers(tmp_path, samples, expr, expected, *, minute=0):
    """Whether the query answers as expected, on the oldest promtool that is supported.

    Args:
        tmp_path: a folder.
        samples: in promtool's notation, by series, a minute apart.
        expr: the query.
        expected: values by labels, in the notation of a sample; empty labels are `{}`.
        minute: when it is asked.
    """
    (promtool,) = need("promtool")
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in samples.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
            }
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps({"tests": [test]}))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "test.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expr_of(uid, title, panel="stat", *, target=0, **values):
    return substituted(panel_of(uid, title, panel)["targets"][target]["expr"], **values)


LINES = {
    # What the running container is told by `minor` and `major`: 1 for a release of a newer line, otherwise 0.
    "a patch of the running line is missing": (("0", "v1.0.0"), ("0", "v1.0.0"), 0),
    "a newer minor release exists": (("1", "v1.1.0"), ("0", "v1.0.0"), 1),
    "only a newer major release exists": (("0", "v1.0.0"), ("1", "v2.0.0"), 0),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_is_superseded_by_a_newer_minor_release_only(tmp_path, case):
    (minor, minor_tag), (major, major_tag), count = LINES[case]
    samples = {
        f'{UPGRADE},latest_tag="{minor_tag}",strategy="minor"}}': minor,
        f'{UPGRADE},latest_tag="{major_tag}",strategy="major"}}': major,
    }
    answers(tmp_path, samples, expr_of(OVERVIEW, "Superseded lines"), {"{}": count})
    rows = {'{namespace="hub",image="docker.io/mojaloop/central-ledger",tag="v1.0.0",latest_tag="v1.1.0"}': 1}
    answers(tmp_path, samples, expr_of(OVERVIEW, "Superseded lines", "table"), rows if count else {})


@pytest.mark.parametrize(("value", "tag"), [("1", "v1.1.0"), ("0", "v1.0.0")])
def test_the_newer_minor_of_a_version_in_use_is_empty_where_there_is_none(tmp_path, value, tag):
    samples = {f'{UPGRADE},latest_tag="{tag}",strategy="minor"}}': value}
    row = {'{namespace="hub",image="docker.io/mojaloop/central-ledger",tag="v1.0.0",minor="v1.1.0"}': 1}
    expr = expr_of(IMAGES, "Versions in use", "table", target=3)
    answers(tmp_path, samples, expr, row if value == "1" else {})


def test_the_commands_are_those_that_the_rules_hold(tmp_path):
    samples = {
        f"mojaloop:workload_patch_missing{{{LEDGER},{COMMANDS}}}": "60",
        f'mojaloop:workload_patch_missing{{{QUOTING},latest_tag="v2.0.1",behind="1"}}': "60",
        "mojaloop:workload_patch_missing": "60",  # the rules' own mark
    }
    shown = {f"{{{LEDGER},{COMMANDS}}}": 1, f'{{{QUOTING},latest_tag="v2.0.1",behind="1"}}': 1}
    answers(tmp_path, samples, expr_of(WORKLOAD, "Commands to paste", "table"), shown)
    one = expr_of(WORKLOAD, "Commands to paste", "table", workload=["ledger"])
    answers(tmp_path, samples, one, {f"{{{LEDGER},{COMMANDS}}}": 1})


IMAGE = ["docker.io/mojaloop/central-ledger"]
HUB = {
    f"mojaloop:workload_patch_missing{{{LEDGER},{COMMANDS}}}": "0x5",
    f"mojaloop:workload_patch_missing{{{QUOTING}}}": "0x5",
    "mojaloop:workload_patch_missing": "0x5",
    f"mojaloop:workload_patch_since_timestamp_seconds{{{LEDGER}}}": "60x5",
    f"mojaloop:workload_patch_since_timestamp_seconds{{{QUOTING}}}": "0x5",
    f'mojaloop_image_patch_available{{{TARGET},{MAIN},{LEDGER},latest_tag="v1.0.2"}}': "1x5",
    f'mojaloop_image_patch_available{{{TARGET},{MAIN},{QUOTING},latest_tag="v2.0.1"}}': "1x5",
    f'ALERTS{{alertname="MojaloopImagePatchOverdue",alertstate="pending",{QUOTING}}}': "1x5",
    f'mojaloop_image_status_unknown{{{TARGET},{MAIN},{QUOTING},reason="pending"}}': "1x5",
    f'{UPGRADE},latest_tag="v1.1.0",strategy="minor"}}': "1x5",
}


@pytest.mark.parametrize(
    ("title", "everything", "one_image"),
    [
        ("Workloads that miss a patch", 2, 1),
        ("Worst lag", 300, 240),
        ("Median lag", 270, 240),
        ("Not overdue", 0.5, 1),
        ("Superseded lines", 1, 1),
        ("Unknown containers", 1, 0),
    ],
)
def test_each_number_of_the_overview_follows_the_image(tmp_path, title, everything, one_image):
    answers(tmp_path, HUB, expr_of(OVERVIEW, title), {"{}": everything}, minute=5)
    answers(tmp_path, HUB, expr_of(OVERVIEW, title, image=IMAGE), {"{}": one_image}, minute=5)


def test_the_share_that_is_not_overdue_ignores_what_is_unknown_and_is_empty_when_nothing_is_judged(tmp_path):
    unknown = {f'mojaloop_image_status_unknown{{{TARGET},{MAIN},{LEDGER},reason="pending"}}': "1"}
    answers(tmp_path, unknown, expr_of(OVERVIEW, "Not overdue"), {})


def test_a_namespace_that_misses_nothing_is_at_zero(tmp_path):
    samples = {
        f"mojaloop:workload_patch_missing{{{LEDGER}}}": "0",
        f"mojaloop:workload_patch_since_timestamp_seconds{{{LEDGER}}}": "0",
        'namespace:mojaloop_image_containers:judged{namespace="hub"}': "3",
        'namespace:mojaloop_image_containers:judged{namespace="backing"}': "3",
    }
    expr = expr_of(OVERVIEW, "Workloads that miss a patch", "timeseries")
    answers(tmp_path, samples, expr, {'{namespace="hub"}': 1, '{namespace="backing"}': 0})
    expr = expr_of(OVERVIEW, "Worst lag", "timeseries")
    answers(tmp_path, samples, expr, {'{namespace="hub"}': 0, '{namespace="backing"}': 0})


def test_failures_are_counted_over_the_hour_before(tmp_path):
    def of(reason):
        return f'mojaloop_exporter_registry_failures_total{{{TARGET},registry="docker.io",reason="{reason}"}}'

    # Three failures in the tenth minute, and none ever of another reason.
    samples = {of("unreachable"): "0x9 3x90", of("not_found"): "0x100"}
    # Grafana's range is at least four scrape intervals, so that a rate has the two samples that it needs.
    expr = expr_of(EXPORTER, "Failures in the last hour", "timeseries").replace("[1m]", "[2m]")
    answers(tmp_path, samples, expr, {'{registry="docker.io",reason="unreachable"}': 3}, minute=60)
    answers(tmp_path, samples, expr, {}, minute=95)


def test_restarts_of_watches_are_counted_over_the_hour_before(tmp_path):
    of = f'mojaloop_exporter_kubernetes_watch_restarts_total{{{TARGET},kind="Pod",reason="gone"}}'
    expr = expr_of(EXPORTER, "Watch restarts in the last hour", "timeseries").replace("[1m]", "[2m]")
    answers(tmp_path, {of: "0x9 2x90"}, expr, {'{kind="Pod",reason="gone"}': 2}, minute=60)


@pytest.mark.parametrize(
    ("panel", "counter", "labels"),
    [
        ("Limits exceeded in the last hour", "limits_exceeded", 'limit="tags"'),
        ("Unexpected errors in the last hour", "unexpected_errors", 'source="registry"'),
    ],
)
def test_refusals_and_defects_are_counted_over_the_hour_before(tmp_path, panel, counter, labels):
    of = f"mojaloop_exporter_{counter}_total{{{TARGET},{labels}}}"
    expr = expr_of(EXPORTER, panel, "timeseries").replace("[1m]", "[2m]")
    answers(tmp_path, {of: "0x9 2x90"}, expr, {f"{{{labels}}}": 2}, minute=60)
    answers(tmp_path, {of: "0x9 2x90"}, expr, {}, minute=95)


def test_a_catalogue_that_cannot_be_written_is_shown(tmp_path):
    samples = {f"mojaloop_exporter_catalogue_writable{{{TARGET}}}": "0"}
    expr = expr_of(EXPORTER, "Catalogue not writable", "timeseries")
    answers(tmp_path, samples, expr, {'{instance="a"}': 1})


def test_the_duration_of_a_request_is_empty_while_nothing_is_requested(tmp_path):
    bucket = f'mojaloop_exporter_registry_request_duration_seconds_bucket{{{TARGET},registry="docker.io"'
    samples = {f'{bucket},le="1"}}': "0 10x20", f'{bucket},le="+Inf"}}': "0 10x20"}
    expr = expr_of(EXPORTER, "Duration of a request", "timeseries").replace("[1m]", "[2m]")
    answers(tmp_path, samples, expr, {'{registry="docker.io"}': 0.95}, minute=1)
    answers(tmp_path, samples, expr, {}, minute=10)


def test_of_replicas_the_lowest_rate_limit_is_shown(tmp_path):
    of = 'mojaloop_exporter_registry_ratelimit_remaining{job="patch",registry="docker.io"'
    samples = {f'{of},instance="a"}}': "90", f'{of},instance="b"}}': "40"}
    expr = expr_of(EXPORTER, "Rate limit remaining", "timeseries")
    answers(tmp_path, samples, expr, {'{registry="docker.io"}': 40})


def test_an_exporter_whose_labels_the_scrape_changes_is_counted(tmp_path):
    samples = {
        f'mojaloop_exporter_synced{{{TARGET},watched_namespace="*"}}': "1",
        f'mojaloop_exporter_scrape_check{{{TARGET},namespace="kept",container="kept"}}': "1",
    }
    expr = expr_of(EXPORTER, "Labels changed")
    answers(tmp_path, samples, expr, {"{}": 0})
    renamed = 'namespace="monitoring",exported_namespace="kept",container="kept"'
    samples = {
        f'mojaloop_exporter_synced{{{TARGET},watched_namespace="*"}}': "1",
        f"mojaloop_exporter_scrape_check{{{TARGET},{renamed}}}": "1",
    }
    answers(tmp_path, samples, expr, {"{}": 1})


@pytest.mark.parametrize(("kept", "dropped"), [(2, 0), (1, 1), (0, 2)])
def test_samples_that_the_scrape_drops_are_counted(tmp_path, kept, dropped):
    samples = {
        f'mojaloop_exporter_samples{{{TARGET},metric="mojaloop_image_info"}}': "2",
        f'mojaloop_exporter_samples{{{TARGET},metric="mojaloop_workload_managed_by"}}': "0",
        **{f'mojaloop_image_info{{{TARGET},{LEDGER},container="{n}"}}': "1" for n in range(kept)},
    }
    answers(tmp_path, samples, expr_of(EXPORTER, "Samples dropped"), {"{}": dropped})
    row = {f'{{{TARGET},metric="mojaloop_image_info"}}': dropped} if dropped else {}
    answers(tmp_path, samples, expr_of(EXPORTER, "Samples by metric", "table", target=2), row)


def test_of_replicas_that_differ_the_one_that_knows_most_releases_is_shown(tmp_path):
    samples = {}
    for instance, behind, latest in (("a", 1, "v1.0.1"), ("b", 2, "v1.0.2")):
        at = f'job="patch",instance="{instance}",{MAIN},{LEDGER}'
        samples[f"mojaloop_image_patch_releases_behind{{{at}}}"] = str(behind)
        samples[f'mojaloop_image_patch_available{{{at},latest_tag="{latest}"}}'] = "1"
    expr = expr_of(WORKLOAD, "Containers", "table", target=1)
    answers(tmp_path, samples, expr, {f'{{{MAIN},{LEDGER},latest_tag="v1.0.2"}}': 2})


def marks():
    return [substituted(event["expr"]) for event in DASHBOARDS[f"{OVERVIEW}.json"]["annotations"]["list"]]


def test_what_the_patcher_did_is_marked_once(tmp_path):
    approval_ = 'namespace="hub",workload_kind="Deployment",workload="ledger",tag="v1.0.2"'
    samples = {
        f'mojaloop_image_patch_approval{{{approval_},state="{state}",instance="{instance}"}}': values
        for instance in ("a", "b")
        for state, values in {
            "Waiting": "1x8 stale",
            "RollingOut": "_x9 1x2 stale",
            "Soaking": "_x12 1x2 stale",
            "RollingBack": "_x15 1x1 stale",
            "RolledBack": "_x17 1x60",
        }.items()
    }
    *_, patched, failed = marks()
    workload = {'{namespace="hub",workload_kind="Deployment",workload="hub/ledger",tag="v1.0.2"}': 1}
    for minute, expected in ((7, {}), (11, workload), (20, {})):
        answers(tmp_path, samples, patched, expected, minute=minute)
    for minute, expected in ((11, {}), (17, workload), (40, {})):
        answers(tmp_path, samples, failed, expected, minute=minute)


def test_the_marks_of_a_workload_begin_where_it_misses_a_patch(tmp_path):
    samples = {f"mojaloop:workload_patch_missing{{{LEDGER}}}": "_x9 0x30 stale"}
    began, ended, *_ = marks()
    workload = {'{namespace="hub",workload_kind="Deployment",workload="hub/ledger"}': 1}
    answers(tmp_path, samples, began, workload, minute=11)
    answers(tmp_path, samples, began, {}, minute=25)
    answers(tmp_path, samples, ended, {}, minute=25)
    answers(tmp_path, samples, ended, workload, minute=42)


# Watched images, which have no namespace and no container.

OF_A_LIST = 'workload_kind="Image",workload="ledger",image="docker.io/mojaloop/central-ledger",tag="v1.0.0"'
BOTH = {
    f"mojaloop:workload_patch_missing{{{LEDGER}}}": "0x30 stale",
    f"mojaloop:workload_patch_missing{{{OF_A_LIST}}}": "0x30 stale",
    "mojaloop:workload_patch_missing": "0x60",
    f"mojaloop:workload_patch_since_timestamp_seconds{{{LEDGER}}}": "0x60",
    f"mojaloop:workload_patch_since_timestamp_seconds{{{OF_A_LIST}}}": "0x60",
    f"mojaloop_image_info{{{TARGET},{MAIN},{LEDGER}}}": "1x60",
    f'mojaloop_image_info{{{TARGET},container_type="container",{OF_A_LIST}}}': "1x60",
    f"mojaloop_image_patch_releases_behind{{{TARGET},{MAIN},{LEDGER}}}": "2x60",
    f'mojaloop_image_patch_releases_behind{{{TARGET},container_type="container",{OF_A_LIST}}}': "2x60",
}


def test_the_variable_kind_selects_watched_images(tmp_path):
    for kind, count in ((None, 2), (["Image"], 1), (["Deployment"], 1), (["Image", "Deployment"], 2)):
        answers(tmp_path, BOTH, expr_of(OVERVIEW, "Workloads that miss a patch", kind=kind), {"{}": count})
    answers(
        tmp_path, BOTH, expr_of(OVERVIEW, "Workloads that miss a patch", kind=["Image"], namespace=["hub"]), {"{}": 0}
    )


def test_what_to_patch_links_a_watched_image_to_all_namespaces(tmp_path):
    rows = {f'{{{LEDGER},scope="hub"}}': 1, f'{{{OF_A_LIST},scope="All"}}': 1}
    answers(tmp_path, BOTH, expr_of(OVERVIEW, "What to patch", "table"), rows)


def test_every_chart_has_a_name_for_watched_images(tmp_path):
    for title, value in (("Workloads that miss a patch", 1), ("Worst lag", 0)):
        lines = {'{namespace="hub"}': value, '{namespace="(watched images)"}': value}
        answers(tmp_path, BOTH, expr_of(OVERVIEW, title, "timeseries"), lines)
    tags = {
        '{workload="ledger",container="ledger/main",tag="v1.0.0"}': 1,
        '{workload="ledger",container="ledger",tag="v1.0.0"}': 1,
    }
    answers(tmp_path, BOTH, expr_of(WORKLOAD, "Tags over time", "state-timeline"), tags)
    behind = {'{workload="ledger",container="ledger/main"}': 2, '{workload="ledger",container="ledger"}': 2}
    answers(tmp_path, BOTH, expr_of(WORKLOAD, "Releases behind", "timeseries"), behind)
    rolled_out = {'{namespace="hub",workload="hub/ledger"}': 0, '{workload="ledger"}': 0}
    answers(tmp_path, BOTH, expr_of(WORKLOAD, "Rollout incomplete", "timeseries"), rolled_out)


def test_a_mark_names_a_watched_image(tmp_path):
    ended = substituted(DASHBOARDS[f"{OVERVIEW}.json"]["annotations"]["list"][1]["expr"])
    both = {
        '{namespace="hub",workload_kind="Deployment",workload="hub/ledger"}': 1,
        '{workload_kind="Image",workload="ledger"}': 1,
    }
    answers(tmp_path, BOTH, ended, both, minute=33)


# Configuration and time.


def test_upgrade_windows_are_open_or_closed_and_open_again_at_a_time(tmp_path):
    def of(metric, instance, window):
        return f'mojaloop_upgrade_window_{metric}{{job="patch",instance="{instance}",window="{window}"}}'

    # The exporter and the patcher publish the same windows.
    samples = {of("open", where, "night"): "0" for where in "ab"} | {of("open", "a", "day"): "1"}
    samples |= {of("next_timestamp_seconds", where, "night"): "7200" for where in "ab"}
    samples |= {of("next_timestamp_seconds", "a", "day"): "86400"}
    night, day = '{window="night"}', '{window="day"}'
    answers(tmp_path, samples, expr_of(OVERVIEW, "Upgrade windows", "table"), {night: 0, day: 1})
    opens = expr_of(OVERVIEW, "Upgrade windows", "table", target=1)
    answers(tmp_path, samples, opens, {night: 7_200_000, day: 86_400_000})
    panel = panel_of(OVERVIEW, "Upgrade windows", "table")
    assert panel["fieldConfig"]["defaults"]["noValue"] == "No upgrade window is configured."


@pytest.mark.parametrize(("values", "count"), [(("1", "1"), 0), (("1", "0"), 1), (("0", "0"), 2)])
def test_exporters_with_an_invalid_configuration_are_counted(tmp_path, values, count):
    of = 'mojaloop_exporter_config_last_reload_successful{job="patch"'
    samples = {f'{of},instance="{number}"}}': value for number, value in enumerate(values)}
    answers(tmp_path, samples, expr_of(EXPORTER, "Invalid configurations"), {"{}": count})
    answers(tmp_path, {"up": "1"}, expr_of(EXPORTER, "Invalid configurations"), {"{}": 0})


def test_the_lookup_interval_is_the_longest(tmp_path):
    of = 'mojaloop_exporter_lookup_interval_seconds{job="patch"'
    samples = {f'{of},instance="a"}}': "3600", f'{of},instance="b"}}': "604800"}
    answers(tmp_path, samples, expr_of(EXPORTER, "Lookup interval"), {"{}": 604800})
    answers(tmp_path, {"up": "1"}, expr_of(EXPORTER, "Lookup interval"), {})


def test_reloads_are_counted_by_result_and_the_age_of_the_configuration_is_shown(tmp_path):
    of = f"mojaloop_exporter_config_reloads_total{{{TARGET}"
    samples = {f'{of},result="success"}}': "0x9 2x90", f'{of},result="failure"}}': "0x100"}
    expr = expr_of(EXPORTER, "Reloads in the last hour", "timeseries").replace("[1m]", "[2m]")
    answers(tmp_path, samples, expr, {'{result="success"}': 2}, minute=60)
    loaded = {f"mojaloop_exporter_config_last_reload_success_timestamp_seconds{{{TARGET}}}": "60x10"}
    answers(
        tmp_path, loaded, expr_of(EXPORTER, "Age of the configuration", "timeseries"), {'{instance="a"}': 240}, minute=5
    )

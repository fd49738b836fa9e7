"""The shipped rules, as shipped, by promtool: when each alert is silent and when it fires, and that away is not fixed.

Every case of "away is not fixed" names the part of the rules that serves it, and fails when that part is taken out.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kube import need

RULES = Path(__file__).parent.parent / "alerts" / "mojaloop-image-patch.rules.yml"
IMAGE = "docker.io/mojaloop/central-ledger"
DAY = 1440  # minutes


def labels(**more):
    return ",".join(f'{name}="{value}"' for name, value in more.items() if value is not None)


@dataclass
class Page:
    """What one exporter says over time, in promtool's notation; each value is a run of samples, a minute apart."""

    cluster: str | None = None
    instance: str = "a"
    series: list[dict[str, str]] = field(default_factory=list)

    def add(self, name, values, **more):
        self.series.append(
            {
                "series": f"{name}{{{labels(cluster=self.cluster, instance=self.instance, job='patch', **more)}}}",
                "values": values,
            }
        )
        return self

    def synced(self, values, namespace="*"):
        return self.add("mojaloop_exporter_synced", values, watched_namespace=namespace)

    def container(
        self, values, *, kind="Deployment", workload="ledger", container="main", init=False, position=0, tag="v1.0.0", latest="v1.0.2",
        reference=None, namespace="mojaloop", image=IMAGE, behind=2, published=None, first_seen=None, available=None,
    ):  # fmt: skip
        """A container that is judged where `values` has samples (1 or 0 as `mojaloop_image_patch_available` has it)."""
        w = {"namespace": namespace, "workload_kind": kind, "workload": workload, "container": container,
             "container_type": "init_container" if init else "container", "image": image, "tag": tag}  # fmt: skip
        reference = reference or f"{image.removeprefix('docker.io/')}:{tag}"
        self.add("mojaloop_image_patch_available", available or values, **w, latest_tag=latest)
        self.add("mojaloop_image_patch_releases_behind", _as(values, behind), **w)
        self.add("mojaloop_image_info", _as(values, 1), **w, digest="", reference=reference, position=position)
        if published is not None:
            self.add("mojaloop_image_patch_published_timestamp_seconds", _as(values, published), **w)
        if first_seen is not None:
            self.add("mojaloop_image_patch_first_seen_timestamp_seconds", _as(values, first_seen), **w)
        return self

    def unknown(
        self,
        values,
        reason="unreachable",
        *,
        tag="v1.0.0",
        kind="Deployment",
        workload="ledger",
        container="main",
        namespace="mojaloop",
    ):
        return self.add("mojaloop_image_status_unknown", values, namespace=namespace, workload_kind=kind, workload=workload, container=container,
                        container_type="container", image=IMAGE, tag=tag, reason=reason)  # fmt: skip

    def managed(self, values, manager, source, workload="ledger", kind="Deployment"):
        return self.add(
            "mojaloop_workload_managed_by",
            values,
            namespace="mojaloop",
            workload_kind=kind,
            workload=workload,
            manager=manager,
            source=source,
        )


def _as(values, number):
    """The same runs with another value."""
    return " ".join(
        part if part.startswith(("_", "stale")) else f"{number}x{part.partition('x')[2]}" for part in values.split()
    )


def firing(alert, **more):
    return f"count(ALERTS{{{labels(alertname=alert, alertstate='firing', **more)}}}) or vector(0)"


def promtool(tmp_path, rules, pages, expected, minutes=1, alerts=()):
    """Run promtool on cases; `expected` is (minute, expression, value)."""
    (binary,) = need("promtool")
    file = tmp_path / "rules.yml"
    file.write_text(rules)
    test = {
        "interval": f"{minutes}m",
        "input_series": [series for page in pages for series in page.series],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": value}]}
            for minute, expr, value in expected
        ],
        "alert_rule_test": list(alerts),
    }
    document = {"rule_files": [str(file)], "evaluation_interval": f"{minutes}m", "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(document))
    done = subprocess.run(
        [binary, "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout + done.stderr


def passes(tmp_path, pages, expected, minutes=1, alerts=()):
    status, said = promtool(tmp_path, RULES.read_text(), pages, expected, minutes, alerts)
    assert status == 0, said


AVAILABLE, OVERDUE, DOWN = "MojaloopImagePatchAvailable", "MojaloopImagePatchOverdue", "MojaloopImagePatchExporterDown"


def test_the_rules_are_valid():
    (binary,) = need("promtool")
    done = subprocess.run([binary, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Away is not fixed. Each case: what the exporter says, what has to hold, and the part of the rules that serves it.


def away_for_hours(cluster):
    page = Page(cluster).synced("1x60 _x180 1x60").container("1x60 _x180 1x60")
    return [page], [
        (60, firing(AVAILABLE), 1),
        (150, firing(AVAILABLE), 1),
        (239, firing(AVAILABLE), 1),
        (290, firing(AVAILABLE), 1),
    ]


def away_on_an_empty_disk(cluster):
    """It comes back and knows nothing for ten minutes: not synced, everything pending."""
    page = Page(cluster).synced("1x60 _x30 0x10 1x60").container("1x60 _x41 1x60").unknown("_x91 1x10 stale", "pending")
    return [page], [
        (60, firing(AVAILABLE), 1),
        (95, firing(AVAILABLE), 1),
        (101, firing(AVAILABLE), 1),
        (150, firing(AVAILABLE), 1),
    ]


def nothing_yet_after_a_restart(cluster):
    """It comes back and has not listed the cluster: not even pending."""
    page = Page(cluster).synced("1x60 0x30 1x60").container("1x60 _x31 1x60")
    return [page], [
        (60, firing(AVAILABLE), 1),
        (75, firing(AVAILABLE), 1),
        (91, firing(AVAILABLE), 1),
        (140, firing(AVAILABLE), 1),
    ]


def partly_unknown(cluster):
    """One lookup fails after a restart on an empty disk, the rest is judged."""
    page = Page(cluster).synced("1x60 0x120").container("1x60 _x120").unknown("_x61 1x120")
    return [page], [(60, firing(AVAILABLE), 1), (100, firing(AVAILABLE), 1), (179, firing(AVAILABLE), 1)]


def unknown_while_synced_elsewhere(cluster):
    """A replica is synced, another does not know this container: what cannot be judged is held."""
    page = Page(cluster).synced("1x180").container("1x60 _x120").unknown("_x61 1x120")
    return [page], [(60, firing(AVAILABLE), 1), (100, firing(AVAILABLE), 1)]


def patched(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale").container("_x61 0x60", tag="v1.0.2", behind=0)
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0), (100, firing(AVAILABLE), 0)]


def patched_while_another_container_is_pending(cluster):
    page = Page(cluster).synced("1x60 0x60").container("1x60 stale").container("_x61 0x60", tag="v1.0.2", behind=0)
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0)]


def deleted(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale")
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0)]


def deleted_in_a_scope_of_its_own(cluster):
    page = Page(cluster).synced("1x120", "mojaloop").synced("0x120", "other").container("1x60 stale")
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0)]


def another_scope_resolves_nothing_of_ours(cluster):
    ours = Page(cluster).synced("1x60 _x60", "mojaloop").container("1x60 _x60")
    other = Page(cluster, "b").synced("1x120", "other").container("1x120", namespace="other", workload="x")
    return [ours, other], [(60, firing(AVAILABLE), 2), (100, firing(AVAILABLE), 2)]


def retagged_latest(cluster):
    page = Page(cluster).synced("1x120").container("1x60 stale").unknown("_x61 1x60", "floating_tag", tag="latest")
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0)]


def retagged_latest_while_not_synced(cluster):
    page = Page(cluster).synced("1x60 0x60").container("1x60 stale").unknown("_x61 1x60", "floating_tag", tag="latest")
    return [page], [(60, firing(AVAILABLE), 1), (62, firing(AVAILABLE), 0)]


def ends_after_seven_days(cluster):
    page = Page(cluster).synced("1x6 stale").container("1x6 stale")
    expected = [(60, firing(AVAILABLE), 1), (6 * DAY, firing(AVAILABLE), 1), (7 * DAY + 80, firing(AVAILABLE), 0)]
    return [page], expected, 10


def what_was_resolved_is_not_revived(cluster):
    """Patched, and an hour later the exporter goes away: what was held before is not held again."""
    page = (
        Page(cluster).synced("1x120 _x60").container("1x60 stale").container("_x61 0x60 _x60", tag="v1.0.2", behind=0)
    )
    return [page], [(60, firing(AVAILABLE), 1), (100, firing(AVAILABLE), 0), (170, firing(AVAILABLE), 0)]


def two_replicas_that_disagree(cluster):
    """One knows a release more: one alert, and the newest patch in its command."""
    one = Page(cluster).synced("1x120").container("1x120", latest="v1.0.1", behind=1)
    two = Page(cluster, "b").synced("1x120").container("1x120", latest="v1.0.2", behind=2)
    newest = 'count(mojaloop:image_patch_missing{latest_tag="v1.0.2"}) or vector(0)'
    older = 'count(mojaloop:image_patch_missing{latest_tag="v1.0.1"}) or vector(0)'
    return [one, two], [(60, firing(AVAILABLE), 1), (60, newest, 1), (60, older, 0)]


def one_replica_of_two_goes(cluster):
    one = Page(cluster).synced("1x60 stale").container("1x60 stale")
    two = Page(cluster, "b").synced("1x120").container("1x120")
    return [one, two], [(60, firing(AVAILABLE), 1), (100, firing(AVAILABLE), 1), (100, firing(DOWN), 0)]


def a_still_newer_patch_neither_resolves_nor_restarts(cluster):
    page = Page(cluster).synced("1x120").container("1x120", available="1x60 stale")
    page.series.append(
        page.series[1] | {"values": "_x61 1x60", "series": page.series[1]["series"].replace("v1.0.2", "v1.0.3")}
    )
    return [page], [(minute, firing(AVAILABLE), 1) for minute in (60, 61, 62, 63, 100)]


def an_old_patch_stays_old_on_an_empty_disk(cluster):
    """Its publish time is not known; first seen long ago, then by a new disk just now."""
    page = Page(cluster).synced("1x60 _x39 1x80").container("1x60 _x39 1x80", first_seen=0)
    page.series[-1]["values"] = f"{-20 * DAY * 60}x60 _x39 {100 * 60}x80"
    return [page], [(minute, firing(OVERDUE), 1) for minute in (60, 90, 120, 170)]


HOLD = """              and on (cluster) last_over_time(mojaloop_exporter_synced[7d])
"""
CASES = {
    away_for_hours: ('last_over_time(mojaloop:image_patch_missing{workload!=""}[6h])', 'mojaloop:image_patch_missing{workload="none"}'),
    away_on_an_empty_disk: (',reason!~"invalid_reference', ',reason!~"pending|invalid_reference'),
    nothing_yet_after_a_restart: ('(max by (cluster) (mojaloop_exporter_synced{watched_namespace="*"}) == 1)', "mojaloop_exporter_synced"),
    partly_unknown: ("              and on (cluster, namespace, workload_kind, workload, container, container_type, image, tag)\n                mojaloop_image_status_unknown", "              unless on (cluster, namespace, workload_kind, workload, container, container_type, image, tag)\n                mojaloop_image_status_unknown"),
    unknown_while_synced_elsewhere: ("              and on (cluster, namespace, workload_kind, workload, container, container_type, image, tag)\n                mojaloop_image_status_unknown", "              unless on (cluster, namespace, workload_kind, workload, container, container_type, image, tag)\n                mojaloop_image_status_unknown"),
    patched: None,
    patched_while_another_container_is_pending: ("""              unless on (cluster, namespace, workload_kind, workload, container, container_type)
                mojaloop_image_patch_available{exported_namespace=""}
              unless on (cluster)
""", "              unless on (cluster)\n"),
    deleted: ("""              unless on (cluster)
                (max by (cluster) (mojaloop_exporter_synced{watched_namespace="*"}) == 1)
""", ""),
    deleted_in_a_scope_of_its_own: ('"namespace", "$1", "watched_namespace", "(.+)"', '"namespace", "none", "watched_namespace", "(.+)"'),
    another_scope_resolves_nothing_of_ours: ("unless on (cluster, namespace)\n                (max by (cluster, namespace) (label_replace", "unless on (cluster)\n                (max by (cluster, namespace) (label_replace"),
    retagged_latest: None,
    retagged_latest_while_not_synced: ("""              unless on (cluster, namespace, workload_kind, workload, container, container_type)
                mojaloop_image_status_unknown{exported_namespace=""}
""", ""),
    ends_after_seven_days: (HOLD, ""),
    what_was_resolved_is_not_revived: ("""
                == on () group_left () last_over_time(mojaloop:image_patch_missing{workload=""}[6h]))
              and on (cluster)""", """ > 0)
              and on (cluster)"""),
    two_replicas_that_disagree: ("topk by", "bottomk by"),
    one_replica_of_two_goes: None,
    a_still_newer_patch_neither_resolves_nor_restarts: ("count by (cluster, namespace, workload_kind, workload, image, tag) (mojaloop:image_patch_missing", "count by (cluster, namespace, workload_kind, workload, image, tag, latest_tag) (mojaloop:image_patch_missing"),
    an_old_patch_stays_old_on_an_empty_disk: ("""            (
              last_over_time(mojaloop:image_patch_since_timestamp_seconds[6h])
              < min by""", """            (
              last_over_time(mojaloop:image_patch_since_timestamp_seconds[6h])
              > min by"""),
}  # fmt: skip


@pytest.mark.parametrize("cluster", [None, "north"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_away_is_not_fixed(tmp_path, case, cluster):
    passes(tmp_path, *case(cluster))


@pytest.mark.parametrize("case", [case for case, mutation in CASES.items() if mutation], ids=lambda case: case.__name__)
def test_each_case_fails_without_the_part_that_serves_it(tmp_path, case):
    part, instead = CASES[case]
    text = RULES.read_text()
    assert part in text, "the mutation is out of date"
    status, said = promtool(tmp_path, text.replace(part, instead), *case("north"))
    assert status == 1, said
    assert "FAILED" in said

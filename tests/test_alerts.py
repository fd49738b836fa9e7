"""The shipped rules, as shipped, by promtool: when each alert is silent and when it fires, and that away is not fixed.

Every case of "away is not fixed" names the part of the rules that serves it, and fails when that part is taken out.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field

import pytest

from exporter.commands import advice, patch_command, rollback_command
from exporter.demo.alerts import RULES, names, substitute
from exporter.findings import Finding, WorkloadState
from exporter.images import parse
from exporter.workloads import ContainerType, Manager, WorkloadKey
from tests.support.components import need

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
    """Run the oldest promtool that is supported and the newest on cases; `expected` is (minute, expression, value)."""
    binaries = need("promtool", "promtool3")
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
    running = [
        subprocess.Popen([binary, "test", "rules", str(tmp_path / "test.yml")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for binary in binaries
    ]  # fmt: skip
    said = [process.communicate(timeout=100)[0] for process in running]
    oldest, newest = (process.returncode for process in running)
    assert oldest == newest, said
    return oldest, "\n".join(said)


def passes(tmp_path, pages, expected, minutes=1, alerts=()):
    status, said = promtool(tmp_path, RULES.read_text(), pages, expected, minutes, alerts)
    assert status == 0, said


AVAILABLE, OVERDUE, DOWN = "MojaloopImagePatchAvailable", "MojaloopImagePatchOverdue", "MojaloopImagePatchExporterDown"


@pytest.mark.parametrize("name", ["promtool", "promtool3"])
def test_the_rules_are_valid(name):
    (binary,) = need(name)
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


# Every alert: silent just before its time, firing just after it, with its whole labels and annotations.

BASE = "https://github.com/mojaloop/mojaloop-image-patch-exporter/blob/main/alerts/runbook.md#"
HUB = {"cluster": "north", "namespace": "mojaloop"}
OUT_OF_STEP = "A hub whose components leave their Mojaloop release one by one is out of step with it: https://docs.mojaloop.io/adoption/HubOperations/TechOps/release-management.html"


def found(reference, *, kind="Deployment", container="main", init=False, position=0, latest="v1.0.2"):
    parsed = parse(reference)
    return Finding(
        workload=WorkloadKey("mojaloop", kind, "ledger"), container=container, position=position, reference=reference, image=str(parsed.repository),
        container_type=ContainerType.INIT_CONTAINER if init else ContainerType.CONTAINER, tag=parsed.tag, digest=parsed.digest or "", latest_tag=latest,
    )  # fmt: skip


MANAGERS = {
    "nobody": None,
    "helm": Manager("helm", "mojaloop/moja"),
    "argocd": Manager("argocd", "hub"),
    "flux": Manager("flux", "HelmRelease flux-system/moja"),
    "operator": Manager("operator", "Kafka/hub"),
}
SAME_TEXT = [
    *((kind, "nobody", "mojaloop/central-ledger:v1.0.0") for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Job", "Pod", "StrimziPodSet")),
    *(("Deployment", manager, "mojaloop/central-ledger:v1.0.0") for manager in MANAGERS if manager != "nobody"),
    ("Deployment", "nobody", "docker.io/mojaloop/central-ledger:v1.0.0@sha256:" + "0a" * 32),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "manager", "reference"), SAME_TEXT)
def test_the_annotations_are_what_the_code_renders(tmp_path, kind, manager, reference):
    first, second = found(reference, kind=kind), found(reference, kind=kind, container="other", position=10)
    wait = found(reference, kind=kind, container="wait", init=True, position=2)
    together, state = [first, second, wait], WorkloadState(manager=MANAGERS[manager])
    page = Page("north").synced("1x60")
    for f in together:
        page.container(
            "1x60",
            kind=kind,
            container=f.container,
            init=f.container_type == "init_container",
            position=f.position,
            reference=reference,
            published=1000,
        )
    if state.manager:
        page.managed("1x60", state.manager.name, state.manager.source, kind=kind)
    labels_ = {**HUB, "workload_kind": kind, "workload": "ledger", "image": IMAGE, "tag": "v1.0.0"}
    said = advice(together, state)
    same = {
        "description": f"{kind} mojaloop/ledger runs {IMAGE}:v1.0.0 and misses v1.0.2, since 1970-01-01 00:16:40 +0000 UTC. {OUT_OF_STEP}{f' {said}' if said else ''}",
        "changes_url": "https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
        "dashboard_url": "http://localhost:3000/d/mojaloop-image-patch-workload?var-namespace=mojaloop&var-workload=ledger",
        "patch_command": patch_command(together, state) or "",
        "rollback_command": rollback_command(together, state) or "",
    }
    assert same["patch_command"] or said
    available = {
        "exp_labels": {**labels_, "severity": "warning"},
        "exp_annotations": {
            "summary": "A newer patch release of a running image is available.",
            "runbook_url": f"{BASE}mojaloopimagepatchavailable",
            **same,
        },
    }
    alerts = [
        {"alertname": AVAILABLE, "eval_time": "14m", "exp_alerts": []},
        {"alertname": AVAILABLE, "eval_time": "16m", "exp_alerts": [available]},
    ]
    passes(tmp_path, [page], [], 1, alerts)


def one(alert, labels_, severity, summary, description, **more):
    annotations = {"summary": summary, "description": description, "runbook_url": BASE + alert.lower(), **more}
    return [{"exp_labels": {**labels_, "severity": severity}, "exp_annotations": annotations}]


def overdue():
    page = Page("north").synced("1x40000").container("1x40000", published=-14 * DAY * 60 + 1200)
    together = [found("mojaloop/central-ledger:v1.0.0")]
    said = one(
        OVERDUE, {**HUB, "workload_kind": "Deployment", "workload": "ledger", "image": IMAGE, "tag": "v1.0.0"}, "critical",
        "A patch release of a running image has been available for longer than allowed.",
        f"Deployment mojaloop/ledger runs {IMAGE}:v1.0.0 and misses v1.0.2, for 14d 0h 1m 0s. {OUT_OF_STEP}",
        dashboard_url="http://localhost:3000/d/mojaloop-image-patch-workload?var-namespace=mojaloop&var-workload=ledger",
        changes_url="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
        patch_command=patch_command(together, WorkloadState()), rollback_command=rollback_command(together, WorkloadState()),
    )  # fmt: skip
    return page, OVERDUE, 20, 21, said


def not_rolled_out():
    name = "MojaloopImagePatchNotRolledOut"
    page = Page("north").add(
        "mojaloop_workload_rollout_incomplete",
        "1x60",
        namespace="mojaloop",
        workload_kind="Deployment",
        workload="ledger",
    )
    text = "Deployment mojaloop/ledger has not rolled out: it is paused, stuck, or its pods are only replaced when they are deleted. What runs is older than what the other alerts judge."
    said = one(name, {**HUB, "workload_kind": "Deployment", "workload": "ledger"}, "warning", "A workload's template is changed, but pods of an older one still run.", text,
               dashboard_url="http://localhost:3000/d/mojaloop-image-patch-workload?var-namespace=mojaloop&var-workload=ledger")  # fmt: skip
    return page, name, 29, 31, said


def superseded():
    name = "MojaloopImagePatchLineSuperseded"
    page = Page("north")
    for workload in ("a", "b"):
        page.add("mojaloop_image_upgrade_available", "1x90", namespace="mojaloop", workload_kind="Deployment", workload=workload, container="main", container_type="container",
                 image=IMAGE, tag="v1.0.0", strategy="minor", latest_tag="v1.1.0")  # fmt: skip
    text = f"2 containers in mojaloop run {IMAGE} on a line that v1.1.0 superseded. That no patch is missing there does not mean that it is safe: fixes are seldom brought back to an older line."
    said = one(name, {**HUB, "image": IMAGE}, "info", "A newer minor release exists, and no patches are made for the line that runs.", text,
               dashboard_url=f"http://localhost:3000/d/mojaloop-image-patch-images?var-namespace=mojaloop&var-image={IMAGE}",
               changes_url="https://github.com/mojaloop/central-ledger/releases")  # fmt: skip
    return page, name, 59, 61, said


def mixed():
    name = "MojaloopImageVersionsMixed"
    page = (
        Page("north")
        .container("0x90", workload="a")
        .container("0x90", workload="b", tag="v1.0.10")
        .container("0x90", workload="c", image="docker.io/library/redis")
    )
    said = one(name, {**HUB, "image": IMAGE}, "warning", "One Mojaloop image runs at several tags in one namespace.",
               f"{IMAGE} runs in mojaloop at v1.0.0, v1.0.10. Services of one release are tested together.",
               dashboard_url=f"http://localhost:3000/d/mojaloop-image-patch-images?var-namespace=mojaloop&var-image={IMAGE}")  # fmt: skip
    return page, name, 59, 61, said


def unknown():
    name = "MojaloopImageStatusUnknown"
    page = Page("north").unknown("1x90").unknown("1x90", workload="b").unknown("1x90", "pending", workload="c")
    said = one(
        name,
        {**HUB, "reason": "unreachable"},
        "info",
        "Containers cannot be judged; unknown is not up to date.",
        "2 containers in mojaloop cannot be judged: unreachable.",
    )
    return page, name, 59, 61, said


HEALTH = "http://localhost:3000/d/mojaloop-image-patch-exporter"


def down():
    page = Page("north").synced("1x10 stale", "mojaloop")
    text = "Nothing is known of new patches in namespace mojaloop; alerts stay as they were, and end 7 days after the exporter was last scraped."
    said = one(
        DOWN,
        {"cluster": "north", "watched_namespace": "mojaloop"},
        "critical",
        "No image patch exporter answers.",
        text,
        dashboard_url=HEALTH,
    )
    return page, DOWN, 25, 27, said


def never_there():
    said = one(DOWN, {}, "critical", "No image patch exporter answers.",
               "Nothing is known of new patches; alerts stay as they were, and end 7 days after the exporter was last scraped.", dashboard_url=HEALTH)  # fmt: skip
    return Page("north"), DOWN, 14, 16, said


def not_synced():
    name = "MojaloopImagePatchExporterNotSynced"
    text = (
        "A registry does not answer, or rights to list a kind are missing, for what is watched in * (* is everywhere)."
    )
    said = one(
        name,
        {"cluster": "north", "watched_namespace": "*"},
        "warning",
        "The image patch exporter does not know everything that it watches.",
        text,
        dashboard_url=HEALTH,
    )
    return Page("north").synced("0x90"), name, 59, 61, said


def renamed():
    name = "MojaloopImagePatchLabelsRenamed"
    page = Page("north").add("mojaloop_image_info", "1x30", exported_namespace="mojaloop", namespace="monitoring")
    text = (
        "The scrape of job patch needs honor_labels: true (honorLabels in a ServiceMonitor). Every other alert about images is off until then, as its commands would be"
        " against the wrong namespace."
    )
    said = one(
        name,
        {"cluster": "north", "job": "patch"},
        "critical",
        "Prometheus renames the exporter's labels; no image is watched until that ends.",
        text,
        dashboard_url=HEALTH,
    )
    return page, name, 4, 6, said


def stale():
    name = "MojaloopImageLookupStale"
    page = Page("north").add("mojaloop_image_lookup_timestamp_seconds", "0x400", registry="docker.io", image=IMAGE)
    said = one(name, {"cluster": "north", "registry": "docker.io", "image": IMAGE}, "warning", "The tags of an image have not been looked up for long.",
               f"{IMAGE} was last looked up 6h 17m 0s ago; newer patches of it are not known.", dashboard_url=HEALTH)  # fmt: skip
    return page, name, 375, 377, said


def failing():
    name = "MojaloopRegistryFailing"
    page = Page("north").add(
        "mojaloop_exporter_registry_failures_total", "0x5 1+1x120", registry="docker.io", reason="unreachable"
    )
    said = one(name, {"cluster": "north", "registry": "docker.io", "reason": "unreachable"}, "warning", "A registry fails again and again.",
               "docker.io failed 60 times in an hour: unreachable.", dashboard_url=HEALTH)  # fmt: skip
    return page, name, 65, 70, said


@pytest.mark.parametrize(
    "case",
    [overdue, not_rolled_out, superseded, mixed, unknown, down, never_there, not_synced, renamed, stale, failing],
    ids=lambda case: case.__name__,
)
def test_silent_just_before_its_time_and_firing_after_it(tmp_path, case):
    page, name, before, after, said = case()
    alerts = [
        {"alertname": name, "eval_time": f"{before}m", "exp_alerts": []},
        {"alertname": name, "eval_time": f"{after}m", "exp_alerts": said},
    ]
    passes(tmp_path, [page], [], 1, alerts)


def test_every_alert_is_shown_and_has_its_runbook_entry():
    import yaml

    names = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    shown = {
        AVAILABLE,
        *(
            case()[1]
            for case in (overdue, not_rolled_out, superseded, mixed, unknown, down, not_synced, renamed, stale, failing)
        ),
    }
    assert names == shown
    runbook = (RULES.parent / "runbook.md").read_text()
    for name in names:
        assert f"\n## {name}\n" in runbook


def test_renamed_labels_never_make_a_command(tmp_path):
    page = Page("north").synced("1x60")
    page.container("1x60")
    for series in page.series[1:]:
        series["series"] = series["series"].replace(
            'namespace="mojaloop"', 'exported_namespace="mojaloop",namespace="monitoring"'
        )
    passes(
        tmp_path,
        [page],
        [(30, firing(AVAILABLE), 0), (30, "count(mojaloop:image_patch_missing{workload!=''}) or vector(0)", 0)],
    )


def test_compliance_and_lag(tmp_path):
    old = -20 * DAY * 60
    page = (
        Page("north")
        .synced("1x60")
        .container("1x60", published=old)
        .container("1x60", workload="b", published=0)
        .container("0x60", workload="c")
        .container("0x60", workload="d", namespace="x")
    )
    passes(tmp_path, [page, Page(None, "b").synced("1x60")], [
        (30, 'sum(round(namespace:mojaloop_image_patch_compliance:ratio{namespace="mojaloop"} * 300))', 200),
        (30, 'sum(namespace:mojaloop_image_patch_compliance:ratio{namespace="x"})', 1),
        (30, "sum(cluster:mojaloop_image_patch_compliance:ratio)", 0.75),
        (30, "sum(cluster:mojaloop_image_patch_lag_seconds:max)", 30 * 60 - old),
    ])  # fmt: skip


# Marked places.


def test_only_marked_places_are_changed_and_by_one_function():
    text = RULES.read_text()
    assert names(text) == {
        "available_for", "overdue_seconds", "not_rolled_out_for", "superseded_for", "mixed_for", "unknown_for", "down_for", "not_synced_for", "renamed_for",
        "stale_seconds", "stale_for", "failing_for", "grafana",
    }  # fmt: skip
    changed = substitute(text, {"available_for": "1m", "overdue_seconds": "60", "grafana": "https://grafana.example/"})
    pairs = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert all("# value: " in a for a, _ in pairs)
    assert [b.strip() for _, b in pairs if "grafana" not in b] == [
        "> 60  # value: overdue_seconds",
        "for: 1m  # value: available_for",
        "> 60  # value: overdue_seconds",
    ]
    assert changed.count("https://grafana.example/d/") == text.count("http://localhost:3000/d/")
    assert substitute(text, {}) == text
    with pytest.raises(KeyError, match="no place is marked nothing"):
        substitute(text, {"nothing": "1"})

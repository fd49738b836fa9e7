"""Every alert: silent just before its time, and firing after it with exactly these labels and annotations."""

import re
import subprocess

import pytest
import yaml

from exporter.demo.alerts import FOLDER, RULES, names, substitute
from tests.support.components import need
from tests.support.promtool import AVAILABLE, DAY, DOWN, GRAFANA, IMAGE, OVERDUE, RUNBOOK, Case, Page, firing, passes

HUB = {"cluster": "north", "namespace": "mojaloop"}
WORKLOAD = {**HUB, "workload_kind": "Deployment", "workload": "ledger"}
HEALTH = f"{GRAFANA}-exporter"
ONE_WORKLOAD = f"{GRAFANA}-workload?var-namespace=mojaloop&var-workload=ledger"
ONE_IMAGE = f"{GRAFANA}-images?var-namespace=mojaloop&var-image={IMAGE}"
COMMANDS = {
    "patch": """kubectl -n mojaloop patch deployment/ledger --type=json -p='[{"op":"test","path":"/spec/template/spec/containers/0/image"}]'""",
    "rollback": "kubectl -n mojaloop patch deployment/ledger back",
    "advice": "Helm release mojaloop/moja manages it: change the image's tag in the values as well.",
}


def said(alert, own, summary, description, *, severity="warning", **more):
    annotations = {"summary": summary, "description": description, "runbook_url": RUNBOOK + alert.lower(), **more}
    return alert, [{"exp_labels": {**own, "severity": severity}, "exp_annotations": annotations}]


def about_a_patch(
    alert,
    description,
    *,
    image=IMAGE,
    changes="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
    commands=COMMANDS,
):
    summary = {AVAILABLE: "A newer patch release of a running image is available.",
               OVERDUE: "A patch release of a running image has been available for longer than allowed."}[alert]  # fmt: skip
    return said(
        alert, {**WORKLOAD, "image": image, "tag": "v1.0.0"}, summary, f"Deployment mojaloop/ledger runs {image}:v1.0.0, {description} {commands['advice']}",
        dashboard_url=ONE_WORKLOAD, changes_url=changes, patch_command=commands["patch"], rollback_command=commands["rollback"],
    )  # fmt: skip


def available():
    page = Page("north").synced("1x60").container("1x60", published=-2.5 * DAY * 60, **COMMANDS)
    return (
        page,
        14,
        16,
        about_a_patch(AVAILABLE, "2 patch releases behind v1.0.2, the first published at least 2 days ago."),
    )


def available_for_a_day():
    page = Page("north").synced("1x60").container("1x60", published=-DAY * 60, behind=1, **COMMANDS)
    return page, 14, 16, about_a_patch(AVAILABLE, "1 patch release behind v1.0.2, published at least 1 day ago.")


def available_since_today():
    page = Page("north").synced("1x60").container("1x60", first_seen=0, behind=11, **COMMANDS)
    return (
        page,
        14,
        16,
        about_a_patch(AVAILABLE, "11 patch releases behind v1.0.2, the first seen less than a day ago."),
    )


def available_without_a_command():
    """An image of nobody's that we know to compare, on the host of a port, whose command was too long."""
    image, commands = (
        "registry.example:5000/kafka",
        {"patch": "", "rollback": "", "advice": "Get the command with `check --output commands`."},
    )
    page = Page("north").synced("1x60").container("1x60", published=0, image=image, behind=1, **commands)
    return (
        page,
        14,
        16,
        about_a_patch(
            AVAILABLE,
            "1 patch release behind v1.0.2, seen less than a day ago.",
            image=image,
            changes="",
            commands=commands,
        ),
    )


def overdue():
    page = Page("north").synced("1x60").container("1x60", published=-14 * DAY * 60 + 1200, **COMMANDS)
    return (
        page,
        35,
        37,
        about_a_patch(OVERDUE, "2 patch releases behind v1.0.2, the first published at least 14 days ago."),
    )


def not_rolled_out():
    page = Page("north").add(
        "mojaloop_workload_rollout_incomplete", "1x60", **{k: v for k, v in WORKLOAD.items() if k != "cluster"}
    )
    return page, 29, 31, said(
        "MojaloopImagePatchNotRolledOut", WORKLOAD, "Pods of an older template of a workload still run.",
        "Deployment mojaloop/ledger has not rolled out its template for a long time: the rollout is paused or stuck, or pods are only replaced when they are deleted."
        " The other alerts judge the template, and the pods may run an older image.", dashboard_url=ONE_WORKLOAD,
    )  # fmt: skip


def superseded():
    """It names the newest as the exporter does: sorted as text, v1.10.0-snapshot.2 and v1.9.0 would be newer."""
    page = Page("north").upgrade("1x90", workload="a", latest="v1.10.0").upgrade("1x90", workload="b", latest="v1.10.0")
    own = {**HUB, "image": IMAGE, "tag": "v1.0.0", "latest_tag": "v1.10.0"}
    return page, 59, 61, said(
        "MojaloopImagePatchLineSuperseded", own, "A newer minor release of a running image exists.",
        f"2 containers run {IMAGE}:v1.0.0 in mojaloop, and v1.10.0 is a newer minor release. Fixes are rarely backported to older lines of Mojaloop's images.",
        dashboard_url=ONE_IMAGE, changes_url="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.10.0",
    )  # fmt: skip


def superseded_elsewhere():
    """Of other images we do not know whether fixes are backported."""
    image = "docker.io/library/mysql"
    page = Page("north").upgrade("1x90", image=image)
    return page, 59, 61, said(
        "MojaloopImagePatchLineSuperseded", {**HUB, "image": image, "tag": "v1.0.0", "latest_tag": "v1.1.0"}, "A newer minor release of a running image exists.",
        f"1 container runs {image}:v1.0.0 in mojaloop, and v1.1.0 is a newer minor release.",
        dashboard_url=ONE_IMAGE.replace(IMAGE, image), changes_url="",
    )  # fmt: skip


def mixed():
    page = (
        Page("north").container("0x90", workload="a", behind=0).container("0x90", workload="b", tag="v1.0.10", behind=0)
    )
    page.container("0x90", workload="c", tag="", behind=0).container(
        "0x90", workload="d", image="docker.io/library/redis", behind=0
    )
    return page, 59, 61, said(
        "MojaloopImageVersionsMixed", {**HUB, "image": IMAGE}, "A Mojaloop image runs at several tags in one namespace.",
        f"{IMAGE} runs at 2 tags in mojaloop: v1.0.0, v1.0.10. Mojaloop tests the services of one release together.", dashboard_url=ONE_IMAGE,
    )  # fmt: skip


def unknown():
    page = Page("north").unknown("1x90").unknown("1x90", workload="b").unknown("1x90", "pending", workload="c")
    return page, 59, 61, said(
        "MojaloopImageStatusUnknown", {**HUB, "reason": "unreachable"}, "Containers cannot be checked for patches.",
        "2 containers in mojaloop cannot be checked for patches: unreachable. They may miss a patch.", dashboard_url=f"{GRAFANA}?var-namespace=mojaloop",
    )  # fmt: skip


def unknown_once():
    page = Page("north").unknown("1x90", "floating_tag")
    return page, 59, 61, said(
        "MojaloopImageStatusUnknown", {**HUB, "reason": "floating_tag"}, "Containers cannot be checked for patches.",
        "1 container in mojaloop cannot be checked for patches: floating_tag. They may miss a patch.", dashboard_url=f"{GRAFANA}?var-namespace=mojaloop",
    )  # fmt: skip


def about_the_exporter(alert, own, summary, description, **more):
    return said(alert, {"cluster": "north", **own}, summary, description, dashboard_url=HEALTH, **more)


STAYS = "new patches are not seen. Alerts that fire keep firing, and end 7 days after the last scrape."


def down():
    page = Page("north").synced("1x10 stale", "mojaloop")
    return page, 25, 27, about_the_exporter(DOWN, {"watched_namespace": "mojaloop"}, "The image patch exporter is down.",
                                            f"No exporter for namespace mojaloop is scraped: {STAYS}")  # fmt: skip


def down_for_the_cluster():
    page = Page("north").synced("1x10 stale")
    return page, 25, 27, about_the_exporter(DOWN, {"watched_namespace": "*"}, "The image patch exporter is down.",
                                            f"No exporter for the cluster is scraped: {STAYS}")  # fmt: skip


def never_there():
    return (
        Page("north"),
        14,
        16,
        said(
            DOWN,
            {},
            "The image patch exporter is down.",
            f"No exporter for the cluster is scraped: {STAYS}",
            dashboard_url=HEALTH,
        ),
    )


def not_synced():
    return Page("north").synced("0x90"), 59, 61, about_the_exporter(
        "MojaloopImagePatchExporterNotSynced", {"watched_namespace": "*"}, "The image patch exporter has not listed everything that it watches.",
        "The exporter has not listed the cluster. It may lack permission. Alerts of deleted workloads keep firing until it has.",
    )  # fmt: skip


def scrapes_fail():
    page = Page("north").synced("1x120").add("up", " ".join(["1 0"] * 40))
    return page, 25, 27, said(
        "MojaloopImagePatchExporterScrapesFail", {"scrape_job": "patch", "scrape_instance": "a"}, "Many scrapes of the image patch exporter fail.",
        "Scrapes of a (job patch) began to fail or to succeed 27 times in the last hour.", dashboard_url=HEALTH,
    )  # fmt: skip


def renamed():
    page = Page("north").add("mojaloop_exporter_synced", "1x30", watched_namespace="*")
    page.add(
        "mojaloop_exporter_scrape_check",
        "1x30",
        exported_namespace="kept",
        exported_container="kept",
        namespace="monitoring",
    )
    return page, 4, 6, about_the_exporter(
        "MojaloopImagePatchLabelsRenamed", {"job": "patch"}, "Prometheus changes the labels of the image patch exporter's metrics.",
        "The scrape of job patch changes the labels namespace and container. No image of this job is watched until it has honor_labels: true"
        " (honorLabels in a ServiceMonitor) and no enforced namespace label.", severity="critical",
    )  # fmt: skip


def samples_missing():
    page = (
        Page("north")
        .synced("1x90")
        .container("0x90", behind=0)
        .add("mojaloop_exporter_samples", "2x90", metric="mojaloop_image_info")
    )
    return page, 29, 31, about_the_exporter(
        "MojaloopImagePatchSamplesMissing", {"scrape_job": "patch", "metric": "mojaloop_image_info"}, "Metrics of the image patch exporter do not arrive.",
        "1 sample of mojaloop_image_info does not arrive from job patch: the scrape drops or relabels them, or the exporter is older than these rules.",
    )  # fmt: skip


def nothing_watched():
    page = Page("north").synced("1x90", "mojaloop")
    return page, 59, 61, about_the_exporter(
        "MojaloopImagePatchNothingWatched", {"watched_namespace": "mojaloop"}, "The image patch exporter watches no container.",
        "The exporter has listed namespace mojaloop and watches no container there. Its configuration may exclude all of them.",
    )  # fmt: skip


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
    return page, 14, 16, about_the_exporter(
        "MojaloopImagePatchReplicasDisagree", {}, "Replicas of the image patch exporter see different containers.",
        "Together they see 2 containers, more than any of them alone. Two clusters may share this Prometheus without a cluster label, or the watch of one replica is stuck.",
    )  # fmt: skip


def stale():
    page = Page("north").add("mojaloop_image_lookup_timestamp_seconds", "0x400", registry="docker.io", image=IMAGE)
    return page, 375, 377, about_the_exporter(
        "MojaloopImageLookupStale", {"registry": "docker.io", "image": IMAGE}, "The tags of an image have not been looked up for hours.",
        f"The last successful lookup of {IMAGE} was 6h 17m 0s ago. Newer patches of it are not seen.",
    )  # fmt: skip


def failing():
    page = Page("north").add(
        "mojaloop_exporter_registry_failures_total", "0x5 1+1x120", registry="docker.io", reason="unreachable"
    )
    return page, 65, 70, about_the_exporter("MojaloopRegistryFailing", {"registry": "docker.io", "reason": "unreachable"}, "Requests to a registry keep failing.",
                                            "60 requests to docker.io failed in the last hour: unreachable.")  # fmt: skip


def failing_once_an_hour():
    page = Page("north").add(
        "mojaloop_exporter_registry_failures_total", "0x5 1x49 2x49 3x60", registry="docker.io", reason="not_found"
    )
    return page, 65, 70, about_the_exporter("MojaloopRegistryFailing", {"registry": "docker.io", "reason": "not_found"}, "Requests to a registry keep failing.",
                                             "1 request to docker.io failed in the last hour: not_found.")  # fmt: skip


CASES = (
    available, available_for_a_day, available_since_today, available_without_a_command, overdue, not_rolled_out, superseded, superseded_elsewhere, mixed,
    unknown, unknown_once, down, down_for_the_cluster, never_there, not_synced, scrapes_fail, renamed, samples_missing, nothing_watched, disagree, stale,
    failing, failing_once_an_hour,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_silent_just_before_its_time_and_firing_after_it(tmp_path, case):
    page, before, after, (name, expected) = case()
    alerts = [
        {"alertname": name, "eval_time": f"{before}m", "exp_alerts": []},
        {"alertname": name, "eval_time": f"{after}m", "exp_alerts": expected},
    ]
    passes(tmp_path, Case([page], alerts=alerts))


def alerting_rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("name", ["promtool", "promtool3"])
def test_the_rules_are_valid(name):
    (binary,) = need(name)
    done = subprocess.run(
        [binary, "check", "rules", "--lint-fatal", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_and_has_its_runbook_entry():
    rules = {rule["alert"]: rule for rule in alerting_rules()}
    assert rules.keys() == {case()[3][0] for case in CASES}
    runbook = (FOLDER / "runbook.md").read_text()
    for name, rule in rules.items():
        assert f"\n## {name}\n" in runbook
        assert rule["annotations"]["runbook_url"] == RUNBOOK + name.lower()


def test_every_summary_is_constant_and_every_description_is_short():
    for rule in alerting_rules():
        assert "{{" not in rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["summary"].endswith(".")


def test_everything_is_a_warning_but_labels_that_are_changed():
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in alerting_rules()}
    assert {name for name, severity in severities.items() if severity != "warning"} == {
        "MojaloopImagePatchLabelsRenamed"
    }
    assert severities["MojaloopImagePatchLabelsRenamed"] == "critical"


def test_no_annotation_about_a_patch_queries_prometheus():
    querying = {
        rule["alert"]
        for rule in alerting_rules()
        for text in rule["annotations"].values()
        if re.search(r"\bquery\b", text)
    }
    assert querying == {"MojaloopImageVersionsMixed"}


def test_compliance_and_lag(tmp_path):
    old = -20 * DAY * 60
    page = Page("north").synced("1x60").container("1x60", published=old).container("1x60", workload="b", published=0)
    page.container("0x60", workload="c", behind=0).container("0x60", workload="d", namespace="x", behind=0)
    passes(tmp_path, Case([page, Page(None, "b").synced("1x60")], [
        (30, 'sum(round(namespace:mojaloop_image_patch_compliance:ratio{namespace="mojaloop"} * 300))', 200),
        (30, 'sum(namespace:mojaloop_image_patch_compliance:ratio{namespace="x"})', 1),
        (30, "sum(cluster:mojaloop_image_patch_compliance:ratio)", 0.75),
        (30, "sum(cluster:mojaloop_image_patch_lag_seconds:max)", 30 * 60 - old),
        (30, "sum(namespace:mojaloop_image_containers:watched)", 4),
        (30, firing(OVERDUE), 1),
    ]))  # fmt: skip


# Marked places.


def test_every_alert_has_its_time_and_its_severity_at_marked_places():
    text = RULES.read_text()
    marked = names(text)
    assert {name for name in marked if not name.endswith(("_for", "_severity"))} == {
        "overdue_seconds",
        "stale_seconds",
        "grafana",
        "runbook",
    }
    timed = {name.removesuffix("_for") for name in marked if name.endswith("_for")}
    assert timed == {name.removesuffix("_severity") for name in marked if name.endswith("_severity")}
    assert len(timed) == len(alerting_rules())


def test_only_marked_places_are_changed_and_by_one_function():
    text = RULES.read_text()
    values = {
        "available_for": "1m",
        "overdue_seconds": "60",
        "grafana": "https://grafana.example/",
        "runbook": "https://wiki.example/patches/",
        "down_severity": "page",
    }
    changed = substitute(text, values)
    pairs = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert all("# value: " in a for a, _ in pairs)
    assert sorted(b.strip() for _, b in pairs if "example" not in b) == [
        "> 60  # value: overdue_seconds",
        "> 60  # value: overdue_seconds",
        "for: 1m  # value: available_for",
        "severity: page  # value: down_severity",
    ]
    assert changed.count("https://grafana.example/d/") == text.count("http://localhost:3000/d/")
    assert changed.count("runbook_url: https://wiki.example/patches#mojaloop") == len(alerting_rules())
    assert substitute(text, {}) == text
    with pytest.raises(KeyError, match="no place is marked nothing"):
        substitute(text, {"nothing": "1"})

"""The rules as a file: valid for every supported Prometheus, constant summaries, and values at marked places."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.demo.alerts import FOLDER, RULES, names, substitute
from tests.support.components import need
from tests.support.promtool import AVAILABLE, GRAFANA, IMAGE, RUNBOOK, Case, Page, run

HERE = Path(__file__).parent


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
    files = ("test_alerts_images.py", "test_alerts_exporter.py", "support/promtool.py")
    cases = "".join((HERE / file).read_text() for file in files)
    assert rules.keys() == set(re.findall(r'"(Mojaloop\w+)"', cases))
    runbook = (FOLDER / "runbook.md").read_text()
    for name, rule in rules.items():
        assert f"\n## {name}\n" in runbook
        assert rule["annotations"]["runbook_url"] == RUNBOOK + name.lower()


def test_every_summary_is_a_constant_sentence():
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


def test_no_rule_reads_alerts():
    """Cases for promtool leave alerts out that they do not ask for."""
    assert "ALERTS" not in RULES.read_text()


# Marked places.


def test_every_alert_has_its_time_and_its_severity_at_marked_places():
    text = RULES.read_text()
    marked = names(text)
    assert {name for name in marked if not name.endswith(("_for", "_severity"))} == {
        "approve_command",
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


def test_the_documented_value_gives_alerts_a_command_that_approves(tmp_path):
    documented = (HERE.parent / "docs/alerts.md").read_text()
    (value,) = re.findall(r"^('\{\{ if \.Labels\.patch_command.*')$", documented, re.MULTILINE)
    text = substitute(RULES.read_text(), {"approve_command": value})
    page = Page("north").synced("1x60").container("1x60", published=-600)
    page.container("1x60", published=-600, workload="argo", patch="", rollback="", advice="Argo CD reverts a patch.")
    expected = []
    for workload, approve in (
        ("ledger", "mojaloop-image-patch-exporter approve mojaloop/Deployment/ledger --tag v1.0.2"),
        ("argo", ""),
    ):
        labels = {"cluster": "north", "namespace": "mojaloop", "workload_kind": "Deployment", "workload": workload}
        command = "" if workload == "argo" else "patch"
        advice = " Argo CD reverts a patch." if workload == "argo" else ""
        annotations = {
            "summary": "A newer patch release of a running image is available.",
            "description": f"Deployment mojaloop/{workload} runs {IMAGE}:v1.0.0, 2 patch releases behind v1.0.2, the "
            f"first seen less than a day ago.{advice}",
            "patch_command": command,
            "rollback_command": "" if workload == "argo" else "rollback",
            "approve_command": approve,
            "changes_url": "https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
            "dashboard_url": f"{GRAFANA}-workload?var-namespace=mojaloop&var-workload={workload}",
            "runbook_url": RUNBOOK + AVAILABLE.lower(),
        }
        labels = {**labels, "image": IMAGE, "tag": "v1.0.0", "severity": "warning"}
        expected.append({"exp_labels": labels, "exp_annotations": annotations})
    tests = [{"alertname": AVAILABLE, "eval_time": "20m", "exp_alerts": expected}]
    status, said = run(tmp_path, Case([page], alerts=tests), text)
    assert status == 0, said

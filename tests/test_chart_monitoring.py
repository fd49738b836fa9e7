"""The chart installs the shipped rules, routes and dashboards, and its notes tell what Prometheus needs."""

import re
import subprocess

import pytest
import yaml

from exporter.demo.alerts import FOLDER, RULES, names, substitute
from tests.support.chart import CHART, HELMS, MINIMAL, ROOT, VALUES, helm, one, rendered, values
from tests.support.components import need


def test_the_rules_are_the_shipped_ones():
    assert one(rendered(), "PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())


def test_marked_places_are_changed_as_the_demo_does_it():
    text = RULES.read_text()
    bases = {"grafana", "runbook"}
    assert set(VALUES["prometheusRule"]["values"]) == names(text) - bases
    assert substitute(text, {k: str(v) for k, v in VALUES["prometheusRule"]["values"].items()}) == text, (
        "the defaults are the rules' own"
    )

    def another(number, name):
        kinds = {"seconds": str(7000 + number), "severity": f"level-{number}", "for": f"{number + 1}h30m"}
        kinds["command"] = """'{{ if .Labels.tag }}{{ reReplaceAll "^.* behind |,.*" "" .Labels.behind }}{{ end }}'"""
        return kinds[name.rpartition("_")[2]]

    other = {name: another(n, name) for n, name in enumerate(sorted(names(text) - bases))}
    chosen = {name: int(value) if name.endswith("_seconds") else value for name, value in other.items()}
    addresses = {
        "grafana.url": "https://grafana.hub.example/sub/",
        "prometheusRule.runbookUrl": "https://wiki.hub.example/patches",
    }
    changed = rendered(*values(**{"prometheusRule.values": chosen, **addresses}))
    expected = substitute(
        text, {**other, "grafana": "https://grafana.hub.example/sub", "runbook": "https://wiki.hub.example/patches"}
    )
    assert "localhost" not in expected
    assert "blob/main" not in expected
    assert one(changed, "PrometheusRule")["spec"] == yaml.safe_load(expected)


def test_alerts_are_left_out_and_labelled():
    spec = one(
        rendered(
            *values(
                **{
                    "prometheusRule.disabled": ["MojaloopImagePatchOverdue"],
                    "prometheusRule.alertLabels": {"team": "hub", "severity": "x"},
                }
            )
        ),
        "PrometheusRule",
    )["spec"]
    rules = [rule for group in spec["groups"] for rule in group["rules"]]
    shipped = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert [r.get("alert", r.get("record")) for r in rules] == [
        name for r in shipped if (name := r.get("alert", r.get("record"))) != "MojaloopImagePatchOverdue"
    ]
    for rule in rules:
        if "alert" in rule:
            original = next(r for r in shipped if r.get("alert") == rule["alert"])
            assert rule["labels"] == {"team": "hub", **original["labels"]}, "its own go before"


def test_dashboards_are_the_shipped_ones():
    found = {}
    for document in rendered():
        if document["kind"] == "ConfigMap" and "grafana_dashboard" in document["metadata"]["labels"]:
            found |= document["data"]
    assert found == {path.name: path.read_text() for path in (ROOT / "grafana").glob("*.json")}


def test_dashboards_for_grafana_operator():
    documents = rendered(*values(**{"grafanaOperator.enabled": True}))
    maps = {d["metadata"]["name"]: d for d in documents if d["kind"] == "ConfigMap"}
    boards = [d for d in documents if d["kind"] == "GrafanaDashboard"]
    assert len(boards) == len(list((ROOT / "grafana").glob("*.json")))
    for board in boards:
        spec = board["spec"]
        assert set(spec) == {"allowCrossNamespaceImport", "instanceSelector", "configMapRef"}
        assert spec["configMapRef"]["key"] in maps[spec["configMapRef"]["name"]]["data"]


def test_the_configuration_for_an_alertmanager_of_its_own(tmp_path):
    (amtool,) = need("amtool")
    documents = rendered("--values", CHART / "ci" / "everything-values.yaml")
    data = one(documents, "Secret", "image-patch-alertmanager")["stringData"]
    assert data["slack.tmpl"].strip() == (FOLDER / "slack.tmpl").read_text().strip()
    config = yaml.safe_load(data["alertmanager.yaml"])
    assert config["templates"] == ["/etc/alertmanager/config/slack.tmpl"]
    assert {s["api_url_file"] for r in config["receivers"] for s in r.get("slack_configs", ())} == {
        "/etc/alertmanager/secrets/image-patch-slack/url"
    }
    (tmp_path / "slack.tmpl").write_text(data["slack.tmpl"])
    config["templates"] = ["slack.tmpl"]
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [amtool, "check-config", tmp_path / "alertmanager.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (ours,) = config["route"]["routes"]
    window = next(r for r in ours["routes"] if r["matchers"] == ['alertname="MojaloopImagePatchAvailable"'])
    assert window["active_time_intervals"] == ["image-patch-active"]
    shipped = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    assert config["inhibit_rules"] == shipped["inhibit_rules"]


@pytest.mark.parametrize("binary", HELMS)
def test_grouping_and_intervals_of_the_values_replace_those_of_every_route(binary):
    slack = {"existingSecret": "slack", "groupBy": ["alertname", "namespace"], "repeatInterval": "2d"}
    route = one(rendered(*values(slack=slack), binary=binary), "AlertmanagerConfig")["spec"]["route"]
    assert (route["groupBy"], route["repeatInterval"]) == (["alertname", "namespace"], "2d")
    assert [inner for inner in route["routes"] if "repeatInterval" in inner or "groupBy" in inner] == []
    shipped = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())["route"]["routes"][0]
    assert (route["groupWait"], route["groupInterval"]) == (shipped["group_wait"], shipped["group_interval"])
    of_routes = [inner.get("group_interval") for inner in shipped["routes"]]
    assert [inner.get("groupInterval") for inner in route["routes"]] == of_routes, "what is not set stays"


def test_without_a_webhook_nothing_is_routed():
    assert not [d for d in rendered() if d["kind"] in ("AlertmanagerConfig", "Secret")]


def test_both_monitors_keep_the_exporters_labels_and_carry_those_that_are_selected():
    for kind, enabled in (
        ("ServiceMonitor", {}),
        ("PodMonitor", {"serviceMonitor.enabled": False, "podMonitor.enabled": True}),
    ):
        documents = rendered(*values(**{"prometheusOperator.labels": {"release": "kps"}, **enabled}))
        spec = one(documents, kind)["spec"]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        assert endpoint["honorLabels"] is True
        for selected in (kind, "PrometheusRule"):
            assert one(documents, selected)["metadata"]["labels"]["release"] == "kps"
    documents = rendered("--values", CHART / "ci" / "kps-values.yaml")
    assert one(documents, "AlertmanagerConfig")["metadata"]["labels"]["release"] == "kps"


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_a_scrape_is_limited_in_samples_unless_the_limit_is_zero(kind):
    alone = {"serviceMonitor.enabled": kind == "serviceMonitor", "podMonitor.enabled": kind == "podMonitor"}
    name = kind[0].upper() + kind[1:]
    assert one(rendered(*values(**alone)), name)["spec"]["sampleLimit"] == 250_000
    assert one(rendered(*values(**alone, **{f"{kind}.sampleLimit": 5})), name)["spec"]["sampleLimit"] == 5
    assert "sampleLimit" not in one(rendered(*values(**alone, **{f"{kind}.sampleLimit": 0})), name)["spec"]


def notes(*arguments):
    options = ("--namespace", "monitoring", "--dry-run=client", "--values", MINIMAL)
    done = helm("install", "hub", CHART, *options, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_notes_tell_what_to_open_and_what_the_alertmanager_needs():
    plain = notes()
    assert "port-forward service/hub-mojaloop-image-patch-exporter 9877:9877" in plain
    assert "set prometheusOperator.labels.release" in plain
    assert "OpenShift" in plain
    assert "No webhook is set" in plain
    routed = notes("--values", str(CHART / "ci" / "kps-values.yaml"))
    assert "alertmanagerConfigMatcherStrategy: {type: None}" in routed
    assert "release=kps" in routed
    assert "https://grafana.hub.example/d/mojaloop-image-patch" in routed


def test_the_scrape_job_in_the_notes_is_one(tmp_path):
    (promtool,) = need("promtool3")
    said = notes("--values", str(CHART / "ci" / "no-operator-values.yaml"))
    job = re.search(r"(?m)^     - job_name.*\n(?:       .*\n)+", said)[0]
    config = yaml.safe_load(job)
    assert config[0]["honor_labels"] is True
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": config}))
    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

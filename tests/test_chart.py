"""The Helm chart: what it renders, what it refuses, and what a real API server says of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import exporter
from exporter.config import KEYS, REGISTRY_KEYS, load
from exporter.demo.alerts import FOLDER, RULES, names, substitute
from tests.support.chart import CHART, FIXTURES, NAME, VERSION, helm, install_crds, kubectl, one, rendered
from tests.support.components import need

ROOT = CHART.parent.parent
BAD = sorted((Path(__file__).parent / "data" / "chart" / "bad").glob("*.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
HELMS = ("helm", "helm3")


def named(path):
    return path.stem.removesuffix("-values")


def values(**more):
    """Values as an argument of Helm's."""
    return [f"--set-json={key}={json.dumps(value)}" for key, value in more.items()]


@pytest.fixture(scope="module")
def cluster(kube):
    """An API server that knows the Prometheus operator's kinds."""
    install_crds(kube)
    for namespace in ("monitoring", "mojaloop", "backing"):
        kube.namespace(namespace)
    kube.request(
        "PATCH",
        "/api/v1/namespaces/monitoring",
        [{"op": "add", "path": "/metadata/labels/pod-security.kubernetes.io~1enforce", "value": "restricted"}],
        media="application/json-patch+json",
    )
    return kube


# What is rendered.


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_helm_has_nothing_to_say_of_it(fixture, binary):
    done = helm("lint", "--strict", CHART, VERSION, "--values", fixture, binary=binary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_helm_3_and_4_render_the_same(fixture):
    assert rendered("--values", fixture) == rendered("--values", fixture, binary="helm3")


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_the_api_server_takes_every_object(cluster, fixture):
    # The CRD of grafana-operator is not to be had from a package registry: see test_dashboards_for_grafana_operator.
    documents = [d for d in rendered("--values", fixture) if d["kind"] != "GrafanaDashboard"]
    text = "\n---\n".join(map(json.dumps, documents))
    done = kubectl(cluster, "apply", "--server-side", "--dry-run=server", "--filename", "-", text=text)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert done.stdout.count("serverside-applied") == len(documents)


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_its_pods_pass_the_restricted_level(cluster, fixture):
    documents = rendered("--values", fixture)
    template = next(d for d in documents if d["kind"] in ("Deployment", "StatefulSet"))["spec"]["template"]

    def admitted(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "monitoring"}, "spec": spec}
        if "volumes" in spec and "persistentVolumeClaim" not in str(spec) and fixture.stem.startswith("everything"):
            spec = pod["spec"] = {
                **spec,
                "volumes": [*spec["volumes"], {"name": "state", "persistentVolumeClaim": {"claimName": "state-0"}}],
            }
        return kubectl(cluster, "create", "--dry-run=server", "--filename", "-", text=json.dumps(pod))

    done = admitted(template["spec"])
    assert done.returncode == 0, done.stderr
    done = admitted({**template["spec"], "hostNetwork": True})
    assert 'violates PodSecurity "restricted' in done.stderr, "the API server enforces it"


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_values_are_refused_with_their_key(file):
    expected = file.read_text().partition("\n")[0].removeprefix("# ")
    done = helm("template", "hub", CHART, VERSION, "--values", file)
    assert done.returncode != 0
    said = done.stderr.replace("/", ".").replace("'", "")
    assert re.search(expected, said), done.stderr


# Its values.


def test_every_value_is_in_the_schema_and_no_other():
    def compare(value, schema, path):
        if not isinstance(value, dict) or "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, path
        missing = set(value) ^ set(schema["properties"])
        if path == "config":
            return
        assert missing <= {"global"}, (path, missing)
        for key, inner in value.items():
            compare(inner, schema["properties"][key], f"{path}.{key}".lstrip("."))

    compare(VALUES, SCHEMA, "")


def test_the_schema_knows_the_exporters_keys():
    def leaves(schema, path=""):
        for key, inner in schema["properties"].items():
            if "properties" in inner:
                yield from leaves(inner, f"{path}{key}.")
            else:
                yield f"{path}{key}"

    config = SCHEMA["properties"]["config"]
    theirs = {"listen", "state_dir", "ca_file", "kubernetes.kubeconfig", "kubernetes.context"}
    assert set(leaves(config)) == {key.name for key in KEYS} - theirs
    assert set(config["properties"]["registries"]["additionalProperties"]["properties"]) == {
        k.name for k in REGISTRY_KEYS
    }


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
def test_the_exporter_takes_its_configuration(fixture, tmp_path):
    documents = rendered("--values", fixture)
    file = tmp_path / "config.yaml"
    file.write_text(
        one(documents, "ConfigMap", next(d for d in documents if d["kind"] == "Service")["metadata"]["name"])["data"][
            "config.yaml"
        ]
    )
    loaded = load(file, {"HOME": "/"})
    workload = next(d for d in documents if d["kind"] in ("Deployment", "StatefulSet"))
    mounts = {m["mountPath"] for m in workload["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    used = {path for entry in loaded.registries for path in (entry.docker_config_file, entry.ca_file) if path}
    assert {str(path.parent) for path in used} <= mounts


def test_the_readme_is_what_helm_docs_writes(tmp_path):
    (binary,) = need("helm-docs")
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy, symlinks=True)
    (copy / "README.md").unlink(missing_ok=True)
    done = subprocess.run(
        [binary, "--chart-search-root", copy], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (copy / "README.md").read_text() == (CHART / "README.md").read_text(), "run `make chart`"


def test_what_people_move_over_to_is_there():
    text = (ROOT / "docs" / "migrating.md").read_text()
    keys = set(re.findall(r"`((?:config|slack|rbac|alertmanagerConfig)\.[\w.]+)", text))
    assert len(keys) >= 8
    for key in keys:
        schema = SCHEMA
        for part in key.split("."):
            assert part in schema["properties"], key
            schema = schema["properties"][part]
    moved = yaml.safe_load((CHART / "ci" / "migrated-values.yaml").read_text())
    schedule = re.search(r"`slack.activeTimeIntervals: (\[.*?\])`,", text)[1]
    assert moved["slack"]["activeTimeIntervals"] == yaml.safe_load(schedule), "the cron schedule of the table"


def test_the_chart_is_of_the_exporters_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == exporter.__version__
    image = one(rendered(), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"docker.io/mojaloop/{NAME}:v{exporter.__version__}"


# Rules, routes and dashboards.


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


@pytest.mark.parametrize("lost", ["alerts", "grafana"])
@pytest.mark.parametrize("binary", HELMS)
def test_without_the_symbolic_links_it_fails_with_a_sentence(tmp_path, lost, binary):
    copy = tmp_path / NAME
    shutil.copytree(CHART, copy)
    shutil.rmtree(copy / lost)
    done = helm("template", "hub", copy, VERSION, binary=binary, folder=tmp_path)
    assert done.returncode != 0
    assert re.search(rf"{lost}/\S+ is not in the chart: its folder is a symbolic link", done.stderr), done.stderr


@pytest.mark.parametrize("binary", HELMS)
def test_what_is_packaged_renders_the_same(tmp_path, binary):
    done = helm("package", CHART, "--destination", tmp_path, binary=binary, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "--list", "--file", archive], capture_output=True, text=True, check=True).stdout
    assert ".py" not in listed
    assert "/ci/" not in listed
    fixture = CHART / "ci" / "everything-values.yaml"
    assert rendered("--values", fixture, chart=archive, binary=binary) == rendered("--values", fixture)


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


def test_without_a_webhook_nothing_is_routed():
    assert not [d for d in rendered() if d["kind"] in ("AlertmanagerConfig", "Secret")]


# Pods.


def test_where_the_catalogue_is_kept():
    plain = one(rendered(*values(replicas=2)), "Deployment")["spec"]
    assert plain["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}} in plain["template"]["spec"]["volumes"]
    kept = one(rendered(*values(replicas=2, **{"persistence.enabled": True})), "StatefulSet")["spec"]
    assert kept["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Delete"}
    (claim,) = kept["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state", "each replica has a claim of its own"
    assert "state" not in {v["name"] for v in kept["template"]["spec"]["volumes"]}


def test_a_second_replica_brings_a_budget_and_is_spread():
    assert not [d for d in rendered() if d["kind"] == "PodDisruptionBudget"]
    documents = rendered(*values(replicas=2))
    assert one(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spread = one(documents, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [c["topologyKey"] for c in spread] == ["kubernetes.io/hostname"]


def test_a_changed_configuration_restarts_the_pods():
    def checksum(*arguments):
        return one(rendered(*arguments), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() != checksum(*values(**{"config.interval": "2h"}))
    assert checksum() == checksum(*values(**{"slack.channel": "#x"}))


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


# Rights.


def documented():
    """The README's table of permissions: (group, resource, verbs)."""
    text = (ROOT / "README.md").read_text().partition("## Permissions")[2].partition("\n## ")[0]
    found = set()
    for group, resources in re.findall(r"^\| (\S+) \| (`[^|]+) \|", text, re.MULTILINE):
        for resource in re.findall(r"`(\w+)`", resources):
            read = resource in ("pods", "replicasets", "replicationcontrollers")
            verbs = {"list", "watch"} | ({"get"} if read else set())
            found.add((resource if group == "(core)" else f"{resource}.{group.strip('`')}", frozenset(verbs)))
    assert "(and `get` for pods, ReplicaSets and ReplicationControllers)" in text
    return found


def can(kube, *arguments):
    done = kubectl(kube, "auth", "can-i", "--list", "--no-headers", *arguments)
    assert done.returncode == 0, done.stderr
    return {
        (row.split()[0], frozenset(re.search(r"\[([^\[\]]*)\]$", row)[1].split()))
        for row in done.stdout.splitlines()
        if row.strip() and not row.startswith(" ")
    }


def apply(kube, documents, *kinds):
    for document in documents:
        if document["kind"] in kinds:
            done = kubectl(kube, "apply", "--filename", "-", text=json.dumps(document))
            assert done.returncode == 0, done.stderr


def remove(kube, documents, *kinds):
    for document in documents:
        if document["kind"] in kinds:
            kubectl(kube, "delete", "--filename", "-", text=json.dumps(document))


RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def test_the_account_may_what_the_readme_says_and_nothing_else(cluster):
    documents = rendered(release="cluster-wide")
    apply(cluster, documents, *RIGHTS)
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    nobody = [
        "--as=system:serviceaccount:monitoring:nobody",
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ]
    somebody = [nobody[0].replace("nobody", account), *nobody[1:]]
    for namespace in ("mojaloop", "monitoring", "kube-system"):
        assert (
            can(cluster, *somebody, "--namespace", namespace) - can(cluster, *nobody, "--namespace", namespace)
            == documented()
        )
    remove(cluster, documents, *RIGHTS)


def test_the_account_of_two_namespaces_may_the_same_there_and_nothing_elsewhere(cluster):
    documents = rendered("--values", CHART / "ci" / "namespaced-values.yaml", release="narrow")
    apply(cluster, documents, *RIGHTS)
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    nobody = [
        "--as=system:serviceaccount:monitoring:nobody",
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ]
    somebody = [nobody[0].replace("nobody", account), *nobody[1:]]
    left_out = ("jobs.batch", "replicationcontrollers", "rollouts.argoproj.io", "deploymentconfigs.apps.openshift.io")
    named = {(resource, verbs) for resource, verbs in documented() if resource not in left_out}
    for namespace, rights in (
        ("mojaloop", named),
        ("backing", named),
        ("monitoring", set()),
        ("default", set()),
    ):
        assert (
            can(cluster, *somebody, "--namespace", namespace) - can(cluster, *nobody, "--namespace", namespace)
            == rights
        )
    remove(cluster, documents, *RIGHTS)


# What it says.


def notes(*arguments):
    done = helm("install", "hub", CHART, "--namespace", "monitoring", "--dry-run=client", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_notes_tell_what_to_open_and_what_the_alertmanager_needs():
    plain = notes()
    assert "port-forward service/hub-mojaloop-image-patch-exporter 9877:9877" in plain
    assert "set prometheusOperator.labels.release" in plain
    assert "OpenShift" in plain
    assert "No webhook is given" in plain
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

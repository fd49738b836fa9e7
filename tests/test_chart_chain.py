"""What a hub has after `helm install`: a missing patch reaches Slack.

The Prometheus operator writes configuration from the chart's objects, and Prometheus and Alertmanager run with exactly
that configuration. All of it runs in its own network namespace, because the API server refuses loopback addresses
behind a Service.
"""

import asyncio
import base64
import json
import re
import sys
import urllib.request
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import yaml

from exporter.demo import StandInSlack, serving
from exporter.demo.alerts import FOLDER, RULES, substitute
from exporter.demo.slack import Button
from tests.support.chart import ROOT, kubectl
from tests.support.components import need
from tests.support.exporter_process import local
from tests.support.kube import free_port
from tests.support.operated_hub import ADDRESS, cluster, network, operator, process
from tests.support.registries import registry
from tests.support.workloads import body

pytestmark = pytest.mark.anyio

PROMETHEUS = {
    "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
    "metadata": {"name": "kps", "namespace": "monitoring"},
    "spec": {
        "version": "v3.0.0", "replicas": 1, "serviceAccountName": "prometheus",
        "scrapeInterval": "2s", "evaluationInterval": "2s", "serviceDiscoveryRole": "EndpointSlice",
        # As kube-prometheus-stack has them.
        "serviceMonitorSelector": {"matchLabels": {"release": "kps"}}, "serviceMonitorNamespaceSelector": {},
        "podMonitorSelector": {"matchLabels": {"release": "kps"}}, "podMonitorNamespaceSelector": {},
        "ruleSelector": {"matchLabels": {"release": "kps"}}, "ruleNamespaceSelector": {},
        "alerting": {"alertmanagers": [{"namespace": "monitoring", "name": "alertmanager", "port": "web"}]},
    },
}  # fmt: skip


def alertmanager(name, **more):
    spec = {
        "version": "v0.25.0",
        "replicas": 1,
        "alertmanagerConfigSelector": {},
        "alertmanagerConfigNamespaceSelector": {},
        **more,
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Alertmanager",
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": spec,
    }


async def until(condition, what, seconds=60.0):
    """Wait until something holds, and give it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (found := await asyncio.to_thread(condition)):
        assert loop.time() < end, what() if callable(what) else what
        await asyncio.sleep(0.3)
    return found


def readme_commands():
    """The install section's code block with the commands for the cluster."""
    section = (ROOT / "README.md").read_text().partition("## Install it on a cluster")[2].partition("\n## ")[0]
    return next(block for block in re.findall(r"```\n(.*?)```", section, re.DOTALL) if "helm install" in block)


QUICK = {"prometheusRule": {"values": {"available_for": "4s"}}}


async def test_after_helm_install_a_missing_patch_reaches_slack(tmp_path):
    need(
        "kube-apiserver",
        "etcd",
        "kubectl",
        "helm",
        "prometheus-operator",
        "prometheus3",
        "prometheus-alertmanager",
        "docker-registry",
    )
    with (
        network(),
        cluster(tmp_path) as hub,
        registry("docker-registry", tmp_path / "registry") as images,
        operator(hub) as operator_log,
    ):
        slack = StandInSlack()
        async with serving(slack.app) as sink:
            await chain(hub, images, slack, sink, operator_log)


async def chain(hub, images, slack, sink, operator_log):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    images.push("mojaloop/ledger", ["v1.0.0", "v1.0.1"], created=yesterday.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for namespace in ("monitoring", "hub"):
        hub.kube.namespace(namespace)
    monitoring = {"namespace": "monitoring"}
    read = ["get", "list", "watch"]
    port = free_port()
    hub.make(
        PROMETHEUS,
        alertmanager("kps", alertmanagerConfigMatcherStrategy={"type": "None"}),
        alertmanager("as-by-default"),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus", **monitoring}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "prometheus"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "nodes", "namespaces"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "prometheus"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prometheus"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus", **monitoring}],
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "alertmanager", **monitoring},
            "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": port}]},
        },
    )  # fmt: skip
    hub.behind("alertmanager", "web", port)

    # As in the README.
    done = await asyncio.to_thread(hub.shell, readme_commands())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alertmanagerConfigMatcherStrategy: {type: None}" in done.stdout
    assert "AlertmanagerConfig sends to #mojaloop-patches" in done.stdout

    shipped = substitute(RULES.read_text(), {"grafana": "https://grafana.example.org"})
    (installed,) = hub.get("prometheusrule")["items"]
    assert installed["spec"] == yaml.safe_load(shipped)
    maps = {key: text for item in hub.get("configmap")["items"] for key, text in item.get("data", {}).items()}
    boards = {path.name: path.read_text() for path in (ROOT / "grafana").glob("*.json")}
    assert boards.items() <= maps.items()

    # Then what this test differs in: the webhook, a registry on this machine, and less patience.
    webhook = base64.b64encode(f"{sink}/services/T/B/X".encode()).decode()
    operations = json.dumps([{"op": "replace", "path": "/data/url", "value": webhook}])
    done = kubectl(
        hub.kube,
        "--namespace",
        "monitoring",
        "patch",
        "secret",
        "slack-webhook",
        "--type",
        "json",
        "--patch",
        operations,
    )
    assert done.returncode == 0, done.stderr
    values = hub.folder / "values.yaml"
    values.write_text(yaml.safe_dump({**QUICK, "config": {"registries": local(images.host)}}))
    upgrade = (
        "helm upgrade image-patch charts/mojaloop-image-patch-exporter"
        f" --namespace monitoring --reuse-values --values {values}"
    )
    done = await asyncio.to_thread(hub.shell, upgrade)
    assert done.returncode == 0, done.stderr

    # What the operator makes of it.
    def routes():
        text = hub.secret("alertmanager-kps-generated", "alertmanager.yaml.gz")
        return text if f"{sink}/services/T/B/X" in text else None

    routed = await until(routes, lambda: operator_log.read_text()[-3000:])
    compare(yaml.safe_load(routed), sink)

    def rules():
        found = hub.get("configmap", "prometheus-kps-rulefiles-0")
        return found["data"] if found and any("for: 4s" in text for text in found.get("data", {}).values()) else None

    rule_files = await until(rules, lambda: operator_log.read_text()[-3000:])

    def scraped():
        text = hub.secret("prometheus-kps", "prometheus.yaml.gz")
        return text if "serviceMonitor/monitoring/image-patch" in text else None

    prometheus_config = await until(scraped, lambda: operator_log.read_text()[-3000:])
    (job,) = [job for job in yaml.safe_load(prometheus_config)["scrape_configs"]]
    assert job["honor_labels"] is True

    # The exporter, as its Deployment says.
    name = "image-patch-mojaloop-image-patch-exporter"
    pod = hub.get("deployment", name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    files, environment = hub.inside(pod["serviceAccountName"])
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            data = hub.get("configmap", volume["configMap"]["name"])["data"]
            files |= {f"{mounted[volume['name']]}/{key}": text for key, text in data.items()}
    environment |= {e["name"]: e["value"] for e in container.get("env", ())}
    assert len(hub.get("service", name)["spec"]["ports"]) == 1
    hub.behind(name, "http", container["ports"][0]["containerPort"])

    in_prometheus, around = hub.inside("prometheus")
    in_prometheus |= {
        f"/etc/prometheus/rules/prometheus-kps-rulefiles-0/{file}": text for file, text in rule_files.items()
    }
    # The reloader next to it puts these in.
    in_prometheus["/etc/prometheus/config_out/prometheus.env.yaml"] = prometheus_config.replace(
        "$(POD_NAME)", "prometheus-kps-0"
    ).replace("$(SHARD)", "0")
    answers = f"{ADDRESS}:{free_port()}"
    (prometheus,), (alerts,) = need("prometheus3"), need("prometheus-alertmanager")
    with (
        process(
            hub.folder, "exporter", sys.executable, "-m", "exporter", *container["args"],
            files=files, environment={**environment, "PYTHONPATH": str(ROOT)},
        ) as ours,
        process(
            hub.folder, "prometheus", prometheus,
            "--config.file=/etc/prometheus/config_out/prometheus.env.yaml",
            f"--storage.tsdb.path={hub.folder / 'tsdb'}", f"--web.listen-address={answers}",
            files=in_prometheus, environment=around,
        ) as prometheus_log,
        process(
            hub.folder, "alertmanager", alerts,
            "--config.file=/etc/alertmanager/config_out/alertmanager.env.yaml",
            f"--storage.path={hub.folder / 'alerts'}",
            f"--web.listen-address={ADDRESS}:{port}", "--cluster.listen-address=",
            files={"/etc/alertmanager/config_out/alertmanager.env.yaml": routed},
        ) as alertmanager_log,
    ):  # fmt: skip
        hub.kube.create("Deployment", "hub", body("Deployment", "ledger", f"{images.host}/mojaloop/ledger:v1.0.0"))

        def said():
            logs = (ours, prometheus_log, alertmanager_log)
            asked = ("targets?state=active", "alertmanagers", "alerts")
            answered = [
                urllib.request.urlopen(f"http://{answers}/api/v1/{what}").read().decode()[:3000] for what in asked
            ]
            titles = [m.title for m in slack.messages]
            return "\n".join([*(log.read_text()[-1500:] for log in logs), *answered, str(titles), str(slack.refusals)])

        def about_the_ledger():
            return next((m for m in slack.messages if "in hub:" in m.title and m.text.startswith("*ledger*")), None)

        message = await until(about_the_ledger, said, 150)
        assert message.title == "[warning] ledger in hub: A newer patch release of a running image is available (1)"
        dashboard = "https://grafana.example.org/d/mojaloop-image-patch-workload?var-namespace=hub&var-workload=ledger"
        assert Button("Dashboard", dashboard) in message.buttons
        command = re.search(r"```(kubectl -n hub patch .*?)```", message.text)[1]
        done = await asyncio.to_thread(hub.shell, command)
        assert done.returncode == 0, done.stderr
        assert slack.refusals == []
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://{answers}") as client:
            answer = (await client.get("/api/v1/query", params={"query": "mojaloop_image_patch_available"})).json()
            (sample,) = answer["data"]["result"]
            assert (sample["metric"]["namespace"], sample["metric"]["workload"]) == ("hub", "ledger")
            assert "exported_namespace" not in sample["metric"]

    # Other values change it.
    done = await asyncio.to_thread(
        hub.shell, f"{upgrade} --set slack.channel=#elsewhere --set prometheusRule.values.overdue_seconds=604800"
    )
    assert done.returncode == 0, done.stderr
    await until(
        lambda: "'#elsewhere'" in hub.secret("alertmanager-kps-generated", "alertmanager.yaml.gz"),
        lambda: operator_log.read_text()[-3000:],
    )
    await until(
        lambda: any("> 604800" in text for text in hub.get("configmap", "prometheus-kps-rulefiles-0")["data"].values()),
        lambda: operator_log.read_text()[-3000:],
    )

    # The operator as it is by default lets nothing through that is about another namespace.
    strict = yaml.safe_load(hub.secret("alertmanager-as-by-default-generated", "alertmanager.yaml.gz"))
    assert strict["route"]["routes"][0]["matchers"][-1] == 'namespace="monitoring"'
    assert all('namespace="monitoring"' in rule["source_matchers"] for rule in strict["inhibit_rules"])

    # And nothing is left behind.
    assert len(hub.of_the_release()) > 10
    done = await asyncio.to_thread(hub.shell, "helm uninstall image-patch --namespace monitoring")
    assert done.returncode == 0, done.stderr
    await until(lambda: not hub.of_the_release(), lambda: str(hub.of_the_release()))
    secrets = {item["metadata"]["name"] for item in hub.get("secret")["items"]}
    assert not {name for name in secrets if "image-patch" in name}, "not even Helm's own"


def compare(routed, sink):
    """The operator's configuration says what alerts/ says, and nothing of a namespace."""
    shipped = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    prefix = "monitoring/image-patch-mojaloop-image-patch-exporter/"

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key != "continue"}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return value.removeprefix(prefix) if isinstance(value, str) else value

    assert [plain(route) for route in routed["route"]["routes"]] == shipped["route"]["routes"]
    assert routed["inhibit_rules"] == shipped["inhibit_rules"]
    ours = {plain(r["name"]): r["slack_configs"] for r in routed["receivers"] if r["name"].startswith(prefix)}
    templates = (FOLDER / "slack.tmpl").read_text()
    for receiver in shipped["receivers"]:
        for theirs in receiver.get("slack_configs", ()):
            (slack,) = ours[receiver["name"]]
            assert slack.pop("api_url") == f"{sink}/services/T/B/X"
            said = {
                key: value.removeprefix(templates) if isinstance(value, str) else value for key, value in slack.items()
            }
            assert said == {key: value for key, value in theirs.items() if key != "api_url_file"}

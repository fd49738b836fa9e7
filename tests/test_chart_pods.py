"""The pods of the chart: where they run, what they mount, how they are probed, and the pod of `helm test`."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from exporter.config import KEYS
from tests.support.chart import CHART, HELMS, ROOT, one, pod_spec, rendered, values

EVERYTHING = ("--values", CHART / "ci" / "everything-values.yaml")
EVERY_KEY = yaml.safe_load((ROOT / "tests" / "data" / "config" / "good" / "every-key.yaml").read_text())
# The chart sets these itself, and these keys of `patcher`.
OF_THE_CHART = {"api", "ca_file", "listen", "state_dir"}
OF_THE_RELEASE = {f"patcher.{key}" for key in ("lease_namespace", "lease_name", "own_release", "verified_approvers")}


# The catalogue.


def test_where_the_catalogue_is_kept():
    plain = one(rendered(*values(replicas=2)), "Deployment")["spec"]
    assert plain["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}} in plain["template"]["spec"]["volumes"]
    kept = one(rendered(*values(replicas=2, **{"persistence.enabled": True})), "StatefulSet")["spec"]
    assert kept["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Delete"}
    (claim,) = kept["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state", "each replica has a claim of its own"
    assert "state" not in {v["name"] for v in kept["template"]["spec"]["volumes"]}


@pytest.mark.parametrize("binary", HELMS)
def test_a_claim_that_exists_is_used_by_one_pod_at_a_time(binary):
    documents = rendered(*values(persistence={"enabled": True, "existingClaim": "patches"}), binary=binary)
    spec = one(documents, "Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    volume = {"name": "state", "persistentVolumeClaim": {"claimName": "patches"}}
    assert volume in spec["template"]["spec"]["volumes"]


# Several replicas.


def test_a_second_replica_brings_a_budget_and_is_spread():
    assert not [d for d in rendered() if d["kind"] == "PodDisruptionBudget"]
    documents = rendered(*values(replicas=2))
    assert one(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spread = one(documents, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [c["topologyKey"] for c in spread] == ["kubernetes.io/hostname"]


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": "50%", "maxUnavailable": 1}, {"minAvailable": "50%"}),
        (
            {"unhealthyPodEvictionPolicy": "IfHealthyBudget"},
            {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "IfHealthyBudget"},
        ),
    ],
)
def test_the_budget_is_as_the_values_say(budget, expected, binary):
    documents = rendered(*values(replicas=2, podDisruptionBudget=budget), binary=binary)
    spec = one(documents, "PodDisruptionBudget")["spec"]
    assert spec.pop("selector")
    assert spec == {"unhealthyPodEvictionPolicy": "AlwaysAllow", **expected}


def test_a_budget_can_be_left_out():
    documents = rendered(*values(replicas=2, **{"podDisruptionBudget.enabled": False}))
    assert not [d for d in documents if d["kind"] == "PodDisruptionBudget"]


# Restarts and revisions.


def checksum(*arguments):
    return one(rendered(*arguments), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


@pytest.mark.parametrize("group", sorted(EVERY_KEY.keys() - OF_THE_CHART))
def test_pods_restart_for_keys_that_do_not_apply_to_a_running_exporter_and_only_for_these(group):
    value = EVERY_KEY[group]
    if group == "kubernetes":
        value = {"kinds": value["kinds"]}
    if group == "patcher":
        value = {key: inner for key, inner in value.items() if f"patcher.{key}" not in OF_THE_RELEASE}
    live = {key.live for key in KEYS if key.name.partition(".")[0] == group and key.name not in OF_THE_RELEASE}
    assert (checksum() == checksum(*values(**{f"config.{group}": value}))) is (live == {True})


def test_pods_do_not_restart_for_what_is_not_in_their_configuration():
    assert checksum() == checksum(*values(**{"slack.channel": "#x"}))
    assert checksum() == checksum(*values(podAnnotations={"checksum/config": "x"})), "the chart's own"


@pytest.mark.parametrize("limit", [0, 3])
@pytest.mark.parametrize("kept", [False, True])
def test_revisions_are_kept_as_the_values_say(limit, kept):
    documents = rendered(*values(revisionHistoryLimit=limit, **{"persistence.enabled": kept}))
    (workload,) = (d for d in documents if d["kind"] in ("Deployment", "StatefulSet"))
    assert workload["spec"]["revisionHistoryLimit"] == limit


# Labels, names and mounts.


def test_a_pods_label_takes_precedence_over_a_common_one():
    documents = rendered(*values(commonLabels={"team": "hub"}, podLabels={"team": "operators"}))
    assert one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]["team"] == "operators"
    assert one(documents, "Service")["metadata"]["labels"]["team"] == "hub"


@pytest.mark.parametrize("binary", HELMS)
def test_secrets_with_the_same_beginning_are_two_volumes(binary):
    start = "pull-secret-of-the-registry-of-the-operations-team-of-hub"
    names = [f"{start}-a", f"{start}-b", "dotted.pull.secret", "dotted-pull-secret", "short"]
    spec = pod_spec(
        rendered(*values(registrySecrets={f"r{n}.example": name for n, name in enumerate(names)}), binary=binary)
    )
    volumes = {v["name"]: v["secret"]["secretName"] for v in spec["volumes"] if v["name"].startswith("registry-")}
    assert sorted(volumes.values()) == sorted(names)
    assert all(len(name) <= 63 and "." not in name for name in volumes), volumes
    mounts = {m["mountPath"].rpartition("/")[2]: m["name"] for m in spec["containers"][0]["volumeMounts"]}
    assert all(mounts[secret] == volume for volume, secret in volumes.items())
    assert volumes["registry-short"] == "short"


@pytest.mark.parametrize("binary", HELMS)
def test_every_object_but_the_roles_is_in_the_namespace_of_the_values(binary):
    documents = rendered(
        *EVERYTHING, *values(namespaceOverride="tools", **{"serviceMonitor.enabled": False}), binary=binary
    )
    ours = [d for d in documents if d["metadata"]["name"].startswith("image-patch") and "-text" not in str(d)]
    assert len(ours) > 15
    assert {d["metadata"]["namespace"] for d in ours} == {"tools"}
    bindings = [d for d in documents if d["kind"] == "ClusterRoleBinding"]
    assert {b["metadata"]["name"] for b in bindings} == {"tools-image-patch", "tools-image-patch-patcher"}
    assert {s["namespace"] for b in bindings for s in b["subjects"]} == {"tools"}


# What the values add.


def test_arguments_probes_and_dns_are_as_the_values_say():
    spec = pod_spec(rendered(*EVERYTHING))
    (container,) = spec["containers"]
    assert container["args"][0] == "serve"
    assert container["args"][-1] == "--kubeconfig=/tmp/kubeconfig"
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["httpGet"]["path"] for kind, probe in probes.items()} == {
        "startup": "/-/healthy", "liveness": "/-/healthy", "readiness": "/-/ready"
    }  # fmt: skip
    assert probes["startup"]["failureThreshold"] == 120
    assert (probes["liveness"]["initialDelaySeconds"], probes["liveness"]["periodSeconds"]) == (5, 10)
    assert probes["readiness"]["successThreshold"] == 2
    assert spec["dnsPolicy"] == "None"
    assert spec["dnsConfig"]["nameservers"] == ["10.96.0.10"]


@pytest.mark.parametrize("binary", HELMS)
def test_extra_manifests_are_templates_as_mappings_and_as_text(binary):
    documents = rendered(*EVERYTHING, binary=binary)
    assert one(documents, "ConfigMap", "hub-extra")["metadata"]["namespace"] == "monitoring"
    assert one(documents, "ConfigMap", "image-patch-text")


# `helm test`.


def selected(labels, selector):
    return selector.items() <= labels.items()


@pytest.mark.parametrize("binary", HELMS)
def test_the_pod_of_helm_test_is_let_in_by_the_policy_and_gets_no_traffic(binary):
    documents = rendered(*values(replicas=2, **{"networkPolicy.enabled": True}), binary=binary)
    pod = one(documents, "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    labels = pod["metadata"]["labels"]
    policy = one(documents, "NetworkPolicy")["spec"]
    let_in = [peer["podSelector"]["matchLabels"] for peer in policy["ingress"][0]["from"] if "podSelector" in peer]
    assert [selected(labels, selector) for selector in let_in] == [True]
    for selector in (
        policy["podSelector"]["matchLabels"],
        one(documents, "Service")["spec"]["selector"],
        one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(documents, "ServiceMonitor")["spec"]["selector"]["matchLabels"],
    ):
        assert not selected(labels, selector)
    assert pod["spec"]["containers"][0]["image"] == pod_spec(documents)["containers"][0]["image"]


@pytest.mark.parametrize("override", ["", "a" * 63])
def test_the_pod_of_helm_test_has_other_labels_whatever_the_name(override):
    documents = rendered(*values(nameOverride=override, fullnameOverride="x"))
    labels = one(documents, "Pod")["metadata"]["labels"]
    assert not selected(labels, one(documents, "Service")["spec"]["selector"])
    assert len(labels["app.kubernetes.io/name"]) <= 63


class NotYet(BaseHTTPRequestHandler):
    """Answers 503 once, then 200."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        ready = self.path == "/-/ready" and type(self).asked > 1
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready\n" if ready else b"not ready\n")

    def log_message(self, *_):
        pass


def test_the_command_of_helm_test_waits_until_the_exporter_is_ready():
    *command, url = one(rendered(), "Pod")["spec"]["containers"][0]["command"]
    assert url == "http://hub-mojaloop-image-patch-exporter.monitoring.svc:9877/-/ready"
    with HTTPServer(("127.0.0.1", 0), NotYet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/-/ready"
        environment = {"http_proxy": "http://127.0.0.1:1"}
        done = subprocess.run(
            [sys.executable, *command[1:], here], env=environment, capture_output=True, text=True, check=False
        )
        server.shutdown()
    assert (done.returncode, done.stdout) == (0, f"{here} 200 ready\n"), done.stderr

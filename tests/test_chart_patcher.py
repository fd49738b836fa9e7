"""The patcher in the chart: no objects while it is off, and its own ServiceAccount while it is on."""

import re

import pytest
import yaml

from exporter.config import KEYS, load
from tests.support.chart import CHART, HELMS, MINIMAL, NAME, ROOT, helm, one, pod_spec, pod_specs, rendered, values
from tests.support.patched_hub import CRD

FULL, PATCHER = f"hub-{NAME}", f"hub-{NAME}-patcher"
WINDOWS = [{"name": "nights", "schedule": "0 22 * * *", "duration": "4h"}]
ON = {"patcher.enabled": True, "config.windows": WINDOWS}
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def on(*arguments, binary="helm", **more):
    return rendered(*arguments, *values(**ON, **more), binary=binary)


def patchers(documents):
    """The objects of the patcher."""
    name = "app.kubernetes.io/name"
    return [d for d in documents if d["metadata"].get("labels", {}).get(name, "").endswith("-patcher")]


def named(documents, kind, name=PATCHER):
    return one(documents, kind, name)


def configuration(documents):
    return yaml.safe_load(one(documents, "ConfigMap", FULL)["data"]["config.yaml"])


def patcher_pod(documents):
    (found,) = (spec for spec in pod_specs(documents) if spec["containers"][0]["name"] == "patcher")
    return found


# Off and on.


@pytest.mark.parametrize("more", [{}, {"config.windows": WINDOWS}], ids=["plain", "windows"])
def test_while_it_is_off_nothing_of_it_is_rendered(more):
    documents = rendered(*values(**more))
    assert patchers(documents) == []
    assert not [d for d in documents if d["kind"] in ("CustomResourceDefinition", "Lease", *POLICIES)]
    assert "patcher" not in configuration(documents)


@pytest.mark.parametrize("binary", HELMS)
def test_while_it_is_on_the_exporter_has_the_objects_and_the_rights_that_it_had(binary):
    more = {"networkPolicy.enabled": True, "replicas": 2, "serviceAccount.annotations": {"a": "b"}}
    more["prometheusRule.values.approve_command"] = '""'
    without = rendered(*values(**{"config.windows": WINDOWS}, **more), binary=binary)
    documents = on(binary=binary, **more)

    def plain(found):
        kept = [d for d in found if d not in patchers(found) and d["kind"] not in POLICIES]
        for d in kept:
            if d["metadata"]["name"] == FULL and d["kind"] == "ConfigMap":
                d["data"] = {}
            if d["kind"] == "Deployment":
                d["spec"]["template"]["metadata"]["annotations"] = {}
        return sorted(kept, key=str)

    ours = [d for d in plain(documents) if not d["metadata"]["name"].startswith(PATCHER)]
    assert ours == plain(without)


def test_it_is_these_objects():
    documents = on(**{"networkPolicy.enabled": True})
    names = (PATCHER, f"monitoring-{PATCHER}")
    assert sorted(d["kind"] for d in documents if d["metadata"]["name"].startswith(names)) == [
        "ClusterRole", "ClusterRoleBinding", "Deployment", "Lease", "NetworkPolicy", "Role", "RoleBinding", "Service",
        "ServiceAccount", "ServiceMonitor", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
    ]  # fmt: skip
    assert one(documents, "ClusterRole", "image-patch-approver")
    assert one(documents, "CustomResourceDefinition")


def test_no_selector_of_one_selects_the_other():
    documents = on(**{"networkPolicy.enabled": True, "replicas": 2, "nameOverride": "a" * 63})
    assert len(PATCHER) <= 63

    def labels(kind):
        return {
            d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == kind
        }

    pods = labels("Deployment")
    (exporter, patcher) = (pods[name] for name in sorted(pods))
    assert len(patcher["app.kubernetes.io/name"]) <= 63
    for d in documents:
        spec = d.get("spec", {})
        found = spec.get("selector", {}) if d["kind"] in ("Service", "ServiceMonitor", "PodDisruptionBudget") else {}
        found = found or (spec["podSelector"] if d["kind"] == "NetworkPolicy" else {})
        if selector := found.get("matchLabels", found):
            own, other = (patcher, exporter) if d["metadata"]["name"].endswith("-patcher") else (exporter, patcher)
            assert selector.items() <= own.items(), d["kind"]
            assert not selector.items() <= other.items(), d["kind"]


# Its pod.


def test_its_pod_runs_the_same_image_with_the_same_credentials_and_without_a_state():
    chosen = {
        "registrySecrets": {"docker.io": "docker-hub"},
        "caBundle.configMap": "hub-ca",
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "patcher.resources": {"limits": {"memory": "1Gi"}},
        "api.existingSecret": "api-token",
    }
    documents = on(**chosen)
    spec, (theirs,) = patcher_pod(documents), pod_spec(documents)["containers"]
    (container,) = spec["containers"]
    assert container["args"] == ["patcher", "--config=/etc/mojaloop-image-patch-exporter/config.yaml", "--listen=:9877"]
    for key in (
        "image",
        "imagePullPolicy",
        "env",
        "securityContext",
        "startupProbe",
        "livenessProbe",
        "readinessProbe",
    ):
        assert container[key] == theirs[key]
    (kubernetes,) = (m for m in container["volumeMounts"] if m["name"] == "kubernetes")
    shared = [m for m in container["volumeMounts"] if m != kubernetes]
    assert shared == [m for m in theirs["volumeMounts"] if m["name"] not in ("state", "api-token")]
    assert {v["name"] for v in spec["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert spec["securityContext"] == pod_spec(documents)["securityContext"]
    assert spec["serviceAccountName"] == PATCHER


def test_only_its_own_container_gets_the_token_of_its_account():
    documents = on()
    spec, account = patcher_pod(documents), named(documents, "ServiceAccount")
    assert spec["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "kubernetes")
    assert (mount["mountPath"], mount["readOnly"]) == ("/var/run/secrets/kubernetes.io/serviceaccount", True)
    (volume,) = (v["projected"]["sources"] for v in spec["volumes"] if v["name"] == "kubernetes")
    items = [item["path"] for s in volume for key in s for item in s[key].get("items", [s[key]])]
    assert sorted(items) == ["ca.crt", "namespace", "token"]


@pytest.mark.parametrize("replicas", [0, 1, 2])
def test_as_many_run_as_the_values_say(replicas):
    assert named(on(**{"patcher.replicas": replicas}), "Deployment")["spec"]["replicas"] == replicas


def checksum(**more):
    template = named(on(**more), "Deployment")["spec"]["template"]
    return template["metadata"]["annotations"]["checksum/config"]


LIVE = {key.name for key in KEYS if key.live} - {"registries", "proxy", "ca_file"}
CHANGES = {
    "config.patching": False,
    "config.patcher.soak": "1m",
    "config.patcher.on_failure": "continue",
    "config.windows[1]": {"name": "days", "schedule": "0 8 * * *", "duration": "1h"},
    "config.freezes": [{"from": "2026-12-18", "to": "2027-01-03"}],
    "config.timezone": "Africa/Nairobi",
    "config.strategy": "minor",
    "config.log.level": "debug",
    "config.watch": ["mojaloop/central-ledger:v19.13.1"],
    "config.namespaces.include": ["mojaloop"],
    "config.registries": {"quay.io": {"allow": False}},
    "config.proxy": "http://proxy:3128",
}


@pytest.mark.parametrize("key", CHANGES)
def test_its_pod_restarts_for_keys_that_do_not_apply_to_a_running_patcher_and_only_for_these(key):
    live = key.removeprefix("config.").partition("[")[0] in LIVE
    assert (checksum() == checksum(**{key: CHANGES[key]})) is live


# What it is told.


@pytest.mark.parametrize("binary", HELMS)
def test_its_configuration_names_its_release_and_its_lease(binary, tmp_path):
    documents = on(binary=binary, namespaceOverride="tools")
    file = tmp_path / "config.yaml"
    file.write_text(one(documents, "ConfigMap", FULL)["data"]["config.yaml"])
    loaded = load(file, {"HOME": "/"}, files=False)
    assert loaded.patcher_own_release == "monitoring/hub", "the namespace of the release, not of its objects"
    lease = one(documents, "Lease")["metadata"]
    assert (lease["namespace"], lease["name"]) == ("tools", loaded.patcher_lease_name)
    (by_name,) = (r for r in named(documents, "Role", f"{PATCHER}-lease")["rules"] if "resourceNames" in r)
    assert by_name["resourceNames"] == [loaded.patcher_lease_name]
    assert loaded.patcher_verified_approvers is True
    assert [window.name for window in loaded.windows] == ["nights"]


@pytest.mark.parametrize("chosen", [True, False])
def test_commands_that_approve_are_shown_unless_the_values_say_otherwise(chosen):
    assert "approve_commands" not in configuration(rendered(*values(**{"config.windows": WINDOWS})))
    assert configuration(on())["approve_commands"] is True
    assert configuration(on(**{"config.approve_commands": chosen}))["approve_commands"] is chosen


DOCUMENTED = re.search(r"^'\{\{ if \.Labels\.patch_command.*'$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)[0]


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"patcher.enabled": False}, ""),
        ({}, yaml.safe_load(DOCUMENTED)),
        ({"prometheusRule.values.approve_command": '""'}, ""),
        ({"prometheusRule.values.approve_command": "'ask {{ .Labels.workload }}'"}, "ask {{ .Labels.workload }}"),
        ({"patcher.enabled": False, "prometheusRule.values.approve_command": '"ask"'}, "ask"),
    ],
)
def test_alerts_have_a_command_that_approves_unless_the_values_say_otherwise(more, expected, binary):
    documents = rendered(*values(**{**ON, **more}), binary=binary)
    alerts = [rule for group in one(documents, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    found = {
        rule["annotations"]["approve_command"] for rule in alerts if "approve_command" in rule.get("annotations", {})
    }
    assert found == {expected}


def test_without_the_policy_approvers_are_unverified():
    documents = on(**{"patcher.admissionPolicy.enabled": False})
    assert configuration(documents)["patcher"]["verified_approvers"] is False
    assert not [d for d in documents if d["kind"] in POLICIES]


# Its rights.


def rules(documents, kind="ClusterRole"):
    return {
        (group, resource): set(rule["verbs"])
        for rule in named(documents, kind, f"monitoring-{PATCHER}")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_evictions_are_permitted_only_where_statefulsets_recover_by_them():
    evictions = ("", "pods/eviction")
    assert evictions not in rules(on())
    assert rules(on(**{"config.patcher.statefulset_recovery": "evict"}))[evictions] == {"create"}


@pytest.mark.parametrize(
    ("kinds", "patched"),
    [
        (["Deployment", "Pod", "ReplicaSet"], {("apps", "deployments"), ("", "pods")}),
        (["CronJob", "Job"], {("batch", "cronjobs")}),
    ],
)
def test_it_has_rights_on_the_kinds_of_the_configuration_only(kinds, patched):
    always = {"namespaces", "events", "imagepatchapprovals", "imagepatchapprovals/status"}
    found = rules(on(**{"config.kubernetes.kinds": kinds}))
    assert {pair for pair in found if pair[1] not in always} == patched


@pytest.mark.parametrize("binary", HELMS)
def test_with_namespaced_rights_nothing_of_the_cluster_is_left_but_the_definition_and_the_policy(binary):
    include = {"config.namespaces.include": ["mojaloop", "backing"]}
    documents = on(binary=binary, **{"rbac.clusterWide": False}, **include)
    assert not [d for d in documents if d["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    for name in (f"monitoring-{PATCHER}", "image-patch-approver"):
        found = [d["metadata"]["namespace"] for d in documents if (d["kind"], d["metadata"]["name"]) == ("Role", name)]
        assert found == ["mojaloop", "backing"]
    (selector,) = one(documents, POLICIES[1])["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selector["values"] == ["mojaloop", "backing"]
    example = rendered("--values", CHART / "ci" / "patcher-namespaced-values.yaml", binary=binary)
    assert all("namespace" in d["metadata"] for d in patchers(example))


def test_without_roles_somebody_else_gives_the_rights():
    documents = on(**{"rbac.create": False})
    assert not [d for d in documents if d["apiVersion"].startswith("rbac.")]
    assert named(documents, "ServiceAccount")


def test_an_account_that_exists_is_used():
    account = {"create": False, "name": "ours"}
    documents = on(**{"patcher.serviceAccount": account})
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"] == [FULL]
    assert patcher_pod(documents)["serviceAccountName"] == "ours"
    assert one(documents, "ClusterRoleBinding", f"monitoring-{PATCHER}")["subjects"][0]["name"] == "ours"
    assert "system:serviceaccount:monitoring:ours'" in str(one(documents, POLICIES[0])["spec"])


def test_the_role_for_approvers_is_bound_to_nobody_and_can_be_left_out():
    bound = {d["roleRef"]["name"] for d in on() if d["kind"].endswith("RoleBinding")}
    assert "image-patch-approver" not in bound
    assert one(on(**{"patcher.approverRole.name": "patchers"}), "ClusterRole", "patchers")
    left_out = on(**{"patcher.approverRole.create": False})
    assert "image-patch-approver" not in {d["metadata"]["name"] for d in left_out}


# The definition and the policy.


def test_the_definition_is_the_file_and_stays():
    found = one(on(), "CustomResourceDefinition")
    assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["metadata"].pop("labels")
    assert found == yaml.safe_load(CRD.read_text())
    assert not [d for d in on(**{"patcher.crd.create": False}) if d["kind"] == "CustomResourceDefinition"]


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("command", [("template", "hub"), ("lint", "--strict")], ids=lambda command: command[0])
def test_on_an_old_cluster_the_policy_is_refused(binary, command):
    old = ("--kube-version=1.29.9", "--values", MINIMAL)
    done = helm(*command, CHART, *old, *values(**ON), binary=binary)
    assert done.returncode != 0
    assert "patcher.admissionPolicy.enabled needs Kubernetes 1.30, and this is v1.29.9" in done.stdout + done.stderr
    off = {"patcher.admissionPolicy.enabled": False}
    done = helm(*command, CHART, *old, *values(**ON, **off), binary=binary)
    assert done.returncode == 0, done.stderr


# Who reaches it, and what it reaches.


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_it_is_scraped_as_the_exporter_is(kind):
    own = f"{kind[0].lower()}{kind[1:]}"
    enabled = {"serviceMonitor.enabled": False, f"{own}.enabled": True, f"{own}.interval": "30s"}
    documents = on(**enabled)
    theirs, ours = (one(documents, kind, name)["spec"] for name in (FULL, PATCHER))
    endpoints = "endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"
    assert ours[endpoints] == theirs[endpoints]
    assert ours[endpoints][0]["honorLabels"] is True
    pod = named(documents, "Deployment")["spec"]["template"]
    selected = (
        named(documents, "Service")["metadata"]["labels"] if own == "serviceMonitor" else pod["metadata"]["labels"]
    )
    assert ours["selector"]["matchLabels"].items() <= selected.items()
    (port,) = named(documents, "Service")["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == ("http", pod["spec"]["containers"][0]["ports"][0]["name"])


def test_its_policy_lets_prometheus_in_and_the_same_connections_out():
    documents = on(**{"networkPolicy.enabled": True, "api.port": 8080, "networkPolicy.apiFrom": [{"podSelector": {}}]})
    theirs, ours = (one(documents, "NetworkPolicy", name)["spec"] for name in (FULL, PATCHER))
    assert ours["egress"] == theirs["egress"]
    (rule,) = ours["ingress"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert rule["from"] == theirs["ingress"][0]["from"][:1]


# What Helm prints.


@pytest.mark.parametrize(
    ("more", "expected", "not_expected"),
    [
        ({}, ["patches approved workloads in the window nights.", "--clusterrole image-patch-approver"], ["WARNING"]),
        ({"patcher.admissionPolicy.enabled": False}, ["WARNING: without patcher.admissionPolicy.enabled"], []),
        ({"patcher.replicas": 0}, ["With patcher.replicas: 0 it does not run"], []),
        ({"config.patching": False}, ["With config.patching: false, no new rollouts begin"], []),
        ({"patcher.crd.create": False}, ["is not part of this release"], []),
        ({"patcher.enabled": False}, [], ["5. Patching", "imagepatchapprovals"]),
    ],
)
def test_the_notes_say_how_people_approve(more, expected, not_expected, tmp_path):
    # Helm 3 asks an API server for its version first.
    dry = ("install", "hub", CHART, "--dry-run=client", "--values", MINIMAL)
    done = helm(*dry, *values(**{**ON, **more}), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert notes
    for sentence in expected:
        assert sentence in notes
    for sentence in not_expected:
        assert sentence not in notes

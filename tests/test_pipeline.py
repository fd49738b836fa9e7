"""From a missing patch to a message in Slack and back, on real processes.

The tests copy commands from the message and paste them into a shell.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.alertmanager import commands_in
from tests.support.chain import AVAILABLE, chain, findings_in, shell, until
from tests.support.definitions import installed
from tests.support.exporter_process import exporter
from tests.support.kube import METADATA_PATHS
from tests.support.registries import registry
from tests.support.workloads import body, owner, pod_spec

DIGEST = "@sha256:" + "0a" * 32
PATCHED_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Rollout", "DeploymentConfig")
PATHS = {"CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}
DROPPED = "mojaloop_image_upgrade_available"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What `docker.io` is on this machine."""
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        for kind in PATCHED_KINDS:
            opened.push(f"mojaloop/{kind.lower()}", ["v1.0.0", "v1.0.1", "v1.0.2"])
        opened.push("mojaloop/others", ["v1.0.0", "v1.0.1"])
        yield opened


@pytest.fixture(scope="module")
def registries(hub):
    return {"docker.io": {"endpoint": f"http://{hub.host}", "api": "oci", "allow_private": ["127.0.0.0/8"]}}


@pytest.fixture(scope="module")
def running(kube, registries, tmp_path_factory):
    """The exporter, for every namespace of this module."""
    config = {"registries": registries, "namespaces": {"include": ["chain-*"]}}
    with (
        installed(kube),
        exporter(tmp_path_factory.mktemp("exporter"), kubeconfig=kube.kubeconfig(), config=config) as ours,
    ):
        ours.until(lambda: ours.get("/-/ready")[0] == 200)
        yield ours


@pytest.fixture(scope="module")
def behind(running, tmp_path_factory):
    """Prometheus scrapes the exporter twice; the second job drops a metric."""
    dropping = {
        "job_name": "drops",
        "honor_labels": True,
        "static_configs": [{"targets": [running.url.removeprefix("http://")]}],
        "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": DROPPED, "action": "drop"}],
    }
    values = {
        "available_for": "1s",
        "overdue_seconds": "100000000000",
        "samples_missing_for": "1s",
        **dict.fromkeys(("unknown_for", "down_for", "mixed_for", "superseded_for"), "1h"),
    }
    folder = tmp_path_factory.mktemp("pipeline")
    with chain(folder, running.url, values=values, further_scrapes=[dropping]) as opened:
        yield opened


@pytest.fixture
def place(kube, request):
    """A namespace that the exporter watches."""
    name = f"chain-{re.sub('[^a-z]+', '-', request.node.name)[:50].strip('-')}"
    kube.namespace(name)
    return name


@pytest.fixture
def bash(kube, tmp_path):
    return shell(tmp_path, kube.kubeconfig())


def template_of(kube, kind, namespace, name):
    """The list of containers and the list of init containers."""
    spec = kube.request("GET", f"{METADATA_PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s/{name}")
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    return spec["containers"], spec["initContainers"]


def images_of(kube, kind, namespace, name):
    return {
        container["name"]: container["image"] for part in template_of(kube, kind, namespace, name) for container in part
    }


def make(kube, kind, namespace, reference):
    """A workload with a container and an init container of one image, and a container of another."""
    document = body(kind, kind.lower(), reference)
    spec = document
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    spec["containers"].append({"name": "other", "image": "busybox:1.36.0"})
    spec["initContainers"] = [{"name": "wait", "image": reference}]
    kube.create(kind, namespace, document)


def test_the_command_from_the_message_patches_and_the_way_back_restores(running, behind, kube, place, bash):
    for kind in PATCHED_KINDS:
        # One with a digest; none has the name of its registry.
        make(kube, kind, place, f"mojaloop/{kind.lower()}:v1.0.0{DIGEST if kind == 'StatefulSet' else ''}")
    names = {kind: kind.lower() for kind in PATCHED_KINDS}
    message = behind.message(place, *names.values())
    assert behind.slack.refusals == []
    assert message.title.startswith(f"[warning] in {place}: ")
    shown = findings_in(message.text)
    alerts = behind.firing(place)
    before = {kind: template_of(kube, kind, place, name) for kind, name in names.items()}
    for kind, name in names.items():
        assert shown[name].line.startswith(
            f"*{name}* {name}:v1.0.0, 2 patch releases behind v1.0.2, the first published"
        )
        assert shown[name].command == alerts[name]["annotations"]["patch_command"]
        done = bash(shown[name].command)
        assert done.returncode == 0, done.stderr
        new = f"mojaloop/{name}:v1.0.2"
        assert images_of(kube, kind, place, name) == {"main": new, "wait": new, "other": "busybox:1.36.0"}
        assert bash(shown[name].command).returncode == 1, "a stale command fails"
    until(lambda: not behind.firing(place), 10, lambda: behind.firing(place).keys())
    # The message has room for some ways back; the others are in the alerts that it links.
    shown_back = commands_in(message.text)[len(names) :]
    backs = {name: alerts[name]["annotations"]["rollback_command"] for name in names.values()}
    assert shown_back
    assert set(shown_back) <= set(backs.values())
    for kind, name in names.items():
        done = bash(backs[name])
        assert done.returncode == 0, done.stderr
        assert template_of(kube, kind, place, name) == before[kind], "byte for byte"
    until(lambda: behind.firing(place).keys() >= set(names.values()), 20, lambda: behind.firing(place).keys())


def of_flux(reference):
    document = body("Deployment", "of-flux", reference)
    labels = {"helm.toolkit.fluxcd.io/name": "moja", "helm.toolkit.fluxcd.io/namespace": "flux-system"}
    document["metadata"]["labels"] = labels
    return document


def test_where_no_command_helps_the_message_says_what_to_change(running, behind, kube, place):
    others = "mojaloop/others:v1.0.0"
    kube.create("Job", place, body("Job", "job", others))
    kube.create("Pod", place, {"metadata": {"name": "pod"}, "spec": pod_spec(others)})
    owned = {"name": "hub-0", "ownerReferences": owner("StrimziPodSet", "hub", "core.strimzi.io/v1")}
    kube.create("Pod", place, {"metadata": owned, "spec": pod_spec(others)})
    kube.create("Deployment", place, of_flux(others))
    shown = findings_in(behind.message(place, "job", "pod", "hub", "of-flux").text)
    alerts = behind.firing(place)
    advice = {w["workload"]: w["advice"] for w in running.workloads() if w["namespace"] == place}
    for name in ("job", "pod", "hub", "of-flux"):
        assert "mojaloop/others:v1.0.1" in advice[name]
        assert advice[name] in shown[name].advice
        assert advice[name] in alerts[name]["annotations"]["description"]
        assert shown[name].command is None
        assert not alerts[name]["annotations"].get("patch_command")
    assert "HelmRelease flux-system/moja" in advice["of-flux"]


def test_a_command_that_is_too_long_is_printed_by_the_one_that_the_message_names(
    running, behind, kube, place, registries, tmp_path
):
    document = body("Deployment", "many", "mojaloop/others:v1.0.0")
    containers = [{"name": f"container-{n}", "image": "mojaloop/others:v1.0.0"} for n in range(20)]
    document["spec"]["template"]["spec"]["containers"] = containers
    kube.create("Deployment", place, document)
    finding = findings_in(behind.message(place, "many").text)["many"]
    labels = behind.query(f'mojaloop_workload_patch_releases_behind{{namespace="{place}",job="image-patch"}}')[0][
        "metric"
    ]
    assert finding.command is None
    assert "patch_command" not in labels
    assert "rollback_command" not in labels
    command = f"mojaloop-image-patch-exporter check --cluster --namespace {place} --output commands"
    assert f"`{command}`" in finding.advice
    assert command in labels["advice"]
    # As somebody runs it who allows the same registry.
    here = shell(
        tmp_path,
        kube.kubeconfig(),
        path=str(Path(sys.executable).parent),
        IMAGE_PATCH_REGISTRIES=json.dumps(registries),
    )
    printed = here(command)
    assert printed.returncode == 0, printed.stderr
    assert len([line for line in printed.stdout.splitlines() if line.startswith("kubectl ")]) == 1
    done = here(printed.stdout)
    assert done.returncode == 0, done.stderr
    spec = kube.request("GET", f"/apis/apps/v1/namespaces/{place}/deployments/many")["spec"]["template"]["spec"]
    assert [container["image"] for container in spec["containers"]] == ["mojaloop/others:v1.0.1"] * 20
    until(lambda: not behind.firing(place), 10, lambda: behind.firing(place).keys())


def test_what_the_page_counts_is_what_prometheus_stores_and_a_dropped_metric_is_an_alert(running, behind, kube, place):
    kube.create("Deployment", place, body("Deployment", "one", "mojaloop/others:v1.0.0"))
    kube.create("Deployment", place, body("Deployment", "two", "mojaloop/none:v1.0.0"))
    until(
        lambda: behind.query(f'mojaloop_image_status_unknown{{namespace="{place}",reason="not_found"}}'),
        20,
        running.log,
    )
    until(
        lambda: behind.query(f'mojaloop_image_patch_published_timestamp_seconds{{namespace="{place}"}}'),
        20,
        running.log,
    )

    def stored_and_counted(job):
        # One query, because what is watched may change between two scrapes.
        found = behind.query(
            f'count by (__name__) ({{__name__=~"mojaloop_(image|workload)_.+",job="{job}"}})'
            f' or mojaloop_exporter_samples{{job="{job}"}} > 0'
        )
        counts = {(s["metric"]["__name__"], s["metric"].get("metric")): int(s["value"][1]) for s in found}
        return (
            {name: count for (name, metric), count in counts.items() if metric is None},
            {metric: count for (_, metric), count in counts.items() if metric is not None},
        )

    def on_the_page():
        samples = running.samples("mojaloop_image_") | running.samples("mojaloop_workload_")
        return Counter(name for name, _ in samples)

    until(lambda: stored_and_counted("image-patch")[1] == on_the_page(), 10, running.log)
    stored, counted = stored_and_counted("image-patch")
    assert stored == counted
    assert counted[DROPPED] > 0
    stored, counted = stored_and_counted("drops")
    assert counted.items() - stored.items() == {(DROPPED, counted[DROPPED])}
    alert = 'ALERTS{alertname="MojaloopImagePatchSamplesMissing",alertstate="firing"}'
    found = until(lambda: behind.query(alert), 20, behind.log)
    assert [(a["metric"]["scrape_job"], a["metric"]["metric"]) for a in found] == [("drops", DROPPED)]
    assert AVAILABLE not in {a["metric"]["alertname"] for a in behind.query('ALERTS{scrape_job="drops"}')}

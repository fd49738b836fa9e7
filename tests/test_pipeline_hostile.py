"""What a hostile author of workloads can write, on real processes.

None of it reaches a label, an alert or Slack, and commands stay intact. The API server restricts labels and names of
built-in kinds. It does not restrict annotations, owner references, image references and all of a custom resource, so a
real API server stores each value here unchanged.
"""

import json
import re
from collections import Counter

import pytest

from exporter.logs import shown
from tests.support.alertmanager import commands_in
from tests.support.chain import SECONDS, chain, findings_in, shell, until
from tests.support.definitions import installed
from tests.support.exporter_process import exporter
from tests.support.registries import registry
from tests.support.workloads import body, owner, pod_spec

EVIL = "<!channel> <https://evil.example|notes> ```kubectl delete ns x``` $(reboot) {{ .ExternalURL }}"
LINES = f"hub\n{EVIL}\n```\nkubectl delete ns evil"
# Parts of the values here, and the characters that Slack, Markdown or a shell would read. No label needs any of them.
SIGNS = re.compile(r"evil|kubectl delete|reboot|<!|ExternalURL", re.IGNORECASE)
MARKUP = re.compile(r"[<>|`\n{}$]")
NAMESPACE, IMAGE = "hostile", "mojaloop/ledger"
PREFIX = "image-patch.mojaloop.io/"
HELM, HELM_LABEL = "meta.helm.sh/release-", {"app.kubernetes.io/managed-by": "Helm"}
FLUX_KUSTOMIZE, FLUX_HELM = "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"
# Who manages each.
MANAGED = {
    "helm-name": ("helm", {"labels": HELM_LABEL, "annotations": {f"{HELM}name": EVIL}}),
    "helm-lines": ("helm", {"labels": HELM_LABEL, "annotations": {f"{HELM}name": "moja", f"{HELM}namespace": LINES}}),
    "argo": ("argocd", {"annotations": {"argocd.argoproj.io/tracking-id": f"{LINES}:apps/Deployment:x/y"}}),
    "argo-label": ("argocd", {"labels": {"argocd.argoproj.io/instance": "Evil_.-_.evil"}}),
    "flux": ("flux", {"labels": {f"{FLUX_KUSTOMIZE}name": "Evil__x", f"{FLUX_KUSTOMIZE}namespace": "x"}}),
    "flux-helm": ("flux", {"labels": {f"{FLUX_HELM}name": "moja", f"{FLUX_HELM}namespace": "Evil.x"}}),
    "owned": ("operator", {"ownerReferences": owner("Evil", EVIL)}),
    "owned-lines": ("operator", {"ownerReferences": owner(LINES, "hub", "evil.example/v1")}),
}
INSTEAD = {
    "argocd": "Argo CD reverts a patch: set the image to mojaloop/ledger:v1.0.1 in the sources of its Application.",
    "flux": (
        "Flux reverts a patch: "
        "set the image to mojaloop/ledger:v1.0.1 in the sources of its Kustomization or HelmRelease."
    ),
    "operator": (
        "The owner of this workload reverts a patch: "
        "set the image to mojaloop/ledger:v1.0.1 in the sources of its owner."
    ),
}
IMAGES = [EVIL, LINES, f"{IMAGE}:v1.0.0;reboot", f"{IMAGE}:v1.0.0' $(reboot)", "evil.example/a:v1.0.0|evil"]


def annotated():
    """Every annotation of ours, each with a value that is none; and images that no registry can have."""
    document = body("Deployment", "annotated", f"{IMAGE}:v1.0.0")
    template = document["spec"]["template"]
    names = ("strategy", "image", "include-tags", "exclude-tags", "ignore")
    template["metadata"]["annotations"] = {f"{PREFIX}{name}.{name}": f"({LINES}" for name in names}
    template["spec"]["containers"] += [{"name": name, "image": f"{IMAGE}:v1.0.0"} for name in names]
    template["spec"]["containers"] += [{"name": f"image-{n}", "image": image} for n, image in enumerate(IMAGES)]
    return document


def rollout():
    """A custom resource, whose containers may have any name, and any image."""
    document = body("Rollout", "rollout", f"{IMAGE}:v1.0.0")
    names = (EVIL, LINES, "a|b", "main`reboot`")
    containers = document["spec"]["template"]["spec"]["containers"]
    containers += [{"name": name, "image": f"{IMAGE}:v1.0.0"} for name in names]
    containers += [{"name": f"image-{n}", "image": image} for n, image in enumerate(IMAGES)]
    return document


def deployment_config():
    """Its triggers name containers."""
    document = body("DeploymentConfig", "config", f"{IMAGE}:v1.0.0")
    parameters = {"automatic": True, "containerNames": [EVIL, LINES], "from": {"kind": "ImageStreamTag", "name": EVIL}}
    document["spec"]["triggers"] = [{"type": "ImageChange", "imageChangeParams": parameters}]
    return document


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("hub")) as opened:
        opened.push(IMAGE, ["v1.0.0", "v1.0.1"])
        yield opened


def create(kube, namespace):
    for name, (_, metadata) in MANAGED.items():
        document = body("Deployment", name, f"{IMAGE}:v1.0.0")
        document["metadata"] |= metadata
        kube.create("Deployment", namespace, document)
    kube.create("Deployment", namespace, annotated())
    kube.create("Rollout", namespace, rollout())
    kube.create("DeploymentConfig", namespace, deployment_config())
    # A pod is published as its controller, and this one has no name.
    stray = {"name": "stray", "ownerReferences": owner("Evil", LINES)}
    kube.create("Pod", namespace, {"metadata": stray, "spec": pod_spec(f"{IMAGE}:v1.0.0")})


@pytest.fixture(scope="module")
def running(kube, hub, tmp_path_factory):
    """The exporter on hostile workloads, and the chain after it."""
    folder, namespace = tmp_path_factory.mktemp("running"), NAMESPACE
    kube.namespace(namespace)
    entry = {"endpoint": f"http://{hub.host}", "api": "oci", "allow_private": ["127.0.0.0/8"]}
    config = {"registries": {"docker.io": entry}, "namespaces": {"include": [namespace]}}
    with installed(kube):
        create(kube, namespace)
        with (
            exporter(folder / "exporter", kubeconfig=kube.kubeconfig(), config=config) as ours,
            chain(folder / "pipeline", ours.url, values={**SECONDS, "unknown_for": "1s"}) as behind,
        ):
            yield ours, behind


COMMANDS = ("helm-name", "helm-lines", "annotated", "rollout", "config")


def test_nothing_hostile_is_published_or_stored(running):
    ours, behind = running
    behind.message(NAMESPACE, *MANAGED, *COMMANDS)
    managers = behind.query(f'mojaloop_workload_managed_by{{namespace="{NAMESPACE}"}}')
    assert {s["metric"]["workload"]: s["metric"]["manager"] for s in managers} == {
        name: manager for name, (manager, _) in MANAGED.items()
    }
    assert not any("source" in s["metric"] for s in managers), "an empty label is none"
    unknown = behind.query(f'mojaloop_image_status_unknown{{namespace="{NAMESPACE}"}}')
    reasons = Counter((s["metric"]["workload"], s["metric"]["reason"]) for s in unknown)
    assert reasons == {
        ("annotated", "invalid_annotation"): 5,
        ("annotated", "invalid_reference"): len(IMAGES),
        ("rollout", "invalid_reference"): len(IMAGES),
    }
    commands = {"patch_command", "rollback_command"}
    for sample in behind.query('{job="image-patch"}') + behind.query('{__name__=~"mojaloop:.+|ALERTS"}'):
        for name, value in sample["metric"].items():
            assert not SIGNS.search(value), sample
            assert name in commands or not MARKUP.search(value), sample
    for alert in behind.firing(NAMESPACE).values():
        assert not SIGNS.search(json.dumps(alert)), alert
    assert not SIGNS.search(ours.get("/metrics")[2].decode())
    document = json.loads(ours.get("/api/v1/findings")[2])
    invalid = [finding for finding in document["findings"] if finding["reason"] == "invalid_reference"]
    assert {finding.pop("reference") for finding in invalid} == set(map(shown, IMAGES))
    assert not SIGNS.search(json.dumps(document)), "an invalid reference is shown as such, and nowhere else"


def test_nothing_hostile_arrives_in_slack_and_every_command_is_whole(running, kube, tmp_path):
    ours, behind = running
    text = behind.message(NAMESPACE, *MANAGED, *COMMANDS).text
    told = findings_in(text)
    assert told.keys() == {*MANAGED, *COMMANDS}
    for name, (manager, _) in MANAGED.items():
        assert (told[name].command is None) == (manager in INSTEAD)
        assert INSTEAD.get(manager, "in the values of its Helm release as well") in text
    # Containers that cannot be judged are another message.
    unknown = until(lambda: [m for m in behind.slack.messages if "cannot be checked" in m.title], 20, behind.log)
    known = {w[field] for w in ours.workloads() for field in ("patch_command", "rollback_command") if w[field]}
    for message in (*behind.slack.messages, *unknown):
        assert not SIGNS.search(repr(message)), message
        commands = commands_in(message.text)
        assert set(commands) <= known, "a command is cut or made up"
        assert message.text.count("```") == 2 * len(commands)
        links = re.sub(
            r"<https://docs[.]mojaloop[.]io/[\w./-]+[|][\w ]+>|<http://127[.]0[.]0[.]1:\d+/#/alerts[|]all alerts>",
            "",
            message.text,
        )
        assert not re.search("[<>]", links.replace("->", "")), "no link or mention but ours"
    bash = shell(tmp_path, kube.kubeconfig())
    for name in COMMANDS:
        done = bash(told[name].command)
        assert done.returncode == 0, (name, done.stderr)
    until(lambda: not behind.firing(NAMESPACE).keys() & {*COMMANDS}, 10, lambda: behind.firing(NAMESPACE).keys())

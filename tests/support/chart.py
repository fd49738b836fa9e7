"""The chart, rendered and installed by a real Helm."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.components import need
from tests.support.kube import Kube
from tools import CRDS, source

CHART = Path(__file__).parents[2] / "charts" / "mojaloop-image-patch-exporter"
FIXTURES = sorted(CHART.glob("ci/*-values.yaml"))
NAME = "mojaloop-image-patch-exporter"
ROOT = CHART.parent.parent
# Names an image of our own: without one the chart is refused until a version is released.
MINIMAL = CHART / "ci" / "minimal-values.yaml"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# Helm 4 and Helm 3.
HELMS = ("helm", "helm3")


def named(path: Path) -> str:
    """The name of a fixture, for the ids of tests."""
    return path.stem.removesuffix("-values")


def values(**more: Any) -> list[str]:
    """Helm's arguments for these values."""
    # YAML has dates, JSON has not.
    return [f"--set-json={key}={json.dumps(value, default=str)}" for key, value in more.items()]


class Loader(yaml.CSafeLoader):
    """YAML without the type of `=`, which nobody but PyYAML knows."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:value"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def helm(
    *arguments: str | Path, binary: str = "helm", kube: Kube | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Helm, with a home of its own."""
    (path,) = need(binary)
    home = folder or Path("/nonexistent")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HELM_NO_PLUGINS": "1"}
    if kube is not None:
        environment["KUBECONFIG"] = str(kube.kubeconfig())
    return subprocess.run([path, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False)


# Without an API server Helm asks for one of its own age, or of none.
VERSION = "--kube-version=1.35.0"


def rendered(
    *arguments: str | Path, chart: Path = CHART, binary: str = "helm", release: str = "hub"
) -> list[dict[str, Any]]:
    """What `helm template` renders into the namespace `monitoring`; its arguments come after `minimal-values.yaml`."""
    return copy.deepcopy(_rendered(*arguments, chart=chart, binary=binary, release=release))


@functools.cache
def _rendered(*arguments: str | Path, chart: Path, binary: str, release: str) -> list[dict[str, Any]]:
    options = ("--namespace", "monitoring", VERSION, "--values", MINIMAL)
    done = helm("template", release, chart, *options, *arguments, binary=binary)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, Loader) if document]


def one(documents: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The object of a kind, which has to be the only one."""
    found = [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    assert len(found) == 1, (kind, name, [(d["kind"], d["metadata"]["name"]) for d in documents])
    return found[0]


def pod_spec(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The specification of the exporter's pods."""
    (found,) = (spec for spec in pod_specs(documents) if spec["containers"][0]["name"] == "exporter")
    return found


def pod_specs(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specifications of the pods of the exporter, and of the patcher if it is there."""
    return [d["spec"]["template"]["spec"] for d in documents if d["kind"] in ("Deployment", "StatefulSet")]


def operator_crds() -> Path:
    """The folder with the Prometheus operator's CRDs."""
    need("prometheus-operator")
    module = source("github.com/prometheus-operator/prometheus-operator")
    return module / "example" / "prometheus-operator-crd"


def gateway_crds() -> Path:
    """The folder with the CRDs of the Gateway API's standard channel."""
    return source("sigs.k8s.io/gateway-api", CRDS) / "config" / "crd" / "standard"


def kubectl(kube: Kube, *arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl as the administrator."""
    (path,) = need("kubectl")
    command = [path, f"--kubeconfig={kube.kubeconfig()}", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


def install_crds(kube: Kube) -> None:
    """What kube-prometheus-stack and a Gateway bring."""
    route = gateway_crds() / "gateway.networking.k8s.io_httproutes.yaml"
    done = kubectl(kube, "apply", "--server-side", "--filename", operator_crds(), "--filename", route)
    assert done.returncode == 0, done.stderr
    done = kubectl(kube, "wait", "crd", "--all", "--for", "condition=Established", "--timeout", "30s")
    assert done.returncode == 0, done.stderr

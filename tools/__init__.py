"""Locate the real components for the tests. `python -m tools.install` installs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent / "components"
# Components built with Go: the binary's name here, and its main package. All but those of `APART` share one module, so
# Kubernetes' libraries are compiled once.
BUILT = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "registry": "tools/components/registry",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "helm": "helm.sh/helm/v4/cmd/helm",
    "helm3": "helm.sh/helm/v3/cmd/helm",
    "helm-docs": "github.com/norwoodj/helm-docs/cmd/helm-docs",
    "prometheus3": "github.com/prometheus/prometheus/cmd/prometheus",
    "promtool3": "github.com/prometheus/prometheus/cmd/promtool",
    "prometheus-operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
    "compose": "tools/compose",
}
# Components with their own module: they need another version of a library, or share no libraries with the others.
APART = {name: Path(__file__).parent / name for name in ("actionlint", "compose")}
# A module that pins the sources of custom resource definitions, see `source`.
CRDS = Path(__file__).parent / "crds"
# Debian packages, and the binary of each.
DEBIAN = {
    "docker-registry": "docker-registry",
    "prometheus": "promtool",
    "prometheus-alertmanager": "amtool",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "chromium": "chromium",
}
# Those of the demo.
DEMO = ("prometheus", "prometheus-alertmanager")
# The content of envtest's directory.
ENVTEST = ("kube-apiserver", "etcd", "kubectl")


def cache() -> Path:
    """Return the directory for built components, which later runs reuse."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mojaloop-image-patch-exporter" / "tools"


def folder(module: Path = MODULE) -> Path:
    """Return the directory for a module's binaries, one for each content of its go.sum."""
    digest = hashlib.sha256((module / "go.sum").read_bytes()).hexdigest()[:16]
    return cache() / f"{module.name}-{digest}"


def built(name: str) -> Path:
    """Return the path of a built binary. Go names it after its package without the major version, so `etcd` is
    `server`.
    """
    parts = [part for part in BUILT[name].split("/") if not part.removeprefix("v").isdecimal()]
    return folder(APART.get(name, MODULE)) / ("helm3" if name == "helm3" else parts[-1])


def brought_or_built(name: str) -> Path | None:
    """Return a binary from KUBEBUILDER_ASSETS, or a built one."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    brought = [Path(assets) / name] if assets and name in ENVTEST else []
    return next((path for path in (*brought, built(name)) if os.access(path, os.X_OK)), None)


def find(name: str) -> Path | None:
    """Return a binary: from KUBEBUILDER_ASSETS, built, or from PATH (for Debian packages)."""
    if name in BUILT and (path := brought_or_built(name)):
        return path
    on_path = shutil.which(name)
    return Path(on_path) if on_path is not None else None


def source(path: str, module: Path = MODULE) -> Path:
    """Return the directory of a Go module that `module` pins; download it if it is missing."""
    command = ["go", "mod", "download", "-json", path]
    done = subprocess.run(command, cwd=module, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])

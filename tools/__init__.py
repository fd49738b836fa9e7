"""The real components that the tests run against: where they are. `python -m tools.install` gets them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
# The folders with a go.mod, and the binaries that each gives us.
MODULES = {
    "kubernetes": ("kube-apiserver", "etcd", "kube-controller-manager", "kubectl"),
    "distribution": ("registry",),
    "kwok": ("kwok",),
    "helm": ("helm",),
    "helm3": ("helm3",),
    "helm-docs": ("helm-docs",),
    "prometheus": ("prometheus3", "promtool3"),
    "prometheus-operator": ("prometheus-operator",),
}
# Binaries that go by another name than their project.
BUILT_AS = {
    "etcd": "server",
    "helm3": "helm",
    "prometheus3": "prometheus",
    "promtool3": "promtool",
    "prometheus-operator": "operator",
}
# Debian's packages, and the binary that each gives us.
DEBIAN = {
    "docker-registry": "docker-registry",
    "prometheus": "promtool",
    "prometheus-alertmanager": "amtool",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
# Those of the demo.
DEMO = ("prometheus", "prometheus-alertmanager")
# What envtest's folder holds.
ENVTEST = ("kube-apiserver", "etcd", "kubectl")


def cache() -> Path:
    """Where what was built is kept for the next run."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mojaloop-image-patch-exporter" / "tools"


def folder(module: str) -> Path:
    """Where a module's binaries are built, once for each content of its go.sum."""
    digest = hashlib.sha256((HERE / module / "go.sum").read_bytes()).hexdigest()[:16]
    return cache() / f"{module}-{digest}"


def find(name: str) -> Path | None:
    """A binary: from KUBEBUILDER_ASSETS, from what was built, or (what Debian brings) from the path."""
    candidates: list[Path] = []
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ENVTEST:
        candidates.append(Path(assets) / name)
    candidates += [folder(module) / BUILT_AS.get(name, name) for module, names in MODULES.items() if name in names]
    built = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if built is not None:
        return built
    on_path = shutil.which(name)
    return Path(on_path) if on_path is not None else None


def source(module: str, path: str) -> Path:
    """The folder with the files of a Go module that a folder here pins; downloaded if it is missing."""
    command = ["go", "mod", "download", "-json", path]
    done = subprocess.run(command, cwd=HERE / module, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])

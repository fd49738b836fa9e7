"""A hub as it is after `helm install`: an API server with the Prometheus operator, and processes as in its pods."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import ROOT, install_crds, kubectl
from tests.support.components import need
from tests.support.kube import Kube, free_port
from tools import find

ADDRESS = "10.99.0.1"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, clone(2)


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Give this thread and its children their own network namespace; loopback has a second address there, `ADDRESS`."""
    if os.geteuid() != 0:
        sentence = "needs root, for a network namespace of its own"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(_NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        for command in (["link", "set", "lo", "up"], ["address", "add", f"{ADDRESS}/32", "dev", "lo"]):
            subprocess.run(["ip", *command], check=True)
        yield
    finally:
        assert libc.setns(before, _NEW_NETWORK) == 0
        os.close(before)


@contextlib.contextmanager
def process(
    folder: Path,
    name: str,
    *command: str | Path,
    files: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Path]:
    """Run a process in its own mount namespace, with these files at their paths; yields its log."""
    root = folder / name
    root.mkdir(parents=True)
    script = ["set -e"]
    for place in ("/etc", "/var/lib", "/run"):
        upper, work = root / f"upper{place}", root / f"work{place}"
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        script.append(f"mount -t overlay overlay -o lowerdir={place},upperdir={upper},workdir={work} {place}")
    for number, (place, text) in enumerate((files or {}).items()):
        source = root / str(number)
        source.write_text(text)
        script.append(f"mkdir -p {Path(place).parent} && cp {source} {place}")
    script.append('exec "$@"')
    log = (root / "log").open("ab")
    running = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", *map(str, command)],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], **(environment or {})},
    )  # fmt: skip
    try:
        yield root / "log"
    finally:
        running.terminate()
        try:
            running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        log.close()


class Hub:
    """A cluster with the Prometheus operator, and its objects."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube = kube
        self.folder = folder

    def make(self, *documents: dict[str, Any]) -> None:
        done = kubectl(self.kube, "apply", "--filename", "-", text="\n---\n".join(map(json.dumps, documents)))
        assert done.returncode == 0, done.stderr

    def get(self, kind: str, name: str | None = None, *, namespace: str = "monitoring") -> Any:
        done = kubectl(
            self.kube,
            "--namespace",
            namespace,
            "get",
            kind,
            *([name] if name else []),
            "--output",
            "json",
            "--ignore-not-found",
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def secret(self, name: str, key: str) -> str:
        """The uncompressed configuration that the operator wrote, or an empty string."""
        found = self.get("secret", name)
        return (
            gzip.decompress(base64.b64decode(found["data"][key])).decode()
            if found and key in found.get("data", {})
            else ""
        )

    def behind(self, service: str, port_name: str, port: int) -> None:
        """Make an EndpointSlice with this machine's address."""
        self.make({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": f"{service}-0", "namespace": "monitoring", "labels": {"kubernetes.io/service-name": service},
            },
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
        })  # fmt: skip

    def inside(self, account: str) -> tuple[dict[str, str], dict[str, str]]:
        """The files and the environment that a pod of a service account has."""
        done = kubectl(self.kube, "--namespace", "monitoring", "create", "token", account, "--duration=1h")
        assert done.returncode == 0, done.stderr
        place = "/var/run/secrets/kubernetes.io/serviceaccount"
        certificate = (self.kube.certificates / "apiserver.crt").read_text()
        files = {
            f"{place}/token": done.stdout.strip(),
            f"{place}/ca.crt": certificate,
            f"{place}/namespace": "monitoring",
        }
        return files, {"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": str(self.kube.port)}

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run an unchanged command at the top of the repository."""
        tools = self.folder / "bin"
        if not tools.exists():
            tools.mkdir()
            for name in ("kubectl", "helm"):
                (tools / name).symlink_to(find(name))
        environment = {
            "PATH": f"{tools}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.kube.kubeconfig()),
        }
        return subprocess.run(
            ["bash", "-ec", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    def of_the_release(self) -> list[str]:
        """Every object of any kind with the label of the release."""
        kinds = kubectl(self.kube, "api-resources", "--verbs=list", "--output=name").stdout.split()
        kinds = [kind for kind in kinds if not kind.endswith((".metrics.k8s.io", "componentstatuses"))]
        done = kubectl(
            self.kube, "get", ",".join(kinds), "--all-namespaces", "--selector=app.kubernetes.io/instance=image-patch",
            "--output=name", "--ignore-not-found",
        )  # fmt: skip
        return done.stdout.split()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Hub]:
    kube = Kube(folder, f"--advertise-address={ADDRESS}", host=ADDRESS)
    try:
        kube.start()
        install_crds(kube)
        yield Hub(kube, folder)
    finally:
        kube.stop()


@contextlib.contextmanager
def operator(hub: Hub) -> Iterator[Path]:
    """Run the operator outside of the cluster, through `kubectl proxy`; yields its log."""
    (binary,) = need("prometheus-operator")
    port = free_port()
    proxy = find("kubectl"), f"--kubeconfig={hub.kube.kubeconfig()}", "proxy", f"--port={port}", "--accept-hosts=.*"
    command = binary, "-apiserver", f"http://127.0.0.1:{port}", f"-web.listen-address=127.0.0.1:{free_port()}"
    with process(hub.folder, "proxy", *proxy) as log:
        end = time.monotonic() + 60
        while "Starting to serve" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        with process(hub.folder, "operator", *command) as said:
            yield said

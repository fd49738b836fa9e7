"""A real etcd and kube-apiserver, on free loopback ports and with their own directories."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.components import need
from tools import source

ADMIN = "admin-token"
READER = "reader-token"
METADATA_PATHS = {
    "Deployment": "/apis/apps/v1",
    "StatefulSet": "/apis/apps/v1",
    "DaemonSet": "/apis/apps/v1",
    "ReplicaSet": "/apis/apps/v1",
    "CronJob": "/apis/batch/v1",
    "Job": "/apis/batch/v1",
    "Pod": "/api/v1",
    "ReplicationController": "/api/v1",
    "Rollout": "/apis/argoproj.io/v1alpha1",
    "DeploymentConfig": "/apis/apps.openshift.io/v1",
}


# These ports are below the kernel's ephemeral ports (32768 and up), and each worker of pytest-xdist has its own range.
# No other process can take a port between its choice and its use. The start is random, so that two test runs on one
# machine do not collide.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(10_000 + 1_000 * (_WORKER % 22), 11_000 + 1_000 * (_WORKER % 22))
_ports = itertools.islice(itertools.cycle(_PORTS), random.randrange(len(_PORTS)), None)


def free_port() -> int:
    """Return a loopback port without a listener."""
    for port in _ports:
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports are a cycle")


class Kube:
    """An API server with token authentication."""

    def __init__(self, folder: Path, *flags: str, host: str = "127.0.0.1") -> None:
        self._apiserver, self._etcd = need("kube-apiserver", "etcd")
        self.folder = folder
        self.port, self.etcd_port, self._peer_port = free_port(), free_port(), free_port()
        self.host = host
        self.url = f"https://{host}:{self.port}"
        self._flags = flags
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.certificates = folder / "certificates"
        self._key = folder / "service-accounts.pem"
        self._tokens = folder / "tokens.csv"
        subprocess.run(["openssl", "genrsa", "-out", str(self._key), "2048"], check=True, capture_output=True)
        self._tokens.write_text(f'{ADMIN},admin,1,"system:masters"\n{READER},reader,2\n')

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start(self) -> None:
        etcd, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        self._run(
            "etcd", str(self._etcd), "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )  # fmt: skip
        self.start_apiserver()

    def start_apiserver(self) -> None:
        self._run(
            "kube-apiserver", str(self._apiserver), f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}", f"--bind-address={self.host}", f"--cert-dir={self.certificates}",
            f"--service-account-key-file={self._key}", f"--service-account-signing-key-file={self._key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
            f"--token-auth-file={self._tokens}", "--service-cluster-ip-range=10.96.0.0/24",
            "--disable-admission-plugins=ServiceAccount", *self._flags,
        )  # fmt: skip
        end = time.monotonic() + 180
        while time.monotonic() < end:
            if self._processes["kube-apiserver"].poll() is not None:
                break
            try:
                self.request("GET", "/readyz", raw=True)
                # Readiness includes the controller that creates the RBAC roles, but not the default namespace.
                self.request("GET", "/api/v1/namespaces/default")
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
            else:
                return
        log = (self.folder / "kube-apiserver.log").read_text()[-2000:]
        raise AssertionError(f"kube-apiserver is not ready:\n{log}")

    def start_controllers(self, *stages: Path) -> None:
        """Start the controller manager, and kwok for nodes and kubelets.

        Deployments roll out in seconds, as on a real cluster.

        Args:
            stages: files for kwok; each replaces kwok's own stage of the same name.
        """
        manager, kwok = need("kube-controller-manager", "kwok")
        config = str(self.kubeconfig())
        self._run(
            "kube-controller-manager", str(manager), f"--kubeconfig={config}", "--leader-elect=false",
            f"--service-account-private-key-file={self._key}", f"--cert-dir={self.folder / 'manager'}",
            f"--secure-port={free_port()}", "--bind-address=127.0.0.1", "--concurrent-deployment-syncs=10",
            "--kube-api-qps=200", "--kube-api-burst=400",
        )  # fmt: skip
        module = source("sigs.k8s.io/kwok")
        own = [
            file
            for stage in ("node/fast", "node/heartbeat", "pod/fast")
            for file in sorted(Path(module, "kustomize/stage", stage).glob("*.yaml"))
            if file.name != "kustomization.yaml" and file.name not in {stage.name for stage in stages}
        ]
        self._run(
            "kwok", str(kwok), "--kubeconfig", config, "--manage-all-nodes=true", "--cidr=10.77.0.0/16",
            "--node-ip=127.0.0.1", *(f"--config={file}" for file in (*own, *stages)),
        )  # fmt: skip
        self.request("POST", "/api/v1/nodes", {"metadata": {"name": "node"}})

    def keep(self) -> Path:
        """Copy etcd's data. All processes are stopped for the copy and started again."""
        self.stop()
        copy = self.folder / "kept"
        shutil.copytree(self.folder / "etcd", copy)
        self.start()
        return copy

    def restore(self, copy: Path) -> None:
        """Restart from a copy of etcd's data, as in disaster recovery."""
        self.stop()
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(copy, self.folder / "etcd")
        self.start()

    def stop_apiserver(self) -> None:
        self._stop("kube-apiserver")

    def stop(self) -> None:
        for name in ("kwok", "kube-controller-manager", "kube-apiserver", "etcd"):
            self._stop(name)

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(timeout=60)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bool = False,
        media: str = "application/json",
        token: str = ADMIN,
        text: str | None = None,
    ) -> Any:
        """Send a request to the API server.

        Args:
            method: GET, POST...
            path: path with its query.
            body: body to send as JSON.
            raw: whether to return bytes instead of decoded JSON.
            media: media type of the body.
            token: token of the user.
            text: raw text to send instead of a body.
        """
        context = ssl._create_unverified_context()
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=text.encode() if text is not None else json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {token}", "Content-Type": media},
        )
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            content = answer.read()
        return content if raw else json.loads(content)

    def until_allowed(self, path: str, *, token: str, seconds: float = 60.0) -> None:
        """Wait until a user may read a path: the authorizer learns about roles from a watch."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.request("GET", path, token=token)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != 403 or time.monotonic() > end:
                        raise
                time.sleep(0.05)
            else:
                return

    def _path(self, kind: str, namespace: str) -> str:
        return f"{METADATA_PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s"

    def namespace(self, name: str) -> None:
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.request("POST", self._path(kind, namespace), body)

    def patch(self, kind: str, namespace: str, name: str, operations: list[Any], *, subresource: str = "") -> None:
        path = f"{self._path(kind, namespace)}/{name}{subresource}"
        self.request("PATCH", path, operations, media="application/json-patch+json")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        self.request("DELETE", f"{self._path(kind, namespace)}/{name}", options)

    def kubeconfig(self, token: str = ADMIN) -> Path:
        path = self.folder / f"{token}.json"
        cluster = {"server": self.url, "certificate-authority": str(self.certificates / "apiserver.crt")}
        text = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "current-context": "test",
            }
        )
        # Another process may read it now.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request to etcd's JSON gateway, bypassing the API server. Keys are plain text."""
        body = {k: base64.b64encode(v.encode()).decode() if k in ("key", "range_end") else v for k, v in body.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.etcd_port}/v3/{path}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def compact(self) -> None:
        """Compact all older revisions."""
        # Compacting at the revision of a deletion would lose that event without an error, so wait in between.
        for _ in range(3):
            self.etcd("kv/put", {"key": "/nothing"})
        revision = self.etcd("kv/range", {"key": "/nothing"})["header"]["revision"]
        self.etcd("kv/compaction", {"revision": revision, "physical": True})

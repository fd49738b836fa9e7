"""A control plane with the chart and its patcher on it, installed by a real Helm, and the patcher as in its pod."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.approvals import approval
from tests.support.bad_pods import bad_pods
from tests.support.chart import CHART, helm, kubectl, values
from tests.support.exporter_process import local
from tests.support.kube import ADMIN, Kube, free_port
from tests.support.operated_hub import process
from tests.support.patched_hub import FINAL
from tests.support.workloads import body

RELEASE, NAMESPACE = "patches", "monitoring"
NAME = f"{RELEASE}-mojaloop-image-patch-exporter"
PATCHER = f"{NAME}-patcher"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{PATCHER}"
CRD = "imagepatchapprovals.image-patch.mojaloop.io"
# Nothing but the patcher and the exporter: no operators, and no dashboards.
LEAN = {
    "image.repository": "hub/mojaloop-image-patch-exporter",
    "serviceMonitor.enabled": False,
    "prometheusRule.enabled": False,
    "alertmanagerConfig.enabled": False,
    "dashboards.enabled": False,
}
ALWAYS = {
    "patcher.enabled": True,
    "config.windows": [{"name": "always", "schedule": "0 * * * *", "duration": "1h"}],
    "config.namespaces": {"include": ["hub"]},
}
# Far shorter than on a hub, so that a test takes seconds.
QUICK = {
    "config.patcher": {
        "soak": "2s",
        "deadline": "5s",
        "reserve": "1s",
        "on_failure": "continue",
        "statefulset_recovery": "evict",
    }
}
_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["%s"]}
  - {level: None}
"""


class Cluster:
    """What a test does on the control plane."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube, self.folder = kube, folder
        self.audit = folder / "audit.log"

    def helm(
        self, *arguments: str | Path, binary: str = "helm", namespace: str = NAMESPACE
    ) -> subprocess.CompletedProcess[str]:
        return helm(*arguments, "--namespace", namespace, binary=binary, kube=self.kube, folder=self.folder)

    def install(
        self, *arguments: str, command: str = "install", release: str = RELEASE, binary: str = "helm", **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Install or upgrade the chart with the patcher, whose window is always open."""
        chosen = values(**{**LEAN, **ALWAYS, **QUICK, **more})
        return self.helm(command, release, CHART, *chosen, *arguments, binary=binary)

    def installed(self, **more: Any) -> None:
        """Install the chart, and wait until the API server follows the definition, the roles and the policy.

        In the namespace `hub`, alice and bob are approvers.
        """
        done = self.install(**more)
        assert done.returncode == 0, done.stderr
        self.done("wait", f"crd/{CRD}", "--for=condition=Established", "--timeout=120s")
        role = "role" if more.get("rbac.clusterWide") is False else "clusterrole"
        binding = ("approvers", "--namespace=hub", f"--{role}=image-patch-approver", "--user=alice", "--user=bob")
        self.kubectl("delete", "rolebinding", "approvers", "--namespace=hub", "--ignore-not-found")
        self.done("create", "rolebinding", *binding)
        forged = json.dumps(self.approval("Deployment", "nothing", "mojaloop/ledger:v1.0.0", "v1.0.1"))
        attempt = ("create", "--dry-run=server", "--filename=-")
        self.until(
            lambda: "approve in your own name" in self.kubectl(*attempt, text=forged, user="bob").stderr,
            30,
            lambda: self.kubectl(*attempt, text=forged, user="bob").stderr,
        )

    def kubectl(self, *arguments: str, text: str | None = None, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, or as a user without groups but the one of everybody."""
        impersonated = [f"--as={user}", "--as-group=system:authenticated"] if user else []
        return kubectl(self.kube, *impersonated, *arguments, text=text)

    def done(self, *arguments: str, text: str | None = None, user: str = "") -> str:
        """Run kubectl, which has to succeed; returns what it printed."""
        ran = self.kubectl(*arguments, text=text, user=user)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def send(
        self, method: str, path: str, body: Any = None, *, user: str, groups: Sequence[str] = ()
    ) -> tuple[int, str]:
        """One request of a user, as no client of Kubernetes would send it; returns the status and the message."""
        everybody = (*groups, "system:authenticated")
        headers = [("Authorization", f"Bearer {ADMIN}"), ("Impersonate-User", user)]
        headers += [("Impersonate-Group", group) for group in everybody]
        if method == "PATCH":
            headers.append(("Content-Type", "application/merge-patch+json"))
        with httpx.Client(base_url=self.kube.url, verify=False, trust_env=False) as client:
            answer = client.request(method, path, json=body, headers=headers)
        return answer.status_code, str(answer.json().get("message", ""))

    def get(self, *arguments: str) -> Any:
        """An object or a list; None if there is none."""
        printed = self.done("get", *arguments, "--output=json", "--ignore-not-found")
        return json.loads(printed) if printed else None

    def create(self, kind: str, name: str, image: str, *, namespace: str = "hub", **spec: Any) -> None:
        """Create a workload whose pods run on kwok's node."""
        document = body(kind, name, image)
        template = document["spec"].get("template") or document["spec"]["jobTemplate"]["spec"]["template"]
        template["spec"]["nodeName"] = "node"  # there is no scheduler
        document["spec"] |= spec
        self.kube.create(kind, namespace, document)

    def approval(
        self, kind: str, name: str, image: str, to: str, *, by: str = "alice", namespace: str = "hub"
    ) -> dict[str, Any]:
        """The approval of a workload, to be created."""
        found = self.get(f"{kind.lower()}/{name}", "--namespace", namespace)
        uid = found["metadata"]["uid"] if found else "0"
        document = approval(
            kind,
            name=f"{name}-{to}",
            namespace=namespace,
            workload=name,
            uid=uid,
            to=to,
            approvedBy=by,
            containers=[{"name": "main", "image": image}],
            from_=image.rpartition(":")[2],
        )
        document["metadata"] = {"name": document["metadata"]["name"], "namespace": namespace}
        return document

    def approve(self, *arguments: Any, user: str = "alice", **more: Any) -> str:
        """Approve as a user; returns the approval's name."""
        document = self.approval(*arguments, **more)
        self.done("create", "--filename=-", text=json.dumps(document), user=user)
        return str(document["metadata"]["name"])

    def status(self, name: str, *, namespace: str = "hub") -> dict[str, Any]:
        found = self.get(f"imagepatchapproval/{name}", "--namespace", namespace)
        return found.get("status", {}) if found else {}

    def ended(self, name: str, seconds: float = 120.0, log: Path | None = None) -> dict[str, Any]:
        """Wait until an approval is in a final state; returns its status."""
        self.until(
            lambda: self.status(name).get("state") in FINAL,
            seconds,
            lambda: f"{self.status(name)}\n{log.read_text()[-3000:] if log else ''}",
        )
        return self.status(name)

    def until(
        self, condition: Callable[[], Any], seconds: float = 120.0, what: Callable[[], object] = lambda: ""
    ) -> Any:
        """Wait for a condition; returns what it returned."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, what()
            time.sleep(0.3)
        return found

    def image(self, kind: str, name: str) -> str:
        spec = self.get(f"{kind.lower()}/{name}", "--namespace=hub")["spec"]
        template = spec.get("template") or spec["jobTemplate"]["spec"]["template"]
        return str(template["spec"]["containers"][0]["image"])

    def requested(self) -> set[tuple[str, str]]:
        """What the patcher has asked the API server for: resources with their group, and verbs."""
        found = set()
        for line in self.audit.read_text().splitlines() if self.audit.exists() else ():
            event = json.loads(line)
            if (ref := event.get("objectRef")) and event["user"]["username"] == ACCOUNT:
                resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
                found.add((named(resource, ref.get("apiGroup", "")), event["verb"]))
        return found

    @contextlib.contextmanager
    def patcher(self, name: str = "patcher") -> Iterator[Path]:
        """Run the patcher as its Deployment says: its arguments, its configuration and its account; yields its log."""
        pod = self.get(f"deployment/{PATCHER}", "--namespace", NAMESPACE)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        token = self.done("--namespace", NAMESPACE, "create", "token", pod["serviceAccountName"])
        place = "/var/run/secrets/kubernetes.io/serviceaccount"
        files = {
            f"{place}/token": token.strip(),
            f"{place}/ca.crt": (self.kube.certificates / "apiserver.crt").read_text(),
            f"{place}/namespace": NAMESPACE,
        }
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                data = self.get(f"configmap/{volume['configMap']['name']}", "--namespace", NAMESPACE)["data"]
                files |= {f"{mounted[volume['name']]}/{key}": text for key, text in data.items()}
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.kube.port)}
        arguments = [a for a in container["args"] if not a.startswith("--listen")]
        listen = f"--listen=127.0.0.1:{free_port()}"
        command = (sys.executable, "-m", "exporter", *arguments, listen)
        with process(self.folder, name, *command, files=files, environment=environment) as log:
            yield log


def named(resource: str, group: str) -> str:
    """A resource as `kubectl auth can-i --list` prints it: `deployments.apps`, `pods/eviction`."""
    plain, slash, part = resource.partition("/")
    return (f"{plain}.{group}" if group else plain) + slash + part


def registries(host: str) -> dict[str, Any]:
    """The values for a registry of this machine. A key of Helm's values cannot have dots."""
    return {"config.registries": local(host)}


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A control plane whose audit log has the requests of the patcher."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(_POLICY % ACCOUNT)
    kube = Kube(folder, f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}")
    try:
        kube.start()
        kube.start_controllers(*bad_pods(folder))
        for namespace in (NAMESPACE, "hub"):
            kube.namespace(namespace)
        yield Cluster(kube, folder)
    finally:
        kube.stop()

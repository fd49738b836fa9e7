"""The patcher as a process, as it runs on a hub: with the rights that docs/patching.md lists, and no others."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.support.exporter_process import Exporter
from tests.support.kube import Kube
from tests.support.rights import RBAC

DOCS = Path(__file__).parents[2] / "docs" / "patching.md"


def documented_rules(*, evict: bool = False, own: bool = False) -> list[dict[str, Any]]:
    """The rules of a table in docs/patching.md.

    Args:
        evict: whether pods are evicted.
        own: the rights in the namespace of the release, instead of those where workloads are.
    """
    text = DOCS.read_text().partition("## Permissions")[2].partition("\n## ")[0]
    table = text.split("In its own namespace")[own]
    return [
        {
            "apiGroups": [group.replace("(core)", "").strip("`")],
            "resources": named,
            "verbs": re.findall(r"`(\w+)`", verbs),
        }
        for group, resources, verbs in re.findall(r"^\| (\S+) \| (`[^|]+) \| (`[^|]+) \|", table, re.MULTILINE)
        if (named := re.findall(r"`([\w/]+)`", resources)) != ["pods/eviction"] or evict
    ]


def permit_patching(kube: Kube, namespace: str) -> None:
    """Give the user `reader` the documented rights in a namespace."""
    path = f"{RBAC}/namespaces/{namespace}"
    rules = [*documented_rules(), *documented_rules(own=True)]
    kube.request("POST", f"{path}/roles", {"metadata": {"name": "patcher"}, "rules": rules})
    binding = {
        "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kube.request("POST", f"{path}/rolebindings", binding)


class PatcherProcess(Exporter):
    """`patcher`; its audit lines are in a file of their own."""

    def __init__(self, folder: Path, *, config: dict[str, Any], kubeconfig: Path) -> None:
        super().__init__(folder, config=config, kubeconfig=kubeconfig)
        at = self._command.index("serve")
        self._command[at] = "patcher"
        state = self._command.index("--state-dir")
        del self._command[state : state + 2]
        self.audit_file = folder / "audit.jsonl"

    def start(self) -> None:
        before = len(self.log())
        with self.log_file.open("ab") as log, self.audit_file.open("ab") as audit:
            self.process = subprocess.Popen(self._command, stdout=audit, stderr=log, env=self._environment)
        found = self.until(lambda: re.search(r"listens on (http://\S+)", self.log()[before:]))
        self.url = found[1]

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]

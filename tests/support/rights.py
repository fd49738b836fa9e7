"""Permissions of a user on a real API server."""

from __future__ import annotations

from tests.support.kube import METADATA_PATHS, Kube

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def permit(kube: Kube, namespace: str, *kinds: str) -> None:
    """Permit `READER` to list and watch kinds in a namespace."""
    rules = [
        {
            "apiGroups": [METADATA_PATHS[kind].split("/")[2] if METADATA_PATHS[kind] != "/api/v1" else ""],
            "resources": [f"{kind.lower()}s"],
            "verbs": ["get", "list", "watch"],
        }
        for kind in kinds
    ]
    path, role = f"{RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": "reader"}, "rules": rules}
    if any(item["metadata"]["name"] == "reader" for item in kube.request("GET", path)["items"]):
        kube.request("PUT", f"{path}/reader", role)
        return
    kube.request("POST", path, role)
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kube.request("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)

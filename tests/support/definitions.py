"""Optional kinds of a cluster: their definitions, installed while a test needs them."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.kube import METADATA_PATHS, Kube

CUSTOM = ("Rollout", "DeploymentConfig")
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def status_fields(**types: str) -> dict[str, Any]:
    return {**_OPEN, "properties": {name: {"type": type_} for name, type_ in types.items()}}


# Types of the fields that we read, as in the manifests of Argo Rollouts 1.8.
# OpenShift's API server needs no definition.
STATUS = {
    "Rollout": status_fields(
        observedGeneration="string",
        replicas="integer",
        updatedReplicas="integer",
        stableRS="string",
        currentPodHash="string",
    ),
    "DeploymentConfig": status_fields(observedGeneration="integer", replicas="integer", updatedReplicas="integer"),
}


def definition(kind: str, group: str, version: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "properties": {"spec": _OPEN, "status": STATUS.get(kind, _OPEN)}}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{**served, "subresources": {"status": {}}}],
        },
    }


def install(kube: Kube, kind: str, path: str | None = None) -> None:
    """Define a kind, and wait until it can be listed."""
    path = path or METADATA_PATHS[kind]
    group, version = path.split("/")[2:]
    kube.request("POST", _DEFINITIONS, definition(kind, group, version))
    wait_for(kube, f"{path}/{kind.lower()}s", 200)


def uninstall(kube: Kube, kind: str, path: str | None = None) -> None:
    """Remove a kind with all of its objects, and wait until it cannot be listed."""
    path = path or METADATA_PATHS[kind]
    kube.request("DELETE", f"{_DEFINITIONS}/{kind.lower()}s.{path.split('/')[2]}")
    wait_for(kube, f"{path}/{kind.lower()}s", 404)


@contextmanager
def installed(kube: Kube, *kinds: str) -> Iterator[None]:
    """Install some kinds, by default those of `CUSTOM`. Built-in kinds always exist."""
    custom = [kind for kind in kinds or CUSTOM if kind in CUSTOM]
    for kind in custom:
        install(kube, kind)
    try:
        yield
    finally:
        for kind in custom:
            uninstall(kube, kind)


def wait_for(kube: Kube, path: str, status: int) -> None:
    """Wait until a path returns a status."""
    end = time.monotonic() + 60
    while True:
        try:
            kube.request("GET", path, raw=True)
            answer = 200
        except urllib.error.HTTPError as error:
            answer = error.code
        if answer == status:
            return
        assert time.monotonic() < end, f"{path} still returns {answer}"
        time.sleep(0.05)

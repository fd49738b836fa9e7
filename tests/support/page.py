"""Snapshots for the page, and the page served from a replaceable one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.commands import render
from exporter.findings import Finding, Snapshot, WorkloadState
from exporter.images import Repository
from exporter.page import routes
from exporter.reasons import Reason
from exporter.server import PATHS
from exporter.workloads import Container, ContainerType, Manager, WorkloadKey
from tests.support.http_server import Running, serving

DAY = 86400.0
NOW = 1_800_000_000.0
LEDGER = "docker.io/mojaloop/central-ledger"
HELM = Manager("helm", "mojaloop/moja")


def found(name: str, *, namespace: str = "mojaloop", kind: str = "Deployment", **more: Any) -> Finding:
    """Return a finding, by default up to date on the newest line."""
    tag = more.get("tag", "v1.0.0")
    image = more.get("image", LEDGER)
    given: dict[str, Any] = {
        "workload": WorkloadKey(namespace, kind, name),
        "container": "main",
        "container_type": ContainerType.CONTAINER,
        "position": 0,
        "reference": f"{image.removeprefix('docker.io/')}:{tag}",
        "image": image,
        "tag": tag,
    }
    judged = {"latest_tag": tag, "releases_behind": 0, "minor": tag, "major": tag}
    return Finding(**given | (judged if more.get("reason") is None else {}) | more)


def missing(name: str, *, days: float = 10, latest: str = "v1.0.2", behind: int = 2, **more: Any) -> Finding:
    """Return a finding that misses a patch for so many days."""
    at = NOW - days * DAY
    return found(name, **{"latest_tag": latest, "releases_behind": behind, "published": at, "first_seen": at, **more})


def snapshot(*findings: Finding, managers: Mapping[str, Manager] = MappingProxyType({}), **more: Any) -> Snapshot:
    """Build a snapshot like the checker, with the commands of its findings. Managers are by workload name."""
    ordered = sorted(findings, key=lambda one: (one.workload, one.container_type, one.position, one.container))
    together: dict[WorkloadKey, list[Finding]] = {}
    for one in ordered:
        together.setdefault(one.workload, []).append(one)
    states = {
        key: WorkloadState(
            manager=managers.get(key.name),
            containers=tuple(Container(f.container, f.container_type, f.reference, f.position) for f in group),
        )
        for key, group in together.items()
    }
    patches = [patch for key, group in together.items() for patch in render(group, states[key])]
    given = {"synced": MappingProxyType({"*": True}), "listed": True, **more}
    return Snapshot(findings=tuple(ordered), patches=tuple(patches), workloads=MappingProxyType(states), **given)


def hub() -> Snapshot:
    """Return a finding of each sort."""
    sidecar = {"container": "wait", "container_type": ContainerType.INIT_CONTAINER}
    return snapshot(
        missing("ledger", days=40, minor="v1.3.0", major="v3.0.1"),
        missing("ledger", days=30, **sidecar),
        missing("quoting", days=90.5, image="docker.io/mojaloop/quoting-service", behind=7, latest="v1.0.9"),
        missing("mysql", namespace="backing", kind="StatefulSet", image="docker.io/bitnami/mysql", days=3),
        found("settlement", minor="v1.4.0"),
        found(
            "vault", namespace="backing", reason=Reason.FLOATING_TAG, tag="latest", image="docker.io/hashicorp/vault"
        ),
        found("broken", namespace="backing", reason=Reason.INVALID_REFERENCE, image="", tag="", reference="$(reboot)"),
        found("fine"),
        missing("watched", namespace="", kind="Image", container="", image="ghcr.io/team/tool", days=1, behind=1),
        managers={"quoting": HELM, "mysql": Manager("argocd", "backing")},
        lookups=MappingProxyType({Repository("docker.io", "mojaloop/central-ledger"): NOW - 60}),
    )


@dataclass
class Shown:
    """The page's snapshot and clock."""

    snapshot: Snapshot
    now: float = NOW


@contextlib.contextmanager
def page(shown: Shown, **settings: Any) -> Iterator[Running]:
    """Serve the page over HTTP."""
    with serving(routes=routes(shown, links=PATHS, clock=lambda: shown.now, **settings)) as running:
        yield running

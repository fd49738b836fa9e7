"""The workloads of the demo: Mojaloop's release v17.3.0 as deployed by its Helm chart, and the supporting services.

The tags of the release are real. For nine services, all tags and their dates are real too (`data/tags`). The tags of
all other images (`data/images.yaml`) are a small selection. The release itself misses no patch, so some workloads run
older tags (`BEHIND`), as on a hub that was not kept up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any

import yaml

Document = dict[str, Any]

RELEASE = (
    "account-lookup-service:v17.14.11",
    "quoting-service:v17.14.5",
    "central-ledger:v19.14.0",
    "central-settlement:v17.4.0",
    "ml-api-adapter:v16.10.1",
    "bulk-api-adapter:v17.2.7",
    "transaction-requests-service:v14.4.9",
    "event-sidecar:v14.2.3",
    "event-stream-processor:v12.0.1",
    "central-event-processor:v12.2.6",
    "email-notifier:v14.1.9",
    "auth-service:v15.2.8",
    "als-consent-oracle:v1.1.8",
    "als-oracle-pathfinder:v12.3.5",
    "als-msisdn-oracle-svc:v0.0.21",
    "thirdparty-api-svc:v15.1.7",
    "sdk-scheme-adapter:v24.19.6",
    "ml-testing-toolkit:v18.19.2",
    "ml-testing-toolkit-ui:v16.7.4",
    "mojaloop-simulator:v15.5.4",
    "simulator:v12.3.6",
    "inter-scheme-proxy-adapter:v1.3.3",
)
_TAGS = dict(image.split(":") for image in RELEASE)
# Real tags of the recorded services, some patches behind, by workload: hubs patched by hand drift apart.
BEHIND = {
    "moja-account-lookup-service": "v17.14.4",
    "moja-account-lookup-service-admin": "v17.14.4",
    "moja-centralledger-handler-transfer-fulfil": "v19.13.1",
    "moja-centralledger-handler-transfer-get": "v19.12.3",
    "moja-centralledger-handler-admin-transfer": "v19.14.0-snapshot.1",
    "moja-ml-api-adapter-handler-notification": "v16.10.0",
    "moja-centraleventprocessor": "v12.2.2",
    "moja-bulk-api-adapter-handler-notification": "v17.1.4",
}
# The unpatched workloads on the hub of `maintained`.
FORGOTTEN = frozenset({"moja-account-lookup-service", "moja-ml-api-adapter-handler-notification", "vault"})
# The newest patches of the images of a maintained hub that differ from the release's tags.
_NEWEST = {
    "mojaloop/auth-service:v15.2.8": "v15.2.9",
    "mojaloop/sdk-scheme-adapter:v24.19.6": "v24.19.8",
    "bitnami/kafka:3.3.1-debian-11-r1": "3.3.1-debian-11-r38",
    "bitnami/mongodb:6.0.2-debian-11-r11": "6.0.3-debian-11-r9",
    "bitnami/mysql:8.0.32-debian-11-r0": "8.0.33-debian-11-r28",
    "bitnami/redis:7.0.5-debian-11-r7": "7.0.5-debian-11-r25",
    "bitnamilegacy/mongodb:6.0.1": "6.0.13",
    "mirror.gcr.io/library/rabbitmq:3.12.4-management-alpine": "3.12.14-management-alpine",
    "mysql:8.0.30": "8.0.44",
    "percona/percona-xtradb-cluster:8.0.44-35.1": "8.0.45-36.1",
    "postman/newman:6.1.2-alpine": "6.1.3-alpine",
    "quay.io/cilium/cilium:v1.20.0": "v1.20.1",
}
# Its annotation is invalid.
_MISTAKEN = frozenset({"session-store"})
_SIDECAR_BEHIND = "v14.2.1"
_LEDGER = (
    "service", "handler-transfer-prepare", "handler-transfer-position", "handler-transfer-position-batch",
    "handler-transfer-fulfil", "handler-transfer-get", "handler-timeout", "handler-admin-transfer",
    "handler-fx-prepare", "handler-fx-fulfil", "handler-bulk-transfer-prepare", "handler-bulk-transfer-fulfil",
    "handler-bulk-transfer-processing", "handler-bulk-transfer-get", "handler-deferred-settlement",
)  # fmt: skip
_OTHERS = {
    "moja-account-lookup-service": "account-lookup-service",
    "moja-account-lookup-service-admin": "account-lookup-service",
    "moja-quoting-service": "quoting-service",
    "moja-quoting-service-handler": "quoting-service",
    "moja-centralsettlement-service": "central-settlement",
    "moja-centralsettlement-handler-deferred": "central-settlement",
    "moja-centralsettlement-handler-rules": "central-settlement",
    "moja-ml-api-adapter-service": "ml-api-adapter",
    "moja-ml-api-adapter-handler-notification": "ml-api-adapter",
    "moja-bulk-api-adapter-service": "bulk-api-adapter",
    "moja-bulk-api-adapter-handler-notification": "bulk-api-adapter",
    "moja-transaction-requests-service": "transaction-requests-service",
    "moja-event-stream-processor": "event-stream-processor",
    "moja-centraleventprocessor": "central-event-processor",
    "moja-emailnotifier": "email-notifier",
    "moja-auth-service": "auth-service",
    "moja-consent-oracle": "als-consent-oracle",
    "moja-als-oracle-pathfinder": "als-oracle-pathfinder",
    "moja-als-msisdn-oracle": "als-msisdn-oracle-svc",
    "moja-thirdparty-api-svc": "thirdparty-api-svc",
    "moja-sim-payerfsp-scheme-adapter": "sdk-scheme-adapter",
    "moja-ml-testing-toolkit-frontend": "ml-testing-toolkit-ui",
    "moja-sim-payerfsp-backend": "mojaloop-simulator",
    "moja-simulator": "simulator",
    "moja-inter-scheme-proxy-adapter": "inter-scheme-proxy-adapter",
}
_WITH_SIDECAR = frozenset({"moja-centralledger-service", "moja-quoting-service", "moja-ml-api-adapter-service"})
_HELM: dict[str, Any] = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "moja", "meta.helm.sh/release-namespace": "mojaloop"},
}
_AWAIT = {"name": "wait-for-mysql", "image": "busybox:1.28"}


def tags() -> dict[str, dict[str, float]]:
    """Return the publish times of all tags in epoch seconds, by repository with its registry."""
    data = files("exporter.demo") / "data"
    found: dict[str, dict[str, float]] = {}
    for name, listed in yaml.safe_load((data / "images.yaml").read_text("utf-8")).items():
        found[name] = {tag: _epoch(str(at)) for tag, at in listed.items()}
    for file in (data / "tags").iterdir():
        listed = json.loads(file.read_text("utf-8"))
        service = file.name.removesuffix(".json")
        found[f"docker.io/mojaloop/{service}"] = {tag["name"]: _epoch(tag["published"]) for tag in listed}
        if service in _TAGS:
            # CI publishes an image for each release; the recorded git tags lack three of them.
            at = max(found[f"docker.io/mojaloop/{service}"].values())
            found[f"docker.io/mojaloop/{service}"].setdefault(_TAGS[service], at)
    return found


def workloads() -> Iterator[Document]:
    """Yield the objects to create, owners first."""
    yield from _mojaloop()
    yield from _backing()
    yield from _others()


def maintained() -> Iterator[Document]:
    """Yield the workloads of a maintained hub: all but those of `FORGOTTEN` run their newest patch."""
    for workload in workloads():
        name = workload["metadata"]["name"]
        if name not in _MISTAKEN:
            yield workload if name in FORGOTTEN else _patched(workload)


def _patched(part: Any) -> Any:
    """Return a part of a workload with the newest patch of each image."""
    if isinstance(part, list):
        return [_patched(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: _newest(value) if key == "image" else _patched(value) for key, value in part.items()}


def _newest(image: str) -> str:
    name, _, tag = image.partition("@")[0].rpartition(":")
    newest = _NEWEST.get(f"{name}:{tag}") or _TAGS.get(name.removeprefix("mojaloop/"), tag)
    return image if newest == tag else f"{name}:{newest}"


def _mojaloop() -> Iterator[Document]:
    for part in _LEDGER:
        name = f"moja-centralledger-{part}"
        image = _image("central-ledger", name)
        migrate = {"name": "run-migration", "image": image}
        first = [migrate] if part == "service" else [{"name": "wait-for-migration", "image": image}]
        yield _workload("Deployment", name, [{"name": name, "image": image}], init=[_AWAIT, *first], **_HELM)
    for name, service in _OTHERS.items():
        yield _workload("Deployment", name, [{"name": service, "image": _image(service, name)}], **_HELM)
    toolkit = _image("ml-testing-toolkit", "moja-ml-testing-toolkit-backend")
    yield _workload("StatefulSet", "moja-ml-testing-toolkit-backend", [{"name": "backend", "image": toolkit}], **_HELM)
    job = _workload("Job", "unused", [{"name": "tests", "image": toolkit}])["spec"]
    yield {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "moja-ttk-daily-tests", "namespace": "mojaloop", **_HELM},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}},
    }


def _backing() -> Iterator[Document]:
    """Yield the supporting services of a hub: third-party images, with all sorts of tags."""

    def of(kind: str, name: str, image: str, **more: Any) -> Document:
        return _workload(kind, name, [{"name": name, "image": image}], namespace="backing", **more)

    argocd = {"annotations": {"argocd.argoproj.io/tracking-id": "backing:apps/StatefulSet:backing/mysql"}}
    flux = {"labels": {"helm.toolkit.fluxcd.io/name": "redis", "helm.toolkit.fluxcd.io/namespace": "flux-system"}}
    yield of("StatefulSet", "mysql", "bitnami/mysql:8.0.32-debian-11-r0", **argocd)
    yield of("StatefulSet", "mongodb", "bitnamilegacy/mongodb:6.0.1")
    yield of("StatefulSet", "redis", "bitnami/redis:7.0.5-debian-11-r7", **flux)
    yield of("StatefulSet", "kafka", "bitnami/kafka:3.3.1-debian-11-r1")
    yield of("StatefulSet", "reporting-mongodb", "bitnami/mongodb:6.0.2-debian-11-r11")
    yield of("StatefulSet", "reporting-kafka", "solsson/kafka:2.8.1")
    yield of("StatefulSet", "percona", "percona/percona-xtradb-cluster:8.0.44-35.1")
    yield of("StatefulSet", "vault", "hashicorp/vault:1.21.4")
    yield of("Deployment", "rabbitmq", "mirror.gcr.io/library/rabbitmq:3.12.4-management-alpine")
    yield of("Deployment", "redis-cache", "quay.io/opstree/redis:v7.4.8")
    yield of(
        "Deployment", "reporting", "mysql:5.7", template={"annotations": {"image-patch.mojaloop.io/ignore": "true"}}
    )
    yield of("Deployment", "minio", "minio/minio:RELEASE.2023-07-21T21-12-44Z")
    yield of("Deployment", "console", "docker.redpanda.com/redpandadata/console:v2.8.5")
    yield of(
        "Deployment",
        "vault-utils",
        "ghcr.io/mojaloop/vault-utils:0.0.6",
        init=[{"name": "wait", "image": "bowerswilkins/awaitpostgres:latest"}],
    )
    options = {"annotations": {"image-patch.mojaloop.io/strategy": "newest"}}
    yield of("Deployment", "session-store", "redis:5.0.4-alpine", template=options)
    yield of("Deployment", "patroni", "percona/percona-postgresql-operator:2.5.0-ppg16.4-pgbouncer1.23.1")


def _others() -> Iterator[Document]:
    digest = "sha256:" + "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
    cilium = [{"name": "cilium-agent", "image": f"quay.io/cilium/cilium:v1.20.0@{digest}"}]
    yield _workload("DaemonSet", "cilium", cilium, namespace="kube-system")
    # A pod of a custom controller, as Strimzi's operator creates it.
    owner = {
        "apiVersion": "core.strimzi.io/v1beta2",
        "kind": "StrimziPodSet",
        "name": "hub-kafka",
        "uid": "0-1",
        "controller": True,
    }
    for number in range(3):
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"hub-kafka-{number}", "namespace": "backing", "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "kafka", "image": "quay.io/strimzi/kafka:0.47.0-kafka-3.9.0"}]},
        }
    yield _workload("Job", "hub-onboarding", [{"name": "newman", "image": "postman/newman:6.1.2-alpine"}])
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "debug", "namespace": "mojaloop"},
        "spec": {"containers": [{"name": "client", "image": "mysql:8.0.30"}]},
    }


def _image(service: str, workload: str) -> str:
    return f"mojaloop/{service}:{BEHIND.get(workload, _TAGS[service])}"


def _workload(
    kind: str,
    name: str,
    containers: list[Document],
    *,
    namespace: str = "mojaloop",
    init: list[Document] | None = None,
    template: Document | None = None,
    **metadata: Any,
) -> Document:
    if name in _WITH_SIDECAR:
        containers = [*containers, {"name": "event-sidecar", "image": f"mojaloop/event-sidecar:{_SIDECAR_BEHIND}"}]
    labels = {"app.kubernetes.io/name": name}
    spec: Document = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, **(template or {})},
            "spec": {"containers": containers, **({"initContainers": init} if init else {})},
        },
    }
    if kind in ("Deployment", "StatefulSet"):
        spec["replicas"] = 2 if kind == "Deployment" else 1
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text.replace(" ", "T")).timestamp()

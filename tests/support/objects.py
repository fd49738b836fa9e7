"""Small Kubernetes objects as the decoder returns them, and the workloads that they belong to."""

from __future__ import annotations

import json
from typing import Any

from exporter.cluster.decode import Object, decode_object
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey


def thing(**fields: Any) -> Object:
    metadata = {"name": "thing", "namespace": "ns", **fields.pop("metadata", {})}
    return decode_object(json.dumps({"metadata": metadata, **fields}).encode())


TEMPLATE = {
    "spec": {
        "initContainers": [{"name": "wait", "image": "w:1.0.0"}],
        "containers": [{"name": "a", "image": "a:1.0.0"}, {"name": "b"}],
    }
}
CONTAINERS = (
    Container("wait", ContainerType.INIT_CONTAINER, "w:1.0.0", 0),
    Container("a", ContainerType.CONTAINER, "a:1.0.0", 0),
    Container("b", ContainerType.CONTAINER, "", 1),
)
KEY = WorkloadKey("ns", "StrimziPodSet.core.strimzi.io", "kafka")


def part(*images: str, key: WorkloadKey = KEY, **more: Any) -> Workload:
    return Workload(
        key=key,
        **{"declared": False, **more},
        containers=tuple(Container(f"c{i}", ContainerType.CONTAINER, image, i) for i, image in enumerate(images)),
    )


def refers(**reference: str) -> Object:
    return thing(
        spec={"workloadRef": reference, "replicas": 3},
        status={"replicas": 3, "observedGeneration": "1", "stableRS": "a", "currentPodHash": "b"},
    )

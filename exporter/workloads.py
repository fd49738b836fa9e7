"""Workloads and their containers, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from exporter.limits import Limit


class ContainerType(StrEnum):
    """The list of a pod's specification that holds a container."""

    CONTAINER = "container"
    INIT_CONTAINER = "init_container"


class WorkloadKey(NamedTuple):
    """The identity of a workload in a cluster; outputs are sorted by its parts in this order."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @property
    def is_image(self) -> bool:
        """Whether it is an image on the watch list (`image_key`) instead of a workload."""
        return self.namespace == OPERATOR and self.kind == IMAGE_KIND


OPERATOR = ""
"""The namespace of images that the operator names in the configuration or on the command line.

Limits that protect namespaces from each other do not apply to it.
"""

IMAGE_KIND = "Image"
"""The kind of images under the configuration key `watch`. No API server has it: the core group has no such kind."""


def image_key(name: str) -> WorkloadKey:
    """Return the key of an image on the watch list, which has no namespace."""
    return WorkloadKey(OPERATOR, IMAGE_KIND, name)


def reference_key(number: int) -> WorkloadKey:
    """Return the key of an image reference that is judged by itself: no namespace, no kind; the number keeps their
    order.
    """
    return WorkloadKey(OPERATOR, "", f"{number:06}")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod template.

    Attributes:
        name: unique among containers and init containers of a pod.
        type: container, or init container (restartable ones too).
        image: the reference as written, not checked.
        position: its index in its list.
    """

    name: str
    type: ContainerType
    image: str
    position: int


@dataclass(frozen=True, slots=True)
class Manager:
    """The owner: `argocd`, `flux`, `helm` or `operator`, and the name of the Application, release or owner."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload as the cluster or a manifest declares it.

    Attributes:
        key: namespace, kind and name of the top controller. The kind has its API group
            (`StrimziPodSet.core.strimzi.io`) unless it is one of `kinds.KINDS` or of the core group.
        containers: in the order of the template, init containers first. For a custom controller, the union over its
            pods, so one name may have several images.
        annotations: of the pod template, those under `annotations.PREFIX` only, sorted by key.
        manager: the most specific owner, or None.
        rollout_incomplete: pods of an older template still run.
        declared: the workload's own template was read, so a patch can change it. False if the objects that it controls
            were read instead, because its kind is not supported.
        image_triggers: the names of the containers whose image OpenShift sets from an image stream.
        limit_exceeded: it, or all workloads of its namespace together, exceed a limit. `containers` holds only the
            first container, and annotations are left out.
        uid: of the object whose template this is; empty if it is not `declared`, or from a manifest.
    """

    key: WorkloadKey
    containers: tuple[Container, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    manager: Manager | None = None
    rollout_incomplete: bool = False
    declared: bool = True
    image_triggers: tuple[str, ...] = ()
    limit_exceeded: bool = False
    uid: str = ""

    def exceeded(self) -> Limit | None:
        """The limit for workloads that this one exceeds."""
        if len(self.containers) > Limit.CONTAINERS.most:
            return Limit.CONTAINERS
        if sum(len(name) + len(value) for name, value in self.annotations) > Limit.ANNOTATIONS.most:
            return Limit.ANNOTATIONS
        return None

    def refused(self) -> Workload:
        """Return a small placeholder for it after an exceeded limit, which stays visible."""
        return replace(self, containers=self.containers[:1], annotations=(), image_triggers=(), limit_exceeded=True)


# RFC 1123 names, as Kubernetes allows them for objects (subdomains) and containers (labels). Kinds are CamelCase;
# those of a foreign group have the group behind them, as kubectl writes it.
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
# Maximum length of a label that alerts carry into messages: the longest name of an object.
_LONGEST_SOURCE = 253
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}(?:\.[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)?")


def is_object_name(text: str) -> bool:
    """Return whether a text can name a namespace, a workload or a container, and so appear in commands and labels."""
    return _OBJECT_NAME.fullmatch(text) is not None


def is_kind(text: str) -> bool:
    """Return whether a text can be a Kubernetes kind, with or without an API group: `Job`, `Job.batch.volcano.sh`."""
    return _KIND.fullmatch(text) is not None


def source(*names: str, prefix: str = "") -> str:
    """Return the name of the object that manages a workload; empty if any part is not a name.

    The parts come from annotations and labels, which any author of a workload can set, and the result is shown next to
    commands that people paste.

    Args:
        names: of the object, after its namespace if it has one: `flux-system`, `hub`. Argo CD also writes
            `NAMESPACE_NAME`.
        prefix: its kind and a separator: `Kustomization flux-system/hub`, `Kafka/hub`.
    """
    text = prefix + "/".join(names)
    named = all(is_object_name(part) for name in names for part in name.split("_", 1))
    named = named and (not prefix or is_kind(prefix[:-1]))
    return text if named and len(text) <= _LONGEST_SOURCE else ""

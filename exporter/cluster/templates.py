"""From an object to the workload that it stands for: pure rules over what was decoded.

A template covers the pods made from it, so that pods and ReplicaSets matter only where no template is read: bare ones, and those
of an owner whose kind we do not read. Kinds that Kubernetes itself brings are never judged by their children: one that the
configuration leaves out was left out on purpose, and one that we may not list is said to be forbidden, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.annotations import PREFIX
from exporter.cluster.decode import Metadata, Object, OwnerReference, PodSpec, Status, Template
from exporter.workloads import Container, ContainerType, Manager, Workload, WorkloadKey

# By kind, the API group. A foreign kind may bear the same name (Volcano's Job), hence the group.
GROUPS = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "ReplicaSet": "apps",
    "CronJob": "batch",
    "Job": "batch",
}


def controller(metadata: Metadata) -> OwnerReference | None:
    """The owner that controls an object."""
    return next((owner for owner in metadata.owner_references or () if owner.controller), None)


def is_covered(kind: str, metadata: Metadata) -> bool:
    """Whether the template of a built-in owner speaks for this pod, ReplicaSet or Job."""
    if kind not in ("Pod", "ReplicaSet", "Job"):
        return False
    owner = controller(metadata)
    return owner is not None and GROUPS.get(owner.kind) == owner.api_version.partition("/")[0]


def workload_key(kind: str, metadata: Metadata) -> WorkloadKey:
    """Whom an object counts for: itself, or for a pod, ReplicaSet or Job that a foreign kind controls, that one."""
    owner = controller(metadata)
    # The kubelet shows the static pods of its node as pods that the node controls: mirror pods.
    if (
        owner is None
        or kind not in ("Pod", "ReplicaSet", "Job")
        or (owner.kind == "Node" and owner.api_version == "v1")
    ):
        return WorkloadKey(metadata.namespace, kind, metadata.name)
    return WorkloadKey(metadata.namespace, owner.kind, owner.name)


def to_workload(kind: str, thing: Object, *, pod_annotations: dict[str, str] | None = None) -> Workload | None:
    """The workload that an object stands for, or None: covered by a template, finished, or (a ReplicaSet) without replicas.

    Args:
        kind: of the object.
        thing: the whole object, not its metadata alone.
        pod_annotations: those of a pod, which has no template.
    """
    if is_covered(kind, thing.metadata) or _is_over(kind, thing):
        return None
    key = workload_key(kind, thing.metadata)
    template = _template(thing)
    if template is None:
        containers = _containers(thing.spec)
        annotations = pod_annotations
    else:
        containers = _containers(template.spec)
        annotations = template.metadata.annotations if template.metadata is not None else None
    return Workload(
        key=key,
        containers=containers,
        annotations=tuple(sorted(item for item in (annotations or {}).items() if item[0].startswith(PREFIX))),
        # What a foreign kind controls bears labels of its own, which say nothing about who manages the owner.
        manager=_manager(thing.metadata) if (key.kind, key.name) == (kind, thing.metadata.name) else None,
        rollout_incomplete=_rollout_incomplete(kind, thing),
    )


def merge(parts: Iterable[Workload]) -> Workload:
    """One workload from the objects that count for it, at least one: the union of their containers.

    In the middle of a rollout one container stands there with several images.
    """
    first, *others = parts
    if not others:
        return first
    # Whichever came first, the outcome is the same.
    first, *others = sorted((first, *others), key=repr)
    containers = {container for part in (first, *others) for container in part.containers}
    return Workload(
        key=first.key,
        containers=tuple(
            sorted(containers, key=lambda c: (c.type is not ContainerType.INIT_CONTAINER, c.position, c.name, c.image))
        ),
        annotations=first.annotations,
        manager=first.manager,
        rollout_incomplete=any(part.rollout_incomplete for part in (first, *others)),
    )


def _is_over(kind: str, thing: Object) -> bool:
    status = thing.status or Status()
    if kind == "Job":
        return any(c.type in ("Complete", "Failed") and c.status == "True" for c in status.conditions or ())
    if kind == "Pod":
        return status.phase in ("Succeeded", "Failed")
    # Old ReplicaSets are kept for a rollback, and run nothing. Templates scaled to zero stay: they are what will run.
    return kind == "ReplicaSet" and thing.spec is not None and thing.spec.replicas == 0


def _template(thing: Object) -> Template | None:
    if thing.spec is None:
        return None
    if thing.spec.job_template is not None:
        return thing.spec.job_template.spec.template if thing.spec.job_template.spec is not None else None
    return thing.spec.template


def _containers(spec: PodSpec | None) -> tuple[Container, ...]:
    if spec is None:
        return ()
    lists = ((ContainerType.INIT_CONTAINER, spec.init_containers), (ContainerType.CONTAINER, spec.containers))
    return tuple(
        Container(name=container.name, type=type_, image=container.image, position=position)
        for type_, containers in lists
        for position, container in enumerate(containers or ())
    )


def _manager(metadata: Metadata) -> Manager | None:
    """Who would undo a patch, the quickest first: a controller in the cluster does at once, Helm at its next release."""
    owner = controller(metadata)
    if owner is not None:
        return Manager("operator", f"{owner.kind}/{owner.name}") if owner.kind != "Node" else None
    labels, annotations = metadata.labels, metadata.annotations
    # The tracking ID is APPLICATION:GROUP/KIND:NAMESPACE/NAME.
    if annotations is not None and annotations.argocd_tracking:
        return Manager("argocd", annotations.argocd_tracking.partition(":")[0])
    if labels is not None:
        if labels.argocd_instance:
            return Manager("argocd", labels.argocd_instance)
        if labels.helm_release:
            return Manager(
                "flux", f"HelmRelease {labels.helm_release_namespace or metadata.namespace}/{labels.helm_release}"
            )
        if labels.kustomization:
            source = f"Kustomization {labels.kustomization_namespace or metadata.namespace}/{labels.kustomization}"
            return Manager("flux", source)
        if labels.managed_by == "Helm" and annotations is not None and annotations.release:
            return Manager("helm", f"{annotations.release_namespace or metadata.namespace}/{annotations.release}")
    return None


def _rollout_incomplete(kind: str, thing: Object) -> bool:
    """Whether pods of an older template still run, or the controller has not looked at the newest template yet."""
    status = thing.status
    if status is None or kind not in ("Deployment", "StatefulSet", "DaemonSet"):
        return False
    running, updated = (
        (status.current_number_scheduled, status.updated_number_scheduled)
        if kind == "DaemonSet"
        else (status.replicas, status.updated_replicas)
    )
    unseen = status.observed_generation is not None and status.observed_generation < thing.metadata.generation
    return updated < running or (unseen and running > 0)

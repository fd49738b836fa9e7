"""Rules that map a decoded object to the workloads that it contributes to.

A template covers the pods made from it. Pods and ReplicaSets therefore matter only if we read no template for them:
bare ones, and those of an owner of an unknown kind. Built-in kinds are never judged by what they control: a kind is
left out of the configuration on purpose, and a kind that we are not permitted to list is reported as forbidden. An
optional kind is judged by its template if we read it, otherwise by what it controls, like every foreign kind. Whether
we read it may change at any time, so both parts are always kept, and `merge` chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any, cast

from exporter import kinds
from exporter.annotations import PREFIX
from exporter.cluster.decode import Metadata, Object, OwnerReference, PodSpec, Spec, Status, Template
from exporter.kinds import Kind, Progress
from exporter.limits import Limit
from exporter.workloads import Container, ContainerType, Manager, Workload, WorkloadKey, source

# Characters kept of a container's name (at most 253 are valid) and its reference (520, with tag and digest).
_LONGEST_NAME = 300
_LONGEST_REFERENCE = 600


def controller(metadata: Metadata) -> OwnerReference | None:
    """Return the owner that controls an object."""
    return next((owner for owner in metadata.owner_references or () if owner.controller), None)


def is_covered(kind: Kind, metadata: Metadata) -> bool:
    """Whether a built-in owner's template covers this pod, ReplicaSet or Job."""
    owner = controller(metadata)
    if owner is None or not kind.owned:
        return False
    known = kinds.find(owner.kind, owner.api_version)
    return known is not None and not known.optional


def workload_keys(kind: Kind, metadata: Metadata) -> tuple[WorkloadKey, ...]:
    """Return the workloads that an object concerns. Its containers count for the first.

    That is the object itself, or its controller if it has one. An object of an optional kind also concerns itself,
    because its own template covers what it controls.
    """
    own = WorkloadKey(metadata.namespace, kind.name, metadata.name)
    owner = controller(metadata)
    # The kubelet shows a node's static pods as mirror pods, with the node as their controller.
    if owner is None or not kind.owned or (owner.kind == "Node" and owner.api_version == "v1"):
        return (own,)
    try:
        key = WorkloadKey(metadata.namespace, kinds.published(owner.kind, owner.api_version), owner.name)
    except LookupError:
        return (own,)
    return (key, own) if kind.optional else (key,)


def to_workloads(kind: Kind, thing: Object, *, pod_annotations: dict[str, str] | None = None) -> tuple[Workload, ...]:
    """Return an object's contributions to workloads; none if it is covered by a template or finished.

    Args:
        kind: kind of the object.
        thing: the complete object, not only its metadata.
        pod_annotations: annotations of a pod, which has no template.

    Returns:
        Parts for `merge`. A part without containers only says that what the object controls is covered, or whether its
        rollout is complete.
    """
    if is_covered(kind, thing.metadata):
        return ()
    spec = thing.spec or Spec()
    key, *covering = workload_keys(kind, thing.metadata)
    covers = tuple(Workload(key=own, containers=()) for own in covering)
    if _is_over(kind, thing):
        # The pods of a ReplicationController outlive its replica count by a little.
        return covers or ((Workload(key=key, containers=()),) if kind.optional else ())
    if spec.workload_ref is not None:
        return _by_reference(kind, thing, key)
    template = _template(kind, thing)
    if template is None and kind.optional:
        return ()
    annotations = pod_annotations
    if isinstance(template, Template):
        annotations = template.metadata.annotations if template.metadata is not None else None
    declared = (key.kind, key.name) == (kind.name, thing.metadata.name)
    containers = _containers(template.spec if template is not None else None)
    workload = Workload(
        key=key,
        containers=containers,
        annotations=tuple(sorted(item for item in (annotations or {}).items() if item[0].startswith(PREFIX))),
        # The labels of what a foreign kind controls say nothing about who manages the owner.
        manager=_manager(thing.metadata) if declared else None,
        rollout_incomplete=_rollout_incomplete(kind, thing),
        declared=declared,
        image_triggers=_image_triggers(spec, containers),
        uid=thing.metadata.uid[:_LONGEST_NAME] if declared else "",
    )
    return (workload, *covers)


def _by_reference(kind: Kind, thing: Object, key: WorkloadKey) -> tuple[Workload, ...]:
    """Return the parts of a Rollout that runs the template of a Deployment, which Argo scales to zero.

    A patch has to change the Deployment. It is therefore published, with the Rollout's progress. What the Rollout
    controls is not counted again.
    """
    ref = thing.spec.workload_ref if thing.spec is not None else None
    target = kinds.find(ref.kind, ref.api_version) if ref is not None else None
    # Argo Rollouts also accepts the template of a ReplicaSet or a PodTemplate. We do not judge those if nothing runs
    # from them.
    if ref is None or target is None or target.owned or target.optional:
        return ()
    progress = Workload(
        key=WorkloadKey(key.namespace, target.name, ref.name),
        containers=(),
        rollout_incomplete=_rollout_incomplete(kind, thing),
        declared=False,
    )
    return Workload(key=key, containers=()), progress


def merge(parts: Iterable[Workload]) -> Workload:
    """Merge one or more parts into a workload.

    A workload's own template takes precedence over what it controls. Without a template, the workload is the union of
    its parts' containers: during a rollout a container has several images. A workload that exceeds a limit is refused.
    """
    parts = tuple(parts)
    chosen = [part for part in parts if part.declared] or [part for part in parts if part.containers] or parts
    many = len(chosen) > Limit.CONTAINERS.most
    first = chosen[0] if many or len(chosen) == 1 else min(chosen, key=_order)
    if any(part.rollout_incomplete for part in parts) is not first.rollout_incomplete:
        first = replace(first, rollout_incomplete=not first.rollout_incomplete)
    if many or any(part.limit_exceeded for part in chosen):
        return first.refused()
    if len(chosen) > 1:
        containers = {container for part in chosen for container in part.containers}
        if len(containers) > Limit.CONTAINERS.most:
            return first.refused()
        first = replace(first, containers=tuple(sorted(containers, key=_position)))
    return first if first.exceeded() is None else first.refused()


def _order(part: Workload) -> tuple[Any, ...]:
    """Order of the parts that annotations could come from, so the result does not depend on their arrival."""
    manager = (part.manager.name, part.manager.source) if part.manager is not None else ()
    containers = tuple((container.name, container.image) for container in part.containers)
    return part.annotations, part.image_triggers, manager, part.rollout_incomplete, containers


def _position(container: Container) -> tuple[Any, ...]:
    return container.type is not ContainerType.INIT_CONTAINER, container.position, container.name, container.image


def _is_over(kind: Kind, thing: Object) -> bool:
    status = thing.status or Status()
    if kind.name == "Job":
        return any(c.type in ("Complete", "Failed") and c.status == "True" for c in status.conditions or ())
    if kind.name == "Pod":
        return status.phase in ("Succeeded", "Failed")
    # Old revisions are kept for a rollback and run nothing. Templates scaled to zero stay, because they will run.
    return kind.revision and thing.spec is not None and thing.spec.replicas == 0


def _template(kind: Kind, thing: Object) -> Template | Object | None:
    """Return the value at `kind.template`: a template, the object itself for a pod, or None if a key is missing."""
    found: Any = thing
    for attribute in _attributes(kind.template):
        found = getattr(found, attribute)
        if found is None:
            return None
    return cast("Template | Object", found)


@cache
def _attributes(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the struct attributes for JSON keys: `jobTemplate` is `job_template`."""
    return tuple(re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key) for key in keys)


def _containers(spec: PodSpec | None) -> tuple[Container, ...]:
    if spec is None:
        return ()
    lists = ((ContainerType.INIT_CONTAINER, spec.init_containers), (ContainerType.CONTAINER, spec.containers))
    # One more than the limit is enough to detect that it is exceeded.
    found = ((type_, *item) for type_, containers in lists for item in enumerate(containers or ()))
    return tuple(
        # A longer text is neither a name nor a reference. A prefix is enough to detect that.
        Container(container.name[:_LONGEST_NAME], type_, container.image[:_LONGEST_REFERENCE], position)
        for type_, position, container in islice(found, Limit.CONTAINERS.most + 1)
    )


def _manager(metadata: Metadata) -> Manager | None:
    """Return who would undo a patch, the quickest first: a controller does it at once, Helm at its next release."""
    owner = controller(metadata)
    if owner is not None:
        return Manager("operator", source(owner.name, prefix=f"{_published(owner)}/")) if owner.kind != "Node" else None
    labels, annotations = metadata.labels, metadata.annotations
    # The tracking ID is APPLICATION:GROUP/KIND:NAMESPACE/NAME.
    if annotations is not None and annotations.argocd_tracking:
        return Manager("argocd", source(annotations.argocd_tracking.partition(":")[0]))
    if labels is not None:
        if labels.argocd_instance:
            return Manager("argocd", source(labels.argocd_instance))
        if labels.helm_release:
            namespace = labels.helm_release_namespace or metadata.namespace
            return Manager("flux", source(namespace, labels.helm_release, prefix="HelmRelease "))
        if labels.kustomization:
            namespace = labels.kustomization_namespace or metadata.namespace
            return Manager("flux", source(namespace, labels.kustomization, prefix="Kustomization "))
        if labels.managed_by == "Helm" and annotations is not None and annotations.release:
            return Manager("helm", source(annotations.release_namespace or metadata.namespace, annotations.release))
    return None


def _published(owner: OwnerReference) -> str:
    try:
        return kinds.published(owner.kind, owner.api_version)
    except LookupError:
        return owner.kind


def _image_triggers(spec: Spec, containers: tuple[Container, ...]) -> tuple[str, ...]:
    """Return the containers named by a DeploymentConfig's ImageChange triggers, unique and sorted.

    A trigger that is not `automatic` counts too: `oc rollout latest` obeys it.
    """
    named = {
        name
        for trigger in spec.triggers or ()
        if trigger.type == "ImageChange" and trigger.image_change_params is not None
        for name in trigger.image_change_params.container_names or ()
    }
    return tuple(sorted(named & {container.name for container in containers}))


def _rollout_incomplete(kind: Kind, thing: Object) -> bool:
    """Whether pods of an older template still run, or the controller has not observed the newest template yet."""
    status = thing.status
    if status is None or kind.progress is None:
        return False
    running, updated = (
        (status.current_number_scheduled, status.updated_number_scheduled)
        if kind.progress is Progress.SCHEDULED
        else (status.replicas, status.updated_replicas)
    )
    outdated = (
        status.stable_rs not in ("", status.current_pod_hash) if kind.progress is Progress.STABLE else updated < running
    )
    return outdated or (running > 0 and _is_unseen(status.observed_generation, thing.metadata.generation))


def _is_unseen(observed: int | str | None, generation: int) -> bool:
    if isinstance(observed, str):
        # Argo Rollouts before 0.10 wrote a hash.
        observed = int(observed) if observed.isascii() and observed.isdecimal() and len(observed) < 20 else None
    return observed is not None and observed < generation

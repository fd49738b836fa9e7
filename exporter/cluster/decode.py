"""The few fields of Kubernetes' objects that we read, decoded from bytes without a detour over dictionaries.

One structure serves every kind: what a kind does not have stays at its default. Go writes an empty list or map as
`null` or not at all, hence the many `| None`. Labels and annotations are structures too: the copies of whole manifests
that `kubectl apply` leaves in annotations are skipped, not held.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """Who made an object; at most one reference is the controller's."""

    kind: str
    name: str
    api_version: str = ""
    controller: bool | None = None


class Labels(msgspec.Struct, frozen=True):
    """The labels that say who manages an object."""

    argocd_instance: str | None = msgspec.field(default=None, name="argocd.argoproj.io/instance")
    helm_release: str | None = msgspec.field(default=None, name="helm.toolkit.fluxcd.io/name")
    helm_release_namespace: str | None = msgspec.field(default=None, name="helm.toolkit.fluxcd.io/namespace")
    kustomization: str | None = msgspec.field(default=None, name="kustomize.toolkit.fluxcd.io/name")
    kustomization_namespace: str | None = msgspec.field(default=None, name="kustomize.toolkit.fluxcd.io/namespace")
    managed_by: str | None = msgspec.field(default=None, name="app.kubernetes.io/managed-by")


class Annotations(msgspec.Struct, frozen=True):
    """The annotations that say who manages an object."""

    argocd_tracking: str | None = msgspec.field(default=None, name="argocd.argoproj.io/tracking-id")
    release: str | None = msgspec.field(default=None, name="meta.helm.sh/release-name")
    release_namespace: str | None = msgspec.field(default=None, name="meta.helm.sh/release-namespace")


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """An object's metadata. A bookmark has nothing but a resourceVersion."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Labels | None = None
    annotations: Annotations | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class TemplateMetadata(msgspec.Struct, frozen=True):
    """A pod template's metadata."""

    annotations: dict[str, str] | None = None


class Container(msgspec.Struct, frozen=True):
    """A container; some platforms fill an empty image in at admission."""

    name: str
    image: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a pod runs."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class Template(msgspec.Struct, frozen=True):
    """A pod template."""

    metadata: TemplateMetadata | None = None
    spec: PodSpec | None = None


class JobSpec(msgspec.Struct, frozen=True):
    """A Job's specification inside of a CronJob's."""

    template: Template | None = None


class JobTemplate(msgspec.Struct, frozen=True):
    """What a CronJob makes Jobs from."""

    spec: JobSpec | None = None


class WorkloadRef(msgspec.Struct, frozen=True, rename="camel"):
    """The object whose template a Rollout runs instead of one of its own (Argo Rollouts)."""

    kind: str = ""
    name: str = ""
    api_version: str = ""


class ImageChange(msgspec.Struct, frozen=True, rename="camel"):
    """Which containers follow a tag of an image stream (OpenShift)."""

    container_names: tuple[str, ...] | None = None


class Trigger(msgspec.Struct, frozen=True, rename="camel"):
    """What makes a DeploymentConfig roll out (OpenShift)."""

    type: str = ""
    image_change_params: ImageChange | None = None


class Spec(PodSpec, frozen=True, rename="camel"):
    """A specification: a pod's own containers, a template, a reference to one, or a CronJob's template of Jobs."""

    replicas: int | None = None
    template: Template | None = None
    job_template: JobTemplate | None = None
    workload_ref: WorkloadRef | None = None
    triggers: tuple[Trigger, ...] | None = None


class Condition(msgspec.Struct, frozen=True):
    """A condition of a Job."""

    type: str = ""
    status: str = ""


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """How far a rollout is, and whether a Job or pod has finished. Argo Rollouts writes its generation as text."""

    observed_generation: int | str | None = None
    replicas: int = 0
    updated_replicas: int = 0
    current_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    current_pod_hash: str = ""
    stable_rs: str = msgspec.field(default="", name="stableRS")
    phase: str = ""
    conditions: tuple[Condition, ...] | None = None


class Object(msgspec.Struct, frozen=True):
    """An object of any kind that we read; of `PartialObjectMetadata`, the metadata."""

    metadata: Metadata
    spec: Spec | None = None
    status: Status | None = None


class MetadataOnly(msgspec.Struct, frozen=True):
    """Which object it is, and nothing else."""

    metadata: Metadata


class PodMetadata(msgspec.Struct, frozen=True):
    """A pod's annotations, which stand where a template's would."""

    metadata: TemplateMetadata


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Where a list stands: its version, and the token of its next page."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list."""

    metadata: ListMetadata
    items: tuple[T, ...] | None = None


class Event(msgspec.Struct, frozen=True):
    """A line of a watch; what the object is depends on the type."""

    type: str
    object: msgspec.Raw


class Failure(msgspec.Struct, frozen=True):
    """A `Status`: the answer to a request that failed, and the object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""


decode_page = msgspec.json.Decoder(Page[Object]).decode
# For kinds whose API server may not check what is in a template: one object that we cannot read must not hide the
# others.
decode_raw_page = msgspec.json.Decoder(Page[msgspec.Raw]).decode
decode_metadata = msgspec.json.Decoder(MetadataOnly).decode
decode_object = msgspec.json.Decoder(Object).decode
decode_pod_metadata = msgspec.json.Decoder(PodMetadata).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_failure = msgspec.json.Decoder(Failure).decode

"""The few fields of Kubernetes objects that we read, decoded from bytes straight into structures.

One structure serves every kind: what a kind does not have keeps its default. Go writes an empty list or map as `null`
or leaves it out, hence the many `| None`. Labels and annotations are structures too: the copies of complete manifests
that `kubectl apply` leaves in annotations are skipped, not held.

A page and an event hold their objects undecoded, so that one that cannot be read does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from exporter.cluster.nesting import Message, shallow, tolerant


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
    """An object's metadata, and nothing else of it."""

    metadata: Metadata


# Resource versions are decimal numbers of 64 bits in practice; tokens hold the key of an object and its version.
ResourceVersion = Annotated[str, msgspec.Meta(max_length=128)]
Token = Annotated[str, msgspec.Meta(max_length=8192)]


class IdentityMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata of `Identity`. A bookmark has only a resource version."""

    name: str = ""
    namespace: str = ""
    resource_version: ResourceVersion = ""


class Identity(msgspec.Struct, frozen=True):
    """Which object it is, and at which version: what the API server itself writes."""

    metadata: IdentityMetadata


class PodMetadata(msgspec.Struct, frozen=True):
    """A pod's annotations, which are where a template's would be."""

    metadata: TemplateMetadata


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Where a list stands: its version, and the token of its next page."""

    resource_version: Annotated[ResourceVersion, msgspec.Meta(min_length=1)]
    continue_: Token = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A page of a list."""

    metadata: ListMetadata
    items: tuple[msgspec.Raw, ...] | None = None


class Event(msgspec.Struct, frozen=True):
    """A line of a watch; what the object is depends on the type."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class Failure(msgspec.Struct, frozen=True):
    """A `Status`: the answer to a request that failed, and the object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""


class MalformedError(Exception):
    """An answer that the Kubernetes API would not give: the server is broken, or a proxy answered."""


T = TypeVar("T")

decode_page = msgspec.json.Decoder(Page).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_object = tolerant(msgspec.json.Decoder(Object).decode)
decode_metadata = tolerant(msgspec.json.Decoder(MetadataOnly).decode)
decode_pod_metadata = tolerant(msgspec.json.Decoder(PodMetadata).decode)
_decode_identity = tolerant(msgspec.json.Decoder(Identity).decode)
_decode_failure = tolerant(msgspec.json.Decoder(Failure).decode)


async def decode_message(decode: Callable[[Message], T], message: Message) -> T:
    """A page or an event, which may be large and nest deep.

    Raises:
        MalformedError: it is neither.
    """
    try:
        try:
            return _with_room(decode, message)
        except RecursionError:
            return decode(await asyncio.to_thread(shallow, message))
    except ValueError as error:  # of msgspec, and of text that is not UTF-8
        raise MalformedError(f"the answer makes no sense: {error}") from error


def _with_room(decode: Callable[[Message], T], message: Message, frames: int = 30) -> T:
    """Decode with less room for recursion than there is.

    What can be read here, with its objects undecoded, can then be read object by object too. Otherwise an author could
    choose a depth that makes each object shallow on the event loop.
    """
    return _with_room(decode, message, frames - 1) if frames else decode(message)


def decode_identity(message: Message) -> IdentityMetadata:
    """Which object it is.

    Raises:
        MalformedError: it is none.
    """
    try:
        return _decode_identity(message).metadata
    except ValueError as error:
        raise MalformedError(f"the answer holds something that is not an object: {error}") from error


def decode_failure(message: Message) -> Failure:
    """Why the server refused, as far as it can be read: proxies write anything."""
    try:
        return _decode_failure(message)
    except ValueError:
        return Failure()

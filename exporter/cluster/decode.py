"""The fields of Kubernetes objects that we need, decoded from bytes straight into structs.

One struct serves every kind: fields that a kind does not have keep their defaults. Go writes an empty list or map as
`null` or omits it, hence the many `| None`. Labels and annotations are structs too, so the complete manifests that
`kubectl apply` stores in annotations are skipped.

Pages and events keep their objects undecoded, so an invalid object does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from exporter.cluster.nesting import Message, shallow, tolerant


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """An owner of an object. At most one owner is the controller."""

    kind: str
    name: str
    api_version: str = ""
    controller: bool | None = None


class Labels(msgspec.Struct, frozen=True):
    """The labels that identify an object's manager."""

    argocd_instance: str | None = msgspec.field(default=None, name="argocd.argoproj.io/instance")
    helm_release: str | None = msgspec.field(default=None, name="helm.toolkit.fluxcd.io/name")
    helm_release_namespace: str | None = msgspec.field(default=None, name="helm.toolkit.fluxcd.io/namespace")
    kustomization: str | None = msgspec.field(default=None, name="kustomize.toolkit.fluxcd.io/name")
    kustomization_namespace: str | None = msgspec.field(default=None, name="kustomize.toolkit.fluxcd.io/namespace")
    managed_by: str | None = msgspec.field(default=None, name="app.kubernetes.io/managed-by")


class Annotations(msgspec.Struct, frozen=True):
    """The annotations that identify an object's manager."""

    argocd_tracking: str | None = msgspec.field(default=None, name="argocd.argoproj.io/tracking-id")
    release: str | None = msgspec.field(default=None, name="meta.helm.sh/release-name")
    release_namespace: str | None = msgspec.field(default=None, name="meta.helm.sh/release-namespace")


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """An object's metadata. A bookmark has only a resourceVersion."""

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
    """A container. Some platforms fill in an empty image at admission."""

    name: str
    image: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's specification."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class Template(msgspec.Struct, frozen=True):
    """A pod template."""

    metadata: TemplateMetadata | None = None
    spec: PodSpec | None = None


class JobSpec(msgspec.Struct, frozen=True):
    """A CronJob's Job specification."""

    template: Template | None = None


class JobTemplate(msgspec.Struct, frozen=True):
    """A CronJob's Job template."""

    spec: JobSpec | None = None


class WorkloadRef(msgspec.Struct, frozen=True, rename="camel"):
    """The object whose template a Rollout runs instead of its own (Argo Rollouts)."""

    kind: str = ""
    name: str = ""
    api_version: str = ""


class ImageChange(msgspec.Struct, frozen=True, rename="camel"):
    """The containers that follow a tag of an image stream (OpenShift)."""

    container_names: tuple[str, ...] | None = None


class Trigger(msgspec.Struct, frozen=True, rename="camel"):
    """A trigger of a DeploymentConfig's rollouts (OpenShift)."""

    type: str = ""
    image_change_params: ImageChange | None = None


class Spec(PodSpec, frozen=True, rename="camel"):
    """A specification: a pod's containers, a template, a reference to one, or a CronJob's Job template."""

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
    """Progress of a rollout, Job or pod. Argo Rollouts writes its generation as text."""

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
    """An object of any kind that we read. A `PartialObjectMetadata` has only the metadata."""

    metadata: Metadata
    spec: Spec | None = None
    status: Status | None = None


class MetadataOnly(msgspec.Struct, frozen=True):
    """An object's metadata alone."""

    metadata: Metadata


# In practice, resource versions are decimal 64-bit numbers. A token holds an object's key and its version.
ResourceVersion = Annotated[str, msgspec.Meta(max_length=128)]
Token = Annotated[str, msgspec.Meta(max_length=8192)]


class IdentityMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata of `Identity`. A bookmark has only a resourceVersion."""

    name: str = ""
    namespace: str = ""
    resource_version: ResourceVersion = ""


class Identity(msgspec.Struct, frozen=True):
    """An object's identity and version, both written by the API server itself."""

    metadata: IdentityMetadata


class PodMetadata(msgspec.Struct, frozen=True):
    """A pod's annotations, in place of those of a template."""

    metadata: TemplateMetadata


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A list's resourceVersion, and the continue token of its next page."""

    resource_version: Annotated[ResourceVersion, msgspec.Meta(min_length=1)]
    continue_: Token = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A page of a list."""

    metadata: ListMetadata
    items: tuple[msgspec.Raw, ...] | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of a watch. Its type determines what the object is."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class Failure(msgspec.Struct, frozen=True):
    """A `Status`: the response to a failed request, and the object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""


class MalformedError(Exception):
    """A response that the Kubernetes API never sends: the server is broken, or a proxy responded."""


T = TypeVar("T")

decode_page = msgspec.json.Decoder(Page).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_object = tolerant(msgspec.json.Decoder(Object).decode)
decode_metadata = tolerant(msgspec.json.Decoder(MetadataOnly).decode)
decode_pod_metadata = tolerant(msgspec.json.Decoder(PodMetadata).decode)
_decode_identity = tolerant(msgspec.json.Decoder(Identity).decode)
_decode_failure = tolerant(msgspec.json.Decoder(Failure).decode)


async def decode_message(decode: Callable[[Message], T], message: Message) -> T:
    """Decode a page or an event, which may be large and deeply nested.

    Raises:
        MalformedError: the message is invalid.
    """
    try:
        try:
            return _with_room(decode, message)
        except RecursionError:
            return decode(await asyncio.to_thread(shallow, message))
    except ValueError as error:  # of msgspec, and of text that is not UTF-8
        raise MalformedError(f"cannot decode the response: {error}") from error


def _with_room(decode: Callable[[Message], T], message: Message, frames: int = 30) -> T:
    """Decode with less stack than is available.

    A page that decodes here, with its objects undecoded, then leaves enough stack for each object. Otherwise an author
    could choose a depth that runs `shallow` for every object on the event loop.
    """
    return _with_room(decode, message, frames - 1) if frames else decode(message)


def decode_identity(message: Message) -> IdentityMetadata:
    """Decode an object's identity.

    Raises:
        MalformedError: the message is not an object.
    """
    try:
        return _decode_identity(message).metadata
    except ValueError as error:
        raise MalformedError(f"the response contains an invalid object: {error}") from error


def decode_failure(message: Message) -> Failure:
    """Decode the server's reason as far as possible. A proxy may send anything."""
    try:
        return _decode_failure(message)
    except ValueError:
        return Failure()

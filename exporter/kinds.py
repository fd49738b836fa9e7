"""The table of supported workload kinds. Everything that depends on the kind reads its row.

To add a kind, add a row. If its pod template is at a new path, add the fields on that path to `cluster/decode.py` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Progress(Enum):
    """The `status` fields that show whether pods of an older template still run."""

    # `replicas` and `updatedReplicas`.
    REPLICAS = "replicas"
    # `currentNumberScheduled` and `updatedNumberScheduled`.
    SCHEDULED = "scheduled"
    # Argo Rollouts: `stableRS` is the hash of the template that has rolled out, `currentPodHash` that of the newest
    # one. Replica counts do not help: after a blue-green rollout the old ReplicaSet is kept for a while.
    STABLE = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of workload.

    Attributes:
        name: the kind, as published.
        group: its API group, empty for the core group. Kinds of other groups may have the same name.
        version: of the API, for lists; not part of a workload's identity.
        plural: the resource's name in paths.
        template: the path of keys to the pod template; empty for a pod, which is its own template.
        patchable: whether a JSON patch of the template changes the running pods; a Job's template is immutable.
        progress: how a rollout is judged; None if the kind has no rollouts.
        revision: it holds one revision of its controller's template. It is kept for a rollback with zero replicas, and
            patching it does not replace its pods.
        owned: it is attributed to the object that controls it, whatever its kind.
        metadata_only: listed by metadata only, because a hub has thousands and nearly all have their template
            elsewhere.
        optional: a cluster may lack it, or we may not be permitted to read it. Then the objects that it controls are
            judged instead.
    """

    name: str
    group: str
    plural: str
    version: str = "v1"
    template: tuple[str, ...] = ("spec", "template")
    patchable: bool = True
    progress: Progress | None = None
    revision: bool = False
    owned: bool = False
    metadata_only: bool = False
    optional: bool = False

    @property
    def custom(self) -> bool:
        """Whether a custom resource definition or an aggregated API server provides it, so it may come and go."""
        return "." in self.group

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The unambiguous resource type for kubectl: `deployment`, `rollout.argoproj.io`."""
        return f"{self.name.lower()}.{self.group}" if self.custom else self.name.lower()

    @property
    def pod_spec(self) -> str:
        """The JSON pointer (RFC 6901) to the pod's specification."""
        return "/".join(("", *self.template, "spec"))

    def path(self, namespace: str) -> str:
        """Return the API path of its list, in one namespace or in all (`*`)."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return f"{root}/{self.plural}" if namespace == "*" else f"{root}/namespaces/{namespace}/{self.plural}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="Deployment", group="apps", plural="deployments", progress=Progress.REPLICAS),
        Kind(name="StatefulSet", group="apps", plural="statefulsets", progress=Progress.REPLICAS),
        Kind(name="DaemonSet", group="apps", plural="daemonsets", progress=Progress.SCHEDULED),
        Kind(name="ReplicaSet", group="apps", plural="replicasets", revision=True, owned=True, metadata_only=True),
        Kind(name="CronJob", group="batch", plural="cronjobs", template=("spec", "jobTemplate", "spec", "template")),
        Kind(name="Job", group="batch", plural="jobs", patchable=False, owned=True),
        Kind(name="Pod", group="", plural="pods", template=(), patchable=False, owned=True, metadata_only=True),
        # Owned by OpenShift's DeploymentConfigs and hardly anything else. Roles made for an older version do not
        # include them.
        Kind(
            name="ReplicationController",
            group="",
            plural="replicationcontrollers",
            revision=True,
            owned=True,
            metadata_only=True,
            optional=True,
        ),
        Kind(
            name="Rollout",
            group="argoproj.io",
            version="v1alpha1",
            plural="rollouts",
            progress=Progress.STABLE,
            optional=True,
        ),
        Kind(
            name="DeploymentConfig",
            group="apps.openshift.io",
            plural="deploymentconfigs",
            progress=Progress.REPLICAS,
            optional=True,
        ),
    )
}


def find(kind: str, api_version: str) -> Kind | None:
    """Return the row of an object's kind; None for unsupported kinds, such as Volcano's Job."""
    found = KINDS.get(kind)
    return found if found is not None and found.group == _group(api_version) else None


def published(kind: str, api_version: str) -> str:
    """Return the kind for workload keys: alone if it is in the table or the core group, otherwise with its group.

    The second form is kubectl's (`StrimziPodSet.core.strimzi.io`) and distinguishes a foreign `Deployment` from the
    built-in one.

    Raises:
        LookupError: no API server has this kind: a name of the table that is wrongly in the core group.
    """
    group = _group(api_version)
    if find(kind, api_version) is None and not group and kind in KINDS:
        raise LookupError(f"the core group has no kind {kind}")
    return f"{kind}.{group}" if group and find(kind, api_version) is None else kind


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]

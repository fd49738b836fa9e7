"""Every key of the configuration, once: the loader and the README's tables are made from this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.cluster import KINDS
from exporter.config import globs, parsers
from exporter.config.key import Key, default_of, show
from exporter.config.model import Configuration
from exporter.config.parsers import Parser
from exporter.config.registries import parse_registries
from exporter.registry import RegistryEntry

STATE_FOLDER = "mojaloop-image-patch-exporter"


def _key(
    name: str,
    parse: Parser,
    help_: str,
    *,
    field: str | None = None,
    unset: str = "none",
    show: Callable[[Any], str] = show,
) -> Key:
    """A key that sets a field of `Configuration`, by default the one of its name."""
    head, _, last = name.partition(".")
    field = field or (head if last in ("include", "exclude") else name)
    value = default_of(Configuration, field)
    if isinstance(value, globs.Globs):
        value = getattr(value, last)
    return Key(name=name, field=field, value=value, help=help_, parse=parse, unset=unset, show=show)


def _names(entries: tuple[RegistryEntry, ...]) -> str:
    return ", ".join(entry.name for entry in entries)


KEYS = (
    _key(
        "listen",
        parsers.listen,
        'The address to serve HTTP on. In YAML, `"[::1]:9877"` needs its quotes.',
        show=parsers.show_listen,
    ),
    _key(
        "state_dir",
        parsers.optional_path,
        "The folder that keeps the known tags over a restart. Empty keeps them in memory only.",
        unset=f"$XDG_STATE_HOME/{STATE_FOLDER}",
    ),
    _key(
        "strategy",
        parsers.strategy,
        "How far `mojaloop_image_patch_available` looks: `patch` (or `bugfix`), `minor` or `major`.",
    ),
    _key(
        "interval",
        parsers.interval,
        "The time between two lookups of a repository, at least `1m`.",
        show=parsers.show_interval,
    ),
    _key(
        "proxy",
        parsers.url,
        "The URL of an HTTP proxy for registries, with credentials if it needs them. `HTTPS_PROXY` does not apply to "
        "registries, see Proxies. "
        "The proxy itself has to refuse private addresses.",
    ),
    _key(
        "ca_file",
        parsers.certificates,
        "A file with certificates (PEM) to trust in addition to public certificate authorities, for every registry "
        "whose entry has no `ca_file`.",
    ),
    _key(
        "kubernetes.kubeconfig",
        parsers.file,
        "A kubeconfig to reach the cluster with.",
        field="kubeconfig",
        unset="as kubectl",
    ),
    _key(
        "kubernetes.context",
        parsers.text,
        "A context of the kubeconfig.",
        field="context",
        unset="the current one",
    ),
    _key(
        "kubernetes.kinds",
        parsers.kinds,
        "The kinds to watch, each of which is required. By default ReplicationController, Rollout and "
        "DeploymentConfig are optional (see Permissions). Pods of a kind that is left out are not judged, unless it is "
        "one of these three.",
        field="kinds",
        unset=", ".join(KINDS),
    ),
    _key(
        "namespaces.include",
        globs.namespaces,
        "Namespaces (globs). If all of them are exact names, rights in these namespaces are enough.",
        unset="all",
    ),
    _key("namespaces.exclude", globs.namespaces, "Namespaces (globs) to leave out."),
    _key("workloads.include", globs.workloads, "Workloads, as globs over `NAMESPACE/KIND/NAME`.", unset="all"),
    _key("workloads.exclude", globs.workloads, "Workloads to leave out, as globs over `NAMESPACE/KIND/NAME`."),
    _key(
        "images.include",
        globs.images,
        "Images, as globs over the repository with its registry, such as `docker.io/mojaloop/*`.",
        unset="all",
    ),
    _key("images.exclude", globs.images, "Images to leave out, as globs over the repository with its registry."),
    _key(
        "registries",
        parse_registries,
        "What may be done with each registry, see below. Entries are merged into the default ones.",
        show=_names,
    ),
    _key(
        "patching",
        parsers.flag,
        "Whether the patcher may begin new rollouts. `false` is the emergency stop; a rollout that has begun is "
        "finished.",
    ),
    _key(
        "patcher.soak",
        parsers.duration,
        "How long a workload has to stay healthy after its rollout before a patch counts as applied.",
        field="patcher_soak",
        show=parsers.show_duration,
    ),
    _key(
        "patcher.deadline",
        parsers.duration,
        "The time without progress after which a rollout has failed. A Deployment has its own, "
        "`progressDeadlineSeconds`.",
        field="patcher_deadline",
        show=parsers.show_duration,
    ),
    _key(
        "patcher.reserve",
        parsers.duration,
        "How much of a window has to be left when a rollout begins.",
        field="patcher_reserve",
        unset="twice the deadline and the soak of the workload",
    ),
    _key(
        "patcher.expiry",
        parsers.duration,
        "After which time an approval ends that has no `expires`.",
        field="patcher_expiry",
        show=parsers.show_duration,
    ),
    _key(
        "patcher.on_failure",
        parsers.one_of("stop", "continue"),
        "What follows a rollout that failed: `stop` begins nothing more until somebody acknowledges the failed "
        "approval or deletes it.",
        field="patcher_on_failure",
    ),
    _key(
        "patcher.statefulset_recovery",
        parsers.one_of("none", "evict"),
        "`evict` permits to patch StatefulSets with the pod management policy `OrderedReady`: after a rollback their "
        "broken pods are evicted. Otherwise approvals of them are refused.",
        field="patcher_statefulset_recovery",
    ),
    _key(
        "patcher.lease_namespace",
        parsers.text,
        "The namespace of the Lease that replicas of the patcher share.",
        field="patcher_lease_namespace",
        unset="the namespace of the pod; no Lease outside of a pod",
    ),
    _key("patcher.lease_name", parsers.text, "The name of the Lease.", field="patcher_lease_name"),
    _key(
        "patcher.own_release",
        parsers.text,
        "The Helm release of the patcher, as `NAMESPACE/NAME`, which it never patches. The chart sets it.",
        field="patcher_own_release",
    ),
    _key(
        "patcher.verified_approvers",
        parsers.flag,
        "Whether a ValidatingAdmissionPolicy checks that `approvedBy` is who creates an approval. The chart sets it; "
        "audit lines say `verified` or `unverified` accordingly.",
        field="patcher_verified_approvers",
    ),
    _key(
        "log.level",
        parsers.one_of("debug", "info", "warning", "error"),
        "`debug`, `info`, `warning` or `error`.",
        field="log_level",
    ),
    _key(
        "log.format",
        parsers.one_of("text", "json"),
        "`text` or `json`. An event is one line.",
        field="log_format",
    ),
)

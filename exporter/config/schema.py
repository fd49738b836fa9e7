"""Every key of the configuration, once: the loader and docs/configuration.md are made from this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.cluster import KINDS
from exporter.config import globs, parsers
from exporter.config.key import Key, default_of, show
from exporter.config.model import Configuration
from exporter.config.parsers import Parser
from exporter.config.registries import parse_registries
from exporter.config.watch import parse_watch
from exporter.config.windows import parse_freezes, parse_windows
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
    live: bool = False,
) -> Key:
    """A key that sets a field of `Configuration`, by default the one of its name."""
    head, _, last = name.partition(".")
    field = field or (head if last in ("include", "exclude") else name)
    value = default_of(Configuration, field)
    if isinstance(value, globs.Globs):
        value = getattr(value, last)
    return Key(name=name, field=field, value=value, help=help_, parse=parse, unset=unset, show=show, live=live)


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
        "api.listen",
        parsers.listen,
        "The address to serve the [HTTP API](api.md) on. With it, `listen` has only `/metrics`, the probes and "
        "the page `/`.",
        field="api_listen",
        unset="as `listen`",
        show=parsers.show_listen,
    ),
    _key(
        "api.token_file",
        parsers.token_file,
        "A file with the token that clients of the API send as `Authorization: Bearer TOKEN`. It is read again when it "
        "changes. Without it, the API answers everybody who reaches it.",
        field="api_token_file",
    ),
    _key(
        "state_dir",
        parsers.optional_path,
        "The folder that keeps the known tags over a restart. Empty keeps them in memory only.",
        unset=f"$XDG_STATE_HOME/{STATE_FOLDER}",
    ),
    _key(
        "watch",
        parse_watch,
        "Images to watch without a cluster, or in addition to what runs in one: a list of references, or of mappings "
        "with `reference`, `name` and `strategy` ([watching.md](watching.md)). Filters such as "
        "`images.exclude` do not apply to them.",
        live=True,
    ),
    _key(
        "strategy",
        parsers.strategy,
        "How far `mojaloop_image_patch_available` looks: `patch` (or `bugfix`), `minor` or `major`.",
        live=True,
    ),
    _key(
        "interval",
        parsers.interval,
        "The time between two lookups of a repository, at least `1m`.",
        show=parsers.show_interval,
        live=True,
    ),
    _key(
        "schedule",
        parsers.schedule,
        "When repositories are looked up, instead of `interval`: five fields of cron ([windows.md](windows.md)). "
        "The lookups of one time are spread over a minute.",
        live=True,
    ),
    _key(
        "timezone",
        parsers.timezone,
        "The time zone (IANA) of `schedule`, and of windows and freezes that have none.",
        live=True,
    ),
    _key(
        "windows",
        parse_windows,
        "When workloads may be patched after an approval, see [windows.md](windows.md). Without windows, never.",
        live=True,
    ),
    _key("freezes", parse_freezes, "When no window is open, see [windows.md](windows.md).", live=True),
    _key(
        "proxy",
        parsers.url,
        "The URL of an HTTP proxy for registries, with credentials if it needs them. `HTTPS_PROXY` does not apply to "
        "registries, see [permissions.md](permissions.md#proxies). "
        "The proxy itself has to refuse private addresses.",
        live=True,
    ),
    _key(
        "ca_file",
        parsers.certificates,
        "A file with certificates (PEM) to trust in addition to public certificate authorities, for every registry "
        "whose entry has no `ca_file`.",
        live=True,
    ),
    _key(
        "kubernetes.enabled",
        parsers.flag,
        "Whether to watch a cluster. With `false` no kubeconfig is read, and `watch` must name an image.",
        field="kubernetes",
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
        "DeploymentConfig are optional (see [permissions.md](permissions.md)). Pods of a kind that is left out are not "
        "judged, unless it is one of these three.",
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
        live=True,
    ),
    _key(
        "images.exclude",
        globs.images,
        "Images to leave out, as globs over the repository with its registry.",
        live=True,
    ),
    _key(
        "registries",
        parse_registries,
        "What may be done with each registry, see below. Entries are merged into the default ones.",
        show=_names,
        live=True,
    ),
    _key(
        "page.enabled",
        parsers.flag,
        "Whether `/` is the page of the findings, see [page.md](page.md). Otherwise it has links only.",
        field="page_enabled",
    ),
    _key(
        "approve_commands",
        parsers.flag,
        "Whether the page and the JSON of findings have a command that approves a patch, for workloads that a window "
        "is for. Set it where a [patcher](approving.md) works.",
        live=True,
    ),
    _key(
        "patching",
        parsers.flag,
        "Whether the patcher may begin new rollouts. `false` is the emergency stop; a rollout that has begun is "
        "finished.",
        live=True,
    ),
    _key(
        "patcher.soak",
        parsers.duration,
        "How long a workload has to stay healthy after its rollout before a patch counts as applied.",
        field="patcher_soak",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.deadline",
        parsers.duration,
        "The time without progress after which a rollout has failed. A Deployment has its own, "
        "`progressDeadlineSeconds`.",
        field="patcher_deadline",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.reserve",
        parsers.duration,
        "How much of a window has to be left when a rollout begins.",
        field="patcher_reserve",
        unset="twice the deadline and the soak of the workload",
        live=True,
    ),
    _key(
        "patcher.expiry",
        parsers.duration,
        "After which time an approval ends that has no `expires`.",
        field="patcher_expiry",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.on_failure",
        parsers.one_of("stop", "continue"),
        "What follows a rollout that failed: `stop` begins nothing more until somebody acknowledges the failed "
        "approval or deletes it.",
        field="patcher_on_failure",
        live=True,
    ),
    _key(
        "patcher.statefulset_recovery",
        parsers.one_of("none", "evict"),
        "`evict` permits to patch StatefulSets with the pod management policy `OrderedReady`: after a rollback their "
        "broken pods are evicted. Otherwise approvals of them are refused.",
        field="patcher_statefulset_recovery",
        live=True,
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
        live=True,
    ),
    _key(
        "log.format",
        parsers.one_of("text", "json"),
        "`text` or `json`. An event is one line.",
        field="log_format",
        live=True,
    ),
)

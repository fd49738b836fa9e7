"""All keys of the configuration. The loader and docs/configuration.md are built from this."""

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
    """Declare a key that sets a field of `Configuration`, by default the field of its name."""
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
        'Address of the HTTP server. In YAML, quote an IPv6 address: `"[::1]:9877"`.',
        show=parsers.show_listen,
    ),
    _key(
        "api.listen",
        parsers.listen,
        "Address of the [HTTP API](api.md), if it should not share `listen`. `listen` then serves only `/metrics`, the "
        "probes and the page `/`.",
        field="api_listen",
        unset="as `listen`",
        show=parsers.show_listen,
    ),
    _key(
        "api.token_file",
        parsers.token_file,
        "File with the token that API clients send as `Authorization: Bearer TOKEN`. It is read again when it changes. "
        "Without it, the API needs no authentication.",
        field="api_token_file",
    ),
    _key(
        "state_dir",
        parsers.optional_path,
        "Directory that persists the known tags across restarts. Empty keeps them in memory only.",
        unset=f"$XDG_STATE_HOME/{STATE_FOLDER}",
    ),
    _key(
        "watch",
        parse_watch,
        "Images to watch without a cluster, or in addition to one: a list of references, or of mappings with "
        "`reference`, `name` and `strategy` ([watching.md](watching.md)). Filters such as `images.exclude` do not "
        "apply to them.",
        live=True,
    ),
    _key(
        "strategy",
        parsers.strategy,
        "Widest version change that `mojaloop_image_patch_available` considers: `patch` (or `bugfix`), `minor` or "
        "`major`.",
        live=True,
    ),
    _key(
        "interval",
        parsers.interval,
        "Time between lookups of a repository, at least `1m`.",
        show=parsers.show_interval,
        live=True,
    ),
    _key(
        "schedule",
        parsers.schedule,
        "Schedule of the lookups, instead of `interval`: five fields of cron ([windows.md](windows.md)). The lookups "
        "of one time are spread over a minute.",
        live=True,
    ),
    _key(
        "timezone",
        parsers.timezone,
        "Default time zone (IANA) of `schedule`, windows and freezes.",
        live=True,
    ),
    _key(
        "windows",
        parse_windows,
        "Windows in which approved patches may be applied, see [windows.md](windows.md). Without windows, never.",
        live=True,
    ),
    _key("freezes", parse_freezes, "Times at which no window is open, see [windows.md](windows.md).", live=True),
    _key(
        "proxy",
        parsers.url,
        "URL of an HTTP proxy for registries, with credentials if it needs them. `HTTPS_PROXY` does not apply to "
        "registries, see [permissions.md](permissions.md#proxies). The proxy itself has to refuse private addresses.",
        live=True,
    ),
    _key(
        "ca_file",
        parsers.certificates,
        "File with additional trusted CA certificates (PEM), for every registry whose entry has no `ca_file`.",
        live=True,
    ),
    _key(
        "kubernetes.enabled",
        parsers.flag,
        "Whether to watch a cluster. With `false`, no kubeconfig is read, and `watch` must name an image.",
        field="kubernetes",
    ),
    _key(
        "kubernetes.kubeconfig",
        parsers.file,
        "Kubeconfig for access to the cluster.",
        field="kubeconfig",
        unset="as kubectl",
    ),
    _key(
        "kubernetes.context",
        parsers.text,
        "Context of the kubeconfig.",
        field="context",
        unset="the current one",
    ),
    _key(
        "kubernetes.kinds",
        parsers.kinds,
        "Kinds to watch, all of them required. By default, ReplicationController, Rollout and DeploymentConfig are "
        "optional (see [permissions.md](permissions.md)). Pods of a kind that is left out are not judged, unless it is "
        "one of these three.",
        field="kinds",
        unset=", ".join(KINDS),
    ),
    _key(
        "namespaces.include",
        globs.namespaces,
        "Namespaces (globs). If all are exact names, permissions in these namespaces are enough.",
        unset="all",
    ),
    _key("namespaces.exclude", globs.namespaces, "Namespaces (globs) to exclude."),
    _key("workloads.include", globs.workloads, "Workloads, as globs over `NAMESPACE/KIND/NAME`.", unset="all"),
    _key("workloads.exclude", globs.workloads, "Workloads to exclude, as globs over `NAMESPACE/KIND/NAME`."),
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
        "Images to exclude, as globs over the repository with its registry.",
        live=True,
    ),
    _key(
        "registries",
        parse_registries,
        "Settings of each registry, see below. Entries are merged into the default ones.",
        show=_names,
        live=True,
    ),
    _key(
        "page.enabled",
        parsers.flag,
        "Whether `/` serves the findings page, see [page.md](page.md). Otherwise it only has links.",
        field="page_enabled",
    ),
    _key(
        "approve_commands",
        parsers.flag,
        "Whether the page and the JSON of findings include a command that approves a patch, for workloads that have a "
        "window. Set it if a [patcher](approving.md) runs.",
        live=True,
    ),
    _key(
        "patching",
        parsers.flag,
        "Whether the patcher may start new rollouts. `false` is the emergency stop. Rollouts that have started are "
        "finished.",
        live=True,
    ),
    _key(
        "patcher.soak",
        parsers.duration,
        "Time that a workload has to stay healthy after its rollout before a patch counts as applied.",
        field="patcher_soak",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.deadline",
        parsers.duration,
        "Time without progress after which a rollout has failed. A Deployment has its own, `progressDeadlineSeconds`.",
        field="patcher_deadline",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.reserve",
        parsers.duration,
        "Minimum time left in a window to start a rollout.",
        field="patcher_reserve",
        unset="twice the deadline and the soak of the workload",
        live=True,
    ),
    _key(
        "patcher.expiry",
        parsers.duration,
        "Lifetime of an approval without `expires`.",
        field="patcher_expiry",
        show=parsers.show_duration,
        live=True,
    ),
    _key(
        "patcher.on_failure",
        parsers.one_of("stop", "continue"),
        "Reaction to a failed rollout: `stop` starts no more rollouts until somebody acknowledges or deletes the "
        "failed approval.",
        field="patcher_on_failure",
        live=True,
    ),
    _key(
        "patcher.statefulset_recovery",
        parsers.one_of("none", "evict"),
        "`evict` allows patches of StatefulSets with the pod management policy `OrderedReady`: after a rollback, their "
        "broken pods are evicted. Otherwise, approvals of them are refused.",
        field="patcher_statefulset_recovery",
        live=True,
    ),
    _key(
        "patcher.lease_namespace",
        parsers.text,
        "Namespace of the Lease that the patcher's replicas share.",
        field="patcher_lease_namespace",
        unset="the namespace of the pod; no Lease outside a pod",
    ),
    _key("patcher.lease_name", parsers.text, "Name of the Lease.", field="patcher_lease_name"),
    _key(
        "patcher.own_release",
        parsers.text,
        "Helm release of the patcher, as `NAMESPACE/NAME`. The patcher never patches it. The chart sets this key.",
        field="patcher_own_release",
    ),
    _key(
        "patcher.verified_approvers",
        parsers.flag,
        "Whether a ValidatingAdmissionPolicy checks that `approvedBy` is the creator of an approval. The chart sets "
        "this key. Audit lines say `verified` or `unverified` accordingly.",
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
        "`text` or `json`, one line per event.",
        field="log_format",
        live=True,
    ),
)

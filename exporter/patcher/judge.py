"""Which approvals are refused, and why: a table whose first matching row applies. Pure.

An approval is judged when it is first seen, so that its author learns at once what is wrong with it. It is judged again
each time its rollout could start, and only then does the workload's health count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from exporter import kinds
from exporter.commands import reverter
from exporter.images import InvalidReferenceError, is_tag, parse
from exporter.kinds import Kind
from exporter.patcher.approvals import Approval, Reason
from exporter.patcher.health import RULES, Verdict, counts, health
from exporter.patcher.objects import WorkloadObject, fingerprint, places
from exporter.patcher.settings import Settings
from exporter.workloads import Manager, Workload, WorkloadKey

EXPIRED = "The approval expired before its rollout started."


class TagAnswer(NamedTuple):
    """What a registry says about the approved tag.

    Attributes:
        reason: why it must not be used; None if it may be.
        text: the reason in words.
        passing: whether the reason may go away: the registry did not answer.
    """

    reason: Reason | None = None
    text: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An approval, and everything needed to judge it.

    Attributes:
        approval: the approval.
        workload: the workload that it names; None if it does not exist.
        known: the same workload as the exporter sees it: its manager and its annotations.
        tag: what the registry says about the tag; None if it was not asked.
        settings: the rules.
        now: epoch seconds.
        starting: whether the rollout would start now.
    """

    approval: Approval
    workload: WorkloadObject | None
    known: Workload | None
    tag: TagAnswer | None
    settings: Settings
    now: float
    starting: bool

    @property
    def kind(self) -> Kind | None:
        """The kind of the workload, if it is one that can be patched on approval."""
        ref = self.approval.spec.workload
        row = kinds.find(ref.kind, f"{ref.group}/v1" if ref.group else "v1")
        return row if row is not None and row.name in RULES else None

    @property
    def key(self) -> WorkloadKey:
        """What identifies the workload."""
        ref = self.approval.spec.workload
        return WorkloadKey(self.approval.metadata.namespace, ref.published, ref.name)

    @property
    def object(self) -> WorkloadObject:
        """The workload, for rows after those about a missing workload."""
        if self.workload is None:
            raise LookupError("there is no workload")
        return self.workload

    @property
    def manager(self) -> Manager | None:
        """Who manages the workload."""
        return self.known.manager if self.known is not None else None


class Refusal(NamedTuple):
    """A row: the reason, and a function that returns a text if it applies, otherwise an empty one."""

    reason: Reason
    text: Callable[[Case], str]


def refusal(case: Case) -> tuple[Reason, str] | None:
    """Why an approval is refused; None if it is not."""
    for row in REFUSALS:
        if text := row.text(case):
            return row.reason, text
    if case.tag is not None and case.tag.reason is not None and not case.tag.passing:
        return case.tag.reason, case.tag.text
    return None


def expires(approval: Approval, settings: Settings) -> float:
    """When an approval expires, in epoch seconds."""
    named = approval.spec.expires
    return named.timestamp() if named is not None else _created(approval) + settings.expiry


def _created(approval: Approval) -> float:
    return approval.metadata.creation_timestamp.timestamp()


def _if(condition: bool, text: str) -> str:  # noqa: FBT001 - a table reads better so
    return text if condition else ""


def _invalid(case: Case) -> str:
    spec = case.approval.spec
    if not spec.containers:
        return "The approval names no container."
    if not is_tag(spec.to):
        return f"{spec.to[:128]!r} is not a tag."
    try:
        references = [parse(container.image) for container in spec.containers]
    except InvalidReferenceError as error:
        return f"A container's image is not valid: {error}."
    if len({reference.repository for reference in references}) > 1:
        return "The containers have images of several repositories; create an approval for each repository."
    tags = sorted({reference.tag or "" for reference in references})
    return _if(tags != [spec.from_], f"The containers run {', '.join(tags) or 'no tag'}, not {spec.from_}.")


def _missing_container(case: Case) -> str:
    kind = case.kind
    found = places(kind, case.object) if kind is not None else {}
    missing = [ref.name for ref in case.approval.spec.containers if ref.name not in found]
    return _if(bool(missing), f"The workload has no container {', '.join(missing)}.")


def _other_image(case: Case) -> str:
    kind = case.kind
    found = places(kind, case.object) if kind is not None else {}
    for ref in case.approval.spec.containers:
        if found[ref.name].image != ref.image:
            return f"Container {ref.name} runs {found[ref.name].image}, not {ref.image} as approved."
    return ""


def _other_template(case: Case) -> str:
    kind, accepted = case.kind, case.approval.status.fingerprint
    if kind is None or not accepted:
        return ""
    now = fingerprint(kind, case.object, [ref.name for ref in case.approval.spec.containers])
    return _if(now != accepted, "The pod template was changed after the approval.")


def _managed(case: Case) -> str:
    reverting = reverter(case.manager)
    if reverting is None:
        return ""
    who, declared = reverting
    return f"{who} would revert the patch: set the tag {case.approval.spec.to} in the sources of {declared}."


def _paused(case: Case) -> str:
    return _if(case.object.spec.paused, "The Deployment is paused, so a patch would not roll out.")


def _on_delete(case: Case) -> str:
    rolling = case.key.kind not in ("StatefulSet", "DaemonSet") or case.object.spec.update_strategy.type != "OnDelete"
    return _if(not rolling, "The update strategy is OnDelete: pods keep the old image until somebody deletes them.")


def _ordered(case: Case) -> str:
    ordered = case.key.kind == "StatefulSet" and case.object.spec.pod_management_policy != "Parallel"
    return _if(
        ordered and not case.settings.evict,
        "A StatefulSet with the pod management policy OrderedReady stays stuck after a rollback until its broken pods "
        "are removed. To let the patcher evict them, set patcher.statefulset_recovery: evict.",
    )


def _nothing_runs(case: Case) -> str:
    if case.key.kind == "CronJob":
        return ""
    # The controller of a new DaemonSet has not counted its pods yet.
    text = "The workload has no desired pods, so nothing would show whether the patch works."
    return _if(counts(case.key.kind, case.object).wanted == 0, text)


def _nothing_updates(case: Case) -> str:
    held = case.key.kind == "StatefulSet" and case.object.partition >= case.object.spec.replicas
    text = "The partition of the update strategy holds back all pods, so nothing would show whether the patch works."
    return _if(held, text)


def _unhealthy(case: Case) -> str:
    if not case.starting:
        return ""
    found = health(case.key.kind, case.object)
    return _if(found.verdict is not Verdict.HEALTHY, f"The workload is not healthy: {found.why}.")


_KINDS = ", ".join(RULES)

REFUSALS = (
    Refusal(Reason.INVALID, _invalid),
    Refusal(
        Reason.EXPIRED,
        lambda case: _if(case.now >= expires(case.approval, case.settings), EXPIRED),
    ),
    Refusal(
        Reason.NOT_SELECTED,
        lambda case: _if(
            not case.settings.permits(case.key), "The patcher's configuration does not select this workload."
        ),
    ),
    Refusal(
        Reason.UNSUPPORTED_KIND,
        lambda case: _if(case.kind is None, f"{case.key.kind} cannot be patched on approval; these can: {_KINDS}."),
    ),
    Refusal(
        Reason.WORKLOAD_NOT_FOUND,
        lambda case: _if(
            case.workload is None or case.workload.metadata.deletion_timestamp is not None,
            "The workload does not exist.",
        ),
    ),
    Refusal(
        Reason.UID_CHANGED,
        lambda case: _if(
            case.object.metadata.uid != case.approval.spec.workload.uid,
            "The workload was deleted and created again after the approval.",
        ),
    ),
    Refusal(
        Reason.OWN_RELEASE,
        lambda case: _if(
            case.manager is not None and case.manager == Manager("helm", case.settings.own_release),
            "The patcher does not patch its own release.",
        ),
    ),
    Refusal(Reason.CONTAINER_NOT_FOUND, _missing_container),
    Refusal(Reason.IMAGE_CHANGED, _other_image),
    Refusal(Reason.TEMPLATE_CHANGED, _other_template),
    Refusal(Reason.MANAGED, _managed),
    Refusal(Reason.PAUSED, _paused),
    Refusal(Reason.ON_DELETE, _on_delete),
    Refusal(Reason.ORDERED_READY, _ordered),
    Refusal(Reason.NOTHING_RUNS, _nothing_runs),
    Refusal(Reason.NOTHING_UPDATES, _nothing_updates),
    Refusal(Reason.UNHEALTHY, _unhealthy),
)

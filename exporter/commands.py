"""Commands to paste: a guarded `kubectl patch` for a workload's containers of one image and tag, and its rollback.

The JSON patch has a `test` of each container's current image before its `replace`, so a stale command fails atomically.
A strategic merge patch would add a container if its name is gone, and custom resources do not support it. The
container's name is tested as well if another container of the template has the same reference, because only then a
patch could hit the wrong one. The exception is a container inserted later with the same reference.

With a patcher, there is a second command, which creates an approval. The approval names the workload by its uid and
each container by its image, so a stale approval is refused.

There is no command if a patch cannot work (Jobs have immutable templates, bare pods have no controller, foreign kinds
have unknown schemas, and watched images run in unknown places) or would not last (Argo CD, Flux or an operator reverts
it). `advice` then says what to change instead.

Everything in a command or an advice was validated against a grammar without special characters of shells or JSON: names
and sources in `workloads`, references in `images`. The names of triggers are only compared.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from exporter.findings import Finding, WorkloadPatch, WorkloadState
from exporter.images import parse
from exporter.kinds import KINDS, Kind
from exporter.versions import highest
from exporter.workloads import ContainerType, Manager, WorkloadKey

# Remote-write targets limit label values; Grafana Mimir's default is 2,048 bytes.
LONGEST_LABEL_BYTES = 2000
# A UUID as the API server generates it.
_UID = re.compile(r"[0-9A-Za-z-]{1,64}")
_LISTS = {ContainerType.CONTAINER: "containers", ContainerType.INIT_CONTAINER: "initContainers"}
# The kinds that the patcher patches (`patcher.health.RULES`), and the API group of its approvals.
APPROVABLE = frozenset({"Deployment", "StatefulSet", "DaemonSet", "CronJob"})
APPROVAL_API = "image-patch.mojaloop.io/v1alpha1"
# The user who runs the command, as authenticated by the API server.
_WHO = '"$(kubectl auth whoami -o jsonpath={.status.userInfo.username})"'
# A generated name has at most 63 characters, five of them random.
_LONGEST_PREFIX = 50
# Maximum number of containers in an advice, which is a label, too.
_FEW = 5
# Managers that revert a patch, at once or within minutes: their name, and the workload's source if it is known and if
# not.
_REVERTING = {
    "argocd": ("Argo CD", "Application {}", "its Application"),
    "flux": ("Flux", "{}", "its Kustomization or HelmRelease"),
    "operator": ("The owner of this workload", "{}", "its owner"),
}


def render(findings: Iterable[Finding], state: WorkloadState, *, approvable: bool = False) -> list[WorkloadPatch]:
    """Return the patches that the containers of a workload miss, sorted by image and tag.

    Args:
        findings: of one workload. Containers that miss no patch stay unchanged: an annotation may pin one.
        state: of the workload.
        approvable: whether a patcher would carry out an approval of the workload.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.patch_available:
            groups.setdefault((finding.image, finding.tag), []).append(finding)
    running = Counter(container.image for container in state.containers)
    return [_patch(groups[key], state, running, approvable=approvable) for key in sorted(groups)]


def guarded(place: str, *, before: str, after: str, name: str | None = None) -> list[dict[str, str]]:
    """Return JSON patch operations that replace the image of one container, and fail if it has changed.

    Args:
        place: the JSON pointer to the container.
        before: the expected image.
        after: the new image.
        name: the expected name, or None to not test it.
    """
    named = [] if name is None else [{"op": "test", "path": f"{place}/name", "value": name}]
    return [
        *named,
        {"op": "test", "path": f"{place}/image", "value": before},
        {"op": "replace", "path": f"{place}/image", "value": after},
    ]


def approval(
    key: WorkloadKey, *, uid: str, images: Mapping[str, str], before: str, to: str, approved_by: str
) -> dict[str, Any]:
    """Return an `ImagePatchApproval` to create; the API server completes its name.

    Args:
        key: the workload.
        uid: of the workload, so a recreated one is not patched.
        images: the containers to patch, with their current references.
        before: the tag that they run.
        to: the new tag.
        approved_by: the user who approves, as known to the API server.
    """
    kind = KINDS.get(key.kind)
    name, _, group = key.kind.partition(".")
    return {
        "apiVersion": APPROVAL_API,
        "kind": "ImagePatchApproval",
        "metadata": {"generateName": f"{key.name[:_LONGEST_PREFIX].rstrip('.-')}-", "namespace": key.namespace},
        "spec": {
            "workload": {
                "group": kind.group if kind is not None else group,
                "kind": kind.name if kind is not None else name,
                "name": key.name,
                "uid": uid,
            },
            "containers": [{"name": container, "image": image} for container, image in images.items()],
            "from": before,
            "to": to,
            "approvedBy": approved_by,
        },
    }


def approved_together(missing: Sequence[Finding]) -> tuple[str, list[Finding]]:
    """Return the newest patch of containers with one image and tag, and the findings that it is offered to.

    Args:
        missing: findings that miss a patch, at least one.
    """
    latest = highest(str(finding.latest_tag) for finding in missing)
    return latest, [finding for finding in missing if finding.latest_tag == latest]


def reverter(manager: Manager | None) -> tuple[str, str] | None:
    """Return who reverts a patch, and where the workload is declared; None if nobody does."""
    if manager is None or manager.name not in _REVERTING:
        return None
    who, named, unnamed = _REVERTING[manager.name]
    return who, named.format(manager.source) if manager.source else unnamed


def helm_advice(manager: Manager | None) -> str:
    """Return what to do after patching a workload that Helm installed; empty for other workloads."""
    if manager is None or manager.name != "helm":
        return ""
    # Without the tag, so Slack shows it once for all workloads of a release.
    release = f"the Helm release {manager.source}" if manager.source else "its Helm release"
    return (
        f"Set the new tag in the values of {release} as well: otherwise the next upgrade restores the old image "
        "(Helm 3) or fails with a field-manager conflict (Helm 4; --force-conflicts or --server-side=false helps)."
    )


def within_label_limit(patch: WorkloadPatch) -> WorkloadPatch:
    """Return a patch that fits into labels: commands that are too long are replaced by advice on how to print them."""
    if all(len(command) <= LONGEST_LABEL_BYTES for command in (patch.patch_command, patch.rollback_command)):
        return patch
    where = f"mojaloop-image-patch-exporter check --cluster --namespace {patch.workload.namespace} --output commands"
    too_long = f"The command is too long for a label. Print it with `{where}`."
    return replace(patch, patch_command="", rollback_command="", advice=f"{too_long} {patch.advice}".rstrip())


def _patch(
    missing: Sequence[Finding], state: WorkloadState, running: Mapping[str, int], *, approvable: bool
) -> WorkloadPatch:
    first = missing[0]
    latest = highest(str(finding.latest_tag) for finding in missing)
    kind = _patchable(first, state)
    return WorkloadPatch(
        workload=first.workload,
        image=first.image,
        tag=first.tag,
        latest_tag=latest,
        releases_behind=max(finding.releases_behind or 0 for finding in missing),
        patch_command=_command(missing, running, kind, lambda f: (f.reference, _patched(f))) if kind else "",
        rollback_command=_command(missing, running, kind, lambda f: (_patched(f), f.reference)) if kind else "",
        approve_command=_approve_command(missing, state.uid) if kind and approvable else "",
        advice=_advice(missing, state, f"{parse(first.reference).name}:{latest}"),
    )


def _patched(finding: Finding) -> str:
    """Return the reference with the tag of the newest patch. A digest belongs to the old tag and is dropped."""
    return f"{parse(finding.reference).name}:{finding.latest_tag}"


def _patchable(finding: Finding, state: WorkloadState) -> Kind | None:
    """Return the kind of a workload if a patch works and lasts, otherwise None."""
    kind = KINDS.get(finding.workload.kind)
    if kind is None or not kind.patchable or not state.declared:
        return None
    return None if reverter(state.manager) is not None else kind


def _command(
    missing: Sequence[Finding], running: Mapping[str, int], kind: Kind, change: Callable[[Finding], tuple[str, str]]
) -> str:
    operations: list[dict[str, str]] = []
    for finding in missing:
        before, after = change(finding)
        place = f"{kind.pod_spec}/{_LISTS[finding.container_type]}/{finding.position}"
        ambiguous = running.get(finding.reference, 0) > 1 or running.get(_patched(finding), 0) > 0
        operations += guarded(place, before=before, after=after, name=finding.container if ambiguous else None)
    key = missing[0].workload
    patch = shlex.quote(json.dumps(operations, separators=(",", ":")))
    return f"kubectl -n {key.namespace} patch {kind.resource}/{key.name} --type=json -p={patch}"


def _approve_command(missing: Sequence[Finding], uid: str) -> str:
    """Return a command that creates an approval on behalf of its user; empty if the patcher would refuse it."""
    key, (latest, together) = missing[0].workload, approved_together(missing)
    if key.kind not in APPROVABLE or not _UID.fullmatch(uid):
        return ""
    images = {finding.container: finding.reference for finding in together}
    # printf inserts the user's name. References and names cannot contain percent signs.
    document = approval(key, uid=uid, images=images, before=missing[0].tag, to=latest, approved_by="%s")
    text = shlex.quote(json.dumps(document, separators=(",", ":")))
    return f"printf {text} {_WHO} | kubectl create -f -"


def _advice(missing: Sequence[Finding], state: WorkloadState, new: str) -> str:
    """Return what to do in addition to the command, or instead of it: a few sentences, or an empty string."""
    key, manager = missing[0].workload, state.manager
    kind = KINDS.get(key.kind)
    if not key.kind:
        return ""
    if (reverting := reverter(manager)) is not None:
        who, declared = reverting
        return f"{who} reverts a patch: set the image to {new} in the sources of {declared}."
    if key.kind == "Image":
        return f"Set the image to {new} where it runs, then in the watch list."
    if key.kind == "Job":
        return f"A Job's template is immutable: create {key.name} again with {new}, or change what creates it."
    if key.kind == "Pod":
        return f"No controller manages a bare pod: delete {key.name} and create it again with {new}."
    if kind is None or not state.declared:
        return f"Set the image to {new} where {key.kind} {key.name} is configured; its pods cannot be patched."
    sentences = []
    if kind.revision:
        sentences.append("Running pods keep the old image until they are deleted.")
    if triggered := {finding.container for finding in missing}.intersection(state.image_triggers):
        sentences.append(
            f"An ImageChange trigger sets the image of {_named(triggered)} from an image stream tag and may "
            f"restore the old image: import {new} into that tag, or remove the trigger."
        )
    sentences.append(helm_advice(manager))
    return " ".join(filter(None, sentences))


def _named(containers: Collection[str]) -> str:
    names = sorted(containers)
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")

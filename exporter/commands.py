"""The command to paste: a guarded `kubectl patch` for a workload's containers of one image, and the way back.

`kubectl patch --type json` with a `test` of each container's name and present image before its `replace`: a stale
command fails as a whole, where a strategic merge patch would add a container whose name is gone, and custom resources
support no such patch. Where no patch can work (a Job's template is immutable, nothing controls a bare pod, a foreign
kind has a shape of its own) or none would last (Argo CD, Flux or an operator put the old image back), there is no
command, and `advice` says what to change instead.

Names and references were checked against grammars without any character that a shell or JSON would read (`workloads`,
`images`). The name of a manager was not: it may come from an annotation, which anybody who creates a workload writes,
and `advice` is shown next to commands that people paste. One that is more than a name is left out. The names of
triggers are only compared.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence

from exporter.findings import Finding, WorkloadState
from exporter.images import parse
from exporter.kinds import KINDS
from exporter.workloads import ContainerType

_LISTS = {ContainerType.CONTAINER: "containers", ContainerType.INIT_CONTAINER: "initContainers"}
# Who puts back what a patch changes, at once or within minutes.
_REVERTING = frozenset({"argocd", "flux", "operator"})
# `hub`, `NAMESPACE_hub`, `mojaloop/moja`, `Kustomization flux-system/hub`, `Kafka/hub`: one line, without a character
# for a shell.
_SOURCE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/-]{0,510}[A-Za-z0-9])?")


def patch_command(findings: Sequence[Finding], state: WorkloadState) -> str | None:
    """The command that brings containers to their newest patch.

    Args:
        findings: of one workload, image and tag; main and init containers alike. Those that miss no patch are left as
            they are.
        state: of the workload.

    Returns:
        One line of shell, or None where there is nothing to patch or no patch would help.
    """
    return _command(findings, state, lambda finding: (finding.reference, _patched(finding)))


def rollback_command(findings: Sequence[Finding], state: WorkloadState) -> str | None:
    """The command that undoes `patch_command`: back to the references as written, digests and all."""
    return _command(findings, state, lambda finding: (_patched(finding), finding.reference))


def advice(findings: Sequence[Finding], state: WorkloadState) -> str | None:
    """What to do in addition to the command, or instead of it: a few sentences, or None.

    Args:
        findings: as for `patch_command`.
        state: of the workload.
    """
    missing = _missing(findings)
    if not missing or not missing[0].workload.kind:
        return None
    kind, name, manager = missing[0].workload.kind, missing[0].workload.name, state.manager
    new = _patched(missing[0])
    source = f" {manager.source}" if manager is not None and _SOURCE.fullmatch(manager.source) else ""
    if manager is not None and manager.name in _REVERTING:
        named, unnamed = {
            "argocd": ("the Argo CD Application", "its Argo CD Application"),
            "flux": ("Flux's", "Flux"),
            "operator": ("its owner", "its owner"),
        }[manager.name]
        where = named + source if source else unnamed
        return f"A patch would be put back: set the image to {new} in the sources of {where}."
    known = KINDS.get(kind)
    if kind == "Job":
        return f"A Job's template cannot be changed: delete {name} and create it again with {new}, or change what makes it."
    if kind == "Pod":
        return f"Nothing looks after a bare pod: delete {name} and create it again with {new}."
    if known is None or not state.declared:
        return f"Set the image to {new} where {kind} {name} is configured; its pods are not patched by themselves."
    sentences = []
    if known.revision:
        sentences.append("Running pods keep the old image until they are deleted.")
    if triggered := {finding.container for finding in missing}.intersection(state.image_triggers):
        sentences.append(
            f"An ImageChange trigger of the DeploymentConfig sets the image of {', '.join(sorted(triggered))} from an "
            f"image stream tag and may put the old image back: import {new} into that tag, or remove the trigger."
        )
    if manager is not None and manager.name == "helm":
        sentences.append(
            f"The next upgrade of the Helm release{source} puts the old image back, unless its values name {new}."
        )
    return " ".join(sentences) or None


def _missing(findings: Sequence[Finding]) -> list[Finding]:
    """Those that miss a patch: an annotation may keep another container of the same image as it is."""
    return [finding for finding in findings if finding.patch_available]


def _patched(finding: Finding) -> str:
    """The reference with the newest patch's tag; a digest stands for the old one, and goes."""
    return f"{parse(finding.reference).name}:{finding.latest_tag}"


def _command(
    findings: Sequence[Finding], state: WorkloadState, change: Callable[[Finding], tuple[str, str]]
) -> str | None:
    missing = _missing(findings)
    if not missing:
        return None
    key = missing[0].workload
    kind = KINDS.get(key.kind)
    if kind is None or not kind.patchable or not state.declared:
        return None
    if state.manager is not None and state.manager.name in _REVERTING:
        return None
    operations: list[dict[str, str]] = []
    for finding in missing:
        before, after = change(finding)
        place = f"{kind.pod_spec}/{_LISTS[finding.container_type]}/{finding.position}"
        operations += [
            {"op": "test", "path": f"{place}/name", "value": finding.container},
            {"op": "test", "path": f"{place}/image", "value": before},
            {"op": "replace", "path": f"{place}/image", "value": after},
        ]
    patch = json.dumps(operations, separators=(",", ":"))
    words = ["kubectl", "--namespace", key.namespace, "patch", f"{kind.resource}/{key.name}", "--type", "json"]
    return shlex.join([*words, "--patch", patch])

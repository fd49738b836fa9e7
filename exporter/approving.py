"""`approve` and `approvals`: creates approvals after showing what would happen, and lists them.

The tags are judged as `check` judges them. What the patcher would do with an approval is decided by the patcher's own
rules, with the configuration of this command. Who approves is who the API server says that we are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from exporter.app import CommandError, build_cluster, connect, open_checker
from exporter.cluster import ApiError, ClusterError, Connection, UnreachableError
from exporter.config import Configuration, Globs
from exporter.findings import Finding
from exporter.inventory import Inventory
from exporter.kinds import KINDS
from exporter.patcher.api import Api
from exporter.patcher.approvals import GROUP, KIND, VERSION, Approval, ContainerRef, Metadata, Spec, WorkloadRef, moment
from exporter.patcher.board import Board
from exporter.patcher.objects import decode_workload
from exporter.patcher.preview import said
from exporter.patching import assembled
from exporter.report.destination import write_text
from exporter.telemetry import Telemetry
from exporter.versions import highest
from exporter.workloads import WorkloadKey

_CREATED_AS = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants to approve.

    Attributes:
        namespace: the only namespace that is looked at.
        workload: the only workload; None is every one that misses a patch.
        tag: the tag to approve; None is the newest patch.
        expires: epoch seconds when the approval ends; None leaves that to the patcher.
        yes: create it without asking.
    """

    namespace: str
    workload: WorkloadKey | None = None
    tag: str | None = None
    expires: float | None = None
    yes: bool = False


async def approve(configuration: Configuration, wanted: Wanted) -> int:
    """Create approvals; returns the exit status.

    Raises:
        CommandError: nothing misses a patch, or nobody confirmed.
        ClusterError: the cluster does not answer, or refuses.
    """
    configuration = replace(configuration, state_dir=None, namespaces=Globs(include=(wanted.namespace,)), watch=())
    try:
        async with AsyncExitStack() as opened:
            connection = await opened.enter_async_context(connect(configuration))
            missing = await _missing(configuration, connection, wanted)
            api = Api(connection, namespaces=(wanted.namespace,))
            specs = await _specs(api, missing, wanted)
            board = Board(await api.approvals(), stop_on_failure=configuration.patcher_on_failure == "stop")
            parts = await opened.enter_async_context(assembled(configuration, connection))
            for spec in specs:
                approval = _approval(spec, wanted.namespace)
                what = f"{approval.workload} {spec.from_} to {spec.to}, containers {_names(spec)}"
                write_text(f"{what}: {await said(parts, approval, board)}\n")
            if not wanted.yes and not _confirmed(len(specs)):
                raise CommandError("nothing was approved")
            for spec in specs:
                name = await api.create_approval(wanted.namespace, _document(spec))
                write_text(f"approved by {spec.approved_by}: {wanted.namespace}/{name}\n")
    except (ApiError, UnreachableError) as error:
        raise ClusterError(f"cannot approve in namespace {wanted.namespace}: {error}") from error
    return 0


async def approvals(configuration: Configuration, *, namespace: str | None) -> int:
    """List approvals, the oldest first; returns the exit status.

    Raises:
        ClusterError: the cluster does not answer, or refuses.
    """
    namespaces = (namespace,) if namespace is not None else configuration.watched_namespaces
    try:
        async with connect(configuration) as connection:
            found = await Api(connection, namespaces=namespaces).approvals()
    except (ApiError, UnreachableError) as error:
        raise ClusterError(f"cannot list approvals: {error}") from error
    rows = [("APPROVAL", "WORKLOAD", "FROM", "TO", "STATE", "REASON", "APPROVED BY")]
    for one in sorted(found, key=lambda approval: approval.order):
        spec, status = one.spec, one.status
        state = status.state.value or "new"
        rows.append((str(one), one.workload, spec.from_, spec.to, state, status.reason, spec.approved_by))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write_text(f"{line.rstrip()}\n")
    return 0


async def _missing(configuration: Configuration, connection: Connection, wanted: Wanted) -> list[list[Finding]]:
    """The containers that miss a patch, together where one approval is about them."""
    telemetry, inventory = Telemetry(), Inventory()
    async with open_checker(configuration, telemetry=telemetry, inventory=inventory) as checker:
        await build_cluster(configuration, connection, telemetry=telemetry, inventory=inventory).list_once()
        snapshot = await checker.check_once()
    groups: dict[tuple[WorkloadKey, str, str], list[Finding]] = {}
    for finding in snapshot.findings:
        if finding.patch_available and wanted.workload in (None, finding.workload):
            groups.setdefault((finding.workload, finding.image, finding.tag), []).append(finding)
    if not groups:
        raise CommandError(f"{wanted.workload or f'namespace {wanted.namespace}'}: no container misses a patch")
    if wanted.tag is not None and len(groups) > 1:
        images = ", ".join(sorted(image for _, image, _ in groups))
        raise CommandError(f"--tag {wanted.tag} could be of several images ({images}); leave it out to approve them")
    return list(groups.values())


async def _specs(api: Api, missing: Iterable[Sequence[Finding]], wanted: Wanted) -> list[Spec]:
    user, specs = await api.user(), []
    for findings in missing:
        key = findings[0].workload
        kind = KINDS.get(key.kind)
        body = await api.workload(kind, key.namespace, key.name) if kind is not None else None
        if kind is None or body is None:
            write_text(f"{key} is left out: it is not a workload that can be patched\n")
            continue
        specs.append(
            Spec(
                workload=WorkloadRef(key.kind, key.name, decode_workload(body).metadata.uid, kind.group),
                containers=tuple(ContainerRef(finding.container, finding.reference) for finding in findings),
                from_=findings[0].tag,
                to=wanted.tag or highest(str(finding.latest_tag) for finding in findings),
                approved_by=user,
                expires=moment(wanted.expires) if wanted.expires is not None else None,
            )
        )
    if not specs:
        raise CommandError("there is nothing that can be approved")
    return specs


def _approval(spec: Spec, namespace: str) -> Approval:
    """An approval as it would be created."""
    metadata = Metadata(
        name="new", namespace=namespace, uid="", resource_version="", creation_timestamp=moment(time.time())
    )
    return Approval(metadata=metadata, spec=spec)


def _document(spec: Spec) -> Any:
    fields = {name: value for name, value in msgspec.to_builtins(spec).items() if value is not None}
    # The API server adds a few characters that make it unique.
    metadata = {"generateName": f"{spec.workload.name[:200]}-"}
    return {"apiVersion": _CREATED_AS, "kind": KIND, "metadata": metadata, "spec": fields}


def _names(spec: Spec) -> str:
    return ", ".join(container.name for container in spec.containers)


def _confirmed(count: int) -> bool:
    """Whether somebody at a terminal says yes."""
    if not sys.stdin.isatty():
        raise CommandError("nothing was approved: there is no terminal to ask; add --yes to approve without asking")
    sys.stderr.write(f"Approve {'this' if count == 1 else f'these {count}'}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

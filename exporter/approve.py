"""`approve` and `approvals`: a person approves a patch for the patcher, and lists approvals with their state.

Approvals are created with the credentials of the person's own kubeconfig, so Kubernetes decides who may approve, and
knows who did. Nothing is created before the person has seen what would happen.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from exporter.app import CommandError, build_cluster, connect, open_checker
from exporter.checker import Checker
from exporter.cluster import ApiError, Connection, UnreachableError
from exporter.cluster.decode import MalformedError, decode_page
from exporter.commands import APPROVABLE
from exporter.config import Configuration, Globs
from exporter.inventory import Inventory
from exporter.kinds import KINDS
from exporter.logs import printable
from exporter.patcher.api import Api
from exporter.patcher.approvals import GROUP, PLURAL, VERSION, Approval, decode
from exporter.patcher.tags import Tags
from exporter.patching import settings_of
from exporter.proposals import NothingToApproveError, Proposal, Proposer, choose
from exporter.registry import RegistryClient
from exporter.report.destination import write_text
from exporter.report.json_output import rfc3339
from exporter.report.progress import progress
from exporter.report.table import as_text
from exporter.telemetry import Telemetry
from exporter.words import age
from exporter.workloads import WorkloadKey, is_object_name

# The number of approvals on a page of a list.
_PAGE = "500"
_NO_RESOURCE = (
    "the cluster does not have the custom resource ImagePatchApproval: install the chart with patcher.enabled, or "
    "apply the chart's files/imagepatchapprovals.yaml"
)


class WorkloadNameError(ValueError):
    """A text does not name a workload."""


def workload_named(text: str) -> WorkloadKey:
    """Parse `NAMESPACE/KIND/NAME`; the kind may be in any case, or a plural.

    Raises:
        WorkloadNameError: the text does not have this form, or the kind cannot be patched on approval.
    """
    namespace, kind, name = (*text.split("/"), "", "")[:3] if text.count("/") == 2 else ("", "", "")
    if not is_object_name(namespace) or not is_object_name(name):
        raise WorkloadNameError(f"{text!r} does not name a workload as NAMESPACE/KIND/NAME, such as hub/Deployment/api")
    found = next((row for row in KINDS.values() if kind.lower() in (row.name.lower(), row.plural)), None)
    if found is None or found.name not in APPROVABLE:
        raise WorkloadNameError(f"{kind!r} cannot be patched on approval; these can: {', '.join(sorted(APPROVABLE))}")
    return WorkloadKey(namespace, found.name, name)


async def approve(
    configuration: Configuration,
    *,
    workload: WorkloadKey | None = None,
    namespace: str | None = None,
    tag: str | None = None,
    containers: Collection[str] = (),
    expires: float | None = None,
    yes: bool = False,
) -> int:
    """Show what approvals would do, ask for confirmation, and create them.

    Args:
        configuration: how to reach the cluster and registries, and the patcher's rules and windows.
        workload: the workload to approve; None approves all in the namespace.
        namespace: the namespace.
        tag: the tag to approve; None approves the newest patch.
        containers: only these containers of the workload; if empty, all.
        expires: the seconds after which the approvals expire; None leaves that to the patcher.
        yes: whether to skip the question.

    Returns:
        The exit status.

    Raises:
        CommandError: nothing was approved; the message says why.
    """
    configuration = replace(configuration, state_dir=None)
    where = workload.namespace if workload is not None else namespace or ""
    telemetry, inventory = Telemetry(), Inventory()
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connect(configuration))
        opened.enter_context(_told(f"read namespace {where}"))
        registry = await opened.enter_async_context(
            RegistryClient(configuration.registries, telemetry=telemetry, proxy=configuration.proxy)
        )
        proposer = Proposer(
            api=Api(connection),
            tags=Tags(registry, strategy=configuration.strategy),
            settings=settings_of(configuration),
            calendar=configuration.calendar(),
            clock=time.time,
            approved_by=await _who(connection),
            expires=None if expires is None else time.time() + expires,
            open=await _open(connection, where),
        )
        checker = await opened.enter_async_context(
            open_checker(configuration, telemetry=telemetry, inventory=inventory)
        )
        if workload is not None:
            _, found = await proposer.read(workload)
            if found is None:
                raise CommandError(f"workload {workload} does not exist")
            inventory.put(found)
            proposals = [await _propose_one(proposer, checker, workload, tag=tag, containers=containers)]
        else:
            only = replace(configuration, namespaces=Globs(include=(where,)))
            await build_cluster(only, connection, telemetry=telemetry, inventory=inventory).list_once()
            proposals = await _propose_all(proposer, checker, where)
        accepted = _show(proposals)
        _ask(len(accepted), proposer.approved_by, yes=yes)
        for proposal in accepted:
            await _create(connection, proposal)
    return 0


async def _propose_one(
    proposer: Proposer, checker: Checker, key: WorkloadKey, *, tag: str | None, containers: Collection[str]
) -> Proposal:
    snapshot = await checker.check_once()
    try:
        choices = choose(key, snapshot.findings, tag=tag, containers=containers)
    except NothingToApproveError as error:
        raise CommandError(str(error)) from error
    if len(choices) > 1:
        named = "; ".join(
            f"{', '.join(f.container for f in choice.containers)} ({choice.containers[0].reference})"
            for choice in choices
        )
        raise CommandError(
            f"{key} has patches of several images, and each needs its own approval; add --container: {named}"
        )
    return await proposer.propose(choices[0])


async def _propose_all(proposer: Proposer, checker: Checker, namespace: str) -> list[Proposal]:
    with progress() as show:
        snapshot = await checker.check_once(lambda done, total: show("looking up tags", done, total))
    proposals = []
    for key, findings in groupby(snapshot.findings, lambda finding: finding.workload):
        with contextlib.suppress(NothingToApproveError):
            first, *others = choose(key, findings)
            proposal = await proposer.propose(first)
            if others:
                # The first patch changes the pod template, so an approval of another image would be refused.
                note = f"{len(others)} more of its images can be approved after this patch is applied."
                proposal = replace(proposal, notes=(*proposal.notes, note))
            proposals.append(proposal)
    if not proposals:
        raise CommandError(f"no workload in namespace {namespace} has a patch that could be approved")
    return proposals


def _show(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Print the proposals, and return those that would not be refused."""
    for proposal in proposals:
        write_text("\n".join(proposal.lines()) + "\n\n")
    accepted = [proposal for proposal in proposals if proposal.refused is None]
    if not accepted:
        more = f" and {len(proposals) - 1} more" if len(proposals) > 1 else ""
        first = proposals[0]
        reason, text = first.refused or ("", "")
        raise CommandError(f"nothing was approved: {first.choice.workload}{more} would be refused ({reason}): {text}")
    return accepted


def _ask(count: int, user: str, *, yes: bool) -> None:
    if yes:
        return
    what = "this patch" if count == 1 else f"these {count} patches"
    write_text(f"Approve {what} as {user}? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was approved")


async def _create(connection: Connection, proposal: Proposal) -> None:
    choice = proposal.choice
    path = _path(choice.workload.namespace)
    with _told(f"approve {choice.workload}"):
        answer = await connection.call("POST", path, body=msgspec.json.encode(proposal.document))
    name = json.loads(answer)["metadata"]["name"]
    approved_by = proposal.document["spec"]["approvedBy"]
    write_text(
        f"{choice.workload.namespace}/{name}: {choice.workload} {choice.containers[0].tag} to {choice.to}, "
        f"approved by {approved_by}\n"
    )


async def _who(connection: Connection) -> str:
    """The user that the API server sees, as `kubectl auth whoami` prints it."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    try:
        answer = await connection.call("POST", path, body=msgspec.json.encode(review))
    except ApiError as error:
        raise CommandError(f"cannot ask the API server who you are: {error}") from error
    return str(json.loads(answer)["status"]["userInfo"]["username"])


async def _listed(connection: Connection, namespace: str) -> AsyncIterator[Approval]:
    """The approvals in a namespace; an empty one means all namespaces."""
    path, params = _path(namespace), {"limit": _PAGE}
    while True:
        page = decode_page(await connection.call("GET", path, params=params))
        for raw in page.items or ():
            yield decode(bytes(raw))
        if not page.metadata.continue_:
            return
        params["continue"] = page.metadata.continue_


async def _open(connection: Connection, namespace: str) -> dict[WorkloadKey, Approval]:
    """The approvals that have not ended; empty if listing is not permitted, as creating does not require it."""
    try:
        return {_key(one): one async for one in _listed(connection, namespace) if not one.status.state.final}
    except ApiError as error:
        if error.status != 403:
            raise
        return {}


async def approvals(configuration: Configuration, *, namespace: str | None = None, output: str = "table") -> int:
    """Print the approvals in a namespace, or in all that are watched.

    Args:
        configuration: how to reach the cluster.
        namespace: only this namespace; None means all.
        output: `table` or `json`.

    Returns:
        The exit status.

    Raises:
        CommandError: they cannot be listed.
    """
    namespaces = (namespace,) if namespace is not None else configuration.watched_namespaces or ("",)
    async with connect(configuration) as connection:
        with _told("list approvals"):
            found = [one for where in namespaces async for one in _listed(connection, where)]
    listed = [_row(approval) for approval in sorted(found, key=lambda approval: approval.order)]
    write_text(json.dumps({"approvals": listed}, indent=2) + "\n" if output == "json" else _table(listed))
    return 0


def _row(approval: Approval) -> dict[str, Any]:
    meta, spec, status = approval.metadata, approval.spec, approval.status
    return {
        "namespace": meta.namespace,
        "name": meta.name,
        "workload_kind": spec.workload.published,
        "workload": spec.workload.name,
        "containers": [container.name for container in spec.containers],
        "from": spec.from_,
        "to": spec.to,
        "state": status.state.value,
        "reason": status.reason,
        "message": status.message,
        "window": status.window,
        "approved_by": spec.approved_by,
        "created": rfc3339(meta.creation_timestamp.timestamp()),
        "expires": rfc3339(spec.expires.timestamp()) if spec.expires is not None else None,
        "acknowledged": approval.acknowledged,
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "There are no approvals.\n"
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("APPROVAL", "WORKLOAD", "FROM", "TO", "STATE", "REASON", "APPROVED BY", "AGE"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        cells = (
            f"{row['namespace']}/{row['name']}",
            f"{row['workload_kind']}/{row['workload']}",
            row["from"],
            row["to"],
            row["state"] or "New",
            row["reason"],
            row["approved_by"],
            age(max(0.0, time.time() - datetime.fromisoformat(row["created"]).timestamp())),
        )
        shown.add_row(*(Text(printable(cell)) for cell in cells))
    return as_text(shown)


def _path(namespace: str) -> str:
    root = f"/apis/{GROUP}/{VERSION}"
    return f"{root}/namespaces/{namespace}/{PLURAL}" if namespace else f"{root}/{PLURAL}"


def _key(approval: Approval) -> WorkloadKey:
    ref = approval.spec.workload
    return WorkloadKey(approval.metadata.namespace, ref.published, ref.name)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn errors of the API server into an error message of one line."""
    try:
        yield
    except ApiError as error:
        missing = error.status == 404 and "namespaces" not in str(error)
        raise CommandError(_NO_RESOURCE if missing else f"cannot {what}: {error}") from error
    except (UnreachableError, MalformedError) as error:
        raise CommandError(f"cannot {what}: {error}") from error

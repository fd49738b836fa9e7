"""Findings and templates that the tests render commands from."""

from __future__ import annotations

from exporter.commands import render
from exporter.findings import Finding, WorkloadState
from exporter.images import parse
from exporter.workloads import Container, ContainerType, WorkloadKey

DIGEST = "@sha256:" + "0a" * 32
NONE = WorkloadState()


def finding(
    reference: str = "mojaloop/ledger:v1.0.0",
    *,
    kind: str = "Deployment",
    namespace: str = "mojaloop",
    latest: str = "v1.0.2",
    name: str = "main",
    init: bool = False,
    position: int = 0,
    workload: str = "thing",
) -> Finding:
    parsed = parse(reference)
    return Finding(
        workload=WorkloadKey(namespace, kind, workload), container=name, position=position, reference=reference,
        container_type=ContainerType.INIT_CONTAINER if init else ContainerType.CONTAINER,
        image=str(parsed.repository), tag=parsed.tag, digest=parsed.digest or "", latest_tag=latest,
        releases_behind=int(latest != parsed.tag), minor=latest, major=latest,
    )  # fmt: skip


def patch_command(findings: list[Finding], state: WorkloadState) -> str | None:
    """The only command of one workload, image and tag; None if there is none."""
    patches = render(findings, state)
    assert len(patches) < 2
    return patches[0].patch_command or None if patches else None


def rollback_command(findings: list[Finding], state: WorkloadState) -> str | None:
    patches = render(findings, state)
    return patches[0].rollback_command or None if patches else None


def template(*images: str, init: tuple[str, ...] | list[str] = ()) -> WorkloadState:
    """A template that runs these references."""
    lists = ((ContainerType.INIT_CONTAINER, init), (ContainerType.CONTAINER, images))
    return WorkloadState(
        containers=tuple(Container(f"c{n}", type_, image, n) for type_, some in lists for n, image in enumerate(some))
    )

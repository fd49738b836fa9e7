"""Findings, and a snapshot with one of each kind."""

from exporter.commands import render
from exporter.findings import Finding, Snapshot, WorkloadState
from exporter.reasons import Reason
from exporter.report.content import select
from exporter.workloads import ContainerType, Manager, WorkloadKey

DAY = 86400.0
NOW = 1_700_000_000.0
LEDGER = WorkloadKey("mojaloop", "Deployment", "ledger")


def finding(
    tag="v1.0.0", latest="v1.0.2", *, key=LEDGER, name="main", init=False, published=NOW - 43 * DAY, reason=None, **more
):
    said = {
        "workload": key,
        "container": name,
        "container_type": ContainerType.INIT_CONTAINER if init else ContainerType.CONTAINER,
        "position": 0,
        "reference": f"mojaloop/ledger:{tag}",
        "image": "docker.io/mojaloop/ledger",
        "tag": tag,
        "reason": reason,
    }
    if reason is None:
        behind = 0 if latest == tag else 2
        said |= {
            "latest_tag": latest,
            "releases_behind": behind,
            "minor": "v1.1.0",
            "major": "v2.0.0",
            "published": published if behind else None,
        }
    return Finding(**{**said, **more})


MISSED = (finding(), finding(name="wait", init=True))
OTHER = WorkloadKey("mojaloop", "Deployment", "other")
CURRENT = finding("v1.0.2", key=OTHER)
UNKNOWN = finding("latest", key=WorkloadKey("mojaloop", "Job", "once"), reason=Reason.FLOATING_TAG)
INVALID = finding(
    key=WorkloadKey("z", "Pod", "p"), reason=Reason.INVALID_REFERENCE, reference="Bad Image!!", image="", tag=""
)


def snapshot(findings, workloads=None, **more):
    """A snapshot with its patches, as the checker makes it."""
    states = workloads or {}
    keys = dict.fromkeys(finding.workload for finding in findings)
    patches = [
        patch
        for key in keys
        for patch in render([f for f in findings if f.workload == key], states.get(key, WorkloadState()))
    ]
    return Snapshot(findings=tuple(findings), patches=tuple(patches), workloads=states, **more)


SNAPSHOT = snapshot(
    findings=(*MISSED, CURRENT, UNKNOWN, INVALID),
    workloads={LEDGER: WorkloadState(manager=Manager("helm", "mojaloop/moja"))},
    ignored=3,
)


def content(shown, **more):
    """What a format renders."""
    return select(shown, now=NOW, **more)

"""Findings as rows for people: containers with the same image, tag and missing patch share a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from exporter import words
from exporter.findings import Finding, Snapshot
from exporter.words import State

# How many workloads a row names if they need no action.
_FEW = 3


class Row(NamedTuple):
    """The cells that findings of one image and tag share; may be empty."""

    image: str
    state: State
    patch: str
    behind: str = ""
    age: str = ""
    newer: str = ""


def rows(findings: Iterable[Finding], *, now: float) -> dict[Row, list[Finding]]:
    """Group findings into rows, in the order of the first finding of each.

    Args:
        findings: in display order.
        now: epoch seconds, for ages.
    """
    found: dict[Row, list[Finding]] = {}
    for finding in findings:
        found.setdefault(_row(finding, now), []).append(finding)
    return found


def _row(finding: Finding, now: float) -> Row:
    image, state = words.running(finding), words.state(finding)
    if finding.reason is not None:
        return Row(image, state, f"unknown: {words.reason(finding.reason)}")
    newer = finding.newer_line or ""
    if not finding.patch_available:
        return Row(image, state, "none", newer=newer)
    age = words.age(None if finding.published is None else now - finding.published)
    return Row(image, state, str(finding.latest_tag), str(finding.releases_behind), age, newer)


def where(findings: list[Finding]) -> tuple[list[str], str]:
    """Return the workloads of a row, each once; only a few of many if they need no action.

    Returns:
        The workloads to name, and the number of further ones in words; empty if there are none.
    """
    places = list(dict.fromkeys(finding.workload for finding in findings if finding.workload.kind))
    shown = places if findings[0].patch_available or len(places) <= _FEW else places[: _FEW - 1]
    more = len(places) - len(shown)
    return [words.workload(key) for key in shown], f"and {words.many(more, 'more workload')}" if more else ""


def counts(snapshot: Snapshot) -> str:
    """Return one line: how many containers are judged, miss a patch, are on an old line, and are unknown and why."""
    findings = snapshot.findings
    unknown = Counter(words.reason(finding.reason) for finding in findings if finding.reason is not None)
    missing = sum(bool(finding.patch_available) for finding in findings)
    superseded = sum(words.state(finding) is State.SUPERSEDED for finding in findings)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(unknown.items()))
    parts = [
        f"{words.many(len(findings), 'container')} checked",
        f"{missing} {'misses' if missing == 1 else 'miss'} a patch",
        f"{sum(unknown.values())} unknown" + (f" ({reasons})" if reasons else ""),
    ]
    if superseded:
        # "0 patches" must never read as "secure".
        verb, being = ("misses", "is") if superseded == 1 else ("miss", "are")
        parts.insert(2, f"{superseded} {verb} none, but {being} on a superseded line")
    if snapshot.ignored:
        parts.append(f"{snapshot.ignored} ignored")
    return "; ".join(parts) + "."

"""SARIF 2.1.0 (OASIS) for code scanning, with a rule for each kind of finding and a result for each finding.

Containers that are up to date have no result, because readers such as GitHub show every result as an alert. A result
has the file and line of its image if there is a file. GitHub refuses results without one, so a cluster and references
on the command line do not work there. Texts have no ages, so a result stays the same until something changes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from exporter import __version__, words
from exporter.findings import Finding
from exporter.logs import printable
from exporter.places import Place
from exporter.reasons import Reason
from exporter.report.content import Content
from exporter.report.json_output import rfc3339
from exporter.words import PROJECT, State

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# An artifact needs a URI. Only the line numbers are of use with this one.
_STANDARD_INPUT = "stdin"
_RUNBOOK = f"{PROJECT}/blob/main/alerts/runbook.md"
_TAGS = ["container-image"]


def render(content: Content) -> str:
    """Render a log of one run."""
    rules = _rules()
    number = {rule["id"]: index for index, rule in enumerate(rules)}
    driver = {
        "name": "mojaloop-image-patch-exporter",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": PROJECT,
        "rules": rules,
    }
    shown = (finding for finding in content.findings if words.state(finding) is not State.CURRENT)
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "results": [_result(content, finding, number) for finding in shown],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(log), indent=2).decode() + "\n"


def _rules() -> list[dict[str, Any]]:
    """Return every rule, with or without results, so their order is the same in every log."""
    patch = _rule(
        "patch-available",
        level="error",
        what="A patch release of a running image is available.",
        what_to_do="Run the newest patch release of the line. `check --output commands` prints commands for it.",
        anchor="mojaloopimagepatchavailable",
    )
    superseded = _rule(
        "line-superseded",
        level="note",
        what="A newer line supersedes that of a running image.",
        what_to_do="Plan an upgrade. Fixes are rarely backported to older lines, so missing no patch means little.",
        anchor="mojaloopimagepatchlinesuperseded",
    )
    unknown = [
        _rule(
            _unknown(reason),
            level="warning",
            what=f"An image cannot be judged: {words.reason(reason)}. {words.explain(reason).what}",
            what_to_do=words.explain(reason).what_to_do,
            anchor="mojaloopimagestatusunknown",
        )
        for reason in Reason
    ]
    return [patch, superseded, *unknown]


def _rule(name: str, *, level: str, what: str, what_to_do: str, anchor: str) -> dict[str, Any]:
    uri = f"{_RUNBOOK}#{anchor}"
    return {
        "id": name,
        "name": "".join(part.capitalize() for part in name.split("-")),
        "shortDescription": {"text": what},
        "fullDescription": {"text": f"{what} {what_to_do}"},
        "help": {"text": f"{what_to_do} See {uri}", "markdown": f"{what_to_do}\n\n[Runbook]({uri})"},
        "helpUri": uri,
        "defaultConfiguration": {"level": level},
        "properties": {"tags": _TAGS, "precision": "very-high", "problem.severity": _SEVERITIES[level]},
    }


# GitHub's names of SARIF levels.
_SEVERITIES = {"error": "error", "warning": "warning", "note": "recommendation"}
_LEVELS = {State.PATCH: "error", State.SUPERSEDED: "note", State.UNKNOWN: "warning"}


def _unknown(reason: Reason) -> str:
    return f"unknown-{reason.value.replace('_', '-')}"


def _result(content: Content, finding: Finding, number: dict[str, int]) -> dict[str, Any]:
    state = words.state(finding)
    rule = {State.PATCH: "patch-available", State.SUPERSEDED: "line-superseded"}.get(state) or _unknown(
        finding.reason or Reason.PENDING
    )
    location: dict[str, Any] = {"logicalLocations": [_logical(finding)]}
    place = content.places.of(finding)
    if place is not None:
        location["physicalLocation"] = _physical(place)
    where = words.workload(finding.workload)
    container = f", container {finding.container}" if finding.container else ""
    return {
        "ruleId": rule,
        "ruleIndex": number[rule],
        "level": _LEVELS[state],
        "message": {"text": printable(words.describe(finding) + (f" Found in {where}{container}." if where else ""))},
        "locations": [location],
        "partialFingerprints": {"mojaloopImagePatch/v1": _fingerprint(rule, finding)},
        "properties": _properties(content, finding),
    }


def _logical(finding: Finding) -> dict[str, str]:
    path = words.path(finding.workload)
    name = finding.container or finding.workload.name if path else finding.reference
    parts = [path, finding.container] if path else [name]
    return {
        "name": printable(name),
        "fullyQualifiedName": printable("/".join(part for part in parts if part)),
        "kind": "resource",
    }


def _physical(place: Place) -> dict[str, Any]:
    location = {"artifactLocation": _artifact(place.file), "region": {"startLine": place.line}}
    if not place.file:
        location["artifactLocation"]["description"] = {"text": "standard input"}
    return location


def _artifact(file: str) -> dict[str, Any]:
    """Return the location of a file, relative to the working directory, which should be the root of the repository."""
    if not file:
        return {"uri": _STANDARD_INPUT}
    path = Path(file).absolute()
    if not path.is_relative_to(Path.cwd()) or ".." in path.parts:
        return {"uri": path.resolve().as_uri()}
    return {"uri": quote(path.relative_to(Path.cwd()).as_posix(), errors="surrogateescape"), "uriBaseId": "%SRCROOT%"}


def _fingerprint(rule: str, finding: Finding) -> str:
    """Return the identity of a result, which does not depend on files, lines or the newest tag."""
    place = words.path(finding.workload), finding.container, finding.container_type
    running = (finding.image, finding.tag, finding.digest) if finding.image else (finding.reference,)
    return hashlib.sha256("\0".join((rule, *place, *running)).encode(errors="backslashreplace")).hexdigest()


def _properties(content: Content, finding: Finding) -> dict[str, Any]:
    patch = content.patch_of(finding)
    values = {
        "image": finding.image,
        "tag": finding.tag,
        "latestTag": finding.latest_tag if finding.patch_available else None,
        "releasesBehind": finding.releases_behind,
        "published": rfc3339(finding.published) if finding.published is not None else None,
        "newerLine": finding.newer_line,
        "reason": finding.reason,
        "changes": words.changes_url(patch.image, patch.tag, patch.latest_tag) if patch is not None else None,
        "patchCommand": patch.patch_command if patch is not None else None,
        "advice": patch.advice if patch is not None else None,
    }
    return {name: printable(value) if isinstance(value, str) else value for name, value in values.items() if value}

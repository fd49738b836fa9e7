"""JUnit XML in the dialect of Maven Surefire, for Jenkins and GitLab, with a test for each container.

A missing patch fails, and so does everything that `--fail-on` names, in agreement with the exit status. A container
that could not be judged for a transient reason is an error, like a test that could not run. A container that is unknown
for a permanent reason, or misses no patch but is on a superseded line, is skipped, because neither may look passed.
"""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree as ET

from exporter import words
from exporter.findings import Finding
from exporter.logs import printable
from exporter.report.content import MATCHES, Content
from exporter.words import State

_FAILURE, _ERROR, _SKIPPED = "failure", "error", "skipped"
_SUITE = "mojaloop-image-patch-exporter"


def render(content: Content) -> str:
    """Render a document with a test suite for each namespace."""
    suites: dict[str, list[Finding]] = {}
    for finding in content.findings:
        suites.setdefault(finding.workload.namespace, []).append(finding)
    root = ET.Element("testsuites", name=_SUITE)
    total: Counter[str] = Counter()
    for namespace, findings in suites.items():
        suite = ET.SubElement(root, "testsuite", name=printable(namespace) or _SUITE)
        counted: Counter[str] = Counter(tests=len(findings))
        for finding in findings:
            counted[_testcase(suite, content, finding)] += 1
        total.update(counted)
        _count(suite, counted)
        suite.set("skipped", str(counted[_SKIPPED]))
    _count(root, total)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _count(element: ET.Element, counted: Counter[str]) -> None:
    element.set("tests", str(counted["tests"]))
    element.set("failures", str(counted[_FAILURE]))
    element.set("errors", str(counted[_ERROR]))


def _testcase(suite: ET.Element, content: Content, finding: Finding) -> str:
    """Add a test and return its outcome, empty if it passed."""
    key = finding.workload
    # Jenkins shows the part before the last dot as the package of the class.
    place = ".".join(part for part in key if part) if key.kind else "images"
    name = " ".join(part for part in (finding.container, words.running(finding)) if part)
    testcase = ET.SubElement(suite, "testcase", classname=printable(place), name=printable(name))
    outcome = _outcome(content, finding)
    if outcome:
        message = printable(words.describe(finding))
        detail = ET.SubElement(testcase, outcome, type=finding.reason or words.state(finding), message=message)
        detail.text = _details(content, finding)
    return outcome


def _outcome(content: Content, finding: Finding) -> str:
    if any(MATCHES[one](finding) for one in content.failing):
        return _FAILURE
    if finding.reason is not None:
        return _SKIPPED if finding.reason.permanent else _ERROR
    return _SKIPPED if words.state(finding) is State.SUPERSEDED else ""


def _details(content: Content, finding: Finding) -> str:
    patch = content.patch_of(finding)
    lines = [words.describe(finding)]
    if patch is not None:
        url = words.changes_url(patch.image, patch.tag, patch.latest_tag)
        lines += [url, patch.advice, patch.patch_command]
    return "\n".join(printable(line) for line in lines if line)

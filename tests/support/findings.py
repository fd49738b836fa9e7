"""Findings, and a snapshot with one of each kind."""

from hypothesis import strategies as st

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


SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    "<img src=x onerror=alert(1)>",
    "</style></code></td></table><h1>x",
    "a|b`c\\|d``e*f*_g_~~h~~",
    "[x](javascript:alert(1)) ![y](http://192.0.2.1/z) <http://192.0.2.1> www.example.com @everyone #1 :smile:",
    "\u202egnp.exe\u202c\u2066x",
    "שלום עולם",
    "\x1b[2J\x1b]0;title\x07",
    "a\r\nb\n\n| c | d |\n---",
    "'\"`$(reboot)`;&&\\",
    '=HYPERLINK("http://192.0.2.1")',
    "+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "\uff1d1",
    "]]><!--&lt;&#0;",
    "\ud800lone",
    "\x00\ufffe\uffff",
    "{{ 7 * 7 }}{% x %}",
    "x" * 253,
    "- a: b # c",
]  # fmt: skip
"""Texts that mean something to a reader of some format."""
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=253))


@st.composite
def hostile_findings(draw):
    """Findings whose names anybody wrote, also where the grammars of Kubernetes would refuse them.

    A finding with an image has a reference and tags that match the grammar: `evaluate` and the catalogue see to that.
    """
    name = draw(TEXTS)
    key = WorkloadKey(draw(TEXTS), draw(st.sampled_from(["Deployment", "Image", "", SCRIPT])), name)
    more = {"key": key, "name": draw(TEXTS)}
    if draw(st.booleans()):
        return finding(**more, latest=draw(st.sampled_from(["v1.0.0", "v1.0.2"])))
    return finding(**more, reason=Reason.INVALID_REFERENCE, reference=draw(TEXTS), image="", tag="")


HOSTILE_SNAPSHOTS = st.lists(hostile_findings(), max_size=4).map(
    lambda found: snapshot(found, {f.workload: WorkloadState(manager=Manager("helm", f.container)) for f in found})
)

"""The reasons are a closed list: alerting rules and other people's queries name them."""

import re
from pathlib import Path

from exporter.reasons import REQUEST_FAILURES, Reason
from exporter.telemetry import Telemetry

PERMANENT = {
    "invalid_reference",
    "invalid_annotation",
    "not_a_version",
    "floating_tag",
    "digest_only",
    "registry_not_allowed",
    "private_address",
    "limit_exceeded",
    "tag_not_found",
}
TRANSIENT = {"pending", "unreachable", "unauthorized", "not_found", "rate_limited", "bad_answer"}


def test_every_reason_of_the_contract_is_permanent_or_transient():
    assert {reason.value for reason in Reason if reason.permanent} == PERMANENT
    assert {reason.value for reason in Reason if not reason.permanent} == TRANSIENT


def test_the_failures_of_an_allowed_registry_are_counted_from_zero():
    telemetry = Telemetry()
    telemetry.watch_registry("docker.io")
    (family,) = [f for f in telemetry.registry.collect() if f.name == "mojaloop_exporter_registry_failures"]
    assert {sample.labels["reason"]: sample.value for sample in family.samples} == {
        reason.value: 0.0 for reason in REQUEST_FAILURES
    }
    assert set(REQUEST_FAILURES) == {reason for reason in Reason if reason.value in TRANSIENT - {"pending"}} | {
        Reason.PRIVATE_ADDRESS
    }


def test_the_rules_hold_alerts_for_transient_reasons_only():
    rules = (Path(__file__).parent.parent / "alerts" / "mojaloop-image-patch.rules.yml").read_text()
    (held,) = re.findall(r'reason=~"([^"]+)"', rules)
    assert set(held.split("|")) == TRANSIENT


def test_every_reason_but_pending_is_in_the_runbook():
    runbook = (Path(__file__).parent.parent / "alerts" / "runbook.md").read_text()
    (table,) = re.findall(r"\| reason \| what to do \|\n((?:\|.*\n)+)\n## MojaloopImagePatchExporterDown", runbook)
    named = set(re.findall(r"`([a-z_]+)`", "\n".join(line.split("|")[1] for line in table.splitlines())))
    assert named == (PERMANENT | TRANSIENT) - {"pending"}

"""Old rules with a new exporter, new rules with an old one, and what Prometheus does when it loads the new rules."""

import json
import subprocess
import time
import urllib.request

import pytest

from benchmarks.alerts import old_rules, serving_page
from exporter.demo.alerts import RULES, substitute
from tests.support.kube import free_port, need
from tests.support.promtool import AVAILABLE, DOWN, OVERDUE, Case, Page, firing, run

OLD = -30 * 1440 * 60
RENAMED, MISSING = "MojaloopImagePatchLabelsRenamed", "MojaloopImagePatchSamplesMissing"


@pytest.fixture(scope="module")
def before():
    """The rules before `mojaloop_workload_patch_releases_behind`; they are in the history of the repository."""
    try:
        return old_rules()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs the history of the repository (git fetch --unshallow): {error.stderr.strip()}")


def upgraded_exporter():
    """An old exporter, and from minute 61 on a new one with an empty disk: for 20 minutes all is pending."""
    old = Page("north", old=True).synced("1x60 stale").container("1x60 stale", published=OLD)
    new = (
        Page("north", "b")
        .synced("_x61 1x200")
        .unknown("_x61 1x19 stale", "pending")
        .container("_x81 1x180", published=OLD)
    )
    return old, new


def test_old_rules_with_a_new_exporter_hold_what_fires_and_end_what_is_patched(tmp_path, before):
    deleted = Page("north", "c", job="other").container("1x60 stale", workload="deleted")
    at = [
        (minute, firing(alert, workload="ledger"), 1)
        for alert in (AVAILABLE, OVERDUE)
        for minute in (60, 62, 70, 82, 200)
    ]
    gone = [(60, firing(AVAILABLE, workload="deleted"), 1), (70, firing(AVAILABLE, workload="deleted"), 0)]
    case = Case([*upgraded_exporter(), deleted], [*at, *gone, (200, firing(DOWN), 0), (200, firing(RENAMED), 0)])
    status, said = run(tmp_path, case, before)
    assert status == 0, said


def test_new_rules_with_an_old_exporter_fire_without_commands(tmp_path):
    """What the exporter lacks is named, and nothing else is reported that is not so."""
    page = (
        Page("north", old=True)
        .synced("1x200")
        .container("1x100 stale", published=OLD)
        .container("1x200", workload="b", published=OLD)
    )
    at = [
        (minute, firing(alert), count)
        for alert in (AVAILABLE, OVERDUE)
        for minute, count in ((60, 2), (102, 1), (199, 1))
    ]
    metrics = [(60, firing(MISSING, metric=f"mojaloop_exporter_{name}"), 1) for name in ("samples", "scrape_check")]
    rest = [(199, firing(DOWN), 0), (199, firing(RENAMED), 0), (199, firing("MojaloopImagePatchExporterNotSynced"), 0)]
    advice = 'count(mojaloop:workload_patch_missing{behind="2",advice=~"No command arrived.+"}) or vector(0)'
    case = Case([page], [*at, *metrics, *rest, (60, advice, 2)])
    status, said = run(tmp_path, case, RULES.read_text())
    assert status == 0, said


def test_new_rules_hold_what_fires_while_the_exporter_is_upgraded(tmp_path):
    at = [
        (minute, firing(alert), 1)
        for alert in (AVAILABLE, OVERDUE)
        for minute in (60, 61, 62, 70, 81, 82, 83, 100, 200)
    ]
    command = 'count(mojaloop:workload_patch_missing{patch_command="patch"}) or vector(0)'
    case = Case(
        upgraded_exporter(),
        [*at, (60, command, 0), (100, command, 1), (200, firing(DOWN), 0), (200, firing(MISSING), 0)],
    )
    status, said = run(tmp_path, case, RULES.read_text())
    assert status == 0, said


def test_two_replicas_of_which_one_is_upgraded(tmp_path):
    old, new = (
        Page("north", old=True).synced("1x120").container("1x120"),
        Page("north", "b").synced("1x120").container("1x120"),
    )
    command = 'count(mojaloop:workload_patch_missing{patch_command="patch"}) or vector(0)'
    status, said = run(tmp_path, Case([old, new], [(60, firing(AVAILABLE), 1), (60, command, 1)]), RULES.read_text())
    assert status == 0, said


@pytest.mark.parametrize("binary", ["prometheus", "prometheus3"])
def test_alerts_are_pending_again_after_prometheus_loads_the_new_rules(tmp_path, before, binary):
    """As the changelog says: the labels of the rule changed, so `for` starts again. The alert keeps its labels."""
    (program,) = need(binary)
    with serving_page(old=False) as target:
        address = f"127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(tmp_path / "rules.yml")],
            "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [{"targets": [target]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        (tmp_path / "rules.yml").write_text(substitute(before, {"available_for": "3s"}))
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address={address}",
                    "--web.enable-lifecycle",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            firing_before = states(address, "firing")
            (tmp_path / "rules.yml").write_text(substitute(RULES.read_text(), {"available_for": "3s"}))
            urllib.request.urlopen(
                urllib.request.Request(f"http://{address}/-/reload", method="POST"), timeout=10
            ).close()
            pending = states(address, "pending")
            assert pending.keys() == firing_before.keys()
            again = states(address, "firing")
            assert again.keys() == firing_before.keys(), "silences and history still match"
        finally:
            process.terminate()
            process.wait(timeout=20)


def states(address, state):
    """The labels of Available in a state, once there are any."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{address}/api/v1/alerts", timeout=5) as answer:
                alerts = json.loads(answer.read())["data"]["alerts"]
        except OSError:
            alerts = []
        found = {
            json.dumps(a["labels"], sort_keys=True): a
            for a in alerts
            if a["labels"]["alertname"] == AVAILABLE and a["state"] == state
        }
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no alert is {state}")

"""Findings in, exact exposition text out; and both formats as their parsers read them."""

import gzip

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collector import FAMILIES, Exposition
from exporter.findings import Finding, Snapshot, WorkloadPatch, WorkloadState
from exporter.images import Repository
from exporter.reasons import Reason
from exporter.workloads import ContainerType, Manager, WorkloadKey

LEDGER = WorkloadKey("mojaloop", "Deployment", "central-ledger")
JUDGED = Finding(
    workload=LEDGER,
    container="ledger",
    container_type=ContainerType.CONTAINER,
    position=0,
    reference="mojaloop/central-ledger:v10.4.0",
    image="docker.io/mojaloop/central-ledger",
    tag="v10.4.0",
    latest_tag="v10.4.2",
    releases_behind=2,
    published=1_600_000_000.0,
    first_seen=1_700_000_000.5,
    minor="v10.5.0",
    major="v10.4.0",
)
UNKNOWN = Finding(
    workload=LEDGER,
    container="wait",
    container_type=ContainerType.INIT_CONTAINER,
    position=1,
    reference="",
    image="",
    tag="",
    reason=Reason.INVALID_REFERENCE,
)
SNAPSHOT = Snapshot(
    findings=(JUDGED, UNKNOWN),
    workloads={LEDGER: WorkloadState(manager=Manager("helm", 'mo"ja\\'), rollout_incomplete=True)},
    lookups={Repository("docker.io", "mojaloop/central-ledger"): 1_700_000_001.0},
    synced={"*": False},
    patches=(
        WorkloadPatch(
            workload=LEDGER,
            image="docker.io/mojaloop/central-ledger",
            tag="v10.4.0",
            latest_tag="v10.4.2",
            releases_behind=2,
            patch_command="kubectl -p='[\"a\"]'",
            rollback_command="kubectl -p='[]'",
            advice="Take care.",
        ),
    ),
)
WORKLOAD = 'namespace="mojaloop",workload_kind="Deployment",workload="central-ledger"'
W = f'{WORKLOAD},container="ledger",container_type="container"'
I = 'image="docker.io/mojaloop/central-ledger",tag="v10.4.0"'  # noqa: E741


def page(snapshot, openmetrics=False):
    return b"".join(Exposition(snapshot).chunks(openmetrics)).decode()


def test_the_exact_text():
    samples = [line for line in page(SNAPSHOT).splitlines() if not line.startswith("#")]
    assert samples == [
        f'mojaloop_image_patch_available{{{W},{I},latest_tag="v10.4.2"}} 1.0',
        f"mojaloop_image_patch_releases_behind{{{W},{I}}} 2.0",
        f"mojaloop_image_patch_published_timestamp_seconds{{{W},{I}}} 1600000000.0",
        f"mojaloop_image_patch_first_seen_timestamp_seconds{{{W},{I}}} 1700000000.5",
        f'mojaloop_image_upgrade_available{{{W},{I},latest_tag="v10.5.0",strategy="minor"}} 1.0',
        f'mojaloop_image_upgrade_available{{{W},{I},latest_tag="v10.4.0",strategy="major"}} 0.0',
        f'mojaloop_image_status_unknown{{{WORKLOAD},container="wait",container_type="init_container",image="",tag="",'
        'reason="invalid_reference"} 1.0',
        f'mojaloop_image_info{{{W},{I},digest="",reference="mojaloop/central-ledger:v10.4.0",position="0"}} 1.0',
        'mojaloop_image_lookup_timestamp_seconds{registry="docker.io",image="docker.io/mojaloop/central-ledger"}'
        " 1700000001.0",
        f"mojaloop_workload_patch_releases_behind{{{WORKLOAD},{I},"
        'latest_tag="v10.4.2",patch_command="kubectl -p=\'[\\"a\\"]\'",'
        'rollback_command="kubectl -p=\'[]\'",advice="Take care."} 2.0',
        f'mojaloop_workload_managed_by{{{WORKLOAD},manager="helm",source="mo\\"ja\\\\"}} 1.0',
        f"mojaloop_workload_rollout_incomplete{{{WORKLOAD}}} 1.0",
        'mojaloop_exporter_synced{watched_namespace="*"} 0.0',
        'mojaloop_exporter_scrape_check{namespace="kept",container="kept"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_patch_available"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_patch_releases_behind"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_patch_published_timestamp_seconds"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_patch_first_seen_timestamp_seconds"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_upgrade_available"} 2.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_status_unknown"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_info"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_image_lookup_timestamp_seconds"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_workload_patch_releases_behind"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_workload_managed_by"} 1.0',
        'mojaloop_exporter_samples{metric="mojaloop_workload_rollout_incomplete"} 1.0',
    ]


def test_both_formats_parse_and_carry_the_labels_of_the_contract():
    text = {family.name: family for family in parse_text(page(SNAPSHOT))}
    openmetrics = {family.name: family for family in parse_openmetrics(page(SNAPSHOT, openmetrics=True) + "# EOF\n")}
    assert openmetrics["mojaloop_image"].type == "info"
    for family in FAMILIES:
        samples = text[family.name].samples
        assert samples
        assert all(tuple(sample.labels) == family.labels for sample in samples)
        named = openmetrics["mojaloop_image" if family.is_info else family.name]
        assert [(s.name, s.labels, s.value) for s in named.samples] == [(s.name, s.labels, s.value) for s in samples]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_compressed_page_is_the_page_and_its_tail_each_time(openmetrics):
    exposition = Exposition(SNAPSHOT)
    plain = b"".join(exposition.chunks(openmetrics))
    assert not exposition.compressed(openmetrics)
    shared = set()
    for tail in (b"first\n", b"second\n# EOF\n"):
        shared.add(id(exposition.gzip(openmetrics, tail)[0]))
        assert gzip.decompress(b"".join(exposition.gzip(openmetrics, tail))) == plain + tail
    assert len(shared) == 1, "all clients share the compressed page"


def test_an_empty_snapshot_says_so():
    samples = [sample for family in parse_text(page(Snapshot())) for sample in family.samples]
    assert {sample.name for sample in samples} == {"mojaloop_exporter_scrape_check", "mojaloop_exporter_samples"}
    assert {sample.value for sample in samples if sample.name == "mojaloop_exporter_samples"} == {0.0}


def test_the_page_says_how_many_samples_it_has():
    families = list(parse_text(page(SNAPSHOT)))
    (counted,) = [family for family in families if family.name == "mojaloop_exporter_samples"]
    arrived = {f.name: len(f.samples) for f in families if f.name.startswith(("mojaloop_image", "mojaloop_workload"))}
    assert {sample.labels["metric"]: sample.value for sample in counted.samples} == arrived

"""The JSON of findings for HTTP: one body for all readers of a snapshot, compressed once, with a validator."""

import gzip
import json
from dataclasses import replace

from exporter.api.findings import FindingsDocument
from exporter.findings import Snapshot
from exporter.report.json_output import render_json
from tests.support.http_server import snapshot

NOW = 1_700_000_000.0
LISTED = replace(snapshot(20), listed=True, synced={"*": True})


def document(newest=LISTED, now=NOW):
    """A document with its snapshots and times as lists: the last one counts."""
    snapshots, times = [newest], [now]
    return FindingsDocument(lambda: snapshots[-1], clock=lambda: times[-1]), snapshots, times


def test_before_the_first_complete_snapshot_there_is_none():
    found, _, _ = document(None)
    assert found.render(gzip=False) is None


def test_it_is_what_check_prints():
    found, _, _ = document()
    parts, _ = found.render(gzip=False)
    assert b"".join(parts) == render_json(LISTED, now=NOW)


def test_compressed_it_is_the_same_again_and_again():
    found, _, times = document()
    for _ in range(3):
        parts, _ = found.render(gzip=True)
        packed = b"".join(parts)
        assert gzip.decompress(packed) == render_json(LISTED, now=times[-1])
        times.append(times[-1] + 60)
    assert len(packed) < len(render_json(LISTED, now=NOW)) / 5


def test_all_readers_of_a_snapshot_share_one_body_and_one_compressed_body():
    found, _, _ = document()
    assert len({id(found.render(gzip=False)[0][1]) for _ in range(10)}) == 1
    assert len({id(found.render(gzip=True)[0][2]) for _ in range(10)}) == 1


def test_it_says_when_it_was_made_and_its_validator_says_whether_it_changed():
    found, snapshots, times = document()
    etags = []
    for at in ("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"):
        parts, etag = found.render(gzip=False)
        assert json.loads(b"".join(parts))["generated"] == at
        etags.append(etag)
        times.append(times[-1] + 60)
    assert len(set(etags)) == 1
    assert etags[0].startswith(b'W/"'), "the documents differ, and their findings do not"
    snapshots.append(replace(LISTED))
    assert found.render(gzip=False)[1] == etags[0], "an equal snapshot"
    for changed in (replace(LISTED, synced={"*": False}), replace(LISTED, findings=LISTED.findings[1:])):
        snapshots.append(changed)
        etags.append(found.render(gzip=True)[1])
    assert len(set(etags)) == 3


def test_without_findings_it_is_a_document_too():
    found, _, _ = document(Snapshot(listed=True))
    parts, _ = found.render(gzip=True)
    assert json.loads(gzip.decompress(b"".join(parts)))["findings"] == []

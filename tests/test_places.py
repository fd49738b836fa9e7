"""Where the containers of manifests are written."""

import io
import json
import sys

import pytest

from exporter.cluster.manifests import read
from exporter.findings import Finding
from exporter.places import Place, Places
from exporter.workloads import ContainerType, WorkloadKey
from tests.support.manifests import DEPLOYMENT

HEAD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n"


def finding(container, reference, *, key=("default", "Deployment", "ledger"), init=False):
    return Finding(
        workload=WorkloadKey(*key),
        container=container,
        container_type=ContainerType.INIT_CONTAINER if init else ContainerType.CONTAINER,
        position=0,
        reference=reference,
        image="",
        tag="",
    )


def placed(*names):
    places = Places()
    return places, read([str(name) for name in names], places=places)


def lines(tmp_path, text, name="a.yaml"):
    (tmp_path / name).write_text(text)
    places, workloads = placed(tmp_path / name)
    found = [
        places.of(finding(c.name, c.image, key=w.key, init=c.type is ContainerType.INIT_CONTAINER))
        for w in workloads
        for c in w.containers
    ]
    assert {place.file for place in found} == {str(tmp_path / name)}
    return [place.line for place in found]


def test_a_container_is_at_the_line_of_its_image(tmp_path):
    text = (
        f"# rendered\n---\n{DEPLOYMENT}---\n{HEAD}  containers:\n    - name: main\n      env: []\n      image: a/b:v1\n"
    )
    expected = [number for number, line in enumerate(text.splitlines(), 1) if "image:" in line]
    assert lines(tmp_path, text) == expected
    assert len(expected) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{HEAD}  containers:\n    - name: a\n      image: >-\n        a/b:v1\n    - {{name: b, image: 'a/b:v1'}}",
            [7, 9],
        ),
        (f"{HEAD}  containers:\n    - &x\n      name: a\n      image: a/b:v1\n    - <<: *x\n      name: b\n", [8, 8]),
        (
            f"---\n{HEAD.replace('v1', 'x.io/v1', 1)}  any:\n  - containers:\n    - name: a\n      image: a/b:v1\n",
            [9],
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n"
            + "".join(
                f"- apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}}}\n  spec:\n    containers:\n"
                "    - name: main\n      image: a/b:v1\n"
                for name in "ab"
            ),
            [10, 17],
        ),
    ],
    ids=["two in a list", "merged", "custom resource", "items of a list"],
)
def test_lines_of_unusual_yaml(tmp_path, text, expected):
    assert lines(tmp_path, text) == expected


def test_json_has_no_lines_but_that_of_its_document(tmp_path):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    text = json.dumps({**pod, "spec": {"containers": [{"name": "main", "image": "a/b:v1"}]}}, indent=2)
    assert lines(tmp_path, text, "a.json") == [1]


def test_standard_input_has_lines_and_no_name(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DEPLOYMENT.encode())))
    places, _ = placed("-")
    assert places.of(finding("sidecar", "mojaloop/event-sidecar:v14.0.0")) == Place("", 17)


def test_what_is_written_twice_is_at_the_place_of_its_image(tmp_path):
    (tmp_path / "a.yaml").write_text(DEPLOYMENT)
    (tmp_path / "b.yaml").write_text("\n" + DEPLOYMENT.replace("ledger:v1.0.0", "ledger:v2.0.0"))
    places, _ = placed(tmp_path)
    assert places.of(finding("main", "mojaloop/ledger:v1.0.0")) == Place(str(tmp_path / "a.yaml"), 16)
    assert places.of(finding("main", "mojaloop/ledger:v2.0.0")) == Place(str(tmp_path / "b.yaml"), 17)


def test_a_finding_whose_text_differs_has_the_place_of_its_container_or_workload(tmp_path):
    (tmp_path / "a.yaml").write_text(DEPLOYMENT)
    places, _ = placed(tmp_path)
    assert places.of(finding("main", "cut and escaped")).line == 16
    assert places.of(finding("", "")).line == 14
    assert places.of(finding("main", "a/b:v1", key=("other", "Deployment", "ledger"))) is None

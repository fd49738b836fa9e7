"""Manifests as Helm renders them and people keep them."""

import io
import json
import sys

import pytest

from exporter.manifests import ManifestError, read
from exporter.workloads import Manager

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ledger
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: moja, meta.helm.sh/release-namespace: mojaloop}
spec:
  replicas: 2
  template:
    metadata:
      annotations: {image-patch.mojaloop.io/strategy: minor, other: x}
    spec:
      initContainers:
        - {name: migrate, image: "mojaloop/ledger:v1.0.0"}
      containers:
        - {name: main, image: "mojaloop/ledger:v1.0.0"}
        - {name: sidecar, image: "mojaloop/event-sidecar:v14.0.0"}
"""


def found(tmp_path, text, name="a.yaml", **more):
    (tmp_path / name).write_text(text)
    return list(read([str(tmp_path / name)], **more))


def test_a_deployment(tmp_path):
    (workload,) = found(tmp_path, DEPLOYMENT, namespace="hub")
    assert workload.key == ("hub", "Deployment", "ledger")
    assert [(c.name, c.type.value, c.image, c.position) for c in workload.containers] == [
        ("migrate", "init_container", "mojaloop/ledger:v1.0.0", 0),
        ("main", "container", "mojaloop/ledger:v1.0.0", 0),
        ("sidecar", "container", "mojaloop/event-sidecar:v14.0.0", 1),
    ]
    assert workload.annotations == (("image-patch.mojaloop.io/strategy", "minor"),)
    assert workload.manager == Manager("helm", "mojaloop/moja")
    assert not workload.rollout_incomplete


def test_what_helm_template_writes(tmp_path):
    text = f"""\
---
# Source: moja/templates/empty.yaml
---
# Source: moja/templates/service.yaml
apiVersion: v1
kind: Service
metadata: {{name: x}}
---
{DEPLOYMENT}---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, namespace: other}}
spec: {{jobTemplate: {{spec: {{template: {{spec: {{containers: [{{name: main, image: "a/b:v1.0.0"}}]}}}}}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: test, annotations: {{helm.sh/hook: test, image-patch.mojaloop.io/ignore: "true"}}}}
spec: {{containers: [{{name: main, image: "a/b:v1.0.0"}}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {{generateName: "onboard-"}}
spec: {{template: {{spec: {{containers: [{{name: main, image: "a/b:v1.0.0"}}]}}}}}}
---
apiVersion: batch.volcano.sh/v1alpha1
kind: Job
metadata: {{name: somebody-elses}}
"""
    workloads = found(tmp_path, text)
    assert [str(w.key) for w in workloads] == [
        "default/Deployment/ledger",
        "other/CronJob/nightly",
        "default/Pod/test",
        "default/Job/onboard",
    ]
    assert workloads[2].annotations == (("image-patch.mojaloop.io/ignore", "true"),)


def test_lists_and_json(tmp_path):
    item = {
        "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "a/b:v1.0.0"}]}}},
    }
    whole = {**item, "apiVersion": "apps/v1", "kind": "DaemonSet"}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [whole, {"kind": "Service"}, None]})
    assert [str(w.key) for w in found(tmp_path, text, "a.json")] == ["default/DaemonSet/a"]
    text = json.dumps({"apiVersion": "apps/v1", "kind": "StatefulSetList", "items": [item]})
    assert [str(w.key) for w in found(tmp_path, text, "b.json")] == ["default/StatefulSet/a"]


def test_a_folder_and_standard_input(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.yml").write_text(DEPLOYMENT)
    (tmp_path / "values.yaml").write_text("image: {tag: v1}")
    (tmp_path / "notes.txt").write_text("no: [yaml")
    assert len(list(read([str(tmp_path)]))) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DEPLOYMENT.encode())))
    assert len(list(read(["-"]))) == 1


def test_anchors_are_taken_and_cost_nothing(tmp_path):
    levels = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))
    assert len(found(tmp_path, f"x0: &x0 [a]\n{levels}\n---\n{DEPLOYMENT}")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "line 1: this is no YAML"),
        ("a: 1\n---\nimage: {{ .Values.image }}\n{{- end }}", "run `helm template` first"),
        ("[" * 5000, "this is no YAML"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: 5", "document of line 1: this is no Deployment"),
        (
            "a: 1\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: 5}}}",
            "document of line 3: this is no Deployment",
        ),
        (DEPLOYMENT.replace("strategy: minor", "ignore: true"), "annotations"),
    ],
    ids=["YAML", "template", "deep", "metadata", "containers", "a flag that is no text"],
)
def test_what_is_no_manifest(tmp_path, text, said):
    with pytest.raises(ManifestError) as caught:
        found(tmp_path, text)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    for name in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ManifestError, match=str(name)):
            list(read([str(name)]))


def test_a_file_with_nothing_that_runs_is_said(tmp_path, caplog):
    assert found(tmp_path, "kind: Service") == []
    assert "nothing in it runs containers" in caplog.text

"""Manifests as Helm renders them and people keep them."""

import contextlib
import io
import json
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cluster.manifests import ManifestError, read
from exporter.workloads import Manager
from tests.support.manifests import DEPLOYMENT


def found(tmp_path, text, name="a.yaml", **more):
    (tmp_path / name).write_text(text)
    return read([str(tmp_path / name)], **more)


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


OPENSHIFT = """\
apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {name: ledger}
spec:
  triggers:
    - type: ImageChange
      imageChangeParams: {automatic: true, containerNames: [main], from: {kind: ImageStreamTag, name: "ledger:latest"}}
  template: {spec: {containers: [{name: main, image: "a/b:v1.0.0"}]}}
"""
ARGO = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec: {template: {spec: {containers: [{name: main, image: "a/b:v1.0.0"}]}}}
"""
REFERENCE = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: canary}
spec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: ledger}}
"""
FOREIGN = """\
apiVersion: v1
kind: Pod
metadata:
  name: a
  ownerReferences: [{apiVersion: x.io/v1, kind: Deployment, name: ledger, uid: "1", controller: true}]
spec: {containers: [{name: main, image: "a/b:v1.0.0"}]}
"""


def test_custom_resources_of_known_kinds_are_judged(tmp_path):
    config, rollout = found(tmp_path, f"{OPENSHIFT}---\n{ARGO}---\n{ARGO.replace('argoproj', 'example')}")
    assert (config.key.kind, config.image_triggers, config.containers[0].image) == (
        "DeploymentConfig",
        ("main",),
        "a/b:v1.0.0",
    )
    assert (rollout.key.kind, rollout.declared, rollout.containers[0].image) == ("Rollout", True, "a/b:v1.0.0")


def test_a_rollout_that_refers_to_a_deployment_counts_nothing_twice(tmp_path):
    documents = [REFERENCE, DEPLOYMENT]
    for order in (documents, documents[::-1]):
        (workload,) = found(tmp_path, "---\n".join(order))
        assert workload.key.kind == "Deployment"
        assert workload.annotations
        assert workload == found(tmp_path, DEPLOYMENT)[0]
    assert found(tmp_path, REFERENCE) == []


def test_a_foreign_deployment_is_not_the_real_one_of_its_name(tmp_path):
    assert {str(w.key): w.declared for w in found(tmp_path, f"{FOREIGN}---\n{DEPLOYMENT}")} == {
        "default/Deployment.x.io/ledger": False,
        "default/Deployment/ledger": True,
    }


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
    assert len(read([str(tmp_path)])) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DEPLOYMENT.encode())))
    assert len(read(["-"])) == 1


@pytest.mark.timeout(10)
@pytest.mark.parametrize("level", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merge keys"])
def test_anchors_are_taken_and_cost_nothing(tmp_path, level):
    levels = "\n".join(f"x{n}: &x{n} {level.format(', '.join([f'*x{n - 1}'] * 9))}" for n in range(1, 12))
    assert len(found(tmp_path, f"x0: &x0 {{a: b}}\n{levels}\n---\n{DEPLOYMENT}")) == 1
    assert found(tmp_path, "a: &a {<<: *a, b: &b [*b]}") == []


def test_what_an_anchor_shares_is_read(tmp_path):
    text = f"""\
x: &x {{name: ignored, image: "a/b:v1.0.0"}}
y: &y {{image: "a/b:v1.0.1"}}
{DEPLOYMENT}        - {{<<: [*y, *x], name: shared}}
"""
    (workload,) = found(tmp_path, text)
    assert [(c.name, c.image) for c in workload.containers][-1] == ("shared", "a/b:v1.0.1")


def test_text_that_only_yaml_takes_for_something_else(tmp_path):
    text = DEPLOYMENT.replace("other: x", "image-patch.mojaloop.io/image: 2026-11-21, other: =")
    (workload,) = found(tmp_path, f"enum: [=, '!=']\n---\n{text}")
    assert ("image-patch.mojaloop.io/image", "2026-11-21") in workload.annotations


def test_json_that_is_no_yaml(tmp_path):
    item = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "a", "annotations": {"smile": "\U0001f600"}},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "a/b:v1.0.0"}]}}},
    }
    assert len(found(tmp_path, json.dumps(item, indent="\t"), "a.json")) == 1


def test_what_stands_there_twice_is_judged_twice(tmp_path):
    """A base and its overlay, or Jobs of one generateName: nothing hides behind what comes later."""

    def deployment(image, annotations):
        containers = f'[{{name: main, image: "{image}"}}]' if image else "[]"
        return (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {metadata: {annotations: {"
            f"{annotations}}}}}, spec: {{containers: {containers}}}}}}}\n"
        )

    strategy, ignore = "image-patch.mojaloop.io/strategy: minor", 'image-patch.mojaloop.io/ignore: "true"'
    parts = [deployment("a/b:v1.0.0", strategy), deployment("a/c:v2.0.0", f"{strategy}, {ignore}"), deployment("", "")]
    for order in ((0, 1, 2), (2, 1, 0)):
        (workload,) = found(tmp_path, "---\n".join(parts[n] for n in order))
        assert {c.image for c in workload.containers} == {"a/b:v1.0.0", "a/c:v2.0.0"}
        assert workload.annotations == (("image-patch.mojaloop.io/strategy", "minor"),)
    (workload,) = found(tmp_path, parts[1])
    assert len(workload.annotations) == 2


@given(st.one_of(st.binary(), st.text().map(str.encode), st.text("{}[]:-&*<!=? \n\taé'\"|>").map(str.encode)))
def test_any_bytes_are_manifests_or_an_error_that_is_said(content):
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ManifestError):
            assert read([file.name]) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "a.yaml, line 1: this is not valid YAML"),
        (
            "a: 1\n---\nimage: {{ .Values.image }}\n{{- end }}",
            "a.yaml, document 2, line 5: this is not valid YAML: could not find expected ':'; "
            "this is a chart's template: run `helm template` first",
        ),
        (DEPLOYMENT.replace("name: ledger", 'name: "{{ .Release.Name }}"'), "run `helm template` first"),
        (DEPLOYMENT.replace("mojaloop/ledger:v1.0.0", "{{ .Values.image }}"), "run `helm template` first"),
        (DEPLOYMENT.replace("replicas: 2", 'replicas: "{{ .Values.replicas }}"'), "run `helm template` first"),
        ("[" * 200_000, "this is not valid YAML: it is nested more than 500 deep"),
        ("- " * 200_000, "this is not valid YAML: it is nested more than 500 deep"),
        ('{"a":' * 200_000, "this is not valid YAML"),
        ("a: b\n---\nb: \x00", "this is not valid YAML"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: 5", "a.yaml, line 1: Deployment is not valid"),
        (
            "a: 1\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: 5}}}",
            "a.yaml, document 2, line 3: Deployment is not valid: "
            "Expected `array | null`, got `int` - at `$.spec.template.spec.containers`",
        ),
        (DEPLOYMENT.replace("strategy: minor", "ignore: true"), "annotations"),
        (DEPLOYMENT.replace("  name: ledger\n", ""), "'' is not a name"),
        (DEPLOYMENT.replace("name: ledger", "name: Ledger"), "'Ledger' is not a name"),
        (DEPLOYMENT.replace("name: ledger", "namespace: a'b\n  name: ledger"), '"a\'b" is not a namespace'),
        (DEPLOYMENT.replace("name: sidecar", "name: side_car"), "'side_car' is not a container's name"),
        (DEPLOYMENT.replace("apiVersion: apps/v1\n", ""), "it has no apiVersion"),
    ],
    ids=[
        "YAML", "template", "template's name", "template's image", "template's number",
        "deep", "deep block", "deep JSON", "control character", "metadata", "containers", "a flag that is no text",
        "no name", "name", "namespace", "container", "no apiVersion",
    ],
)  # fmt: skip
def test_what_is_no_manifest(tmp_path, text, said):
    with pytest.raises(ManifestError) as caught:
        found(tmp_path, text)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    for name in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ManifestError, match=str(name)):
            read([str(name)])


def test_a_file_with_nothing_that_runs_is_said(tmp_path, caplog):
    assert found(tmp_path, "kind: Service") == []
    assert "nothing in it runs containers" in caplog.text

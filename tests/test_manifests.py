"""Manifests as Helm renders them and people keep them."""

import contextlib
import io
import json
import re
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
    config, rollout, other = found(tmp_path, f"{OPENSHIFT}---\n{ARGO}---\n{ARGO.replace('argoproj', 'example')}")
    assert str(other.key) == "default/Rollout.example.io/web"
    assert (config.key.kind, config.image_triggers, config.containers[0].image) == (
        "DeploymentConfig",
        ("main",),
        "a/b:v1.0.0",
    )
    assert (rollout.key.kind, rollout.declared, rollout.containers[0].image) == ("Rollout", True, "a/b:v1.0.0")


CUSTOM = {
    "a template, as a Deployment has": (
        "spec: {template: {metadata: {annotations: {image-patch.mojaloop.io/strategy: minor}}, "
        "spec: {containers: [{name: main, image: 'a/b:v1'}]}}}",
        ["a/b:v1"],
    ),
    "templates in a list": (
        "spec: {groups: [{template: {spec: {containers: [{name: main, image: 'a/b:v1'}]}}}, "
        "{template: {spec: {containers: [{name: main, image: 'a/b:v2'}]}}}]}",
        ["a/b:v1", "a/b:v2"],
    ),
    "a pod's specification": (
        "spec: {containers: [{name: main, image: 'a/b:v1'}], initContainers: [{name: first, image: 'a/b:v2'}]}",
        ["a/b:v2", "a/b:v1"],
    ),
    "a template of a template": (
        "spec: {jobs: [{template: {spec: {template: {spec: {containers: [{name: main, image: 'a/b:v1'}]}}}}}]}",
        ["a/b:v1"],
    ),
    "no container": ("spec: {containers: 3, template: {spec: {containers: [main]}}, image: 'a/b:v1'}", []),
    "what ran": ("status: {template: {spec: {containers: [{name: main, image: 'a/b:v1'}]}}}", []),
}


@pytest.mark.parametrize(("text", "images"), CUSTOM.values(), ids=CUSTOM)
def test_every_pod_template_of_a_custom_resource_is_judged(tmp_path, text, images):
    head = "apiVersion: apps.kruise.io/v1beta1\nkind: StatefulSet\nmetadata: {name: ledger}\n"
    workloads = found(tmp_path, head + text)
    assert [container.image for workload in workloads for container in workload.containers] == images
    assert {str(workload.key) for workload in workloads} <= {"default/StatefulSet.apps.kruise.io/ledger"}
    assert (
        found(tmp_path, head.replace("apps.kruise.io/v1beta1", "v1").replace("StatefulSet", "ConfigMap") + text) == []
    )


def test_annotations_of_a_custom_resource_s_template_count(tmp_path):
    text, _ = CUSTOM["a template, as a Deployment has"]
    (workload,) = found(tmp_path, f"apiVersion: x.io/v1\nkind: Job\nmetadata: {{name: a}}\n{text}")
    assert workload.annotations == (("image-patch.mojaloop.io/strategy", "minor"),)


@pytest.mark.parametrize(
    ("text", "line"), [("Error chart not found", 1), ("---\na: b\n---\n- a\n- b\n", 4), ("[1]", 1), ("42", 1)]
)
def test_a_document_that_is_not_a_mapping_is_an_error_with_its_line(tmp_path, text, line):
    with pytest.raises(ManifestError, match=rf"a\.yaml.*, line {line}: expected a mapping"):
        found(tmp_path, text)


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


def levels(level, count):
    """YAML in which each level has nine aliases of the one before it."""
    lines = (f"x{n}: &x{n} {level.format(', '.join([f'*x{n - 1}'] * 9))}" for n in range(1, count))
    return "\n".join(("x0: &x0 {a: b}", *lines, ""))


CONTAINERS = ", ".join(f"{{name: c{n}, image: 'a/b:v1.0.0'}}" for n in range(100))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (levels("[{}]", 12), "a.yaml, line 6: aliases repeat more than 100,000 values"),
        (levels("{{<<: [{}]}}", 12), "a.yaml, line 6: aliases repeat more than 100,000 values"),
        (
            f"x: &x [{CONTAINERS}]\napiVersion: v1\nkind: List\nitems:\n"
            + "- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: *x}}\n" * 300,
            "a.yaml, line 5: aliases repeat more than 100,000 values",
        ),
        (
            "x0: &x0 [a]\n" + "".join(f"x{n}: &x{n} [*x{n - 1}]\n" for n in range(1, 600)),
            "a.yaml, line 500: with aliases expanded, nested more than 500 levels deep",
        ),
        ("a: 1\n---\nb: &b [*b]", "a.yaml, document 2, line 3: an alias refers to a value that contains it"),
        ("a: &a {<<: *a}", "a.yaml, line 1: an alias refers to a value that contains it"),
        ("- [" + "a," * 500_000 + "]", "a.yaml, line 1: the document has more than 500,000 values; split it, or"),
    ],
    ids=["lists", "merge keys", "containers", "chain", "itself", "itself merged", "long list"],
)
def test_what_a_small_file_can_expand_to_is_bounded(tmp_path, text, said):
    with pytest.raises(ManifestError) as caught:
        found(tmp_path, text)
    assert said in str(caught.value)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("exporter.cluster.documents._LARGEST_FILE", 1 << 20)
    (tmp_path / "a.yaml").write_bytes(b"#" * (1 << 20))
    assert read([str(tmp_path / "a.yaml")]) == []
    (tmp_path / "a.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ManifestError, match=r"a\.yaml: larger than 1 MiB; split it"):
        read([str(tmp_path / "a.yaml")])


def test_what_is_shared_within_bounds_is_accepted(tmp_path):
    assert len(found(tmp_path, f"{levels('[{}]', 5)}---\n{DEPLOYMENT}")) == 1


def test_what_an_anchor_shares_is_read(tmp_path):
    text = f"""\
x: &x {{name: ignored, image: "a/b:v1.0.0"}}
y: &y {{image: "a/b:v1.0.1"}}
{DEPLOYMENT}        - {{<<: [*y, *x], name: shared}}
"""
    (workload,) = found(tmp_path, text)
    assert [(c.name, c.image) for c in workload.containers][-1] == ("shared", "a/b:v1.0.1")


@pytest.mark.parametrize("value", ["2026-11-21", "=", "1:30", "1:30.5", "190:20:30"])
def test_text_that_only_yaml_takes_for_something_else(tmp_path, value):
    text = DEPLOYMENT.replace("other: x", f"image-patch.mojaloop.io/image: {value}, other: =")
    (workload,) = found(tmp_path, f"enum: [=, '!=']\n---\n{text}")
    assert ("image-patch.mojaloop.io/image", value) in workload.annotations


@pytest.mark.timeout(60)
def test_long_numbers_cost_nothing(tmp_path):
    long = "1" + ":59" * 300_000
    assert found(tmp_path, f"a: {long}\nb: 1{':59' * 300_000}.5") == []
    collide = "\n".join(f"{number * (2**61 - 1)}: a" for number in range(20_000))
    assert found(tmp_path, collide) == []


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


_TAGS = st.sampled_from(
    ["int", "float", "bool", "null", "str", "binary", "timestamp", "omap", "pairs", "set", "seq", "map", "merge", "x/y"]
)
_VALUES = st.text("0123456789abxoeE_.:-+ =<~[]{},*&!yntT\n'\"é", max_size=20)


@given(st.lists(st.tuples(_TAGS, _VALUES), min_size=1, max_size=4))
def test_any_tag_before_any_value_is_manifests_or_an_error_with_its_place(values):
    text = "\n".join(f"k{number}: !!{tag} {value}" for number, (tag, value) in enumerate(values))
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(text.encode())
        file.flush()
        try:
            assert read([file.name]) == []
        except ManifestError as error:
            assert re.match(rf"{re.escape(file.name)}(, document \d+)?(, line \d+)?: .", str(error))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "a.yaml, line 1: invalid YAML"),
        (
            "a: 1\n---\nimage: {{ .Values.image }}\n{{- end }}",
            "a.yaml, document 2, line 5: invalid YAML: could not find expected ':'; "
            "this is a Helm template, run `helm template` first",
        ),
        (DEPLOYMENT.replace("name: ledger", 'name: "{{ .Release.Name }}"'), "run `helm template` first"),
        (DEPLOYMENT.replace("mojaloop/ledger:v1.0.0", "{{ .Values.image }}"), "run `helm template` first"),
        (DEPLOYMENT.replace("replicas: 2", 'replicas: "{{ .Values.replicas }}"'), "run `helm template` first"),
        ("[" * 200_000, "a.yaml, line 1: nested more than 500 levels deep"),
        ("- " * 200_000, "a.yaml, line 1: nested more than 500 levels deep"),
        ('{"a":' * 200_000, "a.yaml, line 1: nested more than 500 levels deep"),
        ("a: 1\n---\na:\n  b: !!int ''", "document 2, line 4: invalid YAML: '' is not of the type int"),
        ("a: !!int 1:2:3", "a.yaml, line 1: invalid YAML: '1:2:3' is a base 60 number"),
        ("a: !!int 0x", "a.yaml, line 1: invalid YAML: '0x' is not of the type int"),
        ("a: !!float x", "a.yaml, line 1: invalid YAML: 'x' is not of the type float"),
        ("a: !!bool foo", "a.yaml, line 1: invalid YAML: 'foo' is not of the type bool"),
        ("a: !!timestamp foo", "a.yaml, line 1: invalid YAML: 'foo' is not of the type timestamp"),
        ("a: !!binary é", "a.yaml, line 1: invalid YAML: failed to convert base64 data into ascii"),
        ("a: !!int [1]", "a.yaml, line 1: invalid YAML: expected a scalar node, but found sequence"),
        ("a: !Ref b", "a.yaml, line 1: invalid YAML: could not determine a constructor for the tag '!Ref'"),
        ("a: 1\nb: " + "9" * 5_000, "a.yaml, line 2: invalid YAML: '99999"),
        ("a: b\n---\nb: \x00", "invalid YAML"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: 5", "a.yaml, line 1: invalid Deployment"),
        (
            "a: 1\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: 5}}}",
            "a.yaml, document 2, line 3: invalid Deployment: "
            "Expected `array | null`, got `int` - at `$.spec.template.spec.containers`",
        ),
        (DEPLOYMENT.replace("strategy: minor", "ignore: true"), "annotations"),
        (DEPLOYMENT.replace("  name: ledger\n", ""), "'' is not a name"),
        (DEPLOYMENT.replace("name: ledger", "name: Ledger"), "'Ledger' is not a name"),
        (DEPLOYMENT.replace("name: ledger", "namespace: a'b\n  name: ledger"), '"a\'b" is not a namespace'),
        (DEPLOYMENT.replace("name: sidecar", "name: side_car"), "'side_car' is not a container's name"),
        (DEPLOYMENT.replace("apiVersion: apps/v1\n", ""), "apiVersion is missing"),
    ],
    ids=[
        "YAML", "template", "template's name", "template's image", "template's number",
        "deep", "deep block", "deep JSON", "empty int", "base 60", "hexadecimal", "float", "bool", "timestamp",
        "binary", "list", "unknown tag", "huge number", "control character", "metadata", "containers",
        "a flag that is not text", "no name", "name", "namespace", "container", "no apiVersion",
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
    assert "no workloads found" in caplog.text

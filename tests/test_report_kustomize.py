"""The kustomize component, applied by kubectl: exactly the intended images change."""

import subprocess

import pytest
import yaml

from exporter.report.kustomize import render
from exporter.workloads import WorkloadKey
from tests.support.components import need
from tests.support.findings import CURRENT, SNAPSHOT, UNKNOWN, content, finding, snapshot

DIGEST = "@sha256:" + "0a" * 32


def missed(reference, latest="v1.0.2", *, name="main", key=CURRENT.workload):
    """A container that misses a patch unless it runs that tag; `latest` is None if it cannot be judged."""
    path, _, tag = reference.partition("@")[0].rpartition(":")
    if "/" in tag or not path:
        path, tag = reference, ""
    image = path if path.partition("/")[0] in ("quay.io", "localhost:5000") else f"docker.io/{path}"
    more = {"reason": UNKNOWN.reason} if latest is None else {"latest": latest}
    return finding(
        tag, **more, key=key, name=name, reference=reference, image=image, digest=reference.partition("@")[2]
    )


def built(folder, text, references):
    """What kustomize makes of containers with these references: the references afterwards."""
    containers = [{"name": f"c{number}", "image": reference} for number, reference in enumerate(references)]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": containers}}
    (folder / "image-patches").mkdir(parents=True)
    (folder / "pod.yaml").write_text(yaml.safe_dump(pod))
    (folder / "image-patches" / "kustomization.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text("resources: [pod.yaml]\ncomponents: [image-patches]\n")
    (kubectl,) = need("kubectl")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [container["image"] for container in yaml.safe_load(done.stdout)["spec"]["containers"]]


PATCHED = "a/b:v1.0.2"
CASES = {
    "one image": (["a/b:v1.0.0"], [PATCHED]),
    "another image stays": (["a/b:v1.0.0", "a/c:v1.0.2"], [PATCHED, "a/c:v1.0.2"]),
    "a longer name stays": (["a/b:v1.0.0", "a/b-c:v1.0.2", "x/a/b:v1.0.2"], [PATCHED, "a/b-c:v1.0.2", "x/a/b:v1.0.2"]),
    "two tags of one image, one target": (["a/b:v1.0.0", "a/b:v1.0.1"], [PATCHED, PATCHED]),
    "one that is at the target": (["a/b:v1.0.0", PATCHED], [PATCHED, PATCHED]),
    "a digest": ([f"a/b:v1.0.0{DIGEST}"], [PATCHED]),
    "a port": (["localhost:5000/b:v1.0.0"], ["localhost:5000/b:v1.0.2"]),
    "the same repository by two names": (["a/b:v1.0.0", "docker.io/a/b:v1.0.0"], [PATCHED, "docker.io/a/b:v1.0.2"]),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_images_that_miss_a_patch_change_and_no_others(tmp_path, before, after):
    text = render(content(snapshot([missed(reference, name=f"c{n}") for n, reference in enumerate(before)])))
    assert built(tmp_path, text, before) == after


# The containers, each with the tag that it is offered or None if it cannot be judged; then what the note names.
REFUSED = {
    "two targets": ([("a/b:v1.0.0", "v1.0.2"), ("a/b:v2.0.0", "v2.0.1")], "v1.0.2, v2.0.1"),
    "one that is up to date on another line": ([("a/b:v1.0.0", "v1.0.2"), ("a/b:v2.0.0", "v2.0.0")], "v1.0.2, v2.0.0"),
    "one that is unknown": ([("a/b:v1.0.0", "v1.0.2"), ("a/b:latest", None)], "latest, v1.0.2"),
    "one without a tag": ([("a/b:v1.0.0", "v1.0.2"), ("a/b", None)], "no tag, v1.0.2"),
    "a digest that would be dropped": (
        [("a/b:v1.0.0", "v1.0.2"), (f"a/b:v1.0.2{DIGEST}", "v1.0.2")],
        f"v1.0.2, v1.0.2@{DIGEST[1:20]}...",
    ),
    "a name that its dot covers": ([("a/b.c:v1.0.0", "v1.0.2"), ("a/b-c:v1.0.0", "v1.0.0")], "v1.0.0, v1.0.2"),
}


@pytest.mark.parametrize(("containers", "needed"), REFUSED.values(), ids=REFUSED)
def test_what_one_entry_cannot_express_is_left_out_with_a_note(tmp_path, containers, needed):
    found = [missed(reference, latest, name=f"c{n}") for n, (reference, latest) in enumerate(containers)]
    text = render(content(snapshot(found)))
    name = containers[0][0].partition(":")[0]
    assert f"# Left out: {name}. Its containers need {needed}, but an entry sets only one tag.\n" in text
    before = [reference for reference, _ in containers]
    assert built(tmp_path, text, before) == before


def test_what_is_left_out_does_not_keep_others_from_changing(tmp_path):
    before = ["a/b:v1.0.0", "a/b:v2.0.0", "a/c:v1.0.0"]
    found = [missed(reference, "v2.0.1" if "v2" in reference else "v1.0.2", name=reference[-1]) for reference in before]
    assert built(tmp_path, render(content(snapshot(found))), before) == ["a/b:v1.0.0", "a/b:v2.0.0", "a/c:v1.0.2"]


def test_a_container_that_an_annotation_leaves_out_stays_as_it_is(tmp_path):
    before = ["a/b:v1.0.0", "a/b:v1.0.0"]
    text = render(content(snapshot([missed("a/b:v1.0.0")]), references=before))
    assert "# Left out: a/b. Its containers need v1.0.0, v1.0.2" in text
    assert built(tmp_path, text, before) == before
    text = render(content(snapshot([missed("a/b:v1.0.0")]), references=before[:1]))
    assert built(tmp_path / "2", text, before[:1]) == [PATCHED]


def test_what_is_not_shown_counts_for_what_an_entry_would_change():
    found = snapshot([missed("a/b:v1.0.0"), missed("a/b:v2.0.0", "v2.0.0", name="other")])
    assert "images: []" in render(content(found, only=["patch"]))


def test_an_address_in_brackets_is_left_out_because_nothing_would_match(tmp_path):
    reference = "[fd00::1]:5000/b:v1.0.0"
    text = render(content(snapshot([finding(reference=reference, image="[fd00::1]:5000/b")])))
    assert (
        "# Left out: [fd00::1]:5000/b. kustomize reads the name as a regular expression that does not match it." in text
    )
    assert built(tmp_path, text, [reference]) == [reference]


def test_a_watched_image_is_deployed_elsewhere():
    watched = WorkloadKey("", "Image", "b")
    found = snapshot([missed("a/b:v1.0.0"), missed("a/b:v2.0.0", "v2.0.1", key=watched, name="")])
    document = yaml.safe_load(render(content(found)))
    assert document["images"] == [{"name": "a/b", "newTag": "v1.0.2"}]
    assert yaml.safe_load(render(content(snapshot([found.findings[1]]))))["images"] == []


def test_a_tag_that_reads_as_a_number_stays_text():
    document = yaml.safe_load(render(content(snapshot([missed("a/b:1.9.1", "1.10")]))))
    assert document["images"] == [{"name": "a/b", "newTag": "1.10"}]


def test_the_document_is_a_component():
    document = yaml.safe_load(render(content(SNAPSHOT)))
    assert (document["apiVersion"], document["kind"]) == ("kustomize.config.k8s.io/v1alpha1", "Component")

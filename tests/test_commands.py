"""The commands and the advice for a workload: their text, and when there is none."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.commands import render, within_label_limit
from exporter.findings import Finding, WorkloadState
from exporter.reasons import Reason
from exporter.workloads import ContainerType, Manager, WorkloadKey, source
from tests.support.commands import DIGEST, NONE, finding, patch_command, rollback_command, template

HELM = WorkloadState(manager=Manager("helm", "mojaloop/moja"))


def advice(findings, state):
    patches = render(findings, state)
    return patches[0].advice or None if patches else None


def operations(command):
    words = shlex.split(command)
    assert words[:2] == ["kubectl", "-n"]
    assert words[-2] == "--type=json"
    assert words[-1].startswith("-p=")
    return words[2:-2], json.loads(words[-1].removeprefix("-p="))


def test_the_exact_command():
    assert patch_command([finding()], NONE) == (
        "kubectl -n mojaloop patch deployment/thing --type=json -p="
        '\'[{"op":"test","path":"/spec/template/spec/containers/0/image","value":"mojaloop/ledger:v1.0.0"},'
        '{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mojaloop/ledger:v1.0.2"}]\''
    )


def test_a_digest_goes_with_the_old_tag_and_comes_back_with_the_rollback():
    found = [finding(f"quay.io:443/a/b:v1.0.0{DIGEST}")]
    new = "quay.io:443/a/b:v1.0.2"
    assert operations(patch_command(found, NONE))[1][-1]["value"] == new
    _, back = operations(rollback_command(found, NONE))
    assert back[0] == {"op": "test", "path": "/spec/template/spec/containers/0/image", "value": new}
    assert back[1]["value"] == f"quay.io:443/a/b:v1.0.0{DIGEST}"


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (template("mojaloop/ledger:v1.0.0"), False),
        (template("mojaloop/ledger:v1.0.0", "mojaloop/ledger:v1.0.1", "redis:7.4.1"), False),
        # Ignored, or kept by an annotation: such a container has no finding that misses a patch.
        (template("mojaloop/ledger:v1.0.0", "mojaloop/ledger:v1.0.0"), True),
        (template("mojaloop/ledger:v1.0.0", init=["mojaloop/ledger:v1.0.0"]), True),
        # A rollback tests for the new reference.
        (template("mojaloop/ledger:v1.0.0", "mojaloop/ledger:v1.0.2"), True),
    ],
)
def test_a_name_is_tested_only_where_another_container_could_be_hit(state, named):
    for command in (patch_command, rollback_command):
        _, done = operations(command([finding()], state))
        assert ("/spec/template/spec/containers/0/name" in [o["path"] for o in done]) is named


def test_a_group_has_the_highest_tag_and_count_and_each_container_its_own_tag():
    kept = replace(finding(latest="v1.0.9", position=1, name="kept"), releases_behind=9)
    more = replace(finding(latest="v1.0.10"), releases_behind=10)
    (patch,) = render([kept, more], NONE)
    assert (patch.latest_tag, patch.releases_behind) == ("v1.0.10", 10)
    _, done = operations(patch.patch_command)
    assert {o["value"] for o in done if o["op"] == "replace"} == {"mojaloop/ledger:v1.0.9", "mojaloop/ledger:v1.0.10"}


def test_one_patch_for_each_image_and_tag_in_order():
    found = [finding("redis:7.4.1", latest="7.4.2"), finding(position=1), finding("mojaloop/ledger:v1.0.1", position=2)]
    assert [(patch.image, patch.tag) for patch in render(found, NONE)] == [
        ("docker.io/library/redis", "7.4.1"),
        ("docker.io/mojaloop/ledger", "v1.0.0"),
        ("docker.io/mojaloop/ledger", "v1.0.1"),
    ]


def test_a_command_that_is_too_long_for_a_label_is_replaced_by_the_way_to_print_it():
    many = [finding(name=f"c{n}", position=n) for n in range(20)]
    (patch,) = render(many, HELM)
    assert len(patch.patch_command) > 2000
    label = within_label_limit(patch)
    assert (label.patch_command, label.rollback_command) == ("", "")
    assert "mojaloop-image-patch-exporter check --cluster --namespace mojaloop --output commands" in label.advice
    assert label.advice.endswith(patch.advice)
    (short,) = render(many[:5], HELM)
    assert within_label_limit(short) is short


def test_main_and_init_containers_are_patched_by_one_command():
    found = [finding(position=1), finding("docker.io/mojaloop/ledger:v1.0.0", name="wait", init=True, position=2)]
    _, done = operations(patch_command(found, NONE))
    assert [(o["path"], o["value"]) for o in done if o["op"] == "replace"] == [
        ("/spec/template/spec/containers/1/image", "mojaloop/ledger:v1.0.2"),
        ("/spec/template/spec/initContainers/2/image", "docker.io/mojaloop/ledger:v1.0.2"),
    ]


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (finding(kind="Job"), NONE, "A Job's template is immutable"),
        (finding(kind="Pod"), NONE, "No controller manages a bare pod"),
        (
            finding(kind="StrimziPodSet.core.strimzi.io"),
            NONE,
            "where StrimziPodSet.core.strimzi.io thing is configured",
        ),
        (finding(kind="Deployment.x.io"), NONE, "where Deployment.x.io thing is configured"),
        (finding(kind="Rollout"), WorkloadState(declared=False), "where Rollout thing is configured"),
        (
            finding(),
            WorkloadState(manager=Manager("argocd", "hub")),
            "Argo CD reverts a patch: set the image to mojaloop/ledger:v1.0.2 in the sources of Application hub.",
        ),
        (
            finding(),
            WorkloadState(manager=Manager("flux", "HelmRelease flux-system/hub")),
            "HelmRelease flux-system/hub",
        ),
        (
            finding(),
            WorkloadState(manager=Manager("operator", "Kafka.kafka.strimzi.io/hub")),
            "Kafka.kafka.strimzi.io/hub",
        ),
    ],
)
def test_where_no_patch_can_work_it_is_said_what_to_change(found, state, said):
    assert patch_command([found], state) is None
    assert rollback_command([found], state) is None
    assert said in advice([found], state)
    assert "mojaloop/ledger:v1.0.2" in advice([found], state)


def test_a_watched_image_has_an_advice_and_no_command():
    found = replace(finding(kind="Image", namespace="", workload="ledger"), container="")
    (patch,) = render([found], template("mojaloop/ledger:v1.0.0"))
    assert (patch.patch_command, patch.rollback_command) == ("", "")
    assert patch.advice == "Set the image to mojaloop/ledger:v1.0.2 where it runs, then in the watch list."
    assert within_label_limit(patch) is patch


def test_a_helm_release_has_a_command_and_advice():
    state = WorkloadState(manager=Manager("helm", "mojaloop/moja"))
    assert patch_command([finding()], state) is not None
    assert advice([finding()], state) == (
        "Set the new tag in the values of the Helm release mojaloop/moja as well: otherwise the next upgrade restores "
        "the old image (Helm 3) or fails with a field-manager conflict "
        "(Helm 4; --force-conflicts or --server-side=false helps)."
    )
    assert advice([finding()], NONE) is None


def test_an_image_change_trigger_is_named_where_it_sets_a_container_that_is_patched():
    state = WorkloadState(image_triggers=("main", "other"))
    config = finding(kind="DeploymentConfig")
    assert advice([config], state) == (
        "An ImageChange trigger sets the image of main from an image stream tag and may restore the old image: "
        "import mojaloop/ledger:v1.0.2 into that tag, or remove the trigger."
    )
    assert patch_command([config], state) is not None
    both = [replace(config, container="other"), config, replace(config, container="third")]
    assert "the image of main, other from" in advice(both, state)
    assert advice([finding(kind="DeploymentConfig", name="third")], state) is None
    assert advice([replace(config, latest_tag="v1.0.0"), finding(kind="DeploymentConfig", name="third")], state) is None
    helm = advice([config], replace(state, manager=HELM.manager))
    assert "ImageChange" in helm
    assert "Helm release mojaloop/moja" in helm


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Deployment", "deployment"),
        ("ReplicationController", "replicationcontroller"),
        ("Rollout", "rollout.argoproj.io"),
        ("DeploymentConfig", "deploymentconfig.apps.openshift.io"),
    ],
)
def test_a_command_names_the_group_of_a_custom_resource(kind, resource):
    words, done = operations(patch_command([finding(kind=kind)], NONE))
    assert words[2] == f"{resource}/thing"
    assert done[1]["path"] == "/spec/template/spec/containers/0/image"


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_pods_of_a_revision_are_not_replaced(kind):
    assert advice([finding(kind=kind)], NONE) == "Running pods keep the old image until they are deleted."


def test_nothing_to_patch_is_no_command():
    unknown = Finding(
        workload=WorkloadKey("a", "Deployment", "b"),
        container="c",
        container_type=ContainerType.CONTAINER,
        position=0,
        reference="",
        image="",
        tag="",
    )
    for found in ([], [finding(latest="v1.0.0")], [unknown], [unknown, finding(latest="v1.0.0")]):
        assert patch_command(found, NONE) is None
        assert rollback_command(found, NONE) is None
    assert advice([unknown], NONE) is None


def test_what_misses_no_patch_stays_beside_what_does():
    kept, missed = finding(latest="v1.0.0"), finding(name="other", position=1)
    unknown = replace(kept, latest_tag=None, reason=Reason.INVALID_ANNOTATION)
    for other in (kept, unknown):
        for command in (patch_command, rollback_command):
            assert command([other, missed], NONE) == command([missed, other], NONE) == command([missed], NONE)
        assert advice([other, missed], HELM) == advice([missed], HELM)


@given(st.sampled_from(["argocd", "flux", "operator", "helm"]), st.text(), st.text())
@example("argocd", "hub\nrm -rf ~ #", "hub")
@example("argocd", "hub $(reboot)", "hub")
@example("helm", "```\u2028reboot", "x")
@example("helm", "<!channel> <https://evil.example|notes> ```kubectl delete ns mojaloop```", "moja")
@example("helm", "moja run kubectl delete", "moja")
@example("helm", "a" * 200, "b" * 200)
def test_a_source_that_is_not_a_name_is_empty_and_the_advice_says_nothing_that_a_shell_reads(manager, first, second):
    found = source(first, second, prefix="HelmRelease ")
    said = advice([finding()], WorkloadState(manager=Manager(manager, found)))
    assert said.splitlines() == [said]
    assert re.fullmatch(r"[A-Za-z0-9 ._/:,;()=-]+", said)
    assert ("new tag" if manager == "helm" else "mojaloop/ledger:v1.0.2") in said
    assert re.fullmatch(r"|HelmRelease [a-z0-9._-]+/[a-z0-9._-]+", found)
    assert len(found) <= 253


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (source("hub"), "hub"),
        (source("argocd_hub"), "argocd_hub"),
        (source("mojaloop", "moja"), "mojaloop/moja"),
        (source("flux-system", "hub", prefix="Kustomization "), "Kustomization flux-system/hub"),
        (source("hub", prefix="Kafka.kafka.strimzi.io/"), "Kafka.kafka.strimzi.io/hub"),
        (source(""), ""),
        (source("Hub"), ""),
        (source("hub", prefix="kafka/"), ""),
        (source("moja\n"), ""),
    ],
)
def test_a_source_is_a_name(found, expected):
    assert found == expected
    for manager in ("argocd", "flux", "operator", "helm"):
        assert f" {expected}" in advice([finding()], WorkloadState(manager=Manager(manager, found)))


_name = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\Z")


_reference = st.builds(
    lambda host, path, tag, digest: f"{host}{path}:{tag}{digest}",
    st.sampled_from(["", "quay.io/", "localhost:5000/", "[::1]:5000/"]),
    st.from_regex(r"\A[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+)?\Z"),
    st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,20}\Z"),
    st.sampled_from(["", DIGEST]),
)


@given(_name, _name, _reference)
def test_no_name_or_reference_leaves_its_quotes(namespace, name, reference):
    main = finding(reference, namespace=namespace, name=name, latest="v9-x")
    found = [main, replace(main, container_type=ContainerType.INIT_CONTAINER)]
    both = template(reference, init=[reference])
    for command in (patch_command(found, both), rollback_command(found, both)):
        assert command.count("'") == 2, "the quotes around the patch are the only ones"
        assert command.endswith("'")
        words, done = operations(command)
        assert words == [namespace, "patch", "deployment/thing"]
        assert [o["value"] for o in done if o["path"].endswith("/name")] == [name, name]
        assert reference in [o["value"] for o in done]


def test_the_containers_of_a_template_are_counted_once_for_all_of_its_images():
    class Counted(tuple):
        __slots__ = ()
        read = 0

        def __iter__(self):
            Counted.read += 1
            return super().__iter__()

    images = [f"mojaloop/ledger{number}:v1.0.0" for number in range(50)]
    state = replace(template(*images), containers=Counted(template(*images).containers))
    patches = render([finding(image, position=number) for number, image in enumerate(images)], state)
    assert len(patches) == 50
    assert Counted.read == 1


def test_an_advice_names_a_few_containers_of_many():
    names = tuple(f"c{number}" for number in range(9))
    state = WorkloadState(image_triggers=names)
    found = [finding(kind="DeploymentConfig", name=name, position=number) for number, name in enumerate(names)]
    assert "sets the image of c0, c1, c2, c3, c4 and 4 more from an image stream tag" in advice(found, state)


UID = "6f2b0a5c-0000-4000-8000-1234567890ab"


def approve_command(findings, *, uid=UID, approvable=True, **state):
    (patch,) = render(findings, WorkloadState(uid=uid, **state), approvable=approvable)
    return patch.approve_command


def test_the_exact_command_that_approves():
    assert approve_command([finding(), finding(name="other", position=1)]) == (
        """printf '{"apiVersion":"image-patch.mojaloop.io/v1alpha1","kind":"ImagePatchApproval","""
        """"metadata":{"generateName":"thing-","namespace":"mojaloop"},"""
        """"spec":{"workload":{"group":"apps","kind":"Deployment","name":"thing","uid":"6f2b0a5c-0000-4000-8000-1234567890ab"},"""
        """"containers":[{"name":"main","image":"mojaloop/ledger:v1.0.0"},"""
        """{"name":"other","image":"mojaloop/ledger:v1.0.0"}],"from":"v1.0.0","to":"v1.0.2","approvedBy":"%s"}}' """
        """"$(kubectl auth whoami -o jsonpath={.status.userInfo.username})" | kubectl create -f -"""
    )


@pytest.mark.parametrize(
    ("found", "more"),
    [
        (finding(), {"approvable": False}),
        (finding(), {"uid": ""}),
        (finding(), {"uid": "%s"}),
        (finding(), {"manager": Manager("argocd", "hub")}),
        (finding(), {"declared": False}),
        (finding(kind="Job"), {}),
        (finding(kind="Rollout"), {}),
        (finding(kind="StrimziPodSet.core.strimzi.io"), {}),
    ],
)
def test_no_command_approves_what_would_be_refused(found, more):
    assert approve_command([found], **more) == ""


def test_an_approval_is_about_the_containers_that_are_offered_its_tag():
    command = approve_command([finding(), finding(name="kept", position=1, latest="v1.0.1")])
    document = json.loads(shlex.split(command)[1])
    assert [container["name"] for container in document["spec"]["containers"]] == ["main"]
    assert document["spec"]["to"] == "v1.0.2"


def test_a_long_name_leaves_room_for_what_makes_it_unique():
    command = approve_command([finding(workload=f"{'a' * 49}.b")])
    assert json.loads(shlex.split(command)[1])["metadata"]["generateName"] == f"{'a' * 49}-"

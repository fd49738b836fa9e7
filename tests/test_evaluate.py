"""Which question a container leads to, or which permanent reason."""

from dataclasses import replace

import pytest

from exporter.annotations import PREFIX
from exporter.evaluate import Ask, Evaluator
from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import RegistryError
from exporter.verdicts import Question, Verdict
from exporter.versions import Strategy
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey, reference_key

KEY = WorkloadKey("mojaloop", "Deployment", "ledger")
LEDGER = Repository("docker.io", "mojaloop/central-ledger")
VERDICT = Verdict(
    latest="v1.0.2", behind=2, published=500.0, first_seen=1_000.0, undated=None, minor="v1.1.0", major="v2.0.0"
)


def lookup_repository(repository, instead=None):
    if instead is not None and instead.registry == "private.example":
        raise RegistryError("add allow_annotations", reason=Reason.REGISTRY_NOT_ALLOWED)
    repository = instead or repository
    if repository.registry == "denied.example":
        raise RegistryError("not on the allow list", reason=Reason.REGISTRY_NOT_ALLOWED)
    return repository


EVALUATOR = Evaluator(
    strategy=Strategy.PATCH, selects_image=lambda name: "sidecar" not in name, lookup_repository=lookup_repository
)


class Pairs(list):
    """Annotations that count how often they are read."""

    read = 0

    def __iter__(self):
        self.read += 1
        return super().__iter__()


def pod(count, annotations=()):
    containers = tuple(
        Container(f"c{number}", ContainerType.CONTAINER, "mojaloop/central-ledger:v1.0.0", number)
        for number in range(count)
    )
    return Workload(key=KEY, containers=containers, annotations=annotations)


def evaluate(*images, key=KEY, name="app", **annotations):
    said = tuple((PREFIX + option.replace("_", "-"), value) for option, value in annotations.items())
    containers = tuple(Container(name, ContainerType.CONTAINER, image, 0) for image in images)
    return EVALUATOR.evaluate(Workload(key=key, containers=containers, annotations=said))


def test_a_version_is_asked_of_its_repository():
    (item,), ignored = evaluate("mojaloop/central-ledger:v1.0.0@sha256:" + "a" * 64)
    assert (item.ask, ignored) == (Ask(LEDGER, Question("v1.0.0")), 0)
    found = item.finding
    assert (found.image, found.tag, found.digest) == (str(LEDGER), "v1.0.0", "sha256:" + "a" * 64)
    assert (found.reason, found.patch_available) == (Reason.PENDING, None)


@pytest.mark.parametrize(
    ("annotations", "ask"),
    [
        ({"strategy": "minor"}, Ask(LEDGER, Question("v1.0.0", Strategy.MINOR))),
        (
            {"include_tags": "v1.*", "exclude_tags": ".*2"},
            Ask(LEDGER, Question("v1.0.0", include="v1.*", exclude=".*2")),
        ),
        ({"image": "quay.io/hub/ledger"}, Ask(Repository("quay.io", "hub/ledger"), Question("v1.0.0"))),
    ],
)
def test_annotations_change_the_question_and_never_the_image(annotations, ask):
    (item,), _ = evaluate("mojaloop/central-ledger:v1.0.0", **annotations)
    assert (item.ask, item.finding.image) == (ask, str(LEDGER))


@pytest.mark.parametrize(
    ("image", "annotations", "reason"),
    [
        ("a/b:v1.0.0$(id)", {}, Reason.INVALID_REFERENCE),
        ("redis:6", {}, Reason.FLOATING_TAG),
        ("redis", {}, Reason.FLOATING_TAG),
        ("a/b:test-ci", {}, Reason.NOT_A_VERSION),
        ("a/b@sha256:" + "a" * 64, {}, Reason.DIGEST_ONLY),
        ("denied.example/a/b:v1.0.0", {}, Reason.REGISTRY_NOT_ALLOWED),
        ("mojaloop/central-ledger:v1.0.0", {"image": "denied.example/a/b"}, Reason.REGISTRY_NOT_ALLOWED),
        ("mojaloop/central-ledger:v1.0.0", {"image": "private.example/a/b"}, Reason.REGISTRY_NOT_ALLOWED),
        ("mojaloop/central-ledger:v1.0.0", {"strategy": "newest"}, Reason.INVALID_ANNOTATION),
    ],
)
def test_a_container_that_cannot_be_judged_has_a_permanent_reason_and_no_question(image, annotations, reason):
    (item,), ignored = evaluate(image, **annotations)
    assert (item.finding.reason, item.ask, ignored) == (reason, None, 0)
    assert reason.permanent


@pytest.mark.parametrize(
    ("image", "more"),
    [
        ("mojaloop/central-ledger:v1.0.0", {"ignore": "true"}),
        ("mojaloop/event-sidecar:v1.0.0", {}),
        ("mojaloop/central-ledger:v1.0.0", {"name": "$(id)"}),
        ("mojaloop/central-ledger:v1.0.0", {"key": KEY._replace(name="a b")}),
        ("mojaloop/central-ledger:v1.0.0", {"key": KEY._replace(namespace="`id`")}),
        ("mojaloop/central-ledger:v1.0.0", {"key": KEY._replace(kind="x;y")}),
    ],
    ids=["annotation", "configuration", "container", "workload", "namespace", "kind"],
)
def test_a_container_that_is_left_out_is_counted(image, more):
    assert evaluate(image, **more) == ([], 1)


def test_a_reference_without_a_workload_needs_no_names():
    (item,), _ = evaluate("mojaloop/central-ledger:v1.0.0", key=reference_key(0), name="")
    assert item.ask == Ask(LEDGER, Question("v1.0.0"))


def test_of_several_tags_of_one_image_in_one_container_the_lowest_is_kept():
    items, ignored = evaluate("a/b:v1.0.10", "a/b:v1.0.9", "c/d:v3.0.0")
    assert [(item.finding.image, item.finding.tag) for item in items] == [
        ("docker.io/a/b", "v1.0.9"),
        ("docker.io/c/d", "v3.0.0"),
    ]
    assert ignored == 0


@pytest.mark.parametrize(
    ("failure", "reason"), [(Reason.PENDING, Reason.TAG_NOT_FOUND), (Reason.UNREACHABLE, Reason.UNREACHABLE)]
)
def test_a_tag_that_its_repository_lacks_is_unknown_and_nothing_else_is_said_of_it(failure, reason):
    (item,), _ = evaluate("mojaloop/central-ledger:v1.0.0")
    item.update(VERDICT, Reason.PENDING)
    item.update(replace(VERDICT, latest="v1.0.0", behind=0, found=False), failure)
    found = item.finding
    assert (found.reason, found.patch_available) == (reason, None)
    assert [found.latest_tag, found.releases_behind, found.published, found.first_seen] == [None] * 4
    assert [found.minor, found.major] == [None] * 2
    item.update(VERDICT, Reason.PENDING)
    assert (item.finding.reason, item.finding.latest_tag) == (None, "v1.0.2")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Bad Image!!", "Bad Image!!"),
        ("a\x1b[2Jb\n", "a\\x1b[2Jb\\n"),
        ("\udcff", "\\udcff"),
        ("A" * 999, "A" * 300 + "..."),
    ],
)
def test_an_invalid_reference_keeps_its_text_in_print(written, shown):
    (item,), _ = evaluate(written)
    assert (item.finding.reason, item.finding.reference) == (Reason.INVALID_REFERENCE, shown)
    assert (item.finding.image, item.finding.tag) == ("", "")


def test_an_answer_replaces_the_reason_and_an_equal_one_leaves_the_finding_as_it_is():
    (item,), _ = evaluate("mojaloop/central-ledger:v1.0.0")
    item.update(None, Reason.UNREACHABLE)
    assert item.finding.reason is Reason.UNREACHABLE
    item.update(VERDICT, Reason.PENDING)
    found = item.finding
    assert (found.reason, found.latest_tag, found.releases_behind, found.published, found.first_seen) == (
        None, "v1.0.2", 2, 500.0, 1_000.0,
    )  # fmt: skip
    assert (found.minor, found.major, found.patch_available) == ("v1.1.0", "v2.0.0", True)
    item.update(VERDICT, Reason.PENDING)
    assert item.finding is found


@pytest.mark.parametrize(
    ("annotations", "limit"),
    [
        ([(f"include-tags.c{number}", f"v{number}.*") for number in range(17)], Limit.EXPRESSIONS),
        ([("include-tags", r"\pL{1000}")], Limit.EXPRESSION_MEMORY),
        ([("exclude-tags", "v" * 257)], Limit.EXPRESSION_LENGTH),
        ([(f"ignore.c{number}", "false") for number in range(257)], Limit.ANNOTATION_COUNT),
    ],
)
def test_annotations_that_cost_too_much_are_refused_counted_once_and_logged_once(annotations, limit, caplog):
    exceeded = []
    annotations = tuple((PREFIX + key, value) for key, value in annotations)
    items, ignored = replace(EVALUATOR, exceeded=exceeded.append).evaluate(pod(20, annotations))
    assert {(item.finding.reason, item.ask) for item in items} == {(Reason.LIMIT_EXCEEDED, None)}
    assert (len(items), ignored, exceeded) == (20, 0, [limit])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(("named", "container"), [(20, "c0"), (0, "")], ids=["named", "without containers"])
def test_a_workload_that_exceeds_a_limit_is_one_finding(named, container):
    ((item,), ignored) = EVALUATOR.evaluate(replace(pod(named), limit_exceeded=True))
    found = item.finding
    assert (found.reason, item.ask, ignored) == (Reason.LIMIT_EXCEEDED, None, 0)
    assert (found.workload, found.container, found.image, found.tag, found.reference) == (KEY, container, "", "", "")


def test_annotations_are_read_once_however_many_containers_there_are():
    pairs = Pairs([(PREFIX + "strategy", "minor"), (PREFIX + "strategy.c7", "major")])
    items, _ = EVALUATOR.evaluate(pod(100, pairs))
    assert [item.ask.question.strategy for item in items].count(Strategy.MINOR) == 99
    assert items[7].ask.question.strategy is Strategy.MAJOR
    assert pairs.read == 1


def test_an_annotation_that_belongs_elsewhere_changes_nothing_and_is_logged(caplog):
    items, _ = EVALUATOR.evaluate(pod(2, ((PREFIX + "approved-by", "anna"), (PREFIX + "strategy.nobody", "minor"))))
    assert [item.ask for item in items] == [Ask(LEDGER, Question("v1.0.0"))] * 2
    assert caplog.messages == [
        "mojaloop/Deployment/ledger: ignored: image-patch.mojaloop.io/approved-by is not an option; "
        "ignored: image-patch.mojaloop.io/strategy.nobody names no container"
    ]


def test_whatever_is_wrong_in_a_workload_is_one_short_line(caplog):
    workload = pod(100, tuple((f"{PREFIX}strategy.c{number}", f"\n\x1b[31m{number}") for number in range(100)))
    named = tuple(replace(c, name=c.name if c.position else "\u202ename" * 500) for c in workload.containers)
    items, ignored = EVALUATOR.evaluate(replace(workload, containers=named))
    assert (len(items), ignored) == (99, 1)
    (line,) = caplog.messages
    assert line.endswith("; and 98 more")
    assert line.isprintable()
    assert len(line) < 1_100

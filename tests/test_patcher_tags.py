"""Whether a tag may take the place of a running one."""

import msgspec
import pytest

from exporter.patcher.approvals import Reason, decode
from exporter.patcher.tags import KEPT_SECONDS, Tags, refused_tag
from exporter.reasons import Reason as Unknown
from exporter.registry import RegistryError
from exporter.versions import Strategy
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey
from tests.support.approvals import BEFORE, approval
from tests.support.patching import Clock, KnownTags

pytestmark = pytest.mark.anyio
NAMES = ("v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0", "v2.0.0", "v1.0.1-snapshot.1", "v1.0.1-snapshot.2", "v1.0.0-pisp")


@pytest.mark.parametrize(
    ("running", "to", "expected"),
    [
        ("v1.0.0", "v1.0.1", None),
        ("v1.0.0", "v1.0.2", None),
        ("v1.0.0", "v1.1.0", Reason.NOT_A_PATCH),
        ("v1.0.0", "v1.0.1-snapshot.1", Reason.NOT_A_PATCH),
        ("v1.0.0", "v1.0.0-pisp", Reason.NOT_NEWER),
        ("v1.0.0", "v1.0.1-pisp", Reason.NOT_A_PATCH),
        ("v1.0.0", "1.0.1", Reason.NOT_A_PATCH),
        ("v1.0.0", "latest", Reason.NOT_A_PATCH),
        ("v1.0.1", "v1.0.0", Reason.NOT_NEWER),
        ("v1.0.1", "v1.0.1", Reason.NOT_NEWER),
        # Where finals are offered, a later build is not.
        ("v1.0.1-snapshot.1", "v1.0.1-snapshot.2", Reason.NOT_A_PATCH),
        ("v1.0.1-snapshot.1", "v1.0.2", None),
        ("v1.0.1-snapshot.1", "v1.0.1", Reason.NOT_A_PATCH),
        ("v3.0.0-snapshot.1", "v3.0.0-snapshot.2", None),
    ],
)
def test_what_a_running_tag_may_be_replaced_by(running, to, expected):
    answer = refused_tag(running, to, names=NAMES, strategy=Strategy.PATCH)
    assert (answer.reason if answer else None) is expected


@pytest.mark.parametrize(
    "names",
    [
        ["v1.0.1", "v1.0.9", "v1.0.10", "v1.0.11-rc.1", "v1.1.0"],
        ["v1.1.0", "v1.0.11-rc.1", "v1.0.10", "v1.0.9", "v1.0.1"],
        ["v1.0.9", "v1.1.0", "v1.0.11-rc.1", "v1.0.10", "v1.0.1"],
    ],
)
def test_a_refusal_names_the_newest_tag_that_is_offered(names):
    answer = refused_tag("v1.0.0", "v1.1.0", names=names, strategy=Strategy.PATCH)
    assert answer.text == "v1.0.0 is offered v1.0.10, not v1.1.0."
    narrowed = refused_tag(
        "v1.0.0", "v1.1.0", names=names, strategy=Strategy.PATCH, accept=lambda tag: not tag.endswith("10")
    )
    assert narrowed.text == "v1.0.0 is offered v1.0.9, not v1.1.0."


@pytest.mark.parametrize(("strategy", "to"), [(Strategy.MINOR, "v1.1.0"), (Strategy.MAJOR, "v2.0.0")])
def test_a_strategy_lets_more_of_a_version_rise(strategy, to):
    assert refused_tag("v1.0.0", to, names=NAMES, strategy=strategy) is None


def test_a_final_that_is_known_to_be_younger_takes_the_place_of_its_snapshot():
    def answer(**more):
        return refused_tag("v1.0.1-snapshot.1", "v1.0.1", names=NAMES, strategy=Strategy.PATCH, **more)

    assert answer() is not None
    assert answer(final_is_younger=True) is None


class Asked:
    """Answers for a workload with annotations, from a registry."""

    def __init__(self, registry):
        self.registry, self.clock = registry, Clock()
        self.tags = Tags(registry, strategy=Strategy.PATCH, monotonic=self.clock)

    async def __call__(self, to="v1.0.1", running="v1.0.0", **annotations):
        image = BEFORE.replace("v1.0.0", running)
        document = approval(to=to, from_=running, containers=[{"name": "main", "image": image}])
        pairs = tuple((f"image-patch.mojaloop.io/{name}", value) for name, value in annotations.items())
        workload = Workload(
            key=WorkloadKey("hub", "Deployment", "thing"),
            containers=(Container("main", ContainerType.CONTAINER, image, 0),),
            annotations=pairs,
        )
        return await self.tags.answer(decode(msgspec.json.encode(document)), workload)


async def test_many_approvals_of_an_image_are_one_request_a_minute():
    ask = Asked(KnownTags(*NAMES))
    for _ in range(50):
        assert (await ask()).reason is None
    assert ask.registry.asked == 1
    ask.clock.now += KEPT_SECONDS + 1
    await ask()
    assert ask.registry.asked == 2


async def test_a_registry_that_fails_is_not_asked_again_at_once_either():
    ask = Asked(KnownTags(error=RegistryError("down", reason=Unknown.UNREACHABLE)))
    for _ in range(5):
        answer = await ask()
        assert (answer.reason, answer.passing) == (Reason.REGISTRY_UNAVAILABLE, True)
    assert ask.registry.asked == 1


async def test_publish_times_decide_about_a_snapshot_and_its_final():
    younger = {"v1.0.1": 2.0, "v1.0.1-snapshot.1": 1.0}
    assert (await Asked(KnownTags(*NAMES, dates=younger))("v1.0.1", "v1.0.1-snapshot.1")).reason is None
    older = {"v1.0.1": 1.0, "v1.0.1-snapshot.1": 2.0}
    answer = await Asked(KnownTags(*NAMES, dates=older))("v1.0.1", "v1.0.1-snapshot.1")
    assert answer.reason is Reason.NOT_A_PATCH


async def test_a_tag_that_moves_has_no_patches():
    answer = await Asked(KnownTags("latest", "v1.0.1"))("v1.0.1", "latest")
    assert (answer.reason, answer.text) == (Reason.NOT_A_PATCH, "latest has no patches (floating tag).")

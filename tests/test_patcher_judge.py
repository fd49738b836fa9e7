"""Every reason for which an approval is refused, on a model of the cluster that answers the patcher's requests."""

import pytest

from exporter.patcher.approvals import Reason
from exporter.patcher.judge import REFUSALS
from exporter.patcher.settings import Settings
from exporter.reasons import Reason as Unknown
from exporter.registry import RegistryError
from tests.support.approvals import BEFORE, approval
from tests.support.model_cluster import ModelCluster, ModelTransport, set_image, workload
from tests.support.patching import Always, Clock, KnownTags, Patcher

pytestmark = pytest.mark.anyio
ANNOTATION = "image-patch.mojaloop.io/"


class Case:
    """An approval of a healthy Deployment, which each row of the table changes."""

    def __init__(self, kind="Deployment"):
        self.kind, self.plural = kind, f"{kind.lower()}s"
        self.cluster = ModelCluster()
        self.cluster.add(self.plural, workload(kind))
        self.cluster.settle()
        self.spec, self.settings, self.registry = {}, {}, KnownTags("v1.0.0", "v1.0.1", "v1.1.0")
        self.uid = self.cluster.get(self.plural, "thing")["metadata"]["uid"]
        self.approved = {}

    def change(self, *keys, **values):
        """Set fields of the workload."""

        def apply(document):
            for key in keys:
                document = document.setdefault(key, {})
            document.update(values)

        self.cluster.edit(self.plural, "thing", apply)
        self.cluster.settle()

    async def status(self, *, cycles=3):
        document = approval(self.kind, **{"uid": self.uid, **self.spec})
        self.cluster.add("imagepatchapprovals", document)
        settings = Settings(**{"soak": 5.0, **self.settings})
        patcher = Patcher(
            ModelTransport(self.cluster), Clock(), windows=Always(), settings=settings, registry=self.registry
        )
        engine = patcher.engine()
        for _ in range(cycles):
            await engine.cycle()
        return self.cluster.get("imagepatchapprovals", "one")["status"]


def template(case, **annotations):
    named = {f"{ANNOTATION}{name.replace('_', '-')}": value for name, value in annotations.items()}
    case.change("spec", "template", "metadata", annotations=named)


def gone(case):
    case.cluster.remove("deployments", "thing")


def unhealthy(case):
    case.cluster.behaviours[BEFORE] = "crashes"
    case.cluster.tick(100.0)


ROWS = {
    "no such tag by the grammar": (Reason.INVALID, lambda c: c.spec.update(to="a tag")),
    "no reference": (Reason.INVALID, lambda c: c.spec.update(containers=[{"name": "main", "image": "A:b"}])),
    "no container": (Reason.INVALID, lambda c: c.spec.update(containers=[])),
    "two repositories": (
        Reason.INVALID,
        lambda c: c.spec.update(
            containers=[{"name": "main", "image": BEFORE}, {"name": "other", "image": "mojaloop/other:v1.0.0"}]
        ),
    ),
    "another tag than from": (Reason.INVALID, lambda c: c.spec.update(from_="v0.9.0")),
    "expired": (Reason.EXPIRED, lambda c: c.spec.update(expires="2026-01-01T00:00:00Z")),
    "expired by default": (Reason.EXPIRED, lambda c: c.settings.update(expiry=-1e9)),
    "not selected": (Reason.NOT_SELECTED, lambda c: c.settings.update(selects=lambda _: False)),
    "a Job": (Reason.UNSUPPORTED_KIND, lambda c: setattr(c, "kind", "Job")),
    "a bare pod": (Reason.UNSUPPORTED_KIND, lambda c: setattr(c, "kind", "Pod")),
    "gone": (Reason.WORKLOAD_NOT_FOUND, gone),
    "being deleted": (
        Reason.WORKLOAD_NOT_FOUND,
        lambda c: c.change("metadata", deletionTimestamp="2026-11-21T20:00:00Z"),
    ),
    "created again": (Reason.UID_CHANGED, lambda c: setattr(c, "uid", "uid-99")),
    "its own release": (
        Reason.OWN_RELEASE,
        lambda c: (
            c.settings.update(own_release="hub/patcher"),
            c.change("metadata", "labels", **{"app.kubernetes.io/managed-by": "Helm"}),
            c.change("metadata", "annotations", **{"meta.helm.sh/release-name": "patcher"}),
        ),
    ),
    "no such container": (
        Reason.CONTAINER_NOT_FOUND,
        lambda c: c.spec.update(containers=[{"name": "other", "image": BEFORE}]),
    ),
    "another image": (
        Reason.IMAGE_CHANGED,
        lambda c: c.cluster.edit("deployments", "thing", lambda d: set_image(d, "mojaloop/ledger:v1.0.1")),
    ),
    "Argo CD": (Reason.MANAGED, lambda c: c.change("metadata", "labels", **{"argocd.argoproj.io/instance": "hub"})),
    "Flux": (Reason.MANAGED, lambda c: c.change("metadata", "labels", **{"kustomize.toolkit.fluxcd.io/name": "hub"})),
    "an operator": (
        Reason.MANAGED,
        lambda c: c.change(
            "metadata",
            ownerReferences=[{"apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "name": "hub", "controller": True}],
        ),
    ),
    "ignored by annotation": (Reason.IGNORED, lambda c: template(c, ignore="true")),
    "an annotation that is not valid": (Reason.INVALID_ANNOTATION, lambda c: template(c, strategy="all")),
    "excluded by annotation": (Reason.NOT_A_PATCH, lambda c: template(c, exclude_tags=".*1")),
    "another line": (Reason.NOT_A_PATCH, lambda c: c.spec.update(to="v1.1.0")),
    "the same tag": (Reason.NOT_NEWER, lambda c: c.spec.update(to="v1.0.0")),
    "an older tag": (
        Reason.NOT_NEWER,
        lambda c: (c.spec.update(to="v0.9.9"), setattr(c, "registry", KnownTags("v0.9.9"))),
    ),
    "a tag that the registry does not have": (Reason.TAG_NOT_FOUND, lambda c: c.spec.update(to="v1.0.7")),
    "a registry that must not be asked": (
        Reason.REGISTRY_NOT_ALLOWED,
        lambda c: setattr(c, "registry", KnownTags(error=RegistryError("no", reason=Unknown.REGISTRY_NOT_ALLOWED))),
    ),
    "paused": (Reason.PAUSED, lambda c: c.change("spec", paused=True)),
    "zero replicas": (Reason.NOTHING_RUNS, lambda c: c.change("spec", replicas=0)),
    "unhealthy": (Reason.UNHEALTHY, unhealthy),
}
STATEFUL = {
    "OnDelete": (Reason.ON_DELETE, lambda c: c.change("spec", updateStrategy={"type": "OnDelete"})),
    "OrderedReady": (Reason.ORDERED_READY, lambda _: None),
    "a partition that holds all pods": (
        Reason.NOTHING_UPDATES,
        lambda c: c.change("spec", podManagementPolicy="Parallel", updateStrategy={"rollingUpdate": {"partition": 2}}),
    ),
}
# The template can only change after the approval was accepted; a test of its own shows it.
ELSEWHERE = {Reason.TEMPLATE_CHANGED}


@pytest.mark.parametrize("row", ROWS)
async def test_an_approval_is_refused(row):
    reason, change = ROWS[row]
    case = Case()
    change(case)
    await refused(case, reason)


@pytest.mark.parametrize("row", STATEFUL)
async def test_an_approval_of_a_stateful_set_is_refused(row):
    reason, change = STATEFUL[row]
    case = Case("StatefulSet")
    change(case)
    await refused(case, reason)


async def test_a_daemon_set_with_nothing_scheduled_is_refused():
    case = Case("DaemonSet")
    status = {"desiredNumberScheduled": 0, "observedGeneration": 1}
    case.cluster.get("daemonsets", "thing")["status"] = status
    await refused(case, Reason.NOTHING_RUNS)


async def refused(case, reason):
    patches = case.cluster.patches()
    status = await case.status()
    assert (status["state"], status["reason"]) == ("Refused", reason.value), status
    assert status["message"].endswith("."), status["message"]
    assert case.cluster.patches() == patches == []
    accepted = next(condition for condition in status["conditions"] if condition["type"] == "Accepted")
    assert accepted["status"] == "False"


def test_the_table_above_has_every_row_of_the_table():
    shown = {reason for reason, _ in (*ROWS.values(), *STATEFUL.values())} | ELSEWHERE
    assert {row.reason for row in REFUSALS} <= shown


async def test_kube_system_is_patched_only_where_it_is_named():
    case = Case()
    for key in list(case.cluster.objects):
        case.cluster.objects[key[0], "kube-system", key[2]] = case.cluster.objects.pop(key)
    case.cluster.get("deployments", "thing", namespace="kube-system")["metadata"]["namespace"] = "kube-system"

    async def state(**settings):
        document = approval(uid=case.uid, namespace="kube-system")
        case.cluster.add("imagepatchapprovals", document, namespace="kube-system")
        patcher = Patcher(ModelTransport(case.cluster), Clock(), settings=Settings(**settings))
        await patcher.engine().cycle()
        return case.cluster.get("imagepatchapprovals", "one", namespace="kube-system")["status"]

    assert (await state())["reason"] == "NotSelected"
    assert (await state(named_namespaces=("kube-*",)))["reason"] == "NotSelected"
    assert (await state(named_namespaces=("kube-system",)))["state"] == "Waiting"


async def test_a_template_that_was_changed_after_the_approval_is_not_patched():
    case = Case()
    windows = Always(open=False)
    case.cluster.add("imagepatchapprovals", approval(uid=case.uid))
    patcher = Patcher(ModelTransport(case.cluster), Clock(), windows=windows)
    await patcher.engine().cycle()
    case.change("spec", "template", "metadata", annotations={"kubectl.kubernetes.io/restartedAt": "now"})
    windows.open = True
    for _ in range(3):
        await patcher.engine().cycle()
    status = case.cluster.get("imagepatchapprovals", "one")["status"]
    assert (status["state"], status["reason"]) == ("Refused", "TemplateChanged")


async def test_a_registry_that_does_not_answer_refuses_nothing():
    case = Case()
    case.registry = KnownTags(error=RegistryError("no answer", reason=Unknown.UNREACHABLE))
    status = await case.status()
    assert (status["state"], status["reason"]) == ("Waiting", "RegistryUnavailable")


async def test_an_unhealthy_workload_is_judged_when_its_rollout_could_begin():
    case = Case()
    unhealthy(case)
    windows = Always(open=False)
    case.cluster.add("imagepatchapprovals", approval(uid=case.uid))
    patcher = Patcher(ModelTransport(case.cluster), Clock(), windows=windows)
    await patcher.engine().cycle()
    assert case.cluster.get("imagepatchapprovals", "one")["status"]["reason"] == "OutsideWindow"
    case.cluster.behaviours.clear()
    case.cluster.settle()
    windows.open = True
    for _ in range(3):
        await patcher.engine().cycle()
    assert case.cluster.get("imagepatchapprovals", "one")["status"]["state"] == "RollingOut"


async def test_the_strategy_of_the_workload_counts():
    case = Case()
    template(case, strategy="minor")
    case.spec.update(to="v1.1.0")
    assert (await case.status())["state"] == "Applying"

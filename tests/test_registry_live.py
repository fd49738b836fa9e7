"""The client, the catalogue and the checker on real registries: Debian's docker-registry 2.8 and distribution 3.1."""

import contextlib
import shutil
from ipaddress import ip_network

import pytest

from exporter.catalogue import Catalogue
from exporter.checker import Checker, Settings
from exporter.images import Repository
from exporter.inventory import Inventory, ScopeState
from exporter.reasons import Reason
from exporter.registry import RegistryClient, RegistryEntry, RegistryError
from exporter.telemetry import Telemetry
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey
from tests.support.registries import registry
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
NOW = 1_750_000_000.0
CREATED = 1714979289.0  # 2024-05-06T07:08:09Z
LOOPBACK = (ip_network("127.0.0.0/8"),)


def entry_for(host, **more):
    return RegistryEntry(**{"name": host, "insecure": True, "allow_private": LOOPBACK, **more})


@contextlib.asynccontextmanager
async def client(*entries):
    async with RegistryClient(entries, telemetry=Telemetry(), clock=lambda: NOW) as opened:
        yield opened


@pytest.fixture(params=["docker-registry", "registry"])
def real(request, tmp_path):
    with registry(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def paging(tmp_path):
    with registry("registry", tmp_path) as opened:
        yield opened


async def test_tags_and_publish_times(real):
    tags = [f"v1.0.{n}" for n in range(30)]
    real.push("mojaloop/central-ledger", tags)
    real.push("mojaloop/several", ["v1.0.0"], index=True)
    async with client(entry_for(real.host)) as ours:
        repository = Repository(real.host, "mojaloop/central-ledger")
        answer = await ours.tags(repository)
        assert sorted(answer.names) == sorted(tags)
        assert answer.etag is None
        before = len(real.requests())
        assert await ours.created(repository, "v1.0.7") == CREATED
        assert len(real.requests()) - before == 2
        assert await ours.created(Repository(real.host, "mojaloop/several"), "v1.0.0") == CREATED
        assert len(real.requests()) - before == 5
        for question in (ours.tags(Repository(real.host, "mojaloop/none")), ours.created(repository, "v9.9.9")):
            with pytest.raises(RegistryError) as caught:
                await question
            assert caught.value.reason is Reason.NOT_FOUND


async def test_pages_of_distribution(paging):
    tags = [f"v{n}.0.0" for n in range(1200)]
    paging.push("mojaloop/many", tags[:3])
    fill(paging, "mojaloop/many", tags[3:])
    async with client(entry_for(paging.host)) as ours:
        answer = await ours.tags(Repository(paging.host, "mojaloop/many"))
    assert sorted(answer.names) == sorted(tags)
    pages = [line for line in paging.requests() if "/tags/list" in line]
    assert len(pages) == 2


def fill(opened, path, tags):
    """Further names for what `v0.0.0` is, as the registry keeps them: a folder each, and so quick to make many."""
    names = opened.storage / "docker/registry/v2/repositories" / path / "_manifests/tags"
    for tag in tags:
        shutil.copytree(names / "v0.0.0", names / tag)


# bcrypt of "s3cret", the only hash that distribution takes.
HTPASSWD = "hub:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"


async def test_basic_authentication_at_a_real_registry(tmp_path):
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "user").write_text("hub")
    (tmp_path / "password").write_text("s3cret\n")
    files = {"username_file": tmp_path / "user", "password_file": tmp_path / "password"}
    more = f"auth: {{htpasswd: {{realm: x, path: '{tmp_path}/htpasswd'}}}}\n"
    with registry("registry", tmp_path / "registry", more=more) as opened:
        repository = Repository(opened.host, "mojaloop/none")
        async with client(entry_for(opened.host)) as ours:
            await refused(ours.tags(repository), Reason.UNAUTHORIZED)
        async with client(entry_for(opened.host, **files)) as ours:
            await refused(ours.tags(repository), Reason.NOT_FOUND)  # it was let in
        (tmp_path / "password").write_text("wrong")
        async with client(entry_for(opened.host, **files)) as ours:
            await refused(ours.tags(repository), Reason.UNAUTHORIZED)


async def refused(question, reason):
    with pytest.raises(RegistryError) as caught:
        await question
    assert caught.value.reason is reason


# What no answer may change: the checker, the catalogue and the client together.


@contextlib.asynccontextmanager
async def checking(entry, folder, *, image, interval=3600.0):
    """A checker that watches one Deployment, on a catalogue of a folder."""
    telemetry, inventory = Telemetry(), Inventory()
    inventory.set_scope("Deployment", "*", ScopeState.SYNCED)
    key = WorkloadKey("mojaloop", "Deployment", "ledger")
    inventory.put(Workload(key=key, containers=(Container("ledger", ContainerType.CONTAINER, image, 0),)))
    async with (
        RegistryClient([entry], telemetry=telemetry, clock=lambda: NOW) as ours,
        await Catalogue.open(folder, clock=lambda: NOW, telemetry=telemetry) as catalogue,
    ):
        yield Checker(
            inventory=inventory, catalogue=catalogue, registry=ours, telemetry=telemetry, clock=lambda: NOW,
            settings=Settings(interval=interval),
        )  # fmt: skip


async def test_cut_empty_and_foreign_lists_change_no_answer(paging, tmp_path):
    tags = ["v1.0.0", "v1.0.1", "v1.0.2", *(f"v0.{n}.0" for n in range(1, 1100))]
    paging.push("mojaloop/ledger", ["v0.0.0"])
    fill(paging, "mojaloop/ledger", tags)
    cut = {"how": None}

    def through(request):
        """A proxy that hands on what the registry says, and cuts it when it is told to."""
        return forward(paging, request, cut["how"])

    async with web(through) as proxy:
        image = f"{proxy.host}/mojaloop/ledger:v1.0.0"
        async with checking(entry_for(proxy.host), tmp_path / "state", image=image) as checker:
            (first,) = (await checker.check_once()).findings
            assert (first.latest_tag, first.releases_behind, first.reason) == ("v1.0.2", 2, None)
            for how in ("the second page", "in the middle of the second page", "no tags", "none", "foreign"):
                cut["how"] = how
                for _ in range(3):
                    (again,) = (await checker.check_once()).findings
                    assert again == first, how
            fill(paging, "mojaloop/ledger", ["v1.0.3"])
            cut["how"] = None
            (later,) = (await checker.check_once()).findings
            assert (later.latest_tag, later.releases_behind) == ("v1.0.3", 3)


async def forward(opened, request, how):
    import httpx

    if how in ("no tags", "none") and "/tags/list" in request.target:
        return reply({"name": "mojaloop/ledger", "tags": [] if how == "no tags" else None})
    if how == "foreign" and "/tags/list" in request.target:
        return reply({"name": "mojaloop/ledger", "tags": ["v3.0.0", "v1.0.9"]})
    if how is not None and "last=" in request.target and how == "the second page":
        return b""
    async with httpx.AsyncClient(base_url=f"http://{opened.host}") as http:
        accept = {name: request.headers[name] for name in ("accept",) if name in request.headers}
        answer = await http.get(request.target, headers=accept)
    named = {
        name: answer.headers[name]
        for name in ("link", "content-type", "docker-content-digest")
        if name in answer.headers
    }
    whole = reply(answer.content, status=answer.status_code, **named)
    if how is not None and "last=" in request.target and how == "in the middle of the second page":
        return reply(answer.content[:-10], length=len(answer.content), Connection="close", **named)
    return whole


async def test_a_restart_while_the_registry_is_down(real, tmp_path):
    real.push("mojaloop/ledger", ["v1.0.0", "v1.0.1"])
    image = f"{real.host}/mojaloop/ledger:v1.0.0"
    async with checking(entry_for(real.host), tmp_path / "state", image=image) as checker:
        pushed = len(real.requests())
        before = await checker.check_once()
        asked = len(real.requests())
        assert asked - pushed == 3, "one page of tags, a manifest and a configuration"
        assert await checker.check_once() == before
        assert len(real.requests()) - asked == 1, "a publish time is looked up once ever"
    assert before.findings[0].published == CREATED
    real.stop()
    async with checking(entry_for(real.host), tmp_path / "state", image=image) as checker:
        assert (await checker.check_once()).findings == before.findings


async def test_other_registries_go_on(real, tmp_path):
    real.push("mojaloop/ledger", ["v1.0.0", "v1.0.1"])
    async with web(lambda _: reply(status=500)) as bad:
        telemetry, inventory = Telemetry(), Inventory()
        for name, host in (("good", real.host), ("bad", bad.host)):
            key = WorkloadKey("mojaloop", "Deployment", name)
            container = Container("app", ContainerType.CONTAINER, f"{host}/mojaloop/ledger:v1.0.0", 0)
            inventory.put(Workload(key=key, containers=(container,)))
        async with (
            RegistryClient([entry_for(real.host), entry_for(bad.host)], telemetry=telemetry) as ours,
            await Catalogue.open(None, clock=lambda: NOW, telemetry=telemetry) as catalogue,
        ):
            checker = Checker(
                inventory=inventory, catalogue=catalogue, registry=ours, telemetry=telemetry, clock=lambda: NOW,
                settings=Settings(),
            )  # fmt: skip
            found = {f.workload.name: f for f in (await checker.check_once()).findings}
    assert found["bad"].reason is Reason.UNREACHABLE
    assert found["good"].latest_tag == "v1.0.1"

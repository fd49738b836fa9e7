"""A kind that neither a list nor a watch reaches for minutes is not followed, and everything says so.

The hard case is another certificate authority: no request of ours arrives, and nothing else looks wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from exporter.app import SnapshotPublisher
from exporter.findings import Snapshot
from exporter.inventory import ScopeState
from tests.support.following import following
from tests.support.kube import ADMIN, Kube
from tests.support.odd_api_server import BOOKMARK, Asked, asking, deployment, lines, page, well
from tests.support.web import reply
from tests.support.workloads import body

pytestmark = pytest.mark.anyio

PLACE = ("Deployment", "*")


@pytest.mark.parametrize(
    "failure",
    [reply(status=503), reply(b"<html>"), b"", reply(status=401), reply(status=410), lines(b"hello\n")],
    ids=["busy", "HTML", "nothing", "refused", "expired", "no events"],
)
async def test_a_kind_is_stale_while_nothing_works_and_synced_with_the_next_list(
    failure: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    works = True
    async with asking(tmp_path, lambda asked: well(asked) if works else failure, stale=0.1) as found:
        publisher = SnapshotPublisher(found.inventory)
        await found.until(lambda: found.inventory.scopes()[PLACE] is ScopeState.SYNCED)
        await publisher.publish(Snapshot(listed=True))
        assert publisher.ready()
        works = False
        await found.until(lambda: found.inventory.scopes()[PLACE] is ScopeState.STALE)
        assert found.inventory.synced() == {"*": False}
        assert not publisher.ready()
        assert found.images() == {"good": ["a/good:1.0.0"]}, "nothing vanishes"
        said = [record for record in caplog.records if "no successful list or watch" in record.getMessage()]
        assert [record.levelno for record in said] == [logging.WARNING], "once"
        works, seen = True, len(found.asked())
        await found.until(lambda: found.inventory.scopes()[PLACE] is ScopeState.SYNCED)
        assert publisher.ready()
        assert "list" in {asked.what for asked in found.asked()[seen:]}


async def test_a_kind_whose_watch_works_is_not_stale_although_no_list_does(tmp_path: Path) -> None:
    listed = False

    def answer(asked: Asked) -> bytes:
        nonlocal listed
        if asked.what == "watch":
            return lines(BOOKMARK)
        if asked.what == "check":
            return reply(page())
        if listed:
            return reply(status=503)
        listed = True
        return reply(page(deployment()))

    async with asking(tmp_path, answer, stale=0.2) as found:
        await found.until(lambda: found.inventory.synced() == {"*": True})
        began = asyncio.get_running_loop().time()
        await found.until(lambda: asyncio.get_running_loop().time() - began > 0.6)
        assert found.inventory.synced() == {"*": True}


async def test_a_kind_that_was_never_listed_stays_pending(tmp_path: Path) -> None:
    async with asking(tmp_path, lambda _: reply(status=503), stale=0.01) as found:
        await found.until(lambda: found.restarts().get("server_error", 0) >= 20)
        assert found.inventory.scopes()[PLACE] is ScopeState.PENDING


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    server = Kube(tmp_path_factory.mktemp("stale"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def by_kubeconfig(cluster: Kube, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    document = json.loads(cluster.kubeconfig().read_text())
    document["clusters"][0]["cluster"]["certificate-authority"] = str(trusted)
    kubeconfig = trusted.with_name("kubeconfig.json")
    kubeconfig.write_text(json.dumps(document))
    return kubeconfig


def as_a_pod(cluster: Kube, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = trusted.with_name("token")
    token.write_text(ADMIN)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", cluster.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(trusted))


@pytest.mark.parametrize("configured", [by_kubeconfig, as_a_pod])
async def test_after_the_api_server_has_another_ca_the_new_certificate_is_read(
    configured: Callable[[Kube, Path, pytest.MonkeyPatch], Path | None],
    cluster: Kube,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="exporter")
    place = configured.__name__.replace("_", "-")
    cluster.namespace(place)
    cluster.create("Deployment", place, body("Deployment"))
    trusted = tmp_path / "ca.crt"
    shutil.copy(cluster.certificates / "apiserver.crt", trusted)
    image = ["mojaloop/central-ledger:v1.0.0"]
    async with following(configured(cluster, trusted, monkeypatch), place, stale=2.0) as found:
        assert found.images(place) == {"Deployment/thing": image}
        generation = found.connection.credentials_generation
        cluster.stop_apiserver()
        for file in cluster.certificates.glob("apiserver.*"):
            file.unlink()
        await asyncio.to_thread(cluster.start_apiserver)
        await found.until(lambda: found.inventory.synced() == {place: False})
        assert ScopeState.STALE in found.inventory.states
        assert found.restarts("Deployment", "untrusted") >= 1
        assert found.images(place) == {"Deployment/thing": image}
        again = found.connection.credentials_generation
        assert generation < again <= generation + 6, "all kinds together read it, with pauses that grow"
        cluster.create("Deployment", place, body("Deployment", "new"))
        shutil.copy(cluster.certificates / "apiserver.crt", trusted)
        await found.until_images(place, {"Deployment/thing": image, "Deployment/new": image}, 60)
        await found.until(lambda: found.inventory.synced() == {place: True})
    warnings = [record for record in caplog.records if "TLS with the API server failed" in record.getMessage()]
    assert warnings

"""etcd is restored from a backup while we follow the cluster: the API server comes back with an older state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cluster.reflector import Reflector
from tests.support.following import Following, following
from tests.support.kube import Kube
from tests.support.workloads import body

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    server = Kube(tmp_path_factory.mktemp("restored"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def backup(cluster: Kube) -> Path:
    """Of a time when `comes-back` was there."""
    cluster.namespace("place")
    cluster.create("StatefulSet", "place", body("StatefulSet", "comes-back"))
    return cluster.keep()


async def restore(cluster: Kube, backup: Path, found: Following) -> None:
    """Change much, and take it back."""
    cluster.delete("StatefulSet", "place", "comes-back")
    for number in range(20):  # so that the restored one is far behind
        cluster.create("StatefulSet", "place", body("StatefulSet", f"lost-{number}"))
    await found.until_images("place", {f"StatefulSet/lost-{n}": ["mojaloop/central-ledger:v1.0.0"] for n in range(20)})
    await asyncio.to_thread(cluster.restore, backup)


async def test_what_was_deleted_since_is_back_and_what_was_made_since_is_gone(cluster: Kube, backup: Path) -> None:
    async with following(cluster, "place") as found:
        await restore(cluster, backup, found)
        # Far less than a watch's silence: the server is asked where it stands.
        await found.until(lambda: set(found.images("place")) == {"StatefulSet/comes-back"})
        assert all(found.inventory.synced().values())
        assert found.restarts("StatefulSet", "expired") == 1
        cluster.create("StatefulSet", "place", body("StatefulSet", "new"))
        await found.until(lambda: "StatefulSet/new" in found.images("place"))
    cluster.delete("StatefulSet", "place", "new")


async def test_silence_ends_a_watch_from_the_future_that_nobody_noticed(
    cluster: Kube, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trusting(self: Reflector, version: str) -> None:
        assert version.isdecimal()

    monkeypatch.setattr(Reflector, "_check", trusting)
    async with following(cluster, "place", kinds=["StatefulSet"], silence=5.0) as found:
        await restore(cluster, backup, found)
        images = set(found.images("place"))
        assert "StatefulSet/lost-0" in images
        await found.until(lambda: set(found.images("place")) == {"StatefulSet/comes-back"})


async def test_a_watch_that_ended_without_a_word_is_followed_by_a_list(cluster: Kube, backup: Path) -> None:
    async with following(cluster, "place", kinds=["StatefulSet"], watch_seconds=(1, 1)) as found:
        await found.until(lambda: found.restarts("StatefulSet", "silent") >= 1)
        assert found.inventory.synced() == {"place": True}
        synced = found.telemetry.last_sync.labels("StatefulSet")._value.get()
        await found.until(lambda: found.telemetry.last_sync.labels("StatefulSet")._value.get() > synced)

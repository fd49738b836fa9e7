"""What every test shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kube import Kube


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A real API server, for all tests of a run."""
    # Without the cache's snapshots every page of a list comes from etcd, and a compaction shows at once.
    server = Kube(tmp_path_factory.mktemp("kube"), "--feature-gates=ListFromCacheSnapshot=false")
    try:
        server.start()
        yield server
    finally:
        server.stop()


_count = iter(range(1000))


@pytest.fixture
def namespace(kube: Kube) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_count)}"
    kube.namespace(name)
    return name

"""What every test shares."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support import components
from tests.support.kube import Kube


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need a component (see `tests/support/components.py`) and group tests that share a fixture.

    Under pytest-xdist each worker creates a module-scoped fixture once, so all tests that use it run on one worker.
    These tests take longest, so they start first.
    """
    for item in items:
        if components.needed_by(item):
            item.add_marker(components.MARK)
        if isinstance(item, pytest.Function) and any(
            definitions[-1].scope == "module" for definitions in item._fixtureinfo.name2fixturedefs.values()
        ):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
    items.sort(key=lambda item: (-_timeout(item), item.get_closest_marker("xdist_group") is None))


def _timeout(item: pytest.Item) -> float:
    """The seconds that a test's own mark gives it; 0 without one."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Tell `need` which test runs."""
    components.running = item
    try:
        return (yield)
    finally:
        components.running = None


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

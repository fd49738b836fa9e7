"""What every test shares."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support import components
from tests.support.kube import Kube

# How long an example takes says more about the machine than about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need a component (see `tests/support/components.py`), and start with those that take longest.

    Those are the tests with a timeout of their own, then those that share a fixture of their module.
    """
    for item in items:
        if components.needed_by(item):
            item.add_marker(components.MARK)
    items.sort(key=lambda item: (-_timeout(item), not _shares_fixtures(str(item.path))))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Run tests that share a fixture of their module on one worker: each worker would create it again."""
    return _ByFixture(config, log)


class _ByFixture(LoadScopeScheduling):
    # `--dist loadgroup` would do the same by marks, but pytest-xdist 3.8 loses them with pytest 9.2.
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if _shares_fixtures(str(self.config.rootpath / path)) else nodeid


@cache
def _shares_fixtures(path: str) -> bool:
    return 'scope="module"' in Path(path).read_text("utf-8")


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

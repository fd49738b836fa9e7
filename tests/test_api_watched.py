"""The API of an exporter without a cluster: it answers about the images of the watch list, and about no others."""

import pytest

from exporter.images import parse
from exporter.versions import Strategy
from exporter.watchlist import WatchedImage
from tests.support.asking import asking, until_judged
from tests.support.http_server import until

AT = 1.6e9
TAGS = {f"docker.io/mojaloop/{name}": {tag: AT for tag in ("v1.0.0", "v1.0.1", "v1.1.0")} for name in ("a", "b", "c")}
WATCH = (
    WatchedImage(reference=parse("mojaloop/a:v1.0.0"), name="a", strategy=Strategy.MINOR),
    WatchedImage(reference=parse("mojaloop/b")),
)


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("watched"), tags=TAGS, kubernetes=False, watch=WATCH) as running:
        until_judged(running, 1)
        until(lambda: running.send("/images/mojaloop/b/v1.0.0").status == 200)
        yield running


@pytest.mark.parametrize("name", ["a", "b"])
def test_references_and_repositories_of_the_list_are_answered(exporter, name):
    assert exporter.ask(f"/images/mojaloop/{name}/v1.0.0").json()["tag"] == "v1.0.1"
    found = exporter.ask(f"/api/v1/images?reference=mojaloop/{name}:v1.0.0").json()
    assert (found["latest_tag"], found["strategy"]) == ("v1.0.1", "patch"), "that of an entry is for its alerts"
    assert exporter.ask(f"/api/v1/images/tags?repository=mojaloop/{name}").json()["count"] == 3


def test_a_repository_without_a_tag_has_no_finding(exporter):
    (found,) = exporter.ask("/api/v1/findings").json()["findings"]
    assert (found["workload_kind"], found["workload"], found["latest_tag"]) == ("Image", "a", "v1.1.0")


def test_what_is_not_in_the_list_is_not_answered(exporter):
    assert exporter.ask("/images/mojaloop/c/v1.0.0").problem == "not-watched"
    assert exporter.ask("/api/v1/images/tags?repository=mojaloop/c").problem == "not-watched"
    assert not any("mojaloop/c" in asked.path for asked in exporter.registry.requests)

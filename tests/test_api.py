"""The HTTP API, asked over sockets: each request and its answer, and every answer as the OpenAPI document has it."""

import gzip
import json
import re
from urllib.parse import quote

import pytest
from starlette.responses import Response

from exporter.config import Configuration
from tests.support.asking import asking, until_judged

AT = 1.6e9
LEDGER = ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0", "v2.0.0", "v1.0.2-snapshot.1", "v1.0.3-snapshot.0",
          "v1.0.3-snapshot.2", "v1.0.0-pisp", "v1.0.1-pisp", "v1.0.1.1", "latest", "v1.0"]  # fmt: skip
TAGS = {
    "docker.io/mojaloop/ledger": {tag: AT + number for number, tag in enumerate(LEDGER)},
    "docker.io/mojaloop/stored": {"v1.0.0": AT, "v1.0.1": AT},
    "docker.io/library/redis": {"7.0.1": AT, "7.0.2": AT},
    "registry.example:5000/team/a/deep/path": {"1.0.0": AT, "1.0.1": AT, "1.2.0": AT},
    "ghcr.io/team/private": {"v1.0.0": AT, "v1.0.1": AT},
    "quay.io/team/open": {"v1.0.0": AT, "v1.0.1": AT},
    "gcr.io/team/gone": {"v1.0.0": AT},
}
IMAGES = {
    "ledger": "mojaloop/ledger:v1.0.0",
    "redis": "redis:7.0.1",
    "deep": "registry.example:5000/team/a/deep/path:1.0.0",
    "mirrored": "mirror.gcr.io/mojaloop/ledger:v1.0.0",
    "private": "ghcr.io/team/private:v1.0.0",
    "open": "quay.io/team/open:v1.0.0",
    "missing": "docker.io/mojaloop/missing:v1.0.0",
    "waiting": "public.ecr.aws/team/waiting:v1.0.0",
    "floating": "mojaloop/ledger:latest",
    "foreign": "other.example/a/b:v1.0.0",
}
LONG = "a" * 10_000
IMAGE, OLD, TAGS_OF = "/api/v1/images?reference=", "/images/mojaloop/ledger/", "/api/v1/images/tags?repository="


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    (folder / "config.json").write_text(json.dumps({"auths": {}}))
    credentials = {"docker_config_file": folder / "config.json"}
    faults = {"/public.ecr.aws/v2/team/waiting/tags/list": Response(status_code=503)}
    entries = {"ghcr.io": credentials, "quay.io": {**credentials, "expose_tags": True}}
    with asking(folder, images=IMAGES, tags=TAGS, faults=faults, entries=entries) as running:
        until_judged(running, len(IMAGES))
        yield running


# The old API: the tag that runs, the strategy, and the tag of the answer.
NEWEST = [
    ("v1.0.0", "", "v1.0.2"),
    ("v1.0.0", "?strategy=patch", "v1.0.2"),
    ("v1.0.0", "?strategy=bugfix", "v1.0.2"),
    ("v1.0.0", "?strategy=minor", "v1.1.0"),
    ("v1.0.0", "?strategy=major", "v2.0.0"),
    ("v1.0.2", "", "v1.0.2"),
    ("v2.0.0", "?strategy=major", "v2.0.0"),
    ("v1.0.2-snapshot.1", "", "v1.0.3-snapshot.2"),
    ("v1.0.3-snapshot.0", "", "v1.0.3-snapshot.2"),
    ("v1.0.0-pisp", "", "v1.0.1-pisp"),
    ("v1.0.1.1", "", "v1.0.2"),
    ("v1.0.0", "?strategy=minor&cache=no", "v1.1.0"),
    ("v1%2E0%2E0", "", "v1.0.2"),
]


@pytest.mark.parametrize(("tag", "query", "newest"), NEWEST)
def test_the_old_api_answers_the_newest_tag_and_the_image_with_it(exporter, tag, query, newest):
    answer = exporter.ask(f"{OLD}{tag}{query}")
    assert (answer.status, answer.media) == (200, "application/json")
    assert answer.json() == {"tag": newest, "fullImage": f"mojaloop/ledger:{newest}"}


# The reference, the strategy, and: latest_tag, patch_available, releases_behind, minor, major, image.
FOUND = [
    ("mojaloop/ledger:v1.0.0", "", ("v1.0.2", True, 3, "v1.1.0", "v2.0.0", "docker.io/mojaloop/ledger")),
    ("docker.io/mojaloop/ledger:v1.0.0", "&strategy=bugfix",
     ("v1.0.2", True, 3, "v1.1.0", "v2.0.0", "docker.io/mojaloop/ledger")),
    ("mojaloop/ledger:v1.0.0", "&strategy=minor", ("v1.1.0", True, 4, "v1.1.0", "v2.0.0", "docker.io/mojaloop/ledger")),
    ("mojaloop/ledger:v2.0.0", "", (None, False, 0, None, None, "docker.io/mojaloop/ledger")),
    ("mojaloop%2Fledger%3Av1.0.2", "", (None, False, 0, "v1.1.0", "v2.0.0", "docker.io/mojaloop/ledger")),
    ("mirror.gcr.io/mojaloop/ledger:v1.0.1", "",
     ("v1.0.2", True, 2, "v1.1.0", "v2.0.0", "mirror.gcr.io/mojaloop/ledger")),
    ("redis:7.0.1", "", ("7.0.2", True, 1, None, None, "docker.io/library/redis")),
    ("registry.example:5000/team/a/deep/path:1.0.0", "&strategy=major",
     ("1.2.0", True, 2, "1.2.0", None, "registry.example:5000/team/a/deep/path")),
    ("quay.io/team/open:v1.0.0", "", ("v1.0.1", True, 1, None, None, "quay.io/team/open")),
    ("mojaloop/ledger:v1.0.0@sha256:" + "0" * 64, "",
     ("v1.0.2", True, 3, "v1.1.0", "v2.0.0", "docker.io/mojaloop/ledger")),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "query", "expected"), FOUND)
def test_the_new_api_answers_the_complete_finding(exporter, reference, query, expected):
    answer = exporter.ask(f"{IMAGE}{reference}{query}")
    assert (answer.status, answer.media) == (200, "application/json")
    found = answer.json()
    keys = ("latest_tag", "patch_available", "releases_behind")
    assert (*(found[key] for key in keys), *found["upgrades"].values(), found["image"]) == expected
    assert found["reason"] is None
    assert found["looked_up"].endswith("Z")
    assert (found["namespace"], found["workload"], found["managed_by"]) == ("", "", None)


# The request, the status, the problem, and what its detail says.
REFUSED = [
    (f"{IMAGE}mojaloop/ledger", 422, "not-a-version", "latest"),
    (f"{IMAGE}mojaloop/ledger:latest", 422, "not-a-version", "latest"),
    (f"{IMAGE}mojaloop/ledger:v1.0", 422, "not-a-version", "v1.0"),
    (f"{IMAGE}mojaloop/ledger@sha256:{'0' * 64}", 422, "not-a-version", "digest"),
    (f"{OLD}latest", 422, "not-a-version", "latest"),
    (f"{IMAGE}mojaloop/stored:v1.0.0", 404, "not-watched", "mojaloop/stored"),
    (f"{IMAGE}mojaloop/unknown:v1.0.0", 404, "not-watched", "mojaloop/unknown"),
    (f"{IMAGE}evil.example/a/b:v1.0.0", 404, "not-watched", "evil.example/a/b"),
    (f"{IMAGE}other.example/a/b:v1.0.0", 404, "not-watched", "other.example/a/b"),
    (f"{IMAGE}169.254.169.254/a/b:v1.0.0", 404, "not-watched", "169.254.169.254"),
    (f"{IMAGE}mojaloop/missing:v1.0.0", 404, "not-found", "mojaloop/missing"),
    ("/images/mojaloop/unknown/v1.0.0", 404, "not-watched", "mojaloop/unknown"),
    ("/images/mojaloop/missing/v1.0.0", 404, "not-found", "mojaloop/missing"),
    (f"{OLD}v1.0.99", 404, "not-found", "v1.0.99"),
    (f"{IMAGE}public.ecr.aws/team/waiting:v1.0.0", 503, "not-looked-up", "team/waiting"),
    (f"{TAGS_OF}public.ecr.aws/team/waiting", 503, "not-looked-up", "team/waiting"),
    (f"{IMAGE}ghcr.io/team/private:v1.0.0", 403, "not-exposed", "ghcr.io/team/private"),
    (f"{IMAGE}ghcr.io/team/unwatched:v1.0.0", 403, "not-exposed", "ghcr.io/team/unwatched"),
    (f"{TAGS_OF}ghcr.io/team/private", 403, "not-exposed", "expose_tags"),
    (f"{TAGS_OF}mojaloop/stored", 404, "not-watched", "mojaloop/stored"),
    (f"{TAGS_OF}mojaloop/missing", 404, "not-found", "mojaloop/missing"),
    (f"{TAGS_OF}other.example/a/b", 404, "not-watched", "other.example/a/b"),
    (f"{TAGS_OF}mojaloop/ledger:v1.0.0", 400, "invalid-reference", "mojaloop/ledger:v1.0.0"),
    (f"{TAGS_OF}", 400, "invalid-parameter", "repository is missing"),
    ("/api/v1/images", 400, "invalid-parameter", "reference is missing"),
    (f"{IMAGE}", 400, "invalid-parameter", "reference is missing"),
    (f"{IMAGE}a:v1.0.0&reference=b:v1.0.0", 400, "invalid-parameter", "twice"),
    (f"{IMAGE}mojaloop/ledger:v1.0.0&stategy=minor", 400, "invalid-parameter", "stategy"),
    (f"{IMAGE}mojaloop/ledger:v1.0.0&strategy=newest", 400, "invalid-strategy", "newest"),
    (f"{IMAGE}mojaloop/ledger:v1.0.0&strategy=", 400, "invalid-strategy", "''"),
    (f"{OLD}v1.0.0?strategy=newest", 400, "invalid-strategy", "newest"),
    (f"{OLD}v1.0.0?strategy=patch&strategy=minor", 400, "invalid-parameter", "twice"),
    (f"{IMAGE}UPPER/case:v1.0.0", 400, "invalid-reference", "UPPER"),
    (f"{IMAGE}mojaloop/ledger:v1.0.0%00", 400, "invalid-reference", "x00"),
    (f"{IMAGE}%ff%fe", 400, "invalid-reference", "not a repository name"),
    (f"{IMAGE}{quote('$(reboot)')}", 400, "invalid-reference", "reboot"),
    (f"{IMAGE}../../etc/passwd", 400, "invalid-reference", "not a host name"),
    (f"{IMAGE}{LONG}", 400, "invalid-reference", "longer than 255"),
    (f"{IMAGE}{LONG}:v1.0.0", 400, "invalid-reference", "longer than 255"),
    (f"{OLD}{LONG}", 400, "invalid-reference", "Docker Hub"),
    (f"/images/{LONG}/ledger/v1.0.0", 400, "invalid-reference", "longer than 255"),
    ("/images/mojaloop%2Fledger/x/v1.0.0", 400, "invalid-reference", "Docker Hub"),
    ("/images/mojaloop/ledger/v1.0.0%40sha256%3A" + "0" * 64, 400, "invalid-reference", "Docker Hub"),
    ("/images/../ledger/v1.0.0", 400, "invalid-reference", "not a repository name"),
    ("/images/mojaloop/ledger", 404, "no-such-path", "openapi.json"),
    ("/images/mojaloop/ledger/v1.0.0/more", 404, "no-such-path", "openapi.json"),
    ("/images/mojaloop//v1.0.0", 404, "no-such-path", "openapi.json"),
    ("/images/../../etc/passwd", 404, "no-such-path", "openapi.json"),
    ("/images/%2e%2e/%2e%2e/v1.0.0", 400, "invalid-reference", "not a repository name"),
    ("/api/v1/", 404, "no-such-path", "openapi.json"),
    ("/api/v1/images/", 404, "no-such-path", "openapi.json"),
    ("/api/v1//images", 404, "no-such-path", "openapi.json"),
    ("/api/v1/../v1/images", 404, "no-such-path", "openapi.json"),
    (f"{TAGS_OF}mojaloop/ledger&strategy=minor", 400, "invalid-parameter", "expected repository"),
    (f"{IMAGE}a:v1.0.0" + "&a=b" * 100, 400, "invalid-parameter", "more than 20"),
]


@pytest.mark.parametrize(("target", "status", "problem", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_answered_is_a_problem_that_says_why(exporter, target, status, problem, said):
    answer = exporter.ask(target)
    assert (answer.status, answer.problem) == (status, problem), answer.body
    found = answer.json()
    assert found["status"] == status
    assert said in found["detail"]
    assert len(answer.body) < 1_000, "nobody makes it repeat what he sent"
    assert answer.headers.get("retry-after") == ("10" if status == 503 else None)
    assert answer.headers["cache-control"] == "no-store"


NO_PATHS = ["//", "//api/v1/images", "/api//v1/images", "/api", "/api/v1", "/images", "/%2f", "/*"]


@pytest.mark.parametrize("target", NO_PATHS)
def test_what_is_no_path_is_404(exporter, target):
    assert exporter.ask(target).status == 404


def test_percent_encoded_letters_of_a_path_are_letters(exporter):
    assert exporter.send("/api/v1/%69mages/tags?repository=mojaloop/ledger").status == 200


def test_no_request_reaches_a_registry(exporter):
    before = len(exporter.registry.requests)
    for target in ("mojaloop/stored:v1.0.0", "evil.example/a/b:v1.0.0", "mojaloop/ledger:v9.9.9"):
        exporter.ask(f"{IMAGE}{target}")
        exporter.ask(f"{TAGS_OF}{target.partition(':v')[0]}")
    assert [asked.path for asked in exporter.registry.requests[before:] if "waiting" not in asked.path] == []


@pytest.mark.parametrize(
    "target", [f"{IMAGE}mojaloop/ledger:v1.0.0", f"{OLD}v1.0.0", f"{TAGS_OF}mojaloop/ledger", "/api/v1/openapi.json"]
)
def test_each_answer_has_a_strong_validator_and_304_for_whoever_has_it(exporter, target):
    answer = exporter.ask(target)
    etag = answer.headers["etag"]
    assert etag.startswith('"')
    assert answer.headers["cache-control"] == "no-cache"
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        again = exporter.ask(target, If_None_Match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert exporter.ask(target, If_None_Match='"x"').status == 200


def test_different_answers_have_different_validators(exporter):
    targets = [f"{IMAGE}mojaloop/ledger:v1.0.0&strategy={name}" for name in ("patch", "minor", "major")]
    assert len({exporter.ask(target).headers["etag"] for target in targets}) == 3


@pytest.mark.parametrize(
    "target",
    [f"{IMAGE}mojaloop/ledger:v1.0.0", f"{OLD}v1.0.0", f"{TAGS_OF}mojaloop/ledger", "/api/v1/findings",
     "/api/v1/openapi.json", f"{IMAGE}mojaloop/unknown:v1.0.0", "/api/v1/none"],
)  # fmt: skip
def test_head_has_the_headers_of_get_and_no_body(exporter, target):
    get, head = exporter.ask(target), exporter.ask(target, "HEAD")
    assert (head.status, head.body) == (get.status, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers.get(name) == get.headers.get(name), name


PATHS = ["/api/v1/images", "/api/v1/images/tags", "/api/v1/findings", "/api/v1/openapi.json", "/images/a/b/c"]


@pytest.mark.parametrize("path", PATHS)
def test_options_answers_what_is_allowed(exporter, path):
    answer = exporter.ask(path, "OPTIONS")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "get"])
def test_other_methods_are_not_allowed(exporter, path, method):
    answer = exporter.ask(path, method)
    assert (answer.status, answer.problem, answer.headers["allow"]) == (
        405, "method-not-allowed", "GET, HEAD, OPTIONS",
    )  # fmt: skip


def test_tags_are_in_the_order_of_their_versions_with_their_kind(exporter):
    found = exporter.ask(f"{TAGS_OF}mojaloop/ledger").json()
    assert (found["repository"], found["count"]) == ("docker.io/mojaloop/ledger", 11)
    assert [(tag["tag"], tag["kind"]) for tag in found["tags"]] == [
        ("v1.0.0", "final"),
        ("v1.0.0-pisp", "variant"),
        ("v1.0.1", "final"),
        ("v1.0.1-pisp", "variant"),
        ("v1.0.1.1", "final"),
        ("v1.0.2-snapshot.1", "pre_release"),
        ("v1.0.2", "final"),
        ("v1.0.3-snapshot.0", "pre_release"),
        ("v1.0.3-snapshot.2", "pre_release"),
        ("v1.1.0", "final"),
        ("v2.0.0", "final"),
    ]
    assert found == exporter.ask(f"{TAGS_OF}mirror.gcr.io/mojaloop/ledger").json(), "of a mirror, what it mirrors"


SAME = ["image", "tag", "latest_tag", "patch_available", "releases_behind", "published", "upgrades", "reason",
        "reference", "digest"]  # fmt: skip


def test_an_answer_is_what_the_findings_say_of_the_same_image(exporter):
    compared = 0
    for found in exporter.ask("/api/v1/findings").json()["findings"]:
        answer = exporter.ask(f"{IMAGE}{quote(found['reference'])}")
        if answer.status == 200:
            ours = answer.json()
            assert {key: ours[key] for key in SAME} == {key: found[key] for key in SAME}
            compared += 1
        elif answer.status != 403:
            assert found["reason"] is not None, found
    assert compared == 5


def test_findings_have_a_weak_validator_as_long_as_they_are_the_same(exporter):
    answer = exporter.ask("/api/v1/findings")
    etag = answer.headers["etag"]
    assert etag.startswith('W/"')
    assert exporter.ask("/api/v1/findings", If_None_Match=etag).status == 304
    packed = exporter.send("/api/v1/findings", Accept_Encoding="gzip")
    assert (packed.headers["content-encoding"], packed.headers["vary"], packed.headers["etag"]) == (
        "gzip", "Accept-Encoding", etag,
    )  # fmt: skip
    assert json.loads(gzip.decompress(packed.body))["findings"] == answer.json()["findings"]
    assert len(packed.body) < len(answer.body) / 2


def test_requests_are_counted_by_their_status(exporter):
    def counted():
        found = re.findall(
            r'mojaloop_exporter_api_requests_total\{code="(\d+)"\} (\d+)', exporter.send("/metrics").body.decode()
        )
        return {int(code): int(count) for code, count in found}

    before = counted()
    assert {200, 204, 304, 400, 401, 403, 404, 405, 422, 503} == set(before)
    etag = exporter.ask(f"{OLD}v1.0.0").headers["etag"]
    exporter.ask(f"{OLD}v1.0.0", If_None_Match=etag)
    exporter.ask(f"{OLD}latest")
    after = counted()
    assert {code: after[code] - before[code] for code in after if after[code] != before[code]} == {
        200: 1,
        304: 1,
        422: 1,
    }


def test_a_body_is_refused(exporter):
    answer = exporter.ask(f"{IMAGE}mojaloop/ledger:v1.0.0", "GET", Content_Length="5")
    assert answer.status == 413


def test_the_api_needs_no_configuration():
    loaded = Configuration()
    assert (loaded.api_listen, loaded.api_token_file) == (None, None)

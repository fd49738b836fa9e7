"""Tag lists and publish times of the kinds of registries, over real sockets."""

import hashlib
import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryEntry
from exporter.registry.kinds.dates import publish_time
from tests.support.registry_client import LOOPBACK, at, client, entry_for, refused
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
INDEX = "application/vnd.oci.image.index.v1+json"


async def test_a_list_on_one_page():
    async with (
        web(lambda _: reply({"name": "x", "tags": ["v1.0.0", "v1.0.1"]}, ETag='"1"')) as server,
        client(entry_for(server)) as ours,
    ):
        answer = await ours.tags(at(server))
        assert (answer.names, answer.etag, answer.not_modified) == (("v1.0.0", "v1.0.1"), '"1"', False)
        assert [r.target for r in server.requests] == ["/v2/mojaloop/central-ledger/tags/list?n=1000"]
        assert server.requests[0].headers["user-agent"].startswith("mojaloop-image-patch-exporter/")
        assert ours.requests(server.host) == 1


async def test_pages_by_link_and_by_next_in_the_body():
    def answer(request):
        if "last=b" in request.target:
            return reply({"tags": ["v1.0.2"]}, ETag='"3"')
        if "last=a" in request.target:
            return reply({"tags": ["v1.0.1"], "next": "/v2/mojaloop/central-ledger/tags/list?n=1000&last=b"})
        return reply(
            {"tags": ["v1.0.0"]}, Link='</v2/mojaloop/central-ledger/tags/list?n=1000&last=a>; rel="next"', ETag='"1"'
        )

    async with web(answer) as server, client(entry_for(server)) as ours:
        found = await ours.tags(at(server))
    assert found.names == ("v1.0.0", "v1.0.1", "v1.0.2")
    assert found.etag is None, "a page's ETag says nothing of the others"


async def test_an_unchanged_list():
    def answer(request):
        return (
            reply(status=304) if request.headers.get("if-none-match") == '"1"' else reply({"tags": ["v1"]}, ETag='"1"')
        )

    async with web(answer) as server, client(entry_for(server)) as ours:
        known = await ours.tags(at(server))
        assert known.etag == '"1"'
        again = await ours.tags(at(server), etag=known.etag)
        assert again.not_modified
        assert again.etag == '"1"'


async def test_a_list_of_a_hundred_thousand_tags():
    many = [f"v{n}.{n}.0-snapshot.{n}" for n in range(100_000)]
    async with web(lambda _: reply({"tags": many})) as server, client(entry_for(server), limits=Limits()) as ours:
        assert len((await ours.tags(at(server))).names) == 100_000


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(pages=2), Limit.TAG_PAGES),
        (Limits(tags=3), Limit.TAGS),
        (Limits(bytes=60), Limit.LOOKUP_BYTES),
        (Limits(body=20), Limit.ANSWER_BYTES),
    ],
)
async def test_a_list_over_a_limit_is_a_bad_answer_and_counted(limits, limit):
    def answer(request):
        page = int(request.target.partition("last=")[2] or 0)
        link = {"Link": f'</v2/mojaloop/central-ledger/tags/list?last={page + 1}>; rel="next"'} if page < 2 else {}
        return reply({"tags": [f"v1.0.{page}", f"v1.1.{page}"]}, **link)

    async with web(answer) as server:
        async with client(entry_for(server)) as ours:
            assert len((await ours.tags(at(server))).names) == 6
        async with client(entry_for(server), limits=limits) as ours:
            error = await refused(ours.tags(at(server)), Reason.BAD_ANSWER)
            assert error.limit is limit
            assert ours.exceeded(limit) == 1
        assert 4 <= len(server.requests) <= 6


async def test_a_page_of_too_many_tags_is_refused_before_it_is_decoded():
    tags = [f"v{n}" for n in range(11)]
    async with web(lambda _: reply({"tags": tags})) as server:
        async with client(entry_for(server), limits=Limits(tags=11)) as ours:
            assert len((await ours.tags(at(server))).names) == 11
        async with client(entry_for(server), limits=Limits(tags=10)) as ours:
            await refused(ours.tags(at(server)), Reason.BAD_ANSWER, "more than 10 values")
            assert ours.exceeded(Limit.TAGS) == 1


async def test_names_that_are_too_long_for_a_tag_are_not_kept():
    names = ["x" * 128, "x" * 129, *("y" * 5000 + str(n) for n in range(20))]
    async with web(lambda _: reply({"tags": names})) as server, client(entry_for(server)) as ours:
        assert (await ours.tags(at(server))).names == ("x" * 128,)


@pytest.mark.parametrize(
    "etag", ['"\u00e9"', '"a\x7f"', "unquoted", '"' + "x" * 300 + '"', 'W/"a', '"a" "b"', '"a\tb"']
)
async def test_an_etag_that_cannot_be_sent_back_is_not_kept(etag):
    async with web(lambda _: reply({"tags": ["v1.0.0"]}, ETag=etag)) as server, client(entry_for(server)) as ours:
        found = await ours.tags(at(server))
        assert (found.names, found.etag) == (("v1.0.0",), None)
        again = await ours.tags(at(server), etag=etag)
        assert (again.names, again.not_modified) == (("v1.0.0",), False), "an earlier version may have stored it"
        assert all("if-none-match" not in request.headers for request in server.requests)


async def test_a_manifest_of_very_many_entries_is_refused():
    content = b'{"manifests":[' + b"{}," * Limit.MANIFEST_VALUES.most + b"{}]}"
    async with web(lambda _: reply(content)) as server, client(entry_for(server)) as ours:
        await refused(ours.created(at(server), "v1.0.1"), Reason.BAD_ANSWER, "values")
        assert ours.exceeded(Limit.MANIFEST_VALUES) == 1


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def image(created, *, index=False, blob_at=None, config=None):
    """A registry with one image, `v1.0.1`."""
    config = json.dumps({"created": created, "os": "linux"}).encode() if config is None else config
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest(config)}, "layers": []}).encode()
    several = [
        {"digest": digest(b"attestation"), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest(manifest), "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    top = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": several}).encode() if index else manifest

    def answer(request):
        last = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            assert INDEX in request.headers["accept"]
            return reply(
                {"v1.0.1": top, digest(manifest): manifest}.get(last, b""), status=200 if last != "v9" else 404
            )
        if "/blobs/" in request.path and last == digest(config):
            return reply(config) if blob_at is None else reply(status=307, Location=blob_at())
        return reply(status=404)

    return answer, config


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2023-07-21T21:12:44.123456789Z", 1689973964.123456),
        ("2023-07-21T21:12:44+02:00", 1689966764.0),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("2012-12-31T23:59:59Z", None),
        ("2099-01-01T00:00:00Z", 4070908800.0),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        (None, None),
    ],
)
async def test_when_an_image_was_published(created, expected):
    answer, _ = image(created)
    async with web(answer) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") == pytest.approx(expected)
        assert len(server.requests) == 2


async def test_attestations_of_an_index_are_skipped():
    answer, _ = image("2023-07-21T21:12:44Z", index=True)
    async with web(answer) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") == 1689973964.0
        assert len(server.requests) == 3


async def test_a_blob_may_come_from_any_host_without_credentials():
    answer, config = image("2023-07-21T21:12:44Z", blob_at=lambda: f"http://127.0.0.2:{cdn.port}/blob?signature=s3cret")
    async with web(lambda _: reply(config), host="127.0.0.2") as cdn, web(answer) as server:
        async with client(entry_for(server, redirect_hosts=("127.0.0.2",))) as ours:
            assert await ours.created(at(server), "v1.0.1") == 1689973964.0
        assert "authorization" not in cdn.requests[0].headers
        async with client(entry_for(server, allow_private=(ip_network("127.0.0.1/32"),))) as ours:
            await refused(ours.created(at(server), "v1.0.1"), Reason.PRIVATE_ADDRESS)
        assert len(cdn.requests) == 1


@pytest.mark.parametrize("named", ["../../../secret", "sha256:xyz", "", "http://evil/", "md5:" + "0" * 32])
async def test_a_manifest_with_an_invalid_digest(named):
    async with web(lambda _: reply({"config": {"digest": named}})) as server, client(entry_for(server)) as ours:
        await refused(ours.created(at(server), "v1.0.1"), Reason.BAD_ANSWER, "invalid digest")
        assert len(server.requests) == 1


async def test_a_configuration_that_does_not_match_its_digest():
    answer, _ = image("2023-07-21T21:12:44Z")

    def lies(request):
        return reply({"created": "2020-01-01T00:00:00Z"}) if "/blobs/" in request.path else answer(request)

    async with web(lies) as server, client(entry_for(server)) as ours:
        await refused(ours.created(at(server), "v1.0.1"), Reason.BAD_ANSWER, "match its digest")


async def test_an_image_without_a_configuration_has_no_date():
    async with web(lambda _: reply({"schemaVersion": 1, "history": []})) as server, client(entry_for(server)) as ours:
        assert await ours.created(at(server), "v1.0.1") is None


async def test_publish_times_of_docker_hub_come_from_its_own_api():
    said = {"name": "v1.0.1", "last_updated": "2023-07-22T00:00:00.123Z", "tag_last_pushed": "2023-07-21T21:12:44Z"}
    async with web(lambda _: reply(said)) as hub:
        entry = RegistryEntry(
            name="docker.io",
            api="dockerhub",
            endpoint="http://127.0.0.1:1",
            hub_endpoint=f"http://{hub.host}",
            allow_private=LOOPBACK,
        )
        async with client(entry) as ours:
            assert await ours.created(Repository("docker.io", "mojaloop/central-ledger"), "v1.0.1") == 1689973964.0
        assert [r.target for r in hub.requests] == ["/v2/repositories/mojaloop/central-ledger/tags/v1.0.1"]


@given(st.text(max_size=60) | st.none())
def test_any_text_is_a_plausible_publish_time_or_none(text):
    at = publish_time(text)
    assert at is None or at >= 1_356_998_400.0

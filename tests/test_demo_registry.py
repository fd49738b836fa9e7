"""The stand-in for registries: pages, tokens, publish times and faults."""

import re

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse

from exporter.demo import serving
from exporter.demo.registry import PAGE_TAGS, StandInRegistry
from exporter.images import Repository
from exporter.reasons import Reason
from exporter.registry import DEFAULT_ENTRIES, RegistryClient, RegistryError
from exporter.telemetry import Telemetry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry():
    there = StandInRegistry({
        "docker.io/mojaloop/ledger": {f"v1.0.{n}": 1.7e9 + n for n in range(2 * PAGE_TAGS + 1)},
        "ghcr.io/mojaloop/utils": {"1.0.0": 1.7e9},
        "registry.example:5000/a/b": {"1.0.0": 1.6e9},
    })  # fmt: skip
    async with serving(there.app) as address:
        there.address = address
        yield there


async def test_tags_come_in_pages_and_with_the_token_for_their_repository_only(registry):
    async with httpx.AsyncClient(base_url=f"{registry.address}/docker.io") as client:
        assert (await client.get("/v2/")).headers["www-authenticate"].startswith("Bearer realm=")
        refused = await client.get("/v2/mojaloop/ledger/tags/list")
        said = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["www-authenticate"]))
        assert (refused.status_code, said["scope"]) == (401, "repository:mojaloop/ledger:pull")
        pages, found = [f"{registry.address}/docker.io/v2/mojaloop/ledger/tags/list?n=1000"], []
        for scope, status in (("repository:mojaloop/other:pull", 401), (said["scope"], 200)):
            token = (await client.get(said["realm"], params={"scope": scope})).json()["token"]
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.get(pages[0], headers=headers)).status_code == status
        while pages[-1]:
            answer = await client.get(httpx.URL(registry.address).join(pages[-1]), headers=headers)
            found += answer.json()["tags"]
            pages.append(answer.links.get("next", {}).get("url"))
        assert len(pages) == 4
        assert found == sorted(registry.repositories["docker.io/mojaloop/ledger"])
        for wrong in ("0", "-1", "many"):
            assert (await client.get(f"/v2/mojaloop/ledger/tags/list?n={wrong}", headers=headers)).status_code == 400
        assert registry.requests[1].path == "/docker.io/v2/mojaloop/ledger/tags/list"
        assert registry.requests[-1].headers["authorization"] == headers["Authorization"]
        assert (registry.requests[-1].method, registry.requests[-1].query) == ("GET", "n=many")


async def test_publish_times_come_from_docker_hub_an_index_and_a_manifest(registry):
    entries = registry.entries(registry.address)
    assert {p.name for p in entries} == {p.name for p in DEFAULT_ENTRIES} | {"registry.example:5000"}
    async with RegistryClient(entries, telemetry=Telemetry()) as client:
        times = [
            await client.created(Repository(host, path), tag)
            for host, path, tag in (
                ("docker.io", "mojaloop/ledger", "v1.0.7"),
                ("ghcr.io", "mojaloop/utils", "1.0.0"),
                ("registry.example:5000", "a/b", "1.0.0"),
            )
        ]
    assert times == [1.7e9 + 7, 1.7e9, 1.6e9]
    kinds = [asked.path.split("/")[-2] for asked in registry.requests]
    assert kinds == ["tags", "manifests", "manifests", "blobs", "manifests", "blobs"]


async def test_a_fault_answers_in_place_of_a_registry(registry):
    tags = "/ghcr.io/v2/mojaloop/utils/tags/list"

    async def cut_short(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionError("gone")

    faults = {
        Reason.RATE_LIMITED: JSONResponse({}, status_code=429),
        Reason.BAD_ANSWER: RedirectResponse("http://example.org/"),
        Reason.UNREACHABLE: JSONResponse({}, status_code=503),
    }
    for reason, fault in faults.items():
        registry.faults[tags] = fault
        async with RegistryClient(registry.entries(registry.address), telemetry=Telemetry()) as client:
            with pytest.raises(RegistryError) as failure:
                await client.tags(Repository("ghcr.io", "mojaloop/utils"))
            assert failure.value.reason is reason
    registry.faults[tags] = cut_short
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(registry.address + tags)
    del registry.faults[tags]
    async with RegistryClient(registry.entries(registry.address), telemetry=Telemetry()) as client:
        assert (await client.tags(Repository("ghcr.io", "mojaloop/utils"))).names == ("1.0.0",)

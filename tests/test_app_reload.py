"""A configuration that changes while the exporter runs: what applies at once, next to a stand-in cluster."""

import asyncio
import contextlib
import json

import pytest

from exporter.app import exporting
from exporter.config import load
from exporter.demo import stand_ins
from exporter.reload import ConfigurationSource
from tests.support.proxy import proxy
from tests.support.registry_client import tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
LIST = {"kubernetes": {"enabled": False}, "state_dir": "", "listen": "127.0.0.1:0"}
TAGS = {"tags": ["v1.0.0", "v1.0.1"]}


class Running:
    """An exporter, and the file that it follows."""

    def __init__(self, path, source):
        self.path, self.source = path, source
        self.publisher = None

    def configure(self, config):
        self.path.write_text(json.dumps(config))
        self.source.requested.set()

    def found(self):
        """By namespace and workload, the newest patch, or the reason why there is none."""
        findings = self.publisher.snapshot.findings
        return {(f.workload.namespace, f.workload.name): f.latest_tag or str(f.reason) for f in findings}

    async def until(self, holds):
        try:
            async with asyncio.timeout(60):
                while not holds(self.found()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(self.found()) from None


@contextlib.asynccontextmanager
async def running(path, config):
    path.write_text(json.dumps(config))
    source = ConfigurationSource(path, lambda content: load(path, {}, content=content), path.read_bytes())
    opened = Running(path, source)
    async with exporting(load(path, {}), source) as (_, opened.publisher):
        yield opened


def entry(server, **more):
    return {server.host: {"insecure": True, "allow_private": ["127.0.0.0/8"], **more}}


async def test_a_proxy_applies_to_what_is_looked_up_from_then_on(tmp_path):
    async with web(lambda _: reply(TAGS)) as server, proxy({}) as forwarding:
        config = {**LIST, "registries": entry(server), "watch": [f"{server.host}/a/one:v1.0.0"]}
        async with running(tmp_path / "config.yaml", config) as ours:
            await ours.until(lambda found: found == {("", "one"): "v1.0.1"})
            assert forwarding.heads == []
            config["watch"].append(f"{server.host}/a/two:v1.0.0")
            ours.configure({**config, "proxy": forwarding.url})
            await ours.until(lambda found: found == {("", "one"): "v1.0.1", ("", "two"): "v1.0.1"})
            assert any("/a/two/tags" in target for target in forwarding.targets())
            assert not any("/a/one/tags" in target for target in forwarding.targets()), "it is not due"


async def test_certificates_apply_at_once_and_a_request_reads_the_same_file_again(tmp_path):
    context, file = tls(tmp_path), tmp_path / "ca.pem"
    (tmp_path / "other").mkdir()
    tls(tmp_path / "other")
    async with web(lambda _: reply(TAGS), tls=context) as server:
        config = {**LIST, "registries": entry(server, insecure=False), "watch": [f"{server.host}/a/one:v1.0.0"]}
        async with running(tmp_path / "config.yaml", config) as ours:
            await ours.until(lambda found: found == {("", "one"): "unreachable"})
            file.write_text((tmp_path / "other" / "cert.pem").read_text())
            ours.configure({**config, "ca_file": str(file)})
            await ours.until(lambda _: not ours.source.requested.is_set())
            file.write_text((tmp_path / "cert.pem").read_text())
            ours.source.requested.set()
            await ours.until(lambda found: found == {("", "one"): "v1.0.1"})


async def test_a_cluster_and_a_list_are_judged_together_and_filters_are_for_the_cluster(tmp_path):
    async with stand_ins() as there:
        document = json.loads(there.config.read_text())
        config = {**document, "state_dir": "", "watch": ["mojaloop/central-ledger:v19.13.0"]}
        image = ("", "central-ledger")
        async with running(tmp_path / "config.yaml", config) as ours:
            await ours.until(lambda found: image in found and len(found) > 10 and "pending" not in found.values())
            assert dict(ours.publisher.snapshot.synced) == {"*": True, "": True}
            assert ours.publisher.ready()
            judged = ours.found()[image]
            assert judged.startswith("v19.")
            everything = len(ours.found())
            ours.configure({**config, "images": {"exclude": ["docker.io/mojaloop/central-*"]}})
            await ours.until(lambda found: len(found) < everything)
            assert ours.found()[image] == judged
            ours.configure({**config, "watch": []})
            await ours.until(lambda found: image not in found and len(found) == everything - 1)
            assert dict(ours.publisher.snapshot.synced) == {"*": True}

"""Many clients of the API at once, within the memory of a pod. `benchmarks/api.py` does the same with more of them."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest

from exporter.demo import stand_ins
from tests.support.exporter_process import Exporter

pytestmark = pytest.mark.anyio
CLIENTS, REQUESTS = 200, 10
# The chart's limit is 256Mi. Another 50 MiB may be in buffers of the kernel.
MOST_MIB = 200
TARGETS = [
    "/api/v1/images?reference=mojaloop/central-ledger:v17.0.0",
    "/api/v1/images?reference=mojaloop/central-ledger:v17.0.0&strategy=major",
    "/images/mojaloop/central-ledger/v17.0.0",
    "/api/v1/images/tags?repository=mojaloop/central-ledger",
    "/api/v1/images?reference=mojaloop/nobody-runs-it:v1.0.0",
]


@contextlib.asynccontextmanager
async def running(folder):
    """The exporter as a process, on the release of the demo."""
    async with stand_ins() as there:
        config = json.loads(there.config.read_text())
        for own in ("listen", "state_dir"):
            del config[own]
        ours = Exporter(folder, kubeconfig=there.kubeconfig, config=config)
        try:
            await asyncio.to_thread(ours.start)
            judged = 'docker.io/mojaloop/central-ledger"'
            await asyncio.to_thread(
                ours.until, lambda: f'lookup_timestamp_seconds{{registry="docker.io",image="{judged}' in page(ours), 30
            )
            yield ours
        finally:
            if ours.process is not None:
                ours.process.kill()
                ours.process.wait(timeout=60)


def page(ours):
    return ours.get("/metrics")[2].decode()


async def ask(reader, writer, target):
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    return int(head.split(" ", 2)[1])


async def test_200_clients_are_all_answered_on_their_own_connections_within_the_memory_of_a_pod(tmp_path):
    async with running(tmp_path) as ours:
        port = int(ours.url.rpartition(":")[2])
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]

        async def client(number):
            return [await ask(*clients[number], TARGETS[(number + n) % len(TARGETS)]) for n in range(REQUESTS)]

        found = Counter(status for one in await asyncio.gather(*map(client, range(CLIENTS))) for status in one)
        for _, writer in clients:
            writer.close()
        assert found == {200: CLIENTS * REQUESTS * 4 // 5, 404: CLIENTS * REQUESTS // 5}
        assert 'limits_exceeded_total{limit="http_connections"} 0.0' in await asyncio.to_thread(page, ours)
        assert ours.peak_mib() < MOST_MIB

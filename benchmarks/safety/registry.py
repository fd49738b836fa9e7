"""Benchmark hostile responses of a registry: seconds, the longest stall of the event loop, and peak memory.

    python -m benchmarks.safety.registry            every case, each in a separate process python -m
    benchmarks.safety.registry CASE       one case, in this process

To measure an earlier version, copy this file into its tree. The client and its limits are those of production. The
server runs in a separate process, so it does not affect the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import multiprocessing
import re
import resource
import subprocess
import sys
import time
from ipaddress import ip_network

from exporter.images import Repository
from exporter.registry import RegistryClient, RegistryEntry, RegistryError
from exporter.telemetry import Telemetry


def packed(document, **more):
    content = gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
    return head(200, content, Content_Encoding="gzip", **more)


def head(status, content=b"", **more):
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def tags(count, length=12):
    return {"tags": [f"v{n}.{n % 9}.{n % 7}".ljust(length, "x") for n in range(count)]}


def tokens(request):
    """Return tokens of 3.9 MB from a token service on the same server, valid for a year."""
    if " /token" in request:
        return packed({"token": "x" * 3_900_000, "expires_in": 31_536_000})
    if "\nauthorization:" in request.lower():
        return head(200, b'{"tags":["v1.0.0"]}')
    host = re.search(r"(?i)\nhost: (\S+)", request)[1]
    return head(401, WWW_Authenticate=f'Bearer realm="http://{host}/token"')


def always(answer):
    return lambda _request: answer


# By name: the factory of the responses (the last part of a list is sent repeatedly), the number of concurrent requests,
# and what they request.
CASES = {
    "one large list": (lambda: always(packed(tags(190_000, 18))), 1, "tags"),
    "20 large lists at once": (lambda: always(packed(tags(190_000, 18))), 20, "tags"),
    "300,000 tags on one page": (lambda: always(packed(tags(300_000, 8))), 4, "tags"),
    "a million empty manifests": (lambda: always(packed({"manifests": [{}] * 1_300_000})), 8, "created"),
    "60 tokens of 3.9 MB": (lambda: tokens, 60, "tags"),
    "answers 1xx without end": (lambda: always([b"HTTP/1.1 100 x\r\n\r\n" * 4000]), 4, "tags"),
    "tiny chunks without end": (
        lambda: always([b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000]),
        4,
        "tags",
    ),
}


def serve(case, port):
    answers = CASES[case][0]()

    async def run():
        async def connected(reader, writer):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    answer = answers(request)
                    if isinstance(answer, bytes):
                        writer.write(answer)
                        await writer.drain()
                        continue
                    writer.write(b"".join(answer))
                    while True:
                        writer.write(answer[-1])
                        await writer.drain()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**23)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def measure(host, count, what):
    longest = 0.0

    async def lag():
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began - 0.01)

    entry = RegistryEntry(name=host, insecure=True, allow_private=(ip_network("127.0.0.0/8"),))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    storing = asyncio.Lock()
    async with RegistryClient([entry], telemetry=Telemetry()) as client:
        listing = getattr(client, "listing", None)

        async def look_up(number):
            repository = Repository(host, f"x/r{number}")
            try:
                if what == "created":
                    return await client.created(repository, "v1.0.0")
                # Like the catalogue: lists are stored one at a time, which takes a second.
                if listing is None:
                    found = await client.tags(repository)
                    async with storing:
                        await asyncio.sleep(0.3)
                    return len(found.names)
                async with listing(repository) as found, storing:
                    await asyncio.sleep(0.3)
                    return len(found.names)
            except RegistryError as error:
                return str(error)[:50]

        watching = asyncio.create_task(lag())
        began = time.monotonic()
        results = await asyncio.gather(*(look_up(number) for number in range(count)), return_exceptions=True)
        took = time.monotonic() - began
        watching.cancel()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{took:7.1f} s {longest * 1000:7.0f} ms {peak - before:7.0f} MiB  {results[0]!r}")


def main():
    if len(sys.argv) < 2:
        print(f"{'':28}{'time':>9}{'lag':>11}{'peak':>12}")
        for case in CASES:
            print(f"{case:28}", end="", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.safety.registry", case], check=True)
        return
    _, count, what = CASES[sys.argv[1]]
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(sys.argv[1], theirs), daemon=True)
    server.start()
    asyncio.run(measure(f"127.0.0.1:{ours.recv()}", count, what))
    server.terminate()


if __name__ == "__main__":
    main()

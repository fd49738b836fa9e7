"""The exporter's HTTP server in a thread, and clients that read and write raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from starlette.routing import BaseRoute

from exporter.collector import Exposition
from exporter.findings import Finding, Snapshot
from exporter.limits import Limit
from exporter.server import Pages, Server, listen
from exporter.server.connections import Bounds
from exporter.telemetry import Telemetry
from exporter.workloads import ContainerType, WorkloadKey


def snapshot(containers: int) -> Snapshot:
    """Return a page of about 1,750 bytes per container."""
    return Snapshot(
        findings=tuple(
            Finding(
                workload=WorkloadKey("hub", "Deployment", f"ledger-{number:05d}"),
                container="ledger",
                container_type=ContainerType.CONTAINER,
                position=0,
                reference="mojaloop/central-ledger:v17.8.0",
                image="docker.io/mojaloop/central-ledger",
                tag="v17.8.0",
                latest_tag="v17.8.9",
                releases_behind=9,
                published=1.6e9,
                first_seen=1.7e9,
                minor="v17.9.0",
                major="v19.14.0",
            )
            for number in range(containers)
        )
    )


@dataclass
class Running:
    """A running server."""

    port: int
    telemetry: Telemetry
    server: Server
    ready: bool = True
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, sent: bytes = b"", *, receive_buffer: int | None = None) -> socket.socket:
        """Yield a connection that has sent some bytes. It is closed at the end."""
        client = socket.socket()
        self.clients.append(client)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(60)
        client.connect(("127.0.0.1", self.port))
        client.sendall(sent)
        return client

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body, as read by an HTTP client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()

    def exceeded(self, limit: Limit) -> float:
        """Return how often a limit was exceeded."""
        value: float = self.telemetry.limits_exceeded.labels(limit.label)._value.get()
        return value

    @property
    def buffered(self) -> list[int]:
        """Return the unsent bytes of each open connection."""
        return [
            connection.transport.get_write_buffer_size()
            for connection in list(self.server._server.server_state.connections)
        ]

    @property
    def answering(self) -> int:
        """Return the number of requests in progress."""
        return sum(connection.answering for connection in list(self.server._server.server_state.connections))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection, after any data it sent before."""
    client.settimeout(0.01)
    try:
        while client.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def serving(
    containers: int = 1, *, bounds: Bounds | None = None, routes: Sequence[BaseRoute] = ()
) -> Iterator[Running]:
    """Run a server with so many containers on its page, and additional routes before its own."""
    telemetry, listener, exposition = Telemetry(), listen("127.0.0.1", 0), Exposition(snapshot(containers))
    pages = Pages(telemetry=telemetry, exposition=lambda: exposition, ready=lambda: running.ready)
    server = Server(listener=listener, routes=[*routes, *pages.routes()], exceeded=telemetry.exceeded, bounds=bounds)
    running = Running(listener.getsockname()[1], telemetry, server)
    started: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        started.append(asyncio.get_running_loop())
        with contextlib.suppress(asyncio.CancelledError):
            await server.run()

    loop = asyncio.new_event_loop()
    task = loop.create_task(run())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    try:
        until(lambda: running.server._server.started)
        yield running
    finally:
        for client in running.clients:
            client.close()
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()

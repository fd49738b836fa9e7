"""Clients that send nothing, send slowly, or do not read: probes and scrapes are answered while they try."""

import contextlib
import socket
import threading
import time

import pytest

from exporter.limits import Limit
from exporter.server.body import BLOCK_BYTES
from exporter.server.connections import Bounds
from tests.support.http_server import closed, serving, until

GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
# asyncio pauses a writer beyond this.
HIGH_WATER_BYTES = 64 << 10


def answers(running):
    """Whether everything is answered that Prometheus and the kubelet ask for."""
    return [running.get(path)[0] for path in ("/-/healthy", "/-/ready", "/metrics")] == [200, 200, 200]


@pytest.mark.parametrize("sent", [b"", b"GET /metr", GET], ids=["silent", "half a request", "idle"])
def test_idle_connections_keep_nobody_out(sent):
    with serving() as running:
        longest = running.connect(sent)
        if sent == GET:
            # A request in progress is not idle.
            assert longest.recv(12) == b"HTTP/1.1 200"
            until(lambda: running.answering == 0)
        for _ in range(Limit.HTTP_CONNECTIONS.most + 149):
            running.connect(sent)
        assert answers(running)
        until(lambda: len(running.buffered) <= Limit.HTTP_CONNECTIONS.most)
        until(lambda: running.exceeded(Limit.HTTP_CONNECTIONS) >= 150)
        until(lambda: closed(longest))


def test_clients_that_do_not_read_cost_a_few_blocks_and_keep_nobody_out(caplog):
    with serving(containers=3_000) as running:
        for _ in range(60):
            running.connect(GET, receive_buffer=4096)
        until(lambda: running.exceeded(Limit.HTTP_STALLED) >= 60 - Limit.HTTP_STALLED.most)
        waiting = [size for size in running.buffered if size]
        assert len(waiting) <= Limit.HTTP_STALLED.most
        assert sum(waiting) <= Limit.HTTP_STALLED.most * (BLOCK_BYTES + HIGH_WATER_BYTES)
        assert answers(running)
    assert caplog.messages == []


def test_a_crowd_of_one_address_is_closed_before_others():
    with serving(bounds=Bounds(connections=5)) as running:
        alone = socket.create_connection(("127.0.0.1", running.port), source_address=("127.0.0.2", 0))
        with contextlib.closing(alone):
            crowd = [running.connect() for _ in range(20)]
            until(lambda: running.exceeded(Limit.HTTP_CONNECTIONS) == 16)
            until(lambda: closed(crowd[0]))
            assert not closed(alone)


def test_a_response_in_progress_outlives_idle_connections():
    with serving(containers=3_000, bounds=Bounds(connections=5)) as running:
        reading = running.connect(GET, receive_buffer=4096)
        until(lambda: any(running.buffered))
        for _ in range(20):
            running.connect()
        until(lambda: running.exceeded(Limit.HTTP_CONNECTIONS) >= 15)
        assert reading.recv(12) == b"HTTP/1.1 200"
        reading.settimeout(60)
        received = 0
        while received < 4 << 20:
            received += len(reading.recv(1 << 20))


def test_a_client_that_does_not_read_is_cut_off():
    with serving(containers=3_000, bounds=Bounds(stall_seconds=0.3)) as running:
        running.connect(GET, receive_buffer=4096)
        until(lambda: any(running.buffered))
        until(lambda: running.exceeded(Limit.HTTP_STALL_SECONDS) == 1)
        until(lambda: running.buffered == [])


def test_a_client_that_reads_for_too_long_is_cut_off():
    with serving(containers=3_000, bounds=Bounds(response_seconds=0.5)) as running:
        slow = running.connect(GET, receive_buffer=4096)
        with contextlib.suppress(ConnectionResetError):
            while slow.recv(1 << 10):
                time.sleep(0.001)
        assert running.exceeded(Limit.HTTP_RESPONSE_SECONDS) == 1


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT", GET], ids=["silent", "half a request", "after a response"])
def test_a_client_that_sends_no_request_is_cut_off(sent):
    with serving(bounds=Bounds(header_seconds=0.3)) as running:
        client = running.connect(sent)
        until(lambda: closed(client))
        assert running.exceeded(Limit.HTTP_HEADER_SECONDS) == 1


def test_headers_that_come_one_by_one_gain_no_time():
    with serving(bounds=Bounds(header_seconds=0.5)) as running:
        client = running.connect(b"GET /metrics HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            for number in range(1000):
                client.sendall(b"X-%d: a\r\n" % number)
                time.sleep(0.02)
        assert running.exceeded(Limit.HTTP_HEADER_SECONDS) == 1


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: "], ids=["line", "header"])
def test_a_request_with_too_many_bytes_before_its_body_is_refused(line):
    with serving() as running:
        client = running.connect(line + b"a" * Limit.HTTP_HEADER_BYTES.most)
        assert client.recv(12) == b"HTTP/1.1 400"
        until(lambda: closed(client))
        assert running.exceeded(Limit.HTTP_HEADER_BYTES) == 1


@pytest.mark.parametrize("header", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_request_with_a_body_is_refused(header):
    with serving() as running:
        client = running.connect(b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 413"
        until(lambda: closed(client))
        assert running.exceeded(Limit.HTTP_BODY_BYTES) == 1


def test_a_body_that_never_ends_is_not_read_for_ever():
    with serving(bounds=Bounds(header_seconds=0.3)) as running:
        client = running.connect(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                client.sendall(b"1000\r\n" + b"a" * 0x1000 + b"\r\n")
                time.sleep(0.001)
        assert closed(client)


def test_a_connection_answers_one_request_after_the_other():
    with serving() as running:
        client = running.connect(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        received = b""
        while received.count(b"healthy\n") < 3:
            received += client.recv(1 << 16)
        assert not closed(client)


def test_many_readers_at_once_all_get_the_page():
    with serving(containers=1_000) as running:
        found = []
        readers = [threading.Thread(target=lambda: found.append(running.get("/metrics"))) for _ in range(5)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert [status for status, _, _ in found] == [200] * 5
        assert len({body.count(b"\nmojaloop_image_patch_available{") for _, _, body in found}) == 1

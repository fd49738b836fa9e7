"""The one way out to registries: a pool of connections for each entry, and whole, bounded, counted answers.

Bounds hold here, under everything that httpx does with an answer by itself: what a registry sends is read and decoded up to the bound, or
not at all. A pool of its own keeps each entry's rights apart: a redirect from one registry never travels on a connection that another
one's entry allowed.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from exporter import lean  # noqa: F401 - before httpx

import httpcore  # isort: skip
import httpx  # isort: skip

from exporter.registry import body
from exporter.registry.entries import RegistryEntry
from exporter.registry.network import CheckedBackend, Resolve, resolve
from exporter.telemetry import Telemetry

_KEEP_ALIVE_SECONDS = 15.0
# The body is decoded here; and a registry has no session with us that a cookie could carry on.
_NOT_PASSED_ON = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one registry may take of us.

    Attributes:
        body: bytes of one answer, as it comes and as it is decoded.
        pages: pages of one tag list.
        tags: tags of one repository.
        concurrency: requests to one registry at a time.
        connect, read: seconds to connect, and between two parts of an answer.
        request, lookup: seconds of one request with its answer, and of one whole question.
        pause: seconds that a registry is left alone after a 429 that does not say how long.
    """

    body: int = 4 * 2**20
    pages: int = 500
    tags: int = 200_000
    concurrency: int = 4
    connect: float = 10.0
    read: float = 20.0
    request: float = 60.0
    lookup: float = 300.0
    pause: float = 60.0


class Transport(httpx.AsyncBaseTransport):
    """Sends each request by the entry in its extension `entry`, and answers with the whole decoded body.

    Args:
        telemetry: where requests and their durations are counted, by the host in the extension `registry`.
        limits: of every registry.
        proxy: an HTTP proxy, trusted to check addresses as we do; None connects directly.
        resolve: how names become addresses.
    """

    def __init__(
        self, *, telemetry: Telemetry, limits: Limits, proxy: str | None = None, resolve: Resolve = resolve
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits
        self._proxy = proxy
        self._resolve = resolve
        self._pools: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer.

        Raises:
            httpx.TransportError: there was no answer, or not a whole one.
            RegistryError: `bad_answer`, the body is too large or not what its encoding says.
        """
        registry = request.extensions["registry"]
        self._telemetry.registry_requests.labels(registry).inc()
        began = time.monotonic()
        try:
            answer = await self._pool(request.extensions["entry"]).handle_async_request(request)
            try:
                content = await body.read(
                    answer.aiter_raw(),
                    encoding=answer.headers.get("content-encoding", ""),
                    limit=self._limits.body,
                )
            finally:
                await answer.aclose()
        finally:
            self._telemetry.registry_duration.labels(registry).observe(time.monotonic() - began)
        headers = [(name, value) for name, value in answer.headers.raw if name.lower() not in _NOT_PASSED_ON]
        return httpx.Response(answer.status_code, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()

    def _pool(self, entry: RegistryEntry) -> httpx.AsyncHTTPTransport:
        pool = self._pools.get(entry.name)
        if pool is None:
            pool = self._pools[entry.name] = _Pool(
                entry, concurrency=self._limits.concurrency, proxy=self._proxy, resolve=self._resolve
            )
        return pool


class _Pool(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool of ours: httpx has no argument for the network backend that checks addresses."""

    def __init__(self, entry: RegistryEntry, *, concurrency: int, proxy: str | None, resolve: Resolve) -> None:
        common: dict[str, Any] = {
            "ssl_context": None if entry.base.scheme == "http" else _context(entry.ca_file),
            "max_connections": concurrency,
            "max_keepalive_connections": concurrency,
            "keepalive_expiry": _KEEP_ALIVE_SECONDS,
        }
        self._pool = (
            httpcore.AsyncConnectionPool(
                network_backend=CheckedBackend(allowed=entry.private_networks, resolve=resolve), **common
            )
            if proxy is None
            else httpcore.AsyncHTTPProxy(proxy, **common)
        )


@lru_cache
def _context(ca_file: Path | None) -> ssl.SSLContext:
    """A context for TLS; each holds some MiB, so that entries share them."""
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context

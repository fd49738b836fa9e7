"""HTTP transport to registries: a connection pool per entry, and complete, limited, counted responses.

This is an httpx transport on top of httpcore, because httpx has no argument for a network backend, and ours checks
addresses at connect time. A body is read and decoded up to a limit before httpx sees it. Each entry has its own pool,
so a redirect from one registry never uses a connection that another entry allowed.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpcore
import httpx

from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import body, urls
from exporter.registry.addresses import is_private_literal
from exporter.registry.entries import RegistryEntry
from exporter.registry.errors import RegistryError, bad_answer
from exporter.registry.network import BoundedStream, CheckedBackend, PrivateAddressError, Resolve
from exporter.registry.resolver import Resolver
from exporter.telemetry import Telemetry

_KEEP_ALIVE_SECONDS = 15.0
# The body is decoded here. Cookies are dropped, because no registry needs a session. Redirect targets are passed in an
# extension: httpx parses the header even if it does not follow redirects, and fails on some hosts.
_NOT_PASSED_ON = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie", b"location"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on the requests to one registry and on its responses.

    Attributes:
        body: bytes of one response, as received and as decoded.
        bytes: decoded bytes of all responses to one lookup.
        pages: pages of one tag list.
        tags: tags of one repository.
        concurrency: concurrent requests to one registry.
        connect, read: seconds to connect, and between two parts of a response.
        request, lookup: seconds of one request with its response, and of one lookup with all of its requests.
        pause: seconds without requests after a 429 without `Retry-After`.
    """

    body: int = Limit.ANSWER_BYTES.most
    bytes: int = Limit.LOOKUP_BYTES.most
    pages: int = Limit.TAG_PAGES.most
    tags: int = Limit.TAGS.most
    concurrency: int = 4
    connect: float = 10.0
    read: float = 20.0
    request: float = float(Limit.REQUEST_SECONDS.most)
    lookup: float = float(Limit.LOOKUP_SECONDS.most)
    pause: float = 60.0


class Transport(httpx.AsyncBaseTransport):
    """Transport that sends a request as its extension `entry` allows, and returns the response with its decoded body.

    Args:
        telemetry: counts requests and their durations, by the entry's host.
        limits: limits of every registry.
        proxy: URL of an HTTP proxy, trusted to check addresses as we do; None connects directly.
        resolve: resolves host names; None uses the system's resolver, in threads of each registry.
    """

    def __init__(
        self, *, telemetry: Telemetry, limits: Limits, proxy: str | None = None, resolve: Resolve | None = None
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits
        self._proxy = None if proxy is None else httpx.URL(proxy)
        self._resolve = resolve
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}
        # Each takes a few MiB, so entries share them. A new transport reads the files again.
        self._contexts: dict[Path | None, ssl.SSLContext] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response. The extension `location` holds the target of a redirect.

        Raises:
            RegistryError: there was no complete and valid response.
        """
        entry: RegistryEntry = request.extensions["entry"]
        host = urls.host(request.url)
        if self._proxy is not None and is_private_literal(host, allowed=entry.private_networks(host)):
            # The proxy resolves names. Literal addresses are checked here, whatever the proxy allows.
            raise RegistryError(
                f"{host} is a private address; add its network to allow_private", reason=Reason.PRIVATE_ADDRESS
            )
        self._telemetry.registry_requests.labels(entry.host).inc()
        began = time.monotonic()
        try:
            async with self._pool(entry).stream(
                request.method,
                _core_url(request.url),
                headers=request.headers.raw,
                content=request.content,
                extensions=request.extensions,
            ) as answer:
                headers = httpx.Headers(answer.headers)
                encoding = headers.get("content-encoding", "")
                connection = answer.extensions["network_stream"]
                if isinstance(connection, BoundedStream):  # anything else is a response with status 101
                    connection.expect_body(2 * self._limits.body)
                content = await body.read(
                    answer.aiter_stream(),
                    encoding=encoding,
                    limit=self._limits.body,
                    take=request.extensions["take"],
                )
        except _FAILURES as error:
            raise _mapped(error, entry) from error
        finally:
            self._telemetry.registry_duration.labels(entry.host).observe(time.monotonic() - began)
        passed_on = [(name, value) for name, value in headers.raw if name.lower() not in _NOT_PASSED_ON]
        extensions = {"location": headers.get("location", "")}
        return httpx.Response(answer.status, headers=passed_on, content=content, request=request, extensions=extensions)

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()

    def _context(self, ca_file: Path | None) -> ssl.SSLContext:
        if ca_file not in self._contexts:
            context = httpx.create_ssl_context(trust_env=False)
            if ca_file is not None:
                context.load_verify_locations(cafile=ca_file)
            self._contexts[ca_file] = context
        return self._contexts[ca_file]

    def _pool(self, entry: RegistryEntry) -> httpcore.AsyncConnectionPool:
        if entry.name not in self._pools:
            common: dict[str, Any] = {
                "ssl_context": None if entry.base.scheme == "http" else self._context(entry.ca_file),
                "max_connections": self._limits.concurrency,
                "max_keepalive_connections": self._limits.concurrency,
                "keepalive_expiry": _KEEP_ALIVE_SECONDS,
            }
            resolve = self._resolve or Resolver(exceeded=lambda: self._telemetry.exceeded(Limit.NAME_LOOKUPS))
            allowed = entry.private_networks if self._proxy is None else None
            common["network_backend"] = CheckedBackend(resolve=resolve, allowed=allowed)
            if self._proxy is None:
                pool = httpcore.AsyncConnectionPool(**common)
            else:
                # httpcore ignores credentials in a URL.
                user = self._proxy.username.encode(), self._proxy.password.encode()
                pool = httpcore.AsyncHTTPProxy(
                    _core_url(self._proxy), proxy_auth=user if self._proxy.userinfo else None, **common
                )
            self._pools[entry.name] = pool
        return self._pools[entry.name]


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


# Exceptions of httpcore, and of a missing or invalid `ca_file` (`ssl.SSLError` is an `OSError`).
_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
)


# OpenSSL's errors if a server does not speak TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")


def _mapped(error: Exception, entry: RegistryEntry) -> RegistryError:
    what = str(error)
    if isinstance(error, PrivateAddressError):
        return RegistryError(what, reason=Reason.PRIVATE_ADDRESS)
    if isinstance(error, (httpcore.ProtocolError, httpcore.UnsupportedProtocol)):
        return bad_answer(f"invalid HTTP response: {what}{expects_https(entry)}")
    if isinstance(error, httpcore.ProxyError):
        return RegistryError(f"the proxy returned {what}", reason=Reason.UNREACHABLE)
    if isinstance(error, httpcore.TimeoutException):
        detail = what or type(error).__name__
        return RegistryError(f"timed out ({detail})", reason=Reason.UNREACHABLE)
    if any(sign in what for sign in _NO_TLS):
        change = "set insecure: true" if entry.endpoint is None else "write http:// in endpoint"
        hint = f"if {entry.name} uses plain HTTP, {change} in its entry of registries"
        return RegistryError(f"the server does not speak TLS; {hint}", reason=Reason.UNREACHABLE)
    return RegistryError(what or type(error).__name__, reason=Reason.UNREACHABLE)


def expects_https(entry: RegistryEntry) -> str:
    """Return advice for a response that is not from a registry, if the use of plain HTTP may be the cause."""
    if entry.base.scheme != "http":
        return ""
    change = "remove insecure from" if entry.endpoint is None else "write https:// in endpoint in"
    return f"; if {entry.name} uses HTTPS, {change} its entry of registries"

"""Connections to public addresses only, checked at connect time, with a limit on received bytes.

Anyone who can create a pod chooses the host name in its image. Checking a name before the request is not enough: it may
resolve to another address a moment later. Therefore httpcore's network backend resolves the name, checks the
addresses, and connects to exactly the checked one. TLS still verifies the certificate against the name.

httpcore limits the time between two reads and the size of one header block, but not the total: a server may send
responses with status 1xx forever. So each connection counts the bytes of the response that it is receiving.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import httpcore

from exporter.limits import Limit
from exporter.registry.addresses import Network, may_be_contacted
from exporter.registry.errors import bad_answer

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# httpcore's read size is 64 KiB, in which h11 can find thousands of tiny events without yielding to other tasks. This
# limits a read.
_READ_BYTES = 16 * 2**10


class PrivateAddressError(httpcore.ConnectError):
    """A name resolves to an address that must not be contacted. Nothing was sent."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection with a limit on the bytes of each response.

    Every request is written before its response is read (HTTP/1.1 without pipelining), so writing starts a new one.

    Args:
        stream: the connection.
        head: maximum bytes up to the end of a response's headers, including preceding responses with status 1xx.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, *, head: int = Limit.ANSWER_HEAD_BYTES.most) -> None:
        self._stream = stream
        self._head = head
        self._start()

    def _start(self) -> None:
        self._received, self._most, self._limit = 0, self._head, Limit.ANSWER_HEAD_BYTES

    def expect_body(self, most: int) -> None:
        """Start the body of a response, of at most `most` bytes as sent over the network."""
        self._most, self._limit = self._head + most, Limit.ANSWER_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive some bytes.

        Raises:
            RegistryError: `bad_answer`, the response exceeds its limit.
        """
        received = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._received += len(received)
        if self._received > self._most:
            raise bad_answer(f"the response has more than {self._most} bytes on the wire", limit=self._limit)
        # A peer that sends faster than we read never makes us wait, so yield to other tasks.
        await asyncio.sleep(0)
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes of a request."""
        self._start()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Return the same connection, encrypted."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), head=self._head)

    def get_extra_info(self, info: str) -> Any:
        """Return information about the connection, for httpcore."""
        return self._stream.get_extra_info(info)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """A network backend that connects to checked addresses only.

    Args:
        resolve: resolves host names.
        allowed: allowed private networks by host name; None checks no address (a trusted proxy).
    """

    def __init__(self, *, resolve: Resolve, allowed: Callable[[str], Iterable[Network]] | None) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._backend = httpcore.AnyIOBackend()
        # With a proxy, all connections go to the proxy.
        self._role = "the proxy " if allowed is None else ""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a name that responds.

        Raises:
            PrivateAddressError: an address of the name must not be contacted. Then none is, not even a public one.
            httpcore.ConnectError, httpcore.ConnectTimeout: the name has no address, or none responds in time.
        """
        try:
            async with asyncio.timeout(timeout):
                found = [ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"timed out resolving {self._role}{host}") from error
        except (OSError, ValueError) as error:
            raise httpcore.ConnectError(f"{self._role}{host} has no address") from error
        allowed = () if self._allowed is None else tuple(self._allowed(host))
        for address in found:
            if self._allowed is not None and not may_be_contacted(address, allowed=allowed):
                raise PrivateAddressError(
                    f"{host} resolves to the private address {address}; add its network to allow_private"
                )
        failure: Exception = httpcore.ConnectError(f"{self._role}{host} has no address")
        for address in found:
            try:
                stream = await self._backend.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = type(error)(f"cannot connect to {self._role}{host}:{port}")
                failure.__cause__ = error
            else:
                return BoundedStream(stream)
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no registry listens on a Unix socket."""
        raise PrivateAddressError(f"{path} is not a network address")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts, for httpcore."""
        await self._backend.sleep(seconds)

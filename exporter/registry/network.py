"""Connections to public addresses only, checked where the connection is made.

Anyone who can create a pod chooses the host name in its image. Checking a name before the request is not enough: it may
resolve to another address a moment later. Therefore httpcore's network backend resolves the name, checks the addresses,
and connects to exactly the checked one. TLS still verifies the certificate against the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpcore

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# RFC 6052, section 2.1: the well-known prefix of NAT64; the last 32 bits are an IPv4 address.
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(httpcore.ConnectError):
    """A name resolves to an address that may not be contacted; nothing was sent."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name in the system's order, by the system's resolver (which also knows `127.1` and `0x7f000001`).

    Raises:
        OSError: the name has no address.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def unwrapped(address: Address) -> Address:
    """The IPv4 address within a mapped, 6to4 or NAT64 address; any other address as it is."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def may_be_contacted(address: Address, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address is public, or within what the registry's entry allows."""
    inner = unwrapped(address)
    if any(inner in network for network in allowed if network.version == inner.version):
        return True
    return inner.is_global and not inner.is_multicast


def is_private_literal(host: str, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether a host is an address that may not be contacted; names are checked when they are resolved."""
    try:
        return not may_be_contacted(ip_address(host), allowed=allowed)
    except ValueError:
        return False


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only.

    Args:
        allowed: private networks that may be contacted, by host name.
        resolve: how host names are resolved.
    """

    def __init__(self, *, allowed: Callable[[str], Iterable[Network]], resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a name that answers.

        Raises:
            PrivateAddressError: an address of the name may not be contacted. Then none is, not even a public one.
            httpcore.ConnectError, httpcore.ConnectTimeout: the name has no address, or none answers.
        """
        try:
            async with asyncio.timeout(timeout):
                found = [ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        allowed = list(self._allowed(host))
        for address in found:
            if not may_be_contacted(address, allowed=allowed):
                raise PrivateAddressError(
                    f"{host} resolves to the private address {address}; add its network to allow_private"
                )
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in found:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Always refused: no registry listens on a Unix socket."""
        raise PrivateAddressError(f"{path} is not a network address")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts, for httpcore."""
        await self._backend.sleep(seconds)

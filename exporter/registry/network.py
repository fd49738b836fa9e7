"""Connections to public addresses only, checked where the connection is made.

Anyone who can create a pod chooses the host name in its image. A check before the request is no check: the name may resolve to
something else a moment later. So a network backend under httpx resolves a name, checks what it got, and connects to exactly
that address; TLS still verifies the certificate against the name.
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
    """A name stands for no address that may be contacted; nothing was sent."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, as the system resolves it (`127.1` and `0x7f000001` too), in the system's order.

    Raises:
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def unwrapped(address: Address) -> Address:
    """The IPv4 address within a mapped, 6to4 or NAT64 one, else the address itself."""
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
    """Whether a host is an address, not a name, that may not be contacted; other spellings show when they are resolved."""
    try:
        return not may_be_contacted(ip_address(host), allowed=allowed)
    except ValueError:
        return False


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only.

    Args:
        allowed: private networks that may be contacted, by host name.
        resolve: how names become addresses.
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
            PrivateAddressError: an address of the name may not be contacted; then none is, not even a public one beside it.
            httpcore.ConnectError, httpcore.ConnectTimeout: the name has no address, or none answers.
        """
        try:
            async with asyncio.timeout(timeout):
                found = [ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}: its name was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: its name has no address") from error
        allowed = list(self._allowed(host))
        for address in found:
            if not may_be_contacted(address, allowed=allowed):
                raise PrivateAddressError(
                    f"{host} stands for {address}, which is not public; name its network in allow_private"
                )
        failure: Exception = httpcore.ConnectError(f"{host}: its name has no address")
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
        timeout: float | None = None,  # noqa: ARG002 - the interface is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never: no registry is behind a socket of this machine."""
        raise PrivateAddressError(f"{path}: not a network address")

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between attempts."""
        await self._backend.sleep(seconds)

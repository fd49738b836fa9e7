"""Public network addresses. All others belong to the cluster, the node or its network.

`ipaddress.is_global` differs between Python versions: on 3.11 it holds for `64:ff9b:1::/48`, `fec0::/10` and `::a00:1`.
The blocks are therefore listed here, from the IANA special-purpose address registries of IPv4 (RFC 6890) and IPv6. In
IPv6, only `2000::/3` is allocated to global unicast (RFC 4291, section 2.4); no other address is contacted.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared address space of providers, also used by clusters
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, cloud metadata services
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, deprecated by RFC 7526
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments, with Teredo, ORCHID and benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, deprecated by RFC 7526
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
# RFC 6052, section 2.1: the well-known prefix of NAT64; the last 32 bits are an IPv4 address.
_NAT64 = IPv6Network("64:ff9b::/96")


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address embedded in a mapped, 6to4 or NAT64 address; any other address unchanged."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def may_be_contacted(address: Address, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address is public, or in an allowed network."""
    inner = unwrapped(address)
    if any(each in network for network in allowed for each in (address, inner) if network.version == each.version):
        return True
    if isinstance(inner, IPv4Address) and not (isinstance(address, IPv6Address) and address.sixtofour):
        return not any(inner in network for network in _NOT_PUBLIC_4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def literal(host: str) -> Address | None:
    """Return the address if a host is one, in any spelling that resolvers accept (`127.1`, `0x7f000001`, `localhost`).

    Return None if the host is a name.
    """
    plain = host.strip("[]").partition("%")[0].rstrip(".").lower()
    if plain == "localhost" or plain.endswith(".localhost"):  # RFC 6761, section 6.3
        return IPv4Address("127.0.0.1")
    for read in (ip_address, lambda text: IPv4Address(socket.inet_aton(text))):
        try:
            return read(plain)
        except (OSError, ValueError):
            continue
    return None


def is_private_literal(host: str, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether a host is an address that must not be contacted. Names are checked after they are resolved."""
    address = literal(host)
    return address is not None and not may_be_contacted(address, allowed=allowed)

"""Which addresses are public: every block of the IANA special-purpose registries, whatever the Python version says."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.registry.addresses import is_private_literal, may_be_contacted

# iana-ipv4-special-registry and iana-ipv6-special-registry, without the blocks that are globally reachable, with
# multicast and with what was deprecated.
SPECIAL = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/31", "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "255.255.255.255/32",
    "::1/128", "::/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
    "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28",
    "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
    "192.0.1.0", "192.31.196.1", "192.52.193.1", "192.175.48.1", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2620:4f:8000::1", "2a00:1450::1",
    "64:ff9b::101:101", "::ffff:1.1.1.1",
]  # fmt: skip


@pytest.mark.parametrize("block", SPECIAL)
def test_no_address_of_a_special_purpose_block_is_public(block):
    network = ip_network(block)
    middle = network[network.num_addresses // 2]
    for address in (network[0], middle, network[-1]):
        assert not may_be_contacted(address), address


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert may_be_contacted(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_within_an_ipv6_address_is_judged_by_itself(number):
    inner = IPv4Address(number)
    for outer in (IPv6Address(f"::ffff:{inner}"), IPv6Address(f"64:ff9b::{inner}")):
        assert may_be_contacted(outer) is may_be_contacted(inner)
    for outer in (
        IPv6Address(f"::{inner}"),
        IPv6Address(f"64:ff9b:1::{inner}"),
        IPv6Address((0x2002 << 112) + (number << 80)),
    ):
        assert not may_be_contacted(outer)


@given(st.ip_addresses())
def test_nothing_that_python_knows_as_private_is_public(address):
    if (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
    ):
        assert (
            not may_be_contacted(address)
            or getattr(address, "ipv4_mapped", None)
            or address in ip_network("64:ff9b::/96")
        )


def test_a_private_network_may_be_allowed_and_no_other():
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8"), ip_network("64:ff9b:1::/48")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "64:ff9b:1::7f00:1"):
        assert may_be_contacted(ip_address(address), allowed=allowed)
    for address in ("10.2.0.1", "fc00::1", "64:ff9b:2::1"):
        assert not may_be_contacted(ip_address(address), allowed=allowed)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "localhost", "LOCALHOST.", "a.localhost", "::1",
     "[::1]", "fe80::1%eth0", "169.254.169.254", "10.1"],
)  # fmt: skip
def test_every_spelling_of_a_private_address(host):
    assert is_private_literal(host)


@pytest.mark.parametrize("host", ["registry.example", "10.example", "0x7f.example", "localhost.example", "1.1.1.1", ""])
def test_names_and_public_addresses_are_not_private(host):
    assert not is_private_literal(host)

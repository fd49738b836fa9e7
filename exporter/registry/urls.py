"""Addresses that registries send: parsed, joined and compared without failing.

httpx accepts hosts that it later fails on: a malformed `xn--` label raises an error whenever the host is read. An
address is therefore checked once, here, and everything after it reads the host as sent over the network.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

_LONGEST = 8192
# RFC 1035, section 2.3.4, without the root label.
_LONGEST_HOST = 253
_PORTS = {"http": 80, "https": 443}


def parse(text: str) -> httpx.URL | None:
    """An address; None if it is too long or invalid."""
    return _checked(lambda: httpx.URL(text), text)


def join(url: httpx.URL, target: str) -> httpx.URL | None:
    """An address relative to another one; None if it is empty, too long or invalid."""
    return _checked(lambda: url.join(target), target) if target else None


def host(url: httpx.URL) -> str:
    """The host of an address in ASCII, as it is sent: `httpx.URL.host` decodes `xn--` labels, and fails on some."""
    return url.raw_host.decode("ascii")


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses share scheme, host and port (RFC 6454)."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, host(url), url.port or _PORTS.get(url.scheme)


def _checked(read: Callable[[], httpx.URL], text: str) -> httpx.URL | None:
    if len(text) > _LONGEST:
        return None
    try:
        url = read()
        # Decodes the host: `idna.IDNAError` is a `ValueError`.
        valid = len(url.raw_host) <= _LONGEST_HOST and url.host is not None
    except (httpx.InvalidURL, ValueError):
        return None
    return url if valid and (url.port is None or 0 < url.port < 65536) else None

"""URLs that registries send, parsed, joined and compared without failing.

httpx accepts hosts that it later fails on: a malformed `xn--` label raises an error whenever the host is read. URLs are
therefore checked once, here. All other code reads the host as sent over the network.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

_LONGEST = 8192
# RFC 1035, section 2.3.4, without the root label.
_LONGEST_HOST = 253
_PORTS = {"http": 80, "https": 443}


def parse(text: str) -> httpx.URL | None:
    """Parse a URL; None if it is too long or invalid."""
    return _checked(lambda: httpx.URL(text), text)


def join(url: httpx.URL, target: str) -> httpx.URL | None:
    """Resolve a URL relative to another one; None if it is empty, too long or invalid."""
    return _checked(lambda: url.join(target), target) if target else None


def host(url: httpx.URL) -> str:
    """Return the host of a URL in ASCII, as it is sent. `httpx.URL.host` decodes `xn--` labels, and fails on some."""
    return url.raw_host.decode("ascii")


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two URLs have the same scheme, host and port (RFC 6454)."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, host(url), url.port or _PORTS.get(url.scheme)


def _checked(read: Callable[[], httpx.URL], text: str) -> httpx.URL | None:
    if len(text) > _LONGEST:
        return None
    try:
        url = read()
        # Reading the host decodes it: `idna.IDNAError` is a `ValueError`.
        valid = len(url.raw_host) <= _LONGEST_HOST and url.host is not None
    except (httpx.InvalidURL, ValueError):
        return None
    return url if valid and (url.port is None or 0 < url.port < 65536) else None

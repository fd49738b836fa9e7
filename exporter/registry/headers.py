"""What registries say in headers, read without trust: pure functions, and total."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx

# A registry that asks for more is asked again after an hour all the same: one answered with a wait of years.
LONGEST_WAIT_SECONDS = 3600.0
# RFC 9110, section 5.6.6: a parameter's value is a token or a quoted string.
_PARAMETER = re.compile(r'([A-Za-z_-]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_NEXT = re.compile(r'<([^<>]{1,2048})>\s*(?:;[^,]*?)?;\s*rel\s*=\s*"?next"?', re.IGNORECASE)


def challenge(header: str) -> dict[str, str] | None:
    """The parameters of a Bearer challenge (distribution's token authentication), or None where it is none."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    found = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) or token
        for name, quoted, token in _PARAMETER.findall(rest[:8192])
    }
    return found if "realm" in found else None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait: `Retry-After` in seconds or as a date, or Docker Hub's `X-Retry-After`, an epoch; at most an hour.

    Args:
        headers: of the answer, in lower case.
        now: epoch seconds.
    """
    said = headers.get("retry-after", "").strip()
    wait: float | None = None
    if re.fullmatch(r"[0-9]{1,18}", said, re.ASCII):
        wait = float(said)
    elif said:
        try:
            wait = parsedate_to_datetime(said).timestamp() - now
        except (ValueError, OverflowError):
            wait = None
    epoch = headers.get("x-retry-after", "").strip()
    if wait is None and re.fullmatch(r"[0-9]{1,18}", epoch, re.ASCII):
        wait = float(epoch) - now
    return None if wait is None else min(max(wait, 0.0), LONGEST_WAIT_SECONDS)


def remaining(headers: Mapping[str, str]) -> int | None:
    """Requests left, from `RateLimit-Remaining` (`100;w=21600` at Docker Hub), or None."""
    match = re.match(r"\s*([0-9]{1,18})\s*(?:;|$)", headers.get("ratelimit-remaining", ""), re.ASCII)
    return int(match[1]) if match else None


def next_page(header: str, *, current: httpx.URL) -> httpx.URL | None:
    """The next page of a `Link` header, resolved against the page that it came with; None where there is none.

    Whether it may be followed is the caller's to say (`same_origin`).
    """
    match = _NEXT.search(header[:4096])
    if match is None:
        return None
    try:
        return current.join(match[1])
    except httpx.InvalidURL:
        return None


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses share scheme, host and port (RFC 6454)."""

    def origin(url: httpx.URL) -> tuple[str, str, int | None]:
        return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)

    return origin(one) == origin(other)

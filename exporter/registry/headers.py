"""Headers of registries: pure and total functions, as anyone may have written them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.request import parse_http_list

import httpx

# Longer waits are shortened: one registry asked for a wait of years.
LONGEST_WAIT_SECONDS = 3600.0
_LONGEST_CHALLENGE = 8192
_LONGEST_LINK = 4096
_NEXT = re.compile(r'<([^<>]{1,2048})>\s*(?:;[^,]*?)?;\s*rel\s*=\s*"?next"?', re.IGNORECASE)


def challenge(header: str) -> dict[str, str] | None:
    """The parameters of a Bearer challenge (distribution's token authentication), or None if it is not a valid one."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    parameters: dict[str, str] = {}
    # RFC 9110, section 11.2: a list of `name=value`. `parse_http_list` removes escapes but leaves quotes.
    for parameter in parse_http_list(rest[:_LONGEST_CHALLENGE]):
        name, _, value = (part.strip() for part in parameter.partition("="))
        quoted = len(value) > 1 and value.startswith('"') and value.endswith('"')
        parameters[name.lower()] = value[1:-1] if quoted else value
    return parameters if parameters.get("realm") else None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, at most an hour: `Retry-After` (seconds or a date), or Docker Hub's `X-Retry-After` (an epoch).

    Args:
        headers: of the answer, with names in lower case.
        now: epoch seconds.
    """
    value = headers.get("retry-after", "").strip()
    wait: float | None = None
    if re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        wait = float(value)
    elif value:
        try:
            wait = parsedate_to_datetime(value).timestamp() - now
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
    """The next page in a `Link` header, resolved against the page that it came with; None if there is none.

    The caller decides whether to follow it (`same_origin`).
    """
    match = _NEXT.search(header[:_LONGEST_LINK])
    return None if match is None else join(current, match[1])


def join(url: httpx.URL, target: str) -> httpx.URL | None:
    """An address relative to another one; None if it is empty or invalid."""
    try:
        return url.join(target) if target else None
    except httpx.InvalidURL:
        return None


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses share scheme, host and port (RFC 6454)."""

    def origin(url: httpx.URL) -> tuple[str, str, int | None]:
        return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)

    return origin(one) == origin(other)

"""Parsers of response headers. The headers are untrusted; the parsers are pure and raise only `RegistryError`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.request import parse_http_list

from exporter.registry.errors import bad_answer

# Longer waits are shortened: one registry requested a wait of years.
LONGEST_WAIT_SECONDS = 3600.0
_LONGEST_CHALLENGE = 8192
_LONGEST_LINK = 8192
# RFC 9110, section 5.6: list elements may be empty; a token; a quoted string.
_LINK_START = re.compile(r"[ \t,]*")
_LINK_TARGET = re.compile(r"<([^<>]*)>")
_LINK_PARAMETER = re.compile(
    r"""[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)"""
    r"""(?:[ \t]*=[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|"((?:[^"\\]|\\.)*)"))?"""
)
_LINK_END = re.compile(r"[ \t]*(?:,[ \t,]*|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')


def challenge(header: str) -> dict[str, str] | None:
    """Return the parameters of a Bearer challenge (distribution's token authentication); None if it is invalid."""
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
    """Return the seconds to wait, at most an hour.

    They come from `Retry-After` (seconds or a date), or from Docker Hub's `X-Retry-After` (an epoch).

    Args:
        headers: response headers, with names in lower case.
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
    """Return the requests left, from `RateLimit-Remaining` (`100;w=21600` at Docker Hub), or None."""
    match = re.match(r"\s*([0-9]{1,18})\s*(?:;|$)", headers.get("ratelimit-remaining", ""), re.ASCII)
    return int(match[1]) if match else None


def next_page(header: str) -> str | None:
    """Return the URL of the next page in a `Link` header (RFC 8288, section 3), as written; None if there is none.

    A tag list without a next page is complete, so an unreadable header must not count as one without such a link.

    Raises:
        RegistryError: `bad_answer`, the header is too long or does not match the grammar.
    """
    if len(header) > _LONGEST_LINK:
        raise bad_answer(f"the Link header is longer than {_LONGEST_LINK} characters")
    found: str | None = None
    at = _match(_LINK_START, header, 0).end()
    while at < len(header):
        target = _match(_LINK_TARGET, header, at)
        at, relation = target.end(), None
        while (parameter := _LINK_PARAMETER.match(header, at)) is not None:
            at = parameter.end()
            # Section 3.3: a second `rel` is ignored.
            if relation is None and parameter[1].lower() == "rel":
                relation = parameter[2] or _ESCAPE.sub(r"\1", parameter[3] or "")
        at = _match(_LINK_END, header, at).end()
        if found is None and relation is not None and "next" in relation.lower().split():
            found = target[1]
    return found


def _match(pattern: re.Pattern[str], header: str, at: int) -> re.Match[str]:
    found = pattern.match(header, at)
    if found is None:
        raise bad_answer(f"cannot parse the Link header at character {at + 1}")
    return found


def is_sendable_etag(value: str) -> bool:
    """Whether a text is an entity tag (RFC 9110, section 8.8.3) that can be sent back: ASCII, of limited length."""
    return _ETAG.fullmatch(value) is not None

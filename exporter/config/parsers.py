"""Parsers that turn a document's node into a value, or raise a `ConfigurationError` that says what is expected.

Every parser accepts any YAML value and raises no other exception.
"""

from __future__ import annotations

import difflib
import re
import ssl
from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import httpx

from exporter.api.auth import TokenError, read_token
from exporter.cluster import KINDS
from exporter.config.document import Node
from exporter.cron import Cron, CronError
from exporter.images import InvalidReferenceError, is_host, parse_repository
from exporter.registry import urls
from exporter.versions import STRATEGY_NAMES, Strategy

Parser = Callable[[Node], Any]

# Registries have rate limits, and no patch release is urgent enough for a minute to matter.
_SHORTEST_INTERVAL = 60.0
# No zone name is longer, and comparing long texts is slow.
_LONGEST_ZONE = 40
# Durations in Prometheus syntax, with the units that make sense here.
_DURATION = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", re.ASCII)


def text(node: Node) -> str:
    """Parse a string that is not blank and has no control characters."""
    if not isinstance(node.value, str) or not node.value.strip():
        node.wrong("a string")
    if not node.value.isprintable():  # line breaks, NUL, lone surrogates: never part of a name, path or URL
        node.wrong("a string of printable characters")
    return str(node.value)


def path(node: Node) -> Path:
    """Parse a path; `~` is the home directory."""
    try:
        return Path(text(node)).expanduser()
    except RuntimeError:
        node.wrong("a path; the home directory that this one starts with is unknown")


def file(node: Node) -> Path:
    """Parse a path to a readable file."""
    named = path(node)
    if node.files:
        try:
            with named.open("rb") as opened:
                opened.read(1)
        except OSError as error:
            node.wrong("a readable file", found=f"{str(named)!r} ({error.strerror})")
    return named


def token_file(node: Node) -> Path:
    """Parse a path to a file with a bearer token."""
    named = file(node)
    if node.files:
        try:
            read_token(named)
        except TokenError as error:
            node.refuse(str(error))
    return named


def certificates(node: Node) -> Path:
    """Parse a path to a file with certificates (PEM)."""
    named = file(node)
    if node.files:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=named)
        except ssl.SSLError:
            node.wrong("a file with certificates (PEM)", found=f"{str(named)!r} without any valid certificate")
    return named


def optional_path(node: Node) -> Path | None:
    """Parse a path, or an empty string to None."""
    return None if node.value in ("", None) else path(node)


def flag(node: Node) -> bool:
    """Parse a boolean."""
    if not isinstance(node.value, bool):
        node.wrong("true or false")
    return bool(node.value)


def one_of(*words: str) -> Callable[[Node], str]:
    """Return a parser of one of several words."""

    def parse(node: Node) -> str:
        if node.value not in words or not isinstance(node.value, str):
            node.wrong(f"one of {', '.join(words)}")
        return str(node.value)

    return parse


def list_of(parse: Parser) -> Parser:
    """Return a parser of a list of items."""
    return lambda node: tuple(parse(item) for item in node.items())


def strategy(node: Node) -> Strategy:
    """Parse the name or alias of a strategy."""
    return STRATEGY_NAMES[one_of(*STRATEGY_NAMES)(node)]


def kinds(node: Node) -> tuple[str, ...]:
    """Parse a list of at least one workload kind."""
    found: tuple[str, ...] = list_of(one_of(*KINDS))(node)
    if not found:
        node.wrong(f"at least one of {', '.join(KINDS)}")
    return found


def listen(node: Node) -> tuple[str, int]:
    """Parse a host (empty: all addresses) and a port."""
    host, colon, port = node.value.rpartition(":") if isinstance(node.value, str) else ("", "", "")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = not host or (is_host(host) and (plain != host or ":" not in host))
    if not colon or not known or not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        node.wrong("HOST:PORT, such as 0.0.0.0:9877 or [::1]:9877")
    return plain, int(port)


def show_listen(address: tuple[str, int]) -> str:
    """Format an address as `listen` parses it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def duration(node: Node) -> float:
    """Parse a duration in seconds."""
    match = _DURATION.fullmatch(node.value) if isinstance(node.value, str) and node.value else None
    if match is None:
        node.wrong("a duration, such as 30m, 1h or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def interval(node: Node) -> float:
    """Parse a duration in seconds, at least a minute."""
    seconds = duration(node)
    if seconds < _SHORTEST_INTERVAL:
        node.wrong("at least 1m, because registries have rate limits")
    return seconds


def show_duration(seconds: float) -> str:
    """Format whole seconds as `duration` parses them."""
    days, rest = divmod(int(seconds), 86400)
    return (f"{days}d" if days else "") + show_interval(rest) or "0s"


def show_interval(seconds: float) -> str:
    """Format whole seconds as `interval` parses them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count)


def timezone(node: Node) -> ZoneInfo:
    """Parse the name of a time zone."""
    written, known = text(node), _zones()
    if written not in known:
        near = difflib.get_close_matches(written[:_LONGEST_ZONE], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        node.wrong(f"a time zone of the IANA database, such as Africa/Nairobi{hint}")
    return ZoneInfo(written)


@cache
def _zones() -> frozenset[str]:
    """Return the names of all time zones. Listing them takes longer than loading the rest of a configuration."""
    return frozenset(available_timezones())


def schedule(node: Node) -> Cron:
    """Parse five fields of cron, in the node's zone."""
    try:
        return Cron(text(node), node.zone)
    except CronError as error:
        node.refuse(f"{error}; expected a schedule, such as 0 8 * * 1-5")


def url(node: Node) -> str:
    """Parse an http or https URL without query and fragment. Errors do not show it: it may hold a password."""
    written = node.value if isinstance(node.value, str) else ""
    parsed = urls.parse(written) or httpx.URL()
    host = urls.host(parsed)
    if (
        parsed.scheme not in ("http", "https")
        or not is_host(f"[{host}]" if ":" in host else host)
        or parsed.query
        or parsed.fragment
    ):
        node.wrong("http://HOST:PORT or https://HOST:PORT", found="an invalid URL")
    return written


def endpoint(node: Node) -> str:
    """Parse a URL without credentials."""
    written = url(node)
    if httpx.URL(written).userinfo:
        node.wrong("a URL without them; use username_file and password_file", found="credentials")
    return written


def networks(node: Node) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse a list of networks."""

    def parse(item: Node) -> IPv4Network | IPv6Network:
        try:
            return ip_network(text(item))
        except ValueError:
            item.wrong("a network without host bits, such as 10.0.0.0/8")

    return tuple(parse(item) for item in node.items())


def hosts(node: Node) -> tuple[str, ...]:
    """Parse a list of hosts, with or without a port."""

    def parse(item: Node) -> str:
        host = text(item).lower()
        if not is_host(host):
            item.wrong("a host, such as auth.example.org")
        return host

    return tuple(parse(item) for item in node.items())


def host_globs(node: Node) -> tuple[str, ...]:
    """Parse a list of hosts and host globs."""

    def parse(item: Node) -> str:
        if not is_host(text(item).replace("*", "x").replace("?", "x")):
            item.wrong("a host or a pattern of hosts, such as *.pkg.dev")
        return str(item.value)

    return tuple(parse(item) for item in node.items())


def registry_name(node: Node) -> str:
    """Parse a registry, or a path prefix in one, in the form of `RegistryEntry.name`."""
    written = text(node)
    host, slash, rest = written.partition("/")
    try:
        place = parse_repository(f"{host.lower()}/x" if not slash else f"{host.lower()}/{rest}/x")
    except InvalidReferenceError:
        place = None
    known = place is not None and urls.parse(f"https://{host}") is not None
    if not known or not ("." in host or ":" in host or host == "localhost"):
        node.wrong(
            "a registry as in image references, such as ghcr.io, or a path prefix in one, such as ghcr.io/hub/mirror"
        )
    return str(place).removesuffix("/library/x").removesuffix("/x")

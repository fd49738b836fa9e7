"""The keys `windows` and `freezes`: times at which workloads may be patched.

Mistakes are rejected, never guessed at: a window at an unintended time patches a payment hub in the middle of the day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from exporter.config import globs, parsers
from exporter.config.document import Node
from exporter.config.parsers import Parser
from exporter.config.suggest import closest
from exporter.cron import first_moment
from exporter.windows import LONGEST_SECONDS, Freeze, Window

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_SHORTEST_SECONDS = 60.0
_YEARS = range(2000, 2200)
_MOMENT = "a time with its zone, such as 2026-12-24T18:00:00+03:00, or a date"


@dataclass(frozen=True, slots=True)
class EntryKey:
    """A key of an entry.

    Attributes:
        name: name as written.
        parse: converts a node to the value.
        help: one or two sentences, in Markdown.
        default: effect of leaving it out, or `required`.
    """

    name: str
    parse: Parser
    help: str
    default: str = "required"


def _name(node: Node) -> str:
    if not isinstance(node.value, str) or not _NAME.fullmatch(node.value):
        node.wrong("a name of letters, digits, '-', '_' and '.', at most 63, such as weeknights")
    return str(node.value)


def _duration(node: Node) -> float:
    seconds = parsers.duration(node)
    if not _SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        node.wrong("a duration from 1m to 7d")
    return seconds


def _patterns(parse: Parser) -> Parser:
    def some(node: Node) -> tuple[str, ...]:
        found: tuple[str, ...] = parse(node)
        if not found:
            node.wrong("at least one pattern; remove the key to select everything")
        return found

    return some


def _moment(node: Node) -> date:
    """Parse a time with its zone, or a date. YAML reads both without quotes."""
    value: Any = node.value
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2026-12-24") else datetime.fromisoformat(value)
        except ValueError:
            node.wrong(_MOMENT)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            node.wrong(_MOMENT, found=f"{value.isoformat()} without a zone")
    elif not isinstance(value, date):
        node.wrong(_MOMENT)
    found: date = value
    if found.year not in _YEARS:
        node.wrong(f"a year from {_YEARS[0]} to {_YEARS[-1]}", found=found.isoformat())
    return found


WINDOW_KEYS = (
    EntryKey("name", _name, "Unique name, used in metrics and messages."),
    EntryKey("schedule", parsers.schedule, "Times at which it opens: five fields of cron."),
    EntryKey("duration", _duration, "How long it stays open, from `1m` to `7d`: real time, also across clock changes."),
    EntryKey("timezone", parsers.timezone, "Time zone (IANA) of `schedule`.", "the key `timezone`"),
    EntryKey("namespaces", _patterns(globs.namespaces), "Namespaces (globs) that it applies to.", "all"),
    EntryKey(
        "workloads",
        _patterns(globs.workloads),
        "Workloads that it applies to, as globs over `NAMESPACE/KIND/NAME`. With `namespaces`, both have to match.",
        "all",
    ),
)
FREEZE_KEYS = (
    EntryKey("name", _name, "Name in messages.", "none"),
    EntryKey(
        "from",
        _moment,
        "Start: a time with its zone (RFC 3339), such as `2026-12-24T18:00:00+03:00`, or a date.",
    ),
    EntryKey("to", _moment, "End, in the same form. A date is included in the freeze."),
    EntryKey("timezone", parsers.timezone, "Time zone (IANA) of dates.", "the key `timezone`"),
)


def parse_windows(node: Node) -> tuple[Window, ...]:
    """Parse a list of windows with unique names."""
    return _entries(node, WINDOW_KEYS, _window)


def parse_freezes(node: Node) -> tuple[Freeze, ...]:
    """Parse a list of freezes."""
    return _entries(node, FREEZE_KEYS, _freeze)


def _entries(node: Node, keys: tuple[EntryKey, ...], make: Callable[[Node, dict[str, Any]], Any]) -> tuple[Any, ...]:
    known = {key.name: key for key in keys}
    made: list[Any] = []
    names: dict[str, Node] = {}
    for item in node.items():
        given: dict[str, Node] = {}
        for name, value in item.entries():
            if name not in known:
                value.refuse(f"unknown key{closest(name, known)}")
            if value.value is not None:  # a key without a value is not set
                given[name] = value
        for key in keys:
            if key.default == "required" and key.name not in given:
                item.refuse(f"missing key {key.name}")
        zone = parsers.timezone(given["timezone"]) if "timezone" in given else node.zone
        values = {name: known[name].parse(replace(value, zone=zone)) for name, value in given.items()}
        if (named := values.get("name")) in names:
            item.refuse(f"the name {named} is used by {names[named].path} already; give one of them another name")
        if named is not None:
            names[named] = item
        made.append(make(replace(item, zone=zone), values))
    return tuple(made)


def _window(_item: Node, values: dict[str, Any]) -> Window:
    return Window(
        name=values["name"],
        cron=values["schedule"],
        duration=values["duration"],
        namespaces=values.get("namespaces", ()),
        workloads=values.get("workloads", ()),
    )


def _freeze(item: Node, values: dict[str, Any]) -> Freeze:
    start, end = values["from"], values["to"]
    begin = _epoch(start, item)
    until = _epoch(end if isinstance(end, datetime) else end + timedelta(days=1), item)
    if begin >= until:
        item.wrong("from before to", found=f"from {start.isoformat()} and to {end.isoformat()}")
    return Freeze(start=begin, end=until, name=values.get("name", ""))


def _epoch(moment: date, item: Node) -> float:
    """Return the epoch seconds of a time, or of the start of a date."""
    if not isinstance(moment, datetime):
        moment = first_moment(datetime.combine(moment, time()), item.zone)
    return moment.astimezone(UTC).timestamp()

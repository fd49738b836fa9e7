"""Decide which tags are patches of which: the core of the exporter. Pure and total: no tag raises.

The rules are numbered as in docs/versions.md:

1. Grammar: `[vV]? N(.N){0,4} suffix?`. N has no leading zero and at most nine digits; a suffix begins with `-`, `.` or
    `_`. One that begins with `.` does not continue with a digit, which would be a part of the number.
2. One or two parts, and `latest`, move, so they are not judged.
3. Prefixes do not mix: `5.5.0` is never offered `v5.5.1`.
4. A final has three parts or more and no suffix, and is only offered finals.
5. A pre-release (a closed list of words) is offered a final, otherwise a later one of the same word.
   ticket.
7. A variant (`-alpine`, `-pisp`) keeps its suffix; a trailing `-rN` is its newest part.
8. A suffix of numbers alone is a build, compared after the core.
9. The count is of missed finals, or of the own kind if no final is offered. Nothing moves down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import semver

from exporter.reasons import Reason


class Strategy(StrEnum):
    """The widest version change to offer: of Z, Y or X in X.Y.Z."""

    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"


# The names of strategies in the configuration, in annotations and on the command line. `bugfix` is an alias for those
# who know it from the older HTTP API that this exporter replaces.
STRATEGY_NAMES: Mapping[str, Strategy] = MappingProxyType(
    {"patch": Strategy.PATCH, "bugfix": Strategy.PATCH, "minor": Strategy.MINOR, "major": Strategy.MAJOR}
)


class _Kind(StrEnum):
    # The values are stored in the catalogue (`place`).
    FINAL = "f"
    PRE_RELEASE = "p"
    BRANCH = "b"
    VARIANT = "v"
    BUILD = "n"


# Number of leading parts of the core that an offer shares with the running version.
_FIXED_PARTS = {Strategy.PATCH: 2, Strategy.MINOR: 1, Strategy.MAJOR: 0}

_VERSION = re.compile(
    r"([vV]?)((?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,4})(|[-_].+|\.[^0-9].*)", re.ASCII | re.DOTALL
)
# The words of rule 5. The number may be anything, such as a timestamp, of up to 18 digits.
_PRE_RELEASE = re.compile(
    r"[-._](snapshot|alpha|beta|rc|preview|pre|dev|milestone|nightly|canary)(?:[-._]?([0-9]{1,18}))?",
    re.ASCII | re.IGNORECASE,
)
# Words, an optional ticket, a dot and a number: `-hotfix.2`, `-iad-608.5`, `-fetch-all.4`; not
# `-ppg16.4-pgbouncer1.23.1`.
_BRANCH = re.compile(r"[-._]([A-Za-z]+(?:[-_][A-Za-z]+)*(?:[-_][0-9]{1,9})?)\.([0-9]{1,18})", re.ASCII)
_BUILD = re.compile(r"[-_][0-9]{1,18}(?:[-._][0-9]{1,18})*", re.ASCII)
_REVISION = re.compile(r"(.*)-r([0-9]{1,18})", re.ASCII | re.DOTALL)
# `608111629` is a build number, which as a version would beat every other.
_LONGEST_LONE_NUMBER = 4


class TagKind(StrEnum):
    """The kind of a tag, by rules 4 to 8."""

    FINAL = "final"
    PRE_RELEASE = "pre_release"
    BRANCH_BUILD = "branch_build"
    VARIANT = "variant"
    BUILD = "build"


_TAG_KINDS: Mapping[_Kind, TagKind] = MappingProxyType(
    {
        _Kind.FINAL: TagKind.FINAL,
        _Kind.PRE_RELEASE: TagKind.PRE_RELEASE,
        _Kind.BRANCH: TagKind.BRANCH_BUILD,
        _Kind.VARIANT: TagKind.VARIANT,
        _Kind.BUILD: TagKind.BUILD,
    }
)

# Greater than every first byte of a part of a rank.
_END = b"\xff"


class Place(NamedTuple):
    """The position of a tag in its repository.

    Attributes:
        line: only tags of the same line are compared by rank.
        rank: compared byte by byte, it orders the tags of a line.
    """

    line: str
    rank: bytes


class Span(NamedTuple):
    """The tags of a line with `low <= rank < high`."""

    line: str
    low: bytes
    high: bytes


class Described(NamedTuple):
    """The kind of a tag, and its position in a list of tags.

    Attributes:
        kind: its kind.
        order: sorts tags of all kinds by their numbers. With equal numbers, builds before the final come first, then
            the final, then its builds and variants.
    """

    kind: TagKind
    order: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Version:
    """A tag that matches the grammar, with three parts or more.

    Only tags with the same kind and `line` are compared: the word of a pre-release, the word and ticket of a branch
    build, the suffix of a variant. `number` orders versions of one core and line.
    """

    prefix: str
    core: tuple[int, ...]
    kind: _Kind
    line: str = ""
    number: tuple[int, ...] = ()

    @property
    def follows_finals(self) -> bool:
        """Whether it is a build before a final (rules 5 and 6)."""
        return self.kind in (_Kind.PRE_RELEASE, _Kind.BRANCH)

    @property
    def ticket(self) -> bool:
        """Whether the parts after the third are ticket numbers: such a build has no line of patches (rule 5)."""
        return self.follows_finals and len(self.core) > 3

    @property
    def place(self) -> Place:
        """Return the place; builds of tickets are a line of their own, so no other build is compared with them."""
        kind = self.kind.upper() if self.ticket else self.kind
        return Place(f"{self.prefix}:{kind}:{self.line}", _encode(self.core) + b"\0" + _encode(self.number) + b"\0")


def _encode(parts: tuple[int, ...]) -> bytes:
    """Encode numbers as bytes that sort like the tuple: the length of each, then its bytes."""
    # Within a line this is also the precedence of Semantic Versioning 2.0.0, section 11: `-snapshot` < `-snapshot.0`.
    return b"".join(bytes((1 + (size := (part.bit_length() + 7) // 8),)) + part.to_bytes(size, "big") for part in parts)


def _parse(tag: str) -> _Version | Reason:
    match = _VERSION.fullmatch(tag)
    if match is None:
        return Reason.FLOATING_TAG if tag == "latest" else Reason.NOT_A_VERSION
    prefix, digits, suffix = match.groups()
    core = tuple(map(int, digits.split(".")))
    if len(core) == 1 and len(digits) > _LONGEST_LONE_NUMBER:
        return Reason.NOT_A_VERSION
    if len(core) < 3:
        return Reason.FLOATING_TAG
    if not suffix:
        return _Version(prefix, core, _Kind.FINAL)
    if pre := _PRE_RELEASE.fullmatch(suffix):
        return _Version(prefix, core, _Kind.PRE_RELEASE, pre[1].lower(), (int(pre[2]),) if pre[2] else ())
    if _BUILD.fullmatch(suffix):
        return _Version(prefix, core, _Kind.BUILD, number=tuple(map(int, re.findall(r"[0-9]+", suffix))))
    if branch := _BRANCH.fullmatch(suffix):
        return _Version(prefix, core, _Kind.BRANCH, branch[1], (int(branch[2]),))
    if revision := _REVISION.fullmatch(suffix):
        return _Version(prefix, core, _Kind.VARIANT, f"{revision[1]}-r", (int(revision[2]),))
    return _Version(prefix, core, _Kind.VARIANT, suffix)


def unjudgeable(tag: str) -> Reason | None:
    """Return why a running tag cannot be judged, or None if it can."""
    parsed = _parse(tag)
    return parsed if isinstance(parsed, Reason) else None


def place(tag: str) -> Place | None:
    """Return the position of a tag in its repository; None if it is not a version.

    The catalogue stores places, so a change of this function needs a migration there.
    """
    parsed = _parse(tag)
    return None if isinstance(parsed, Reason) else parsed.place


def describe(tag: str) -> Described | None:
    """Return the kind and position of a tag; None if it is not a version."""
    version = _parse(tag)
    if isinstance(version, Reason):
        return None
    stage = 0 if version.follows_finals else 1 if version.kind is _Kind.FINAL else 2
    return Described(_TAG_KINDS[version.kind], (version.core, stage, version.line, version.number, tag))


def final_of(running: str) -> str | None:
    """Return the final with the number of a pre-release, which replaces it if known to be younger; otherwise None."""
    version = _parse(running)
    if isinstance(version, Reason) or version.kind is not _Kind.PRE_RELEASE:
        return None
    return version.prefix + ".".join(map(str, version.core))


def offers(running: str, *, strategy: Strategy, final_is_younger: bool = False) -> tuple[Span, ...]:
    """Return the spans of tags that a running tag is offered (rules 3 to 9).

    Args:
        running: the running tag; it need not exist in its registry.
        strategy: the widest version change to offer.
        final_is_younger: whether `final_of` the running tag is known to be published after it.

    Returns:
        Spans, of which only the first with an acceptable tag counts. None for a tag that cannot be judged.
    """
    version = _parse(running)
    if isinstance(version, Reason):
        return ()
    line, rank = version.place
    high = _encode(version.core[: _FIXED_PARTS[strategy]]) + _END
    after = rank + b"\0"
    if not version.follows_finals:
        return (Span(line, after, high),)
    final = _Version(version.prefix, version.core, _Kind.FINAL).place
    # Of 791 real snapshots 53 are younger than the final of their number: only known dates decide.
    low = final.rank if final_is_younger else final.rank + b"\0"
    if not version.ticket:
        return Span(final.line, low, high), Span(line, after, high)
    last = final.rank + b"\0" if strategy is Strategy.PATCH else high
    return Span(final.line, low, last), Span(line, after, _encode(version.core) + b"\0" + _END)


def newer_lines(running: str, *, strategy: Strategy) -> tuple[Span, ...]:
    """Return the spans of releases of newer lines; as with `offers`, only the first with one counts.

    Args:
        running: the running tag.
        strategy: `minor` for a greater Y of the same X, `major` for a greater X.
    """
    version = _parse(running)
    if isinstance(version, Reason):
        return ()
    part = _FIXED_PARTS[strategy]
    low, high = _encode(version.core[: part + 1]) + _END, _encode(version.core[:part]) + _END
    own = Span(version.place.line, low, high)
    if not version.follows_finals:
        return (own,)
    finals = Span(_Version(version.prefix, version.core, _Kind.FINAL).place.line, low, high)
    return (finals,) if version.ticket else (finals, own)


def lowest(tags: Iterable[str]) -> str:
    """Return the lowest of several running tags of one image, as during a rollout of a custom controller."""
    return min(tags, key=_rank)


def highest(tags: Iterable[str]) -> str:
    """Return the highest of several tags, compared as versions."""
    return max(tags, key=_rank)


def _rank(tag: str) -> tuple[Any, ...]:
    parsed = _parse(tag)
    if isinstance(parsed, Reason):
        return (1, semver.Version(0), [], (), tag)
    # Semantic Versioning 2.0.0, section 11: a build before a final sorts below it, `-rc.9` below `-rc.34`.
    before = None if parsed.kind is _Kind.FINAL else "0"
    if parsed.kind is _Kind.PRE_RELEASE:
        before = ".".join([parsed.line, *map(str, parsed.number)])
    major, minor, patch, *more = parsed.core
    return (0, semver.Version(major, minor, patch, prerelease=before), more, parsed.number, tag)

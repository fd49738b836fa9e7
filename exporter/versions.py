"""Which tags are patches of which: the heart of the exporter. Pure, and total: no tag raises.

The rules are numbered as in docs/versions.md:

1. Grammar: `[vV]? N(.N){0,4} suffix?`. N has no leading zero and at most nine digits; a suffix begins with `-`, `.` or `_`,
   and one that begins with `.` does not go on with a digit (that would be a part of the number).
2. One or two parts, and `latest`, move: nothing is said of them.
3. Prefixes do not mix: `5.5.0` is never offered `v5.5.1`.
4. A final has three parts or more and no suffix, and is only offered finals.
5. A pre-release (a closed list of words) is offered a final, else a later one of the same word.
6. A branch build (`-hotfix.2`, `-iad-608.5`) is offered a final above it, else a later one of the same word and ticket.
7. A variant (`-alpine`, `-pisp`) keeps its suffix; a trailing `-rN` is its newest part.
8. A suffix of numbers alone is a build, compared after the core.
9. What is counted are the finals missed; the own kind's only where no final is offered. Nothing moves down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import semver


class Strategy(StrEnum):
    """How far an offer may go: Z, Y or X of X.Y.Z may rise."""

    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"


# The names of strategies in the configuration, in annotations and on the command line. `bugfix` is an alias for those
# who know it from the older HTTP API that this exporter replaces.
STRATEGY_NAMES: Mapping[str, Strategy] = MappingProxyType(
    {"patch": Strategy.PATCH, "bugfix": Strategy.PATCH, "minor": Strategy.MINOR, "major": Strategy.MAJOR}
)


class Unjudgeable(StrEnum):
    """Why nothing can be said of a tag."""

    NOT_A_VERSION = "not_a_version"
    FLOATING_TAG = "floating_tag"


class _Kind(StrEnum):
    FINAL = "final"
    PRE_RELEASE = "pre_release"
    BRANCH = "branch"
    VARIANT = "variant"
    BUILD = "build"


# How many leading parts of the core an offer must share with the running version.
_FIXED_PARTS = {Strategy.PATCH: 2, Strategy.MINOR: 1, Strategy.MAJOR: 0}

_VERSION = re.compile(
    r"([vV]?)((?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){0,4})(|[-_].+|\.[^0-9].*)", re.ASCII | re.DOTALL
)
# The words of rule 5. A number is anybody's, also a time stamp; 18 digits bound the work.
_PRE_RELEASE = re.compile(
    r"[-._](snapshot|alpha|beta|rc|preview|pre|dev|milestone|nightly|canary)(?:[-._]?([0-9]{1,18}))?",
    re.ASCII | re.IGNORECASE,
)
# Words, an optional ticket, a dot and a number: `-hotfix.2`, `-iad-608.5`, `-fetch-all.4`; not `-ppg16.4-pgbouncer1.23.1`.
_BRANCH = re.compile(r"[-._]([A-Za-z]+(?:[-_][A-Za-z]+)*(?:[-_][0-9]{1,9})?)\.([0-9]{1,18})", re.ASCII)
_BUILD = re.compile(r"[-_][0-9]{1,18}(?:[-._][0-9]{1,18})*", re.ASCII)
_REVISION = re.compile(r"(.*)-r([0-9]{1,18})", re.ASCII | re.DOTALL)
# `608111629` is somebody's build number, and as a version it would beat every other.
_LONGEST_LONE_NUMBER = 4


@dataclass(frozen=True, slots=True)
class _Version:
    """A tag that the grammar takes, of three parts or more.

    `line` is what must be equal within a kind: the word of a pre-release, word and ticket of a branch build, a variant's suffix.
    `number` orders versions of one core and line.
    """

    tag: str
    prefix: str
    core: tuple[int, ...]
    kind: _Kind
    line: str = ""
    number: tuple[int, ...] = ()

    @property
    def order(self) -> Any:
        """What sorts versions of one kind and line."""
        if self.kind is _Kind.PRE_RELEASE and len(self.core) == 3:
            # Precedence by the Semantic Versioning specification 2.0.0, section 11: `-snapshot` < `-snapshot.0`, `.9` < `.34`.
            major, minor, patch = self.core
            return semver.Version(major, minor, patch, prerelease=".".join([self.line, *map(str, self.number)]))
        return (self.core, self.number)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a running tag is offered.

    Attributes:
        latest: the greatest tag offered; the running tag itself where there is none.
        missed: every tag that counts as missed, in ascending order; the last one is `latest`.
    """

    latest: str
    missed: tuple[str, ...]


def _parse(tag: str) -> _Version | Unjudgeable:
    match = _VERSION.fullmatch(tag)
    if match is None:
        return Unjudgeable.FLOATING_TAG if tag == "latest" else Unjudgeable.NOT_A_VERSION
    prefix, digits, suffix = match.groups()
    core = tuple(map(int, digits.split(".")))
    if len(core) == 1 and len(digits) > _LONGEST_LONE_NUMBER:
        return Unjudgeable.NOT_A_VERSION
    if len(core) < 3:
        return Unjudgeable.FLOATING_TAG
    if not suffix:
        return _Version(tag, prefix, core, _Kind.FINAL)
    if pre := _PRE_RELEASE.fullmatch(suffix):
        return _Version(tag, prefix, core, _Kind.PRE_RELEASE, pre[1].lower(), (int(pre[2]),) if pre[2] else ())
    if _BUILD.fullmatch(suffix):
        return _Version(tag, prefix, core, _Kind.BUILD, number=tuple(map(int, re.findall(r"[0-9]+", suffix))))
    if branch := _BRANCH.fullmatch(suffix):
        return _Version(tag, prefix, core, _Kind.BRANCH, branch[1], (int(branch[2]),))
    if revision := _REVISION.fullmatch(suffix):
        return _Version(tag, prefix, core, _Kind.VARIANT, f"{revision[1]}-r", (int(revision[2]),))
    return _Version(tag, prefix, core, _Kind.VARIANT, suffix)


def unjudgeable(tag: str) -> Unjudgeable | None:
    """Why nothing can be said of a running tag, or None where something can."""
    parsed = _parse(tag)
    return parsed if isinstance(parsed, Unjudgeable) else None


class Tags:
    """The tags of a repository, parsed once for any number of questions.

    Args:
        names: every tag there is, in any order.
        published: epoch seconds when a tag was published, where it is known.
    """

    def __init__(self, names: Iterable[str], *, published: Mapping[str, float] | None = None) -> None:
        self._published = published or {}
        self._lines: dict[tuple[str, _Kind, str], list[_Version]] = {}
        for name in names:
            version = _parse(name)
            if isinstance(version, _Version):
                self._lines.setdefault((version.prefix, version.kind, version.line), []).append(version)

    def offer(
        self, running: str, *, strategy: Strategy = Strategy.PATCH, accept: Callable[[str], bool] | None = None
    ) -> Offer:
        """What a running tag is offered; nothing for a tag that cannot be judged.

        Args:
            running: the tag that runs; it need not be among the names.
            strategy: how far an offer may go.
            accept: which tags may be offered at all; None is all of them.
        """
        version = _parse(running)
        if isinstance(version, Unjudgeable):
            return Offer(running, ())
        fixed = version.core[: _FIXED_PARTS[strategy]]
        # Parts after the third are ticket numbers where a suffix follows; such a build has no line of patches (rule 5).
        ticket = len(version.core) > 3 and version.kind in (_Kind.PRE_RELEASE, _Kind.BRANCH)

        def within(candidate: _Version) -> bool:
            return candidate.core[: len(fixed)] == fixed and (accept is None or accept(candidate.tag))

        missed: list[_Version] = []
        if version.kind in (_Kind.PRE_RELEASE, _Kind.BRANCH):
            finals = self._lines.get((version.prefix, _Kind.FINAL, ""), ())
            missed = [
                f
                for f in finals
                if self._supersedes(f, version, ticket=ticket and strategy is Strategy.PATCH) and within(f)
            ]
        if not missed:
            own = self._lines.get((version.prefix, version.kind, version.line), ())
            order = version.order
            if ticket:
                missed = [o for o in own if o.core == version.core and o.order > order and within(o)]
            elif version.kind in (_Kind.PRE_RELEASE, _Kind.BRANCH):
                missed = [o for o in own if len(o.core) == 3 and within(o) and o.order > order]
            else:
                missed = [o for o in own if within(o) and o.order > order]
        # Tags of equal order (`-rc1`, `-rc.1`) are sorted by name, so that the order of the list does not matter.
        missed.sort(key=lambda candidate: candidate.tag)
        missed.sort(key=lambda candidate: candidate.order)
        return Offer(missed[-1].tag if missed else running, tuple(m.tag for m in missed))

    def _supersedes(self, final: _Version, running: _Version, *, ticket: bool) -> bool:
        """Whether a final takes the place of a pre-release or a branch build (rules 5 and 6)."""
        if final.core == running.core:
            # Of 791 real snapshots 53 are younger than the final of their number: only known dates decide.
            ours, theirs = self._published.get(running.tag), self._published.get(final.tag)
            return running.kind is _Kind.PRE_RELEASE and ours is not None and theirs is not None and theirs > ours
        return not ticket and final.core > running.core


def lowest(tags: Iterable[str]) -> str:
    """The lowest of several running tags of one image: what is reported where a custom controller is in the middle of a rollout."""

    def key(tag: str) -> tuple[Any, ...]:
        parsed = _parse(tag)
        if isinstance(parsed, Unjudgeable):
            return (1, (), False, (), tag)
        return (0, parsed.core, parsed.kind is _Kind.FINAL, parsed.number, tag)

    return min(tags, key=key)

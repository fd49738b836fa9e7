"""Tags in the database: storing a list, making room for it, and reading the tags of a question.

Data read from the file is untrusted: a flipped bit on the disk must neither raise in another part of the exporter nor
reach a label.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.catalogue.schema import RELEASE_BYTES, REPOSITORY_BYTES, DamagedError
from exporter.images import Repository, is_tag
from exporter.limits import Limit
from exporter.verdicts import Page, TagRecord, Verdict
from exporter.versions import place
from exporter.workloads import OPERATOR

# One list without a tag may be a fault of the registry. Two in a row mean that the tag was withdrawn.
_LISTS_UNTIL_WITHDRAWN = 2
_IN_LIST = (
    "EXISTS (SELECT 1 FROM listed WHERE (listed.line, listed.rank, listed.name)"
    " = (release.line, release.rank, release.name))"
)
_LONGEST_ETAG = 1024
# The year 5138. A number from here on is not a time.
_LAST_SECOND = 1e11


class IncompleteListError(Exception):
    """A tag list is incomplete. Nothing of it was stored."""


class TooLargeError(Exception):
    """A tag list exceeds a limit. Nothing of it was stored."""

    def __init__(self, message: str, limit: Limit) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Stored:
    """Result of storing a tag list.

    Attributes:
        changed: whether any answer may differ from now on.
        looked_up: epoch seconds of the lookup, as stored.
    """

    changed: bool
    looked_up: float


class Listed:
    """A tag list, prepared for the database: a large one in parts, a small one on first use.

    Args:
        repository: repository of the list.
        names: each tag once.
        etag: the registry's ETag, if it can be sent back.
    """

    def __init__(self, *, repository: Repository, names: Collection[str], etag: str | None) -> None:
        self.repository = repository
        self.names = names
        self.etag = etag
        self._sum: int | None = None
        self._places: list[tuple[str, bytes, str]] | None = None

    def add_to_digest(self, part: Iterable[str]) -> None:
        """Add some of the names to the digest."""
        digests = (hashlib.blake2b(name.encode(), digest_size=16).digest() for name in part)
        self._sum = (self._sum or 0) + sum(int.from_bytes(digest, "big") for digest in digests)

    def add_places(self, part: Iterable[str]) -> None:
        """Compute the places of some of the names."""
        if self._places is None:
            self._places = []
        self._places += ((*at, name) for name in part if (at := place(name)) is not None)

    @property
    def digest(self) -> bytes:
        """Digest of the names, whatever their order."""
        if self._sum is None:
            self.add_to_digest(self.names)
        return ((self._sum or 0) % 2**128).to_bytes(16, "big")

    @property
    def places(self) -> Sequence[tuple[str, bytes, str]]:
        """Line, rank and name of each tag that has a place."""
        if self._places is None:
            self.add_places(self.names)
        return self._places or ()

    @property
    def bytes(self) -> int:
        """Approximate size in the database."""
        own = REPOSITORY_BYTES + len(str(self.repository))
        return own + sum(RELEASE_BYTES + len(line) + len(rank) + len(name) for line, rank, name in self.places)


def sendable(etag: object) -> str | None:
    """Return an ETag that can be sent back in a header (RFC 9110, section 8.8.3: visible ASCII); otherwise None."""
    if isinstance(etag, str) and len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable():
        return etag
    return None


def is_known(db: sqlite3.Connection, repository: Repository) -> bool:
    """Whether a repository was ever looked up."""
    return db.execute("SELECT 1 FROM repository WHERE name = ?", (str(repository),)).fetchone() is not None


def has_digest(db: sqlite3.Connection, repository: Repository, listed: bytes) -> bool:
    """Whether the last list of a repository had the same names."""
    rows = db.execute("SELECT 1 FROM repository WHERE name = ? AND digest = ?", (str(repository), listed)).fetchall()
    return bool(rows)


def lookups(db: sqlite3.Connection) -> dict[str, float]:
    """Return the time of each repository's last lookup."""
    found = {}
    for name, looked_up in db.execute("SELECT name, looked_up FROM repository"):
        if not isinstance(name, str):
            raise DamagedError("the name of a repository is not text")
        found[name] = epoch_seconds(looked_up)
    return found


def etag(db: sqlite3.Connection, repository: Repository) -> str | None:
    """Return the ETag of the last list, or None."""
    row = db.execute("SELECT etag FROM repository WHERE name = ?", (str(repository),)).fetchone()
    return row and sendable(row[0])


def check_complete(
    db: sqlite3.Connection, repository: Repository, names: Collection[str], running: Collection[str]
) -> None:
    """Raise `IncompleteListError` if a list is empty, or lacks every running tag that was known before."""
    if not names:
        raise IncompleteListError(f"{repository}: the registry sent an empty tag list")
    known = {tag for tag in running if _is_listed(db, repository, tag)}
    if known and known.isdisjoint(names):
        lacking = ", ".join(sorted(known)[:3])
        raise IncompleteListError(
            f"{repository}: the tag list lacks every running tag that was known before ({lacking})"
        )


def store(db: sqlite3.Connection, listed: Listed, *, now: float) -> Stored:
    """Store a list that was checked and fits."""
    (identity,) = db.execute(
        "INSERT INTO repository (name, looked_up, etag, bytes, digest) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name)"
        " DO UPDATE SET looked_up = excluded.looked_up, etag = excluded.etag, bytes = excluded.bytes,"
        " digest = excluded.digest RETURNING id",
        (str(listed.repository), now, listed.etag, listed.bytes, listed.digest),
    ).fetchone()
    before = db.execute("SELECT 1 FROM release WHERE repository = ? LIMIT 1", (identity,)).fetchone()
    db.execute("DELETE FROM listed")
    db.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?, ?)", listed.places)
    new = db.execute(
        "INSERT INTO release (repository, line, rank, name, first_seen) SELECT ?1, line, rank, name, ?2 FROM listed"
        " WHERE NOT EXISTS (SELECT 1 FROM release AS known WHERE (known.repository, known.line, known.rank,"
        " known.name) = (?1, listed.line, listed.rank, listed.name))",
        (identity, now),
    ).rowcount
    db.execute(f"UPDATE release SET absent = 0 WHERE repository = ? AND absent > 0 AND {_IN_LIST}", (identity,))  # noqa: S608
    db.execute(f"UPDATE release SET absent = absent + 1 WHERE repository = ? AND NOT {_IN_LIST}", (identity,))  # noqa: S608
    db.execute("DELETE FROM listed")
    gone = _withdraw(db, identity)
    return Stored(changed=bool(new or gone or not before), looked_up=now)


def confirm(db: sqlite3.Connection, repository: Repository, *, now: float, etag: str | None = None) -> Stored:
    """Record that a list is unchanged, with its new ETag if there is one."""
    row = db.execute(
        "UPDATE repository SET looked_up = ?, etag = coalesce(?, etag) WHERE name = ? RETURNING id",
        (now, sendable(etag), str(repository)),
    ).fetchone()
    if row is None:
        return Stored(changed=False, looked_up=now)
    db.execute("UPDATE release SET absent = absent + 1 WHERE repository = ? AND absent > 0", row)
    return Stored(changed=_withdraw(db, row[0]), looked_up=now)


def make_room(db: sqlite3.Connection, listed: Listed, *, in_use: Mapping[str, Collection[str]], most: int) -> list[str]:
    """Forget repositories until a list fits, and return their names.

    Repositories that are not in use are forgotten first, starting with the one looked up longest ago. Then the largest
    repository of the namespace that uses most space, so that no namespace crowds out the others. Repositories that the
    operator names (`workloads.OPERATOR`) are exempt, because a list of a thousand large repositories needs more space.

    Args:
        db: the database.
        listed: the list to store.
        in_use: namespaces that use a repository, by its name.
        most: maximum bytes of all repositories.

    Raises:
        TooLargeError: the list itself would have to be forgotten.
    """
    own = str(listed.repository)
    sizes: dict[str, int] = {}
    ages: dict[str, float] = {}
    for name, size, looked_up in db.execute("SELECT name, bytes, looked_up FROM repository"):
        if not (isinstance(name, str) and isinstance(size, int) and size >= 0):
            raise DamagedError("a repository has no name or no size")
        if OPERATOR not in in_use.get(name, ()):
            sizes[name], ages[name] = size, epoch_seconds(looked_up)
    if OPERATOR not in in_use.get(own, ()):
        sizes[own] = listed.bytes
    excess = sum(sizes.values()) - most
    forgotten: list[str] = []
    for name in sorted(sizes.keys() - in_use.keys() - {own}, key=ages.__getitem__):
        if excess <= 0:
            break
        forgotten.append(name)
        excess -= sizes.pop(name)
    while excess > 0:
        name = _largest(sizes, in_use)
        if name == own:
            raise TooLargeError(f"{own}: there is no room for its {len(listed.places)} versions", Limit.CATALOGUE_BYTES)
        forgotten.append(name)
        excess -= sizes.pop(name)
    db.executemany("DELETE FROM repository WHERE name = ?", ((name,) for name in forgotten))
    return forgotten


def _largest(sizes: Mapping[str, int], in_use: Mapping[str, Collection[str]]) -> str:
    """Return the largest repository of the namespace that uses most space. Shared repositories count proportionally."""
    share: dict[str, float] = {}
    for name, size in sizes.items():
        for namespace in (users := in_use.get(name) or (OPERATOR,)):
            share[namespace] = share.get(namespace, 0.0) + size / len(users)
    heaviest = max(share, key=lambda namespace: (share[namespace], namespace))
    mine = [name for name in sizes if heaviest in (in_use.get(name) or (OPERATOR,))]
    return max(mine, key=lambda name: (sizes[name] / len(in_use.get(name) or (OPERATOR,)), name))


def read(db: sqlite3.Connection, repository: Repository, page: Page, *, now: float, opened: float) -> list[TagRecord]:
    """Read the tags of a page.

    Args:
        db: the database.
        repository: repository of the tags.
        page: range of tags.
        now: epoch seconds. A later `first_seen` was recorded while the clock was wrong.
        opened: epoch seconds that replace such a `first_seen`.
    """
    line, low, high = page.span
    before = page.before or (high, "")
    rows = db.execute(
        "SELECT release.name, rank, first_seen, dated, published FROM release"
        " JOIN repository ON repository.id = repository WHERE repository.name = ? AND line = ? AND rank >= ?"
        " AND (rank, release.name) < (?, ?) ORDER BY rank DESC, release.name DESC LIMIT ?",
        (str(repository), line, low, *before, page.most),
    ).fetchall()
    return [_record(row, now=now, otherwise=min(opened, now)) for row in rows]


def _record(row: tuple[Any, ...], *, now: float, otherwise: float) -> TagRecord:
    name, rank, first_seen, dated, published = row
    if not (isinstance(name, str) and isinstance(rank, bytes) and dated in (0, 1)):
        raise DamagedError("a tag has columns of the wrong types")
    if published is not None:
        published = epoch_seconds(published)
    first_seen = epoch_seconds(first_seen)
    return TagRecord(name, rank, first_seen if first_seen <= now else otherwise, bool(dated), published)


def check_names(verdicts: Iterable[Verdict]) -> None:
    """Raise `DamagedError` if an answer names an invalid tag, because names end up in labels and commands."""
    for verdict in verdicts:
        for name in {verdict.latest, verdict.minor, verdict.major, verdict.undated or verdict.latest}:
            if not is_tag(name) or place(name) is None:
                raise DamagedError("the name of a tag is invalid")


def record_published(db: sqlite3.Connection, repository: Repository, tag: str, published: float | None) -> None:
    """Record when a tag was published. The earliest date ever seen is kept."""
    if (at := place(tag)) is None:
        return
    db.execute(
        "UPDATE release SET dated = 1, published = min(coalesce(published, ?1), coalesce(?1, published))"
        " WHERE repository = (SELECT id FROM repository WHERE name = ?2) AND (line, rank, name) = (?3, ?4, ?5)",
        (published, str(repository), *at, tag),
    )


def _is_listed(db: sqlite3.Connection, repository: Repository, tag: str) -> bool:
    if (at := place(tag)) is None:
        return False
    rows = db.execute(
        "SELECT 1 FROM release WHERE repository = (SELECT id FROM repository WHERE name = ?)"
        " AND (line, rank, name) = (?, ?, ?)",
        (str(repository), *at, tag),
    ).fetchall()
    return bool(rows)


def _withdraw(db: sqlite3.Connection, identity: int) -> bool:
    return (
        db.execute(
            "DELETE FROM release WHERE repository = ? AND absent >= ?", (identity, _LISTS_UNTIL_WITHDRAWN)
        ).rowcount
        > 0
    )


def epoch_seconds(value: object) -> float:
    """Check a time of the database and return it.

    Raises:
        DamagedError: it is not a time.
    """
    if isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < _LAST_SECOND:
        return float(value)
    raise DamagedError(f"{value!r} is not a time")

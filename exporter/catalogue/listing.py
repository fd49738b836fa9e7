"""All tags of a repository in version order, read in slices that do not block other work.

Questions about running tags read ranges (`tags.read`). A list for people has every kind of tag and every prefix.
"""

from __future__ import annotations

import heapq
import sqlite3
from dataclasses import dataclass

from exporter.catalogue.schema import DamagedError
from exporter.catalogue.tags import epoch_seconds, is_known
from exporter.images import Repository, is_tag
from exporter.versions import TagKind, describe


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A tag of a list.

    Attributes:
        name: the tag.
        kind: kind of the tag.
        published: epoch seconds of its publish time; None if unknown.
    """

    name: str
    kind: TagKind
    published: float | None


@dataclass(frozen=True, slots=True)
class TagListing:
    """The tags of a repository.

    Attributes:
        count: number of known tags.
        tags: the highest of them, in ascending order.
    """

    count: int
    tags: tuple[KnownTag, ...]


class Reading:
    """A list that is being read.

    Args:
        repository: repository of the tags.
        most: maximum number of tags to keep, the highest ones.

    Attributes:
        listing: the result; None until then, and if the repository was never looked up.
    """

    def __init__(self, repository: Repository, most: int) -> None:
        self._repository = repository
        self._most = most
        self._generation: int | None = None
        self._after: tuple[str, bytes, str] = ("", b"", "")
        self._highest: list[tuple[tuple[object, ...], KnownTag]] = []
        self._count = 0
        self.listing: TagListing | None = None

    def advance(self, db: sqlite3.Connection, *, generation: int, slice_tags: int) -> bool:
        """Read a slice. Return whether it was the last one."""
        if generation != self._generation:
            # The database was replaced: start again.
            if not is_known(db, self._repository):
                return True
            self._generation, self._after, self._highest, self._count = generation, ("", b"", ""), [], 0
        rows = db.execute(
            "SELECT line, rank, release.name, published FROM release JOIN repository ON repository.id = repository"
            " WHERE repository.name = ? AND (line, rank, release.name) > (?, ?, ?)"
            " ORDER BY line, rank, release.name LIMIT ?",
            (str(self._repository), *self._after, slice_tags),
        ).fetchall()
        for line, rank, name, published in rows:
            if not (isinstance(line, str) and isinstance(rank, bytes) and isinstance(name, str) and is_tag(name)):
                raise DamagedError("a tag has columns of the wrong types")
            if (described := describe(name)) is None:
                raise DamagedError("the name of a tag is not a version")
            at = None if published is None else epoch_seconds(published)
            self._highest.append((described.order, KnownTag(name, described.kind, at)))
            self._after = line, rank, name
        self._count += len(rows)
        last = len(rows) < slice_tags
        if last or len(self._highest) > 2 * self._most:
            self._highest = heapq.nlargest(self._most, self._highest, key=lambda one: one[0])
        if last:
            self.listing = TagListing(self._count, tuple(tag for _, tag in reversed(self._highest)))
        return last

"""The tags known so far, kept on disk: a restart with every registry away answers as before.

One SQLite file under an exclusive lock of its folder, used by one worker thread. Judging happens in that thread too, so that
memory holds what runs and never every tag that ever was. Only whole answers of a registry are stored; what makes one
whole is said at `Catalogue.store`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from exporter.annotations import acceptor
from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.versions import Offer, Strategy, Tags

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE = "catalogue.sqlite"
# One statement list per schema version, applied in order; `PRAGMA user_version` says how many a file has seen.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, looked_up REAL NOT NULL, etag TEXT)",
        # absent: how many whole lists in a row came without it. dated: its publish time was asked for, whether or not one came.
        """CREATE TABLE tag (
            repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, name TEXT NOT NULL, first_seen REAL NOT NULL,
            absent INTEGER NOT NULL DEFAULT 0, dated INTEGER NOT NULL DEFAULT 0, published REAL, PRIMARY KEY (repository, name)
        ) WITHOUT ROWID""",
    ),
)
# One list without a tag may be a registry's slip; two in a row are a withdrawal.
_LISTS_UNTIL_WITHDRAWN = 2
# A repository that nobody ran for so long is forgotten.
_KEEP_SECONDS = 90 * 86400


class CatalogueError(Exception):
    """The catalogue cannot be opened or written; the message says which file, and what to do."""


class IncompleteListError(Exception):
    """A tag list that did not arrive whole; nothing of it was stored."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a repository for one running tag; equal questions have equal answers."""

    tag: str
    strategy: Strategy = Strategy.PATCH
    include: str = ""
    exclude: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a `Question`.

    Attributes:
        latest: the newest patch, or the running tag.
        behind: how many patches are missed.
        published: epoch seconds of the first missed patch, the earliest of the missed ones' dates; None where it is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None where none is missed.
        undated: the first missed patch, where nobody has asked for its publish time yet.
        minor, major: the newest tag by these strategies, or the running tag.
    """

    latest: str
    behind: int
    published: float | None
    first_seen: float | None
    undated: str | None
    minor: str
    major: str


class Catalogue:
    """The tags of every repository that was looked up. Opened by `open`; every call runs in the worker thread."""

    def __init__(self, *, directory: Path | None, clock: Callable[[], float], telemetry: Telemetry) -> None:
        self._directory = directory
        self._clock = clock
        self._telemetry = telemetry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, directory: Path | None, *, clock: Callable[[], float], telemetry: Telemetry) -> Catalogue:
        """Open or create the catalogue of a folder; None keeps it in memory.

        Raises:
            CatalogueError: the folder cannot be written, or another process holds it.
        """
        catalogue = cls(directory=directory, clock=clock, telemetry=telemetry)
        try:
            await catalogue._run(lambda _: None)
        except BaseException:
            await catalogue.close()
            raise
        return catalogue

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the file and give its folder free."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()

    async def store(
        self, repository: Repository, names: Collection[str], *, running: Collection[str], etag: str | None = None
    ) -> bool:
        """Take in a tag list; a tag is withdrawn after two lists in a row without it.

        Args:
            repository: where the list comes from.
            names: every tag of it, all pages.
            running: the tags that containers run now.
            etag: what the registry gave to ask by the next time.

        Returns:
            Whether any answer may differ from now on.

        Raises:
            IncompleteListError: the list is empty, or lacks every running tag that was known before.
            CatalogueError: it could not be written.
        """
        return await self._run(lambda db: self._store(db, repository, frozenset(names), frozenset(running), etag))

    async def confirm(self, repository: Repository) -> bool:
        """Take in that the list is what it was (`304 Not Modified`); returns as `store` does."""
        return await self._run(lambda db: self._confirm(db, repository))

    async def etag(self, repository: Repository) -> str | None:
        """What the registry gave with the last list, or None."""
        rows = await self._run(
            lambda db: db.execute("SELECT etag FROM repository WHERE name = ?", (str(repository),)).fetchall()
        )
        return rows[0][0] if rows else None

    async def judge(self, repository: Repository, questions: Sequence[Question]) -> list[Verdict] | None:
        """Answer questions about a repository, in their order; None where it was never looked up."""
        return await self._run(lambda db: _judge(db, repository, questions))

    async def record_published(self, repository: Repository, tag: str, published: float | None) -> None:
        """Keep when a tag was published (None: asked, and nobody knows); the earliest date ever seen stays."""
        await self._run(
            lambda db: db.execute(
                "UPDATE tag SET dated = 1, published = min(coalesce(published, ?1), coalesce(?1, published))"
                " WHERE name = ?2 AND repository = (SELECT id FROM repository WHERE name = ?3)",
                (published, tag, str(repository)),
            )
        )

    async def lookups(self) -> dict[str, float]:
        """When each repository's tags were last looked up, epoch seconds, by the repository's name."""
        return await self._run(lambda db: dict(db.execute("SELECT name, looked_up FROM repository").fetchall()))

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    # What follows runs in the worker thread.

    def _guarded(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        for again in (True, False):
            try:
                if self._db is None:
                    self._db = self._connect()
                with self._db:
                    return work(self._db)
            except sqlite3.OperationalError as error:
                raise CatalogueError(f"{self._file()}: {error}; is the disk full, or the folder read-only?") from error
            except sqlite3.DatabaseError as error:
                if not again or self._directory is None:
                    raise CatalogueError(f"{self._file()}: {error}") from error
                self._set_aside(error)
        raise AssertionError("unreachable")

    def _file(self) -> str:
        return ":memory:" if self._directory is None else str(self._directory / FILE)

    def _connect(self) -> sqlite3.Connection:
        if self._directory is not None and self._lock is None:
            self._lock = _hold(self._directory)
        db = sqlite3.connect(self._file())
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            # The root file system of a pod is read-only.
            db.execute("PRAGMA temp_store = MEMORY")
            _migrate(db)
            _check(db)
            with db:
                db.execute("DELETE FROM repository WHERE looked_up < ?", (self._clock() - _KEEP_SECONDS,))
        except BaseException:
            db.close()
            raise
        self._telemetry.catalogue_repositories.set(db.execute("SELECT count(*) FROM repository").fetchone()[0])
        return db

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        aside = f"{self._file()}.damaged-{int(self._clock())}"
        for ending in ("-wal", "-shm", ""):
            if os.path.exists(self._file() + ending):  # noqa: PTH110 - the ending belongs behind the whole name
                os.replace(self._file() + ending, aside + ending)  # noqa: PTH105
        self._telemetry.catalogue_resets.inc()
        _log.error("the catalogue is damaged (%s): set aside as %s, started anew", error, aside)

    def _shut(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _store(
        self,
        db: sqlite3.Connection,
        repository: Repository,
        names: frozenset[str],
        running: frozenset[str],
        etag: str | None,
    ) -> bool:
        if not names:
            raise IncompleteListError(f"{repository}: the registry sent an empty tag list")
        known = _known(db, repository)
        expected = running & known.keys()
        if expected and not expected & names:
            raise IncompleteListError(
                f"{repository}: the tag list lacks every running tag that was known before ({', '.join(sorted(expected)[:3])})"
            )
        now = self._clock()
        identity = db.execute(
            "INSERT INTO repository (name, looked_up, etag) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET looked_up = excluded.looked_up, etag = excluded.etag RETURNING id",
            (str(repository), now, etag),
        ).fetchone()[0]
        new = names - known.keys()
        db.executemany(
            "INSERT INTO tag (repository, name, first_seen) VALUES (?, ?, ?)",
            ((identity, name, now) for name in sorted(new)),
        )
        back = {name for name, absent in known.items() if absent and name in names}
        db.executemany(
            "UPDATE tag SET absent = 0 WHERE repository = ? AND name = ?", ((identity, name) for name in back)
        )
        db.executemany(
            "UPDATE tag SET absent = absent + 1 WHERE repository = ? AND name = ?",
            ((identity, n) for n in known.keys() - names),
        )
        gone = _withdraw(db, identity)
        self._telemetry.catalogue_repositories.set(db.execute("SELECT count(*) FROM repository").fetchone()[0])
        return bool(new or gone or not known)

    def _confirm(self, db: sqlite3.Connection, repository: Repository) -> bool:
        row = db.execute(
            "UPDATE repository SET looked_up = ? WHERE name = ? RETURNING id", (self._clock(), str(repository))
        ).fetchone()
        if row is None:
            return False
        db.execute("UPDATE tag SET absent = absent + 1 WHERE repository = ? AND absent > 0", row)
        return _withdraw(db, row[0])


def _hold(directory: Path) -> int:
    """Lock a folder for this process; the lock goes with the process, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CatalogueError(
            f"{directory}: {error.strerror}; name a folder that can be written with --state-dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise CatalogueError(
            f"{directory}: another exporter holds this folder; give each its own --state-dir"
        ) from error
    return lock


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise sqlite3.DatabaseError(f"its schema version {version} is of a later release")
    for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
        db.execute("BEGIN")
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
        db.commit()


def _check(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("its integrity check fails")


def _known(db: sqlite3.Connection, repository: Repository) -> dict[str, int]:
    """Every tag of a repository, and how many lists in a row came without it."""
    rows: Iterable[tuple[str, int]] = db.execute(
        "SELECT tag.name, absent FROM tag JOIN repository ON repository.id = repository WHERE repository.name = ?",
        (str(repository),),
    )
    return dict(rows)


def _withdraw(db: sqlite3.Connection, identity: int) -> bool:
    return (
        db.execute("DELETE FROM tag WHERE repository = ? AND absent >= ?", (identity, _LISTS_UNTIL_WITHDRAWN)).rowcount
        > 0
    )


def _judge(db: sqlite3.Connection, repository: Repository, questions: Sequence[Question]) -> list[Verdict] | None:
    if db.execute("SELECT 1 FROM repository WHERE name = ?", (str(repository),)).fetchone() is None:
        return None
    seen: dict[str, tuple[float, int, float | None]] = {}
    for name, first_seen, dated, published in db.execute(
        "SELECT tag.name, first_seen, dated, published FROM tag JOIN repository ON repository.id = repository WHERE repository.name = ?",
        (str(repository),),
    ):
        seen[name] = (first_seen, dated, published)
    tags = Tags(seen, published={name: row[2] for name, row in seen.items() if row[2] is not None})
    return [_verdict(tags, seen, question) for question in questions]


def _verdict(tags: Tags, seen: Mapping[str, tuple[float, int, float | None]], question: Question) -> Verdict:
    accept = acceptor(question.include, question.exclude)

    def offer(strategy: Strategy) -> Offer:
        return tags.offer(question.tag, strategy=strategy, accept=accept)

    patch = offer(question.strategy)
    published: float | None = None
    undated: str | None = None
    if patch.missed:
        _, dated, first_date = seen[patch.missed[0]]
        undated = None if dated else patch.missed[0]
        if first_date is not None:
            published = min(date for name in patch.missed if (date := seen[name][2]) is not None)
    return Verdict(
        latest=patch.latest,
        behind=len(patch.missed),
        published=published,
        first_seen=min((seen[name][0] for name in patch.missed), default=None),
        undated=undated,
        minor=offer(Strategy.MINOR).latest,
        major=offer(Strategy.MAJOR).latest,
    )

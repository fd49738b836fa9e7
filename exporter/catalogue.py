"""The tags known so far, kept on disk: after a restart without any registry the answers are the same.

One SQLite file, under an exclusive lock on its folder and used by one worker thread. Judging happens in that thread
too, so memory never holds every tag of every repository. Only complete tag lists are stored; `Catalogue.store` says
what makes a list complete.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from exporter.images import Repository
from exporter.telemetry import Telemetry
from exporter.verdicts import Question, TagRecord, Verdict, judge

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE = "catalogue.sqlite"
# One list of statements per schema version, applied in order; `PRAGMA user_version` counts those that a file has seen.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE repository (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, looked_up REAL NOT NULL, etag TEXT
        )""",
        # absent: how many complete lists in a row lacked it.
        # dated: whether its publish time was asked for, successfully or not.
        """CREATE TABLE tag (
            repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, name TEXT NOT NULL,
            first_seen REAL NOT NULL, absent INTEGER NOT NULL DEFAULT 0, dated INTEGER NOT NULL DEFAULT 0,
            published REAL, PRIMARY KEY (repository, name)
        ) WITHOUT ROWID""",
    ),
)
# One list without a tag may be a fault of the registry; two in a row mean that the tag was withdrawn.
_LISTS_UNTIL_WITHDRAWN = 2
# A repository that was not looked up for so long is forgotten.
_KEEP_SECONDS = 90 * 86400


class CatalogueError(Exception):
    """The catalogue cannot be opened or written; the message names the file and says what to do."""


class IncompleteListError(Exception):
    """A tag list that is not complete; nothing of it was stored."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The result of taking in a tag list.

    Attributes:
        changed: whether any answer may differ from now on.
        looked_up: epoch seconds of the lookup, as the catalogue keeps it.
    """

    changed: bool
    looked_up: float


class Catalogue:
    """The tags of every repository that was looked up. `open` opens it; every call runs in the worker thread."""

    def __init__(self, *, directory: Path | None, clock: Callable[[], float], telemetry: Telemetry) -> None:
        self._directory = directory
        self._clock = clock
        self._telemetry = telemetry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, directory: Path | None, *, clock: Callable[[], float], telemetry: Telemetry) -> Catalogue:
        """Open the catalogue in a folder, or create it there; None keeps it in memory.

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
        """Close the file and release its folder."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()

    async def store(
        self, repository: Repository, names: Collection[str], *, running: Collection[str], etag: str | None = None
    ) -> Stored:
        """Take in a tag list; a tag is withdrawn after two lists in a row without it.

        Args:
            repository: where the list comes from.
            names: every tag of it, from all pages.
            running: the tags that containers run now.
            etag: the registry's validator for the next conditional request.

        Raises:
            IncompleteListError: the list is empty, or lacks every running tag that was known before.
            CatalogueError: it could not be written.
        """
        return await self._run(lambda db: self._store(db, repository, frozenset(names), frozenset(running), etag))

    async def confirm(self, repository: Repository) -> Stored:
        """Take in that the list is unchanged (`304 Not Modified`)."""
        return await self._run(lambda db: self._confirm(db, repository))

    async def etag(self, repository: Repository) -> str | None:
        """The registry's validator of the last list, or None."""
        rows = await self._run(
            lambda db: db.execute("SELECT etag FROM repository WHERE name = ?", (str(repository),)).fetchall()
        )
        return rows[0][0] if rows else None

    async def judge(self, repository: Repository, questions: Sequence[Question]) -> list[Verdict] | None:
        """Answer questions about a repository, in their order; None if it was never looked up."""
        return await self._run(lambda db: _judge(db, repository, questions))

    async def record_published(self, repository: Repository, tag: str, published: float | None) -> None:
        """Keep when a tag was published (None: asked for, but unknown); the earliest date ever seen stays."""
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
            if os.path.exists(self._file() + ending):  # noqa: PTH110 - the ending follows the complete name
                os.replace(self._file() + ending, aside + ending)  # noqa: PTH105
        self._telemetry.catalogue_resets.inc()
        _log.error("the catalogue is damaged (%s): set aside as %s, started again with an empty one", error, aside)

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
    ) -> Stored:
        if not names:
            raise IncompleteListError(f"{repository}: the registry sent an empty tag list")
        known = _known(db, repository)
        expected = running & known.keys()
        if expected and not expected & names:
            lacking = ", ".join(sorted(expected)[:3])
            raise IncompleteListError(
                f"{repository}: the tag list lacks every running tag that was known before ({lacking})"
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
        return Stored(changed=bool(new or gone or not known), looked_up=now)

    def _confirm(self, db: sqlite3.Connection, repository: Repository) -> Stored:
        now = self._clock()
        row = db.execute(
            "UPDATE repository SET looked_up = ? WHERE name = ? RETURNING id", (now, str(repository))
        ).fetchone()
        if row is None:
            return Stored(changed=False, looked_up=now)
        db.execute("UPDATE tag SET absent = absent + 1 WHERE repository = ? AND absent > 0", row)
        return Stored(changed=_withdraw(db, row[0]), looked_up=now)


def _hold(directory: Path) -> int:
    """Lock a folder for this process; the lock ends with the process, however that ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CatalogueError(f"{directory}: {error.strerror}; name a writable folder with --state-dir") from error
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
    """Every tag of a repository, and how many lists in a row lacked it."""
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
    rows = db.execute(
        "SELECT tag.name, first_seen, dated, published FROM tag JOIN repository ON repository.id = repository"
        " WHERE repository.name = ?",
        (str(repository),),
    )
    return judge({name: TagRecord(*record) for name, *record in rows}, questions)

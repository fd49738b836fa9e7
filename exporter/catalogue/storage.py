"""The catalogue's database: in its directory if that is writable, otherwise in memory.

Two faults must not stop the exporter. A damaged file is set aside and replaced with an empty one. If the directory is
not writable (a full disk, a file system that became read-only), the readable content is copied into memory and used
there. Writing to the directory is retried from time to time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from exporter.catalogue.schema import prepare
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE = "catalogue.sqlite"
RETRY_SECONDS = 60.0
# https://www.sqlite.org/rescode.html: errors caused by the machine, not by the content of the file.
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOLFS,
    }
)
# Exceptions of sqlite3. It also decodes SQLite's messages, which quote damaged text.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
_ENDINGS = ("-wal", "-shm", "-journal", "")


class CatalogueError(Exception):
    """The catalogue cannot be opened or used. The message names the directory and says what to do."""


class Storage:
    """A connection to the database, replaced if necessary. Used by one thread.

    Args:
        directory: its directory; None keeps everything in memory.
        clock: returns epoch seconds.
        monotonic: returns seconds of a monotonic clock.
        telemetry: counts resets and reports whether the directory is writable.

    Attributes:
        generation: increments whenever another database replaces the current one.
    """

    def __init__(
        self,
        *,
        directory: Path | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None
        self._on_disk = True
        self._retry_at = 0.0
        self.generation = 0

    def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a transaction. It runs again if the database had to be replaced.

        Raises:
            CatalogueError: the directory is missing or locked by another process, or recovery failed.
        """
        if not self._on_disk and self._monotonic() >= self._retry_at:
            self._return_to_disk()
        # One error each of the directory, of its content, and of an empty database. More than that is a bug.
        for _ in range(3):
            try:
                if self._db is None:
                    self._open()
                assert self._db is not None  # noqa: S101
                with self._db:
                    return work(self._db)
            except FAULTS as error:
                self._recover(error)
        raise CatalogueError(f"{self._file()}: cannot use the catalogue, not even in memory; see the log")

    def close(self) -> None:
        """Close the file and unlock its directory."""
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _file(self) -> str:
        return ":memory:" if self._directory is None else str(self._directory / FILE)

    def _open(self) -> None:
        if self._directory is None:
            self._use(_in_memory())
            return
        if self._lock is None:
            self._lock = _hold(self._directory)
        if self._lock is None:
            self._fall_back("its directory is not writable")
            return
        db = _connect(self._file())
        try:
            prepare(db)
        except BaseException:
            db.close()
            raise
        self._use(db)
        self._telemetry.catalogue_writable.set(1)

    def _use(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.generation += 1

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _recover(self, error: Exception) -> None:
        if self._directory is None or not self._on_disk:
            self._disconnect()
            self._use(_in_memory())
            self._telemetry.catalogue_resets.inc()
            _log.error("the catalogue in memory is damaged (%s); starting with an empty one", error)
        elif self._is_unavailable(error):
            self._fall_back(str(error))
        else:
            self._set_aside(error)

    def _is_unavailable(self, error: Exception) -> bool:
        """Whether an error is caused by the directory and not by the content of the file."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_READONLY:
            # A header with an unknown version makes a file read-only, too.
            return not os.access(self._file(), os.W_OK)
        return code in _UNAVAILABLE

    def _set_aside(self, error: Exception) -> None:
        assert self._directory is not None  # noqa: S101
        self._disconnect()
        aside = f"{self._file()}.damaged-{int(self._clock())}"
        try:
            # Keep one copy for analysis, so that repeated damage does not fill the disk.
            for old in self._directory.glob(f"{FILE}.damaged-*"):
                old.unlink()
            for ending in _ENDINGS:
                if os.path.exists(self._file() + ending):  # noqa: PTH110 - the ending follows the complete name
                    os.replace(self._file() + ending, aside + ending)  # noqa: PTH105
        except OSError as problem:
            self._fall_back(f"it is damaged ({error}) and cannot be set aside: {problem.strerror}", read=False)
            return
        self._telemetry.catalogue_resets.inc()
        _log.error("the catalogue is damaged (%s); set aside as %s, starting with an empty one", error, aside)

    def _fall_back(self, why: str, *, read: bool = True) -> None:
        """Continue in memory, with the readable content of the file."""
        db = _in_memory()
        if read and not self._read_file(db):
            db.close()
            db = _in_memory()
        self._disconnect()
        self._use(db)
        self._on_disk = False
        self._retry_at = self._monotonic() + RETRY_SECONDS
        self._telemetry.catalogue_writable.set(0)
        _log.error(
            "%s: cannot write the catalogue (%s). It is kept in memory, and a restart loses all later changes. "
            "Free disk space, or make the directory writable; retrying every %.0f s",
            self._directory,
            why,
            RETRY_SECONDS,
        )

    def _read_file(self, memory: sqlite3.Connection) -> bool:
        """Copy the content of the file. Return whether that succeeded."""
        if self._db is not None:
            return _copied(self._db, memory)
        # The second works without locks and the write-ahead log, which need a writable directory.
        for address in (f"file:{quote(self._file())}?mode=rw", f"file:{quote(self._file())}?mode=ro&immutable=1"):
            try:
                with contextlib.closing(_connect(address)) as source:
                    if _copied(source, memory):
                        return True
            except FAULTS as error:
                _log.debug("%s: cannot be read: %s", address, error)
        return False

    def _return_to_disk(self) -> None:
        """Write the content of the memory to the directory, if it is writable again."""
        assert self._directory is not None  # noqa: S101
        assert self._db is not None  # noqa: S101
        self._retry_at = self._monotonic() + RETRY_SECONDS
        disk: sqlite3.Connection | None = None
        try:
            if self._lock is None and (lock := _hold(self._directory)) is not None:
                self._lock = lock
            if self._lock is None:
                return
            disk = _connect(self._file())
            self._db.backup(disk)
            prepare(disk)
        except (*FAULTS, CatalogueError) as error:
            _log.debug("%s: still not writable: %s", self._file(), error)
            if disk is not None:
                disk.close()
            if not isinstance(error, CatalogueError) and not self._is_unavailable(error):
                self._remove()
            return
        self._disconnect()
        self._use(disk)
        self._on_disk = True
        self._telemetry.catalogue_writable.set(1)
        _log.info("%s: the catalogue is written to disk again", self._directory)

    def _remove(self) -> None:
        """Remove a damaged file that cannot be replaced. Its content is in memory."""
        try:
            for ending in _ENDINGS:
                Path(self._file() + ending).unlink(missing_ok=True)
        except OSError as error:
            _log.debug("%s: cannot remove: %s", self._file(), error)


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    prepare(db)
    return db


def _copied(source: sqlite3.Connection, memory: sqlite3.Connection) -> bool:
    try:
        source.backup(memory)
        prepare(memory)
    except FAULTS as error:
        _log.debug("cannot copy the catalogue: %s", error)
        return False
    return True


def _connect(file: str) -> sqlite3.Connection:
    db = sqlite3.connect(file, uri=file.startswith("file:"))
    try:
        # The directory's lock excludes other processes. With exclusive locking, SQLite keeps its index of the
        # write-ahead log in the process instead of a mapped file, which a full disk would make unusable.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _hold(directory: Path) -> int | None:
    """Lock a directory for this process. The lock ends with the process, however it ends.

    Returns:
        None if the directory exists and is not writable.

    Raises:
        CatalogueError: the directory does not exist and cannot be created, or another process has locked it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"{directory}: cannot create the directory: {error.strerror}; set a writable one with --state-dir"
        ) from error
    writable = True
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _log.debug("%s: %s", directory, error)
        writable = False
        try:
            lock = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno != errno.EWOULDBLOCK:
            return None
        raise CatalogueError(
            f"{directory}: another exporter uses this directory; set a different --state-dir for each"
        ) from error
    if not writable:
        os.close(lock)
        return None
    return lock

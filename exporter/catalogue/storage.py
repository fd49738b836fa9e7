"""The database of the catalogue: in its folder as long as that can be written, otherwise in memory.

Two faults must not stop the exporter. A damaged file is set aside, and an empty one takes its place. A folder that
cannot be written (a full disk, a file system that became read-only) is left alone: what can be read is copied into
memory, work goes on there, and the folder is tried again from time to time.
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
# https://www.sqlite.org/rescode.html: what the machine, and not the content of the file, is the cause of.
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
# How sqlite3 reports a fault. It also decodes the messages of SQLite, which quote damaged text.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
_ENDINGS = ("-wal", "-shm", "-journal", "")


class CatalogueError(Exception):
    """The catalogue cannot be opened or used; the message names the folder and says what to do."""


class Storage:
    """A connection to the database, replaced where it has to be; used by one thread.

    Args:
        directory: its folder; None keeps everything in memory.
        clock: epoch seconds.
        monotonic: seconds of a clock that nobody sets.
        telemetry: where resets are counted, and whether the folder can be written.

    Attributes:
        generation: rises whenever another database takes the place of the former one.
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
        """Do something in a transaction; it is done again if the database had to be replaced.

        Raises:
            CatalogueError: there is no folder, another process holds it, or nothing helps.
        """
        if not self._on_disk and self._monotonic() >= self._retry_at:
            self._return_to_disk()
        # An error each of the folder, of what was read from it, and of an empty database; more than that is a defect.
        for _ in range(3):
            try:
                if self._db is None:
                    self._open()
                assert self._db is not None  # noqa: S101
                with self._db:
                    return work(self._db)
            except FAULTS as error:
                self._recover(error)
        raise CatalogueError(f"{self._file()}: the catalogue cannot be used, not even in memory; see the log")

    def close(self) -> None:
        """Close the file and release its folder."""
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
            self._fall_back("its folder cannot be written")
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
            _log.error("the catalogue in memory is damaged (%s); started again with an empty one", error)
        elif self._is_unavailable(error):
            self._fall_back(str(error))
        else:
            self._set_aside(error)

    def _is_unavailable(self, error: Exception) -> bool:
        """Whether the folder is the cause of an error; otherwise it is the content of the file."""
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
            # One copy is enough to look into; damage that comes again must not fill the disk.
            for old in self._directory.glob(f"{FILE}.damaged-*"):
                old.unlink()
            for ending in _ENDINGS:
                if os.path.exists(self._file() + ending):  # noqa: PTH110 - the ending follows the complete name
                    os.replace(self._file() + ending, aside + ending)  # noqa: PTH105
        except OSError as problem:
            self._fall_back(f"it is damaged ({error}) and cannot be set aside: {problem.strerror}", read=False)
            return
        self._telemetry.catalogue_resets.inc()
        _log.error("the catalogue is damaged (%s): set aside as %s, started again with an empty one", error, aside)

    def _fall_back(self, why: str, *, read: bool = True) -> None:
        """Go on in memory, with what can be read of the file."""
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
            "%s: the catalogue cannot be written (%s) and is kept in memory: a restart loses what is learned from now "
            "on. Free the disk, or make the folder writable; it is tried again every %.0f s",
            self._directory,
            why,
            RETRY_SECONDS,
        )

    def _read_file(self, memory: sqlite3.Connection) -> bool:
        """Copy what the file holds; whether that succeeded."""
        if self._db is not None:
            return _copied(self._db, memory)
        # The second works without locks and without the write-ahead log, which are files in a writable folder.
        for address in (f"file:{quote(self._file())}?mode=rw", f"file:{quote(self._file())}?mode=ro&immutable=1"):
            try:
                with contextlib.closing(_connect(address)) as source:
                    if _copied(source, memory):
                        return True
            except FAULTS as error:
                _log.debug("%s: cannot be read: %s", address, error)
        return False

    def _return_to_disk(self) -> None:
        """Write what is in memory to the folder, if that is possible again."""
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
            _log.debug("%s: cannot be written yet: %s", self._file(), error)
            if disk is not None:
                disk.close()
            if not isinstance(error, CatalogueError) and not self._is_unavailable(error):
                self._remove()
            return
        self._disconnect()
        self._use(disk)
        self._on_disk = True
        self._telemetry.catalogue_writable.set(1)
        _log.info("%s: the catalogue is written to its folder again", self._directory)

    def _remove(self) -> None:
        """Make room for a file that is damaged and cannot be replaced; what it held is in memory."""
        try:
            for ending in _ENDINGS:
                Path(self._file() + ending).unlink(missing_ok=True)
        except OSError as error:
            _log.debug("%s: cannot be removed: %s", self._file(), error)


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    prepare(db)
    return db


def _copied(source: sqlite3.Connection, memory: sqlite3.Connection) -> bool:
    try:
        source.backup(memory)
        prepare(memory)
    except FAULTS as error:
        _log.debug("cannot be copied: %s", error)
        return False
    return True


def _connect(file: str) -> sqlite3.Connection:
    db = sqlite3.connect(file, uri=file.startswith("file:"))
    try:
        # The lock of the folder keeps others out. With this lock SQLite keeps its index of the write-ahead log in the
        # process, and not in a mapped file that a full disk makes unusable.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _hold(directory: Path) -> int | None:
    """Lock a folder for this process; the lock ends with the process, however that ends.

    Returns:
        None if the folder exists and cannot be written.

    Raises:
        CatalogueError: the folder does not exist and cannot be created, or another process holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"{directory}: cannot be created: {error.strerror}; name a writable folder with --state-dir"
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
            f"{directory}: another exporter holds this folder; give each its own --state-dir"
        ) from error
    if not writable:
        os.close(lock)
        return None
    return lock

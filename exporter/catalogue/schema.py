"""The tables of the catalogue, and checks of a file before its use."""

from __future__ import annotations

import sqlite3

from exporter.versions import place

# A change of `versions.place` needs a migration that fills `line` and `place` again.
_VERSION_1 = (
    "CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, looked_up REAL NOT NULL, etag TEXT)",
    # absent: how many complete lists in a row lacked it.
    # dated: whether its publish time was asked for, successfully or not.
    """CREATE TABLE tag (
        repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, name TEXT NOT NULL,
        first_seen REAL NOT NULL, absent INTEGER NOT NULL DEFAULT 0, dated INTEGER NOT NULL DEFAULT 0,
        published REAL, PRIMARY KEY (repository, name)
    ) WITHOUT ROWID""",
)
# The key includes the place of a tag, so a question reads only the tags that it needs. Tags without a place answer no
# question and are not stored. Unknown publish times are requested again, because a wrong clock caused some of them.
_VERSION_2 = (
    # bytes: estimated size of the repository, for the limits. digest: identifies the last list.
    "ALTER TABLE repository ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE repository ADD COLUMN digest BLOB",
    """CREATE TABLE release (
        repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, line TEXT NOT NULL, rank BLOB NOT NULL,
        name TEXT NOT NULL, first_seen REAL NOT NULL, absent INTEGER NOT NULL DEFAULT 0,
        dated INTEGER NOT NULL DEFAULT 0, published REAL, PRIMARY KEY (repository, line, rank, name)
    ) WITHOUT ROWID""",
    """INSERT INTO release SELECT repository, place_line(name), place_rank(name), name, first_seen, absent,
        published IS NOT NULL, published FROM tag WHERE place_line(name) IS NOT NULL""",
    "DROP TABLE tag",
    """UPDATE repository SET bytes = 200 + length(name) + coalesce((
        SELECT sum(40 + length(line) + length(rank) + length(release.name)) FROM release WHERE repository = id), 0)""",
)
# Statements per schema version, applied in order. `PRAGMA user_version` counts the versions applied to a file.
_MIGRATIONS = (_VERSION_1, _VERSION_2)
# Approximate size of a row in addition to its texts.
REPOSITORY_BYTES, RELEASE_BYTES = 200, 40


class DamagedError(sqlite3.DatabaseError):
    """The file has content that the exporter did not write."""


def prepare(db: sqlite3.Connection) -> None:
    """Migrate a database to the current schema and check it.

    Raises:
        sqlite3.Error: the database is damaged, or not writable.
    """
    # The root file system of the pod is read-only.
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA foreign_keys = ON")
    if (answer := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
        raise DamagedError(f"integrity check failed: {answer}")
    _migrate(db)
    # The list that is being stored.
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS listed (line TEXT, rank BLOB, name TEXT, PRIMARY KEY (line, rank, name))"
        " WITHOUT ROWID"
    )


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= len(_MIGRATIONS):
        raise DamagedError(f"schema version {version} is from a later release")
    db.create_function("place_line", 1, _line, deterministic=True)
    db.create_function("place_rank", 1, _rank, deterministic=True)
    for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
        with db:
            db.execute("BEGIN")
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")


def _line(name: str) -> str | None:
    at = place(name)
    return at and at.line


def _rank(name: str) -> bytes | None:
    at = place(name)
    return at and at.rank

"""The tags known so far, kept on disk: after a restart without any registry the answers are the same.

One SQLite file, under an exclusive lock on its folder and used by one worker thread. Judging happens in that thread
too, in slices, so that a repository with many tags delays no other one, and memory never holds every tag of a
repository. Only complete tag lists are stored; `Catalogue.store` says what makes a list complete.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Self, TypeVar

from exporter.catalogue import tags
from exporter.catalogue.listing import KnownTag, Reading, TagListing
from exporter.catalogue.storage import FILE, RETRY_SECONDS, CatalogueError, Storage
from exporter.catalogue.tags import IncompleteListError, Stored, TooLargeError
from exporter.images import Repository
from exporter.limits import Limit
from exporter.telemetry import Telemetry
from exporter.verdicts import Judging, Page, Question, Verdict, judge

__all__ = [
    "FILE",
    "RETRY_SECONDS",
    "Catalogue",
    "CatalogueError",
    "IncompleteListError",
    "KnownTag",
    "Stored",
    "TagListing",
    "TooLargeError",
]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# A slice of work in the thread: some milliseconds, after which others have their turn.
_SLICE_TAGS = 2_000
# A request for a page costs as much as reading so many tags.
_PAGE_COST = 20


class Catalogue:
    """The tags of every repository that was looked up. `open` opens it; every call runs in the worker thread.

    Args:
        directory: its folder; None keeps everything in memory.
        clock: epoch seconds.
        monotonic: seconds of a clock that nobody sets.
        telemetry: the exporter's own metrics.
        most: bytes of the catalogue, roughly.
        most_each: bytes of one repository.
    """

    def __init__(
        self,
        *,
        directory: Path | None,
        clock: Callable[[], float],
        telemetry: Telemetry,
        monotonic: Callable[[], float] = time.monotonic,
        most: int = Limit.CATALOGUE_BYTES.most,
        most_each: int = Limit.REPOSITORY_BYTES.most,
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._most = most
        self._most_each = most_each
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._storage = Storage(directory=directory, clock=clock, monotonic=monotonic, telemetry=telemetry)
        self._opened = clock()
        # By repository: the number of its last change, counted over all of them so that no number comes twice.
        self._changes: dict[str, int] = {}
        self._numbers = itertools.count(1)
        # One large list at a time is prepared: each takes as much memory as its names.
        self._preparing = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        directory: Path | None,
        *,
        clock: Callable[[], float],
        telemetry: Telemetry,
        monotonic: Callable[[], float] = time.monotonic,
        most: int = Limit.CATALOGUE_BYTES.most,
        most_each: int = Limit.REPOSITORY_BYTES.most,
    ) -> Catalogue:
        """Open the catalogue in a folder, or create it there; the arguments are those of the class.

        A folder that exists and cannot be written is not an error: the catalogue is kept in memory, and the metric
        `mojaloop_exporter_catalogue_writable` is 0.

        Raises:
            CatalogueError: the folder cannot be created, or another process holds it.
        """
        catalogue = cls(
            directory=directory,
            clock=clock,
            telemetry=telemetry,
            monotonic=monotonic,
            most=most,
            most_each=most_each,
        )
        try:
            await catalogue._run(catalogue._count)
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
        await asyncio.get_running_loop().run_in_executor(self._thread, self._storage.close)
        self._thread.shutdown()

    async def store(
        self,
        repository: Repository,
        names: Collection[str],
        *,
        running: Collection[str],
        etag: str | None = None,
        in_use: Mapping[str, Collection[str]] | None = None,
    ) -> Stored:
        """Take in a tag list; a tag is withdrawn after two lists in a row without it.

        Args:
            repository: where the list comes from.
            names: every tag of it once, from all pages.
            running: the tags that containers run now.
            etag: the registry's validator for the next conditional request.
            in_use: the namespaces that use each repository, by its name: when the catalogue is full, the others are
                forgotten first.

        Raises:
            IncompleteListError: the list is empty, or lacks every running tag that was known before.
            TooLargeError: the list exceeds a limit.
            CatalogueError: it could not be written.
        """
        listed = tags.Listed(repository=repository, names=names, etag=tags.sendable(etag))
        if len(names) <= _SLICE_TAGS:
            return await self._run(lambda db: self._store(db, listed, running, in_use or {}))
        async with self._preparing:
            for part in _slices(names):
                await self._in_thread(partial(listed.add_to_digest, part))
            if not await self._run(lambda db: tags.has_digest(db, repository, listed.digest)):
                for part in _slices(names):
                    await self._in_thread(partial(listed.add_places, part))
            return await self._run(lambda db: self._store(db, listed, running, in_use or {}))

    async def confirm(self, repository: Repository) -> Stored:
        """Take in that the list is unchanged (`304 Not Modified`)."""
        return await self._run(lambda db: self._confirm(db, repository, None))

    async def etag(self, repository: Repository) -> str | None:
        """The registry's validator of the last list, or None."""
        return await self._run(lambda db: tags.etag(db, repository))

    async def judge(self, repository: Repository, questions: Sequence[Question]) -> list[Verdict] | None:
        """Answer questions about a repository, in their order; None if it was never looked up."""
        judgement = _Judgement(repository, questions)
        while not await self._run(partial(self._advance, judgement=judgement)):
            pass
        return judgement.verdicts

    async def record_published(self, repository: Repository, tag: str, published: float | None) -> None:
        """Keep when a tag was published (None: asked for, but unknown); the earliest date ever seen stays."""

        def record(db: Connection) -> None:
            tags.record_published(db, repository, tag, published)
            self._note_change(str(repository))

        await self._run(record)

    async def list_tags(self, repository: Repository, *, most: int) -> TagListing | None:
        """The tags that are known of a repository; None if it was never looked up.

        Args:
            repository: whose tags.
            most: how many, the highest ones.
        """
        reading = Reading(repository, most)
        while not await self._run(partial(self._read, reading=reading)):
            pass
        return reading.listing

    def revision(self, repository: Repository) -> tuple[int, int]:
        """A value that is another one whenever an answer about a repository may have changed."""
        return self._storage.generation, self._changes.get(str(repository), 0)

    async def lookups(self) -> dict[str, float]:
        """When each repository's tags were last looked up, epoch seconds, by the repository's name."""
        return await self._run(tags.lookups)

    async def retry_disk(self) -> None:
        """Write to the folder again, if it could not be written and that was some time ago."""
        await self._run(lambda _: None)

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        return await self._in_thread(lambda: self._storage.run(work))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # What follows runs in the worker thread.

    def _advance(self, db: Connection, judgement: _Judgement) -> bool:
        return judgement.advance(db, generation=self._storage.generation, now=self._clock(), opened=self._opened)

    def _read(self, db: Connection, reading: Reading) -> bool:
        return reading.advance(db, generation=self._storage.generation, slice_tags=_SLICE_TAGS)

    def _note_change(self, name: str) -> None:
        self._changes[name] = next(self._numbers)

    def _confirm(self, db: Connection, repository: Repository, etag: str | None) -> Stored:
        stored = tags.confirm(db, repository, now=self._clock(), etag=etag)
        if stored.changed:
            self._note_change(str(repository))
        return stored

    def _store(
        self, db: Connection, listed: tags.Listed, running: Collection[str], in_use: Mapping[str, Collection[str]]
    ) -> Stored:
        tags.check_complete(db, listed.repository, listed.names, running)
        if tags.has_digest(db, listed.repository, listed.digest):
            return self._confirm(db, listed.repository, listed.etag)
        if listed.bytes > self._most_each:
            raise TooLargeError(
                f"{listed.repository}: its {len(listed.places)} versions take more than {self._most_each} bytes",
                Limit.REPOSITORY_BYTES,
            )
        for name in tags.make_room(db, listed, in_use=in_use, most=self._most):
            self._note_change(name)
            level = logging.WARNING if name in in_use else logging.INFO
            _log.log(level, "%s: its tags are forgotten to make room for those of %s", name, listed.repository)
        stored = tags.store(db, listed, now=self._clock())
        if stored.changed:
            self._note_change(str(listed.repository))
        self._count(db)
        return stored

    def _count(self, db: Connection) -> None:
        self._telemetry.catalogue_repositories.set(db.execute("SELECT count(*) FROM repository").fetchone()[0])


def _slices(names: Collection[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while part := list(islice(rest, _SLICE_TAGS)):
        yield part


class _Judgement:
    """Questions that are being answered, a slice at a time.

    Attributes:
        verdicts: the answers; None before, and where the repository was never looked up.
    """

    def __init__(self, repository: Repository, questions: Sequence[Question]) -> None:
        self._repository = repository
        self._questions = questions
        self._judging: Judging = judge(questions)
        self._page: Page | None = None
        self._generation: int | None = None
        self.verdicts: list[Verdict] | None = None

    def advance(self, db: Connection, *, generation: int, now: float, opened: float) -> bool:
        """Go on for a slice; whether that was the last one."""
        try:
            if generation != self._generation:
                # What was read so far is of a database that is gone.
                if not tags.is_known(db, self._repository):
                    return True
                self._generation, self._judging = generation, judge(self._questions)
                self._page = next(self._judging)
            left = _SLICE_TAGS
            while left > 0 and self._page is not None:
                records = tags.read(db, self._repository, self._page, now=now, opened=opened)
                left -= len(records) + _PAGE_COST
                self._page = self._judging.send(records)
        except StopIteration as done:
            tags.check_names(done.value)
            self.verdicts = done.value
            return True
        return False

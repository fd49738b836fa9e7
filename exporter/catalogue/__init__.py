"""Persistent store of the known tags. After a restart, the exporter gives the same results without any registry.

It is one SQLite file, used by one worker thread, with an exclusive lock on its directory. Judging runs in that thread
too, in slices: a repository with many tags does not delay others, and its tags are never all in memory. Only complete
tag lists are stored. `Catalogue.store` defines what makes a list complete.
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
# Size of a slice in the worker thread: a few milliseconds, after which other work runs.
_SLICE_TAGS = 2_000
# A page request costs as much as reading this many tags.
_PAGE_COST = 20


class Catalogue:
    """The tags of every repository that was looked up. Use `open` to create it. All calls run in the worker thread.

    Args:
        directory: its directory; None keeps everything in memory.
        clock: returns epoch seconds.
        monotonic: returns seconds of a monotonic clock.
        telemetry: the exporter's own metrics.
        most: approximate limit on the bytes of the catalogue.
        most_each: limit on the bytes of one repository.
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
        # Number of the last change by repository, from one counter for all, so that no number is used twice.
        self._changes: dict[str, int] = {}
        self._numbers = itertools.count(1)
        # Only one large list is prepared at a time, because it needs as much memory as its names.
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
        """Open or create the catalogue in a directory. The arguments are those of the class.

        A directory that exists and is not writable is not an error: the catalogue is kept in memory, and the metric
        `mojaloop_exporter_catalogue_writable` is 0.

        Raises:
            CatalogueError: the directory cannot be created, or another process has locked it.
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
        """Close the file and unlock its directory."""
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
        """Store a tag list. A tag is withdrawn after two consecutive lists without it.

        Args:
            repository: repository of the list.
            names: each of its tags once, from all pages.
            running: tags that containers run now.
            etag: ETag for the next conditional request.
            in_use: namespaces that use each repository, by its name. When the catalogue is full, repositories not in
                use are forgotten first.

        Raises:
            IncompleteListError: the list is empty, or lacks every running tag that was known before.
            TooLargeError: the list exceeds a limit.
            CatalogueError: the list could not be written.
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
        """Record that the list is unchanged (`304 Not Modified`)."""
        return await self._run(lambda db: self._confirm(db, repository, None))

    async def etag(self, repository: Repository) -> str | None:
        """Return the ETag of the last list, or None."""
        return await self._run(lambda db: tags.etag(db, repository))

    async def judge(self, repository: Repository, questions: Sequence[Question]) -> list[Verdict] | None:
        """Answer questions about a repository, in their order; None if it was never looked up."""
        judgement = _Judgement(repository, questions)
        while not await self._run(partial(self._advance, judgement=judgement)):
            pass
        return judgement.verdicts

    async def record_published(self, repository: Repository, tag: str, published: float | None) -> None:
        """Record when a tag was published (None: looked up, but unknown). The earliest date ever seen is kept."""

        def record(db: Connection) -> None:
            tags.record_published(db, repository, tag, published)
            self._note_change(str(repository))

        await self._run(record)

    async def list_tags(self, repository: Repository, *, most: int) -> TagListing | None:
        """Return the known tags of a repository; None if it was never looked up.

        Args:
            repository: repository of the tags.
            most: maximum number of tags; the highest are returned.
        """
        reading = Reading(repository, most)
        while not await self._run(partial(self._read, reading=reading)):
            pass
        return reading.listing

    def revision(self, repository: Repository) -> tuple[int, int]:
        """Return a value that changes whenever an answer about a repository may have changed."""
        return self._storage.generation, self._changes.get(str(repository), 0)

    async def lookups(self) -> dict[str, float]:
        """Return the epoch seconds of each repository's last lookup, by the repository's name."""
        return await self._run(tags.lookups)

    async def retry_disk(self) -> None:
        """Write to the directory again, if it was not writable and the last attempt is long enough ago."""
        await self._run(lambda _: None)

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        return await self._in_thread(lambda: self._storage.run(work))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # The methods below run in the worker thread.

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
                f"{listed.repository}: its {len(listed.places)} versions exceed {self._most_each} bytes",
                Limit.REPOSITORY_BYTES,
            )
        for name in tags.make_room(db, listed, in_use=in_use, most=self._most):
            self._note_change(name)
            level = logging.WARNING if name in in_use else logging.INFO
            _log.log(level, "forgetting the tags of %s to make room for those of %s", name, listed.repository)
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
    """Questions that are answered a slice at a time.

    Attributes:
        verdicts: the answers; None until then, and if the repository was never looked up.
    """

    def __init__(self, repository: Repository, questions: Sequence[Question]) -> None:
        self._repository = repository
        self._questions = questions
        self._judging: Judging = judge(questions)
        self._page: Page | None = None
        self._generation: int | None = None
        self.verdicts: list[Verdict] | None = None

    def advance(self, db: Connection, *, generation: int, now: float, opened: float) -> bool:
        """Process a slice. Return whether it was the last one."""
        try:
            if generation != self._generation:
                # The database was replaced: start again.
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

"""The tags of one repository in memory, as a source for `judge`, and the tags that `versions.offers` means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.verdicts import Page, Question, TagRecord, Verdict, judge
from exporter.versions import Span, Strategy, final_of, newer_lines, offers, place


class Record(NamedTuple):
    """Known facts about a tag, without its place."""

    first_seen: float = 0.0
    dated: bool = False
    published: float | None = None


class Offer(NamedTuple):
    latest: str
    missed: tuple[str, ...]


class Tags:
    """Every tag of a repository."""

    def __init__(self, names: Iterable[str], *, published: Mapping[str, float] | None = None) -> None:
        known = published or {}
        self._lines: dict[str, list[TagRecord]] = {}
        for name in dict.fromkeys(names):
            self.put(name, Record(published=known.get(name)))

    def put(self, name: str, record: Record) -> None:
        if (at := place(name)) is not None:
            line = self._lines.setdefault(at.line, [])
            line.append(TagRecord(name, at.rank, *record))
            line.sort(key=lambda one: (one.rank, one.name))

    def within(self, span: Span) -> list[TagRecord]:
        return [one for one in self._lines.get(span.line, ()) if span.low <= one.rank < span.high]

    def read(self, page: Page) -> Sequence[TagRecord]:
        records = self.within(page.span)[::-1]
        if page.before is not None:
            records = [one for one in records if (one.rank, one.name) < page.before]
        return records[: page.most]

    def judge(self, *questions: Question) -> list[Verdict]:
        judging = judge(questions)
        records: Sequence[TagRecord] | None = None
        while True:
            try:
                page = next(judging) if records is None else judging.send(records)
            except StopIteration as done:
                return done.value
            records = self.read(page)

    def offer(
        self, running: str, *, strategy: Strategy = Strategy.PATCH, accept: Callable[[str], bool] | None = None
    ) -> Offer:
        dates = {one.name: one.published for line in self._lines.values() for one in line}
        ours, theirs = dates.get(running), dates.get(final_of(running) or "")
        younger = ours is not None and theirs is not None and theirs > ours
        missed = self._first(offers(running, strategy=strategy, final_is_younger=younger), accept)
        return Offer(missed[-1] if missed else running, tuple(missed))

    def newer_line(self, running: str, *, strategy: Strategy, accept: Callable[[str], bool] | None = None) -> str:
        missed = self._first(newer_lines(running, strategy=strategy), accept)
        return missed[-1] if missed else running

    def _first(self, spans: Iterable[Span], accept: Callable[[str], bool] | None) -> list[str]:
        for span in spans:
            if names := [one.name for one in self.within(span) if accept is None or accept(one.name)]:
                return names
        return []

"""Judge running tags by the tags of their repository. No I/O and no clock.

`judge` requests ranges of tags page by page from its caller, so a repository is never completely in memory. Each tag of
a range is read once for all questions with the same options.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from exporter.annotations import acceptor
from exporter.versions import Span, Strategy, final_of, newer_lines, offers, place

# Long enough to make the cost of a request small, short enough for a slice of work.
PAGE_TAGS = 500


@dataclass(frozen=True, slots=True)
class Question:
    """A running tag and the options of its container; equal questions have equal answers."""

    tag: str
    strategy: Strategy = Strategy.PATCH
    include: str = ""
    exclude: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a `Question`.

    Attributes:
        latest: the newest patch, or the running tag.
        behind: the number of missed patches.
        found: whether its repository has the running tag; only checked if no patch is missed, otherwise True.
        published: epoch seconds when the first missed patch was published: the earliest date of all missed ones. None
            if none is missed, or the date of the first is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None if none is missed.
        undated: the first missed patch, if its publish time was not looked up yet.
        minor: the newest release with a greater Y and the same X, or the running tag.
        major: the newest release with a greater X, or the running tag.
    """

    latest: str
    behind: int
    published: float | None
    first_seen: float | None
    undated: str | None
    minor: str
    major: str
    found: bool = True


class TagRecord(NamedTuple):
    """The facts about a tag.

    Attributes:
        name: the tag.
        rank: of its `versions.place`.
        first_seen: epoch seconds when a list first held it.
        dated: whether its publish time was looked up, successfully or not.
        published: its publish time in epoch seconds; None if unknown.
    """

    name: str
    rank: bytes
    first_seen: float
    dated: bool
    published: float | None


class Page(NamedTuple):
    """A request for tags of a span, in descending order of rank and name.

    Attributes:
        span: the range of tags.
        before: start after this rank and name; None starts at the span's end.
        most: the size of the page; fewer records mean that it is the last one.
    """

    span: Span
    before: tuple[bytes, str] | None
    most: int


Judging = Generator[Page, Sequence[TagRecord], list[Verdict]]


@dataclass(slots=True)
class _Missed:
    """The missed patches so far; records are added from the newest tag down."""

    latest: str
    first: TagRecord
    first_seen: float
    published: float | None = None
    count: int = 0

    def add(self, record: TagRecord) -> None:
        self.first = record
        self.count += 1
        self.first_seen = min(self.first_seen, record.first_seen)
        if record.published is not None:
            self.published = record.published if self.published is None else min(self.published, record.published)


class _Options(NamedTuple):
    include: str
    exclude: str


def judge(questions: Sequence[Question]) -> Judging:
    """Answer questions about one repository.

    Yields:
        requests for tags; the caller sends the tags back.

    Returns:
        The answers, in the order of the questions.
    """
    younger = yield from _younger_finals({question.tag for question in questions})
    patches = yield from _find(
        {q: offers(q.tag, strategy=q.strategy, final_is_younger=q.tag in younger) for q in questions}, newest=False
    )
    newer: dict[Strategy, dict[Question, _Missed]] = {}
    for strategy in (Strategy.MINOR, Strategy.MAJOR):
        newer[strategy] = yield from _find({q: newer_lines(q.tag, strategy=strategy) for q in questions}, newest=True)
    lacking = yield from _lacking({question.tag for question in questions if question not in patches})
    return [
        _verdict(
            question,
            patches.get(question),
            minor=newer[Strategy.MINOR].get(question),
            major=newer[Strategy.MAJOR].get(question),
            found=question.tag not in lacking,
        )
        for question in questions
    ]


def _verdict(
    question: Question, missed: _Missed | None, *, minor: _Missed | None, major: _Missed | None, found: bool
) -> Verdict:
    verdict = Verdict(
        latest=question.tag,
        behind=0,
        published=None,
        first_seen=None,
        undated=None,
        minor=minor.latest if minor else question.tag,
        major=major.latest if major else question.tag,
        found=found,
    )
    if missed is None:
        return verdict
    return replace(
        verdict,
        latest=missed.latest,
        behind=missed.count,
        # Without the date of the first missed patch, the dates of later ones are of no use.
        published=missed.published if missed.first.published is not None else None,
        first_seen=missed.first_seen,
        undated=None if missed.first.dated else missed.first.name,
    )


def _younger_finals(tags: Iterable[str]) -> Generator[Page, Sequence[TagRecord], set[str]]:
    """Return the pre-releases known to be published before their final."""
    younger = set()
    for tag in tags:
        if (final := final_of(tag)) is None:
            continue
        ours, theirs = (yield from _published(tag)), (yield from _published(final))
        if ours is not None and theirs is not None and theirs > ours:
            younger.add(tag)
    return younger


def _published(tag: str) -> Generator[Page, Sequence[TagRecord], float | None]:
    if (at := place(tag)) is None:
        return None
    records = yield Page(Span(at.line, at.rank, at.rank + b"\0"), None, PAGE_TAGS)
    return next((record.published for record in records if record.name == tag), None)


def _lacking(tags: Iterable[str]) -> Generator[Page, Sequence[TagRecord], set[str]]:
    """Return the tags that their repository lacks."""
    lacking = set()
    for tag in tags:
        if (at := place(tag)) is None:
            continue
        # Nothing sorts between a name and the same name with NUL: the first record is the tag, or the tag is missing.
        records = yield Page(Span(at.line, at.rank, at.rank + b"\0"), (at.rank, f"{tag}\0"), 1)
        if not any(record.name == tag for record in records):
            lacking.add(tag)
    return lacking


def _find(
    wanted: Mapping[Question, Sequence[Span]], *, newest: bool
) -> Generator[Page, Sequence[TagRecord], dict[Question, _Missed]]:
    """Return the content of the first span of each question that has an acceptable tag.

    Args:
        wanted: the spans of each question, in their order of preference.
        newest: whether only the newest acceptable tag is wanted.
    """
    found: dict[Question, _Missed] = {}
    for turn in range(max(map(len, wanted.values()), default=0)):
        # Spans that differ only in their end, the running tag, are read once.
        together: dict[tuple[str, bytes, _Options], list[tuple[bytes, Question]]] = {}
        for question, spans in wanted.items():
            if question not in found and turn < len(spans):
                line, low, high = spans[turn]
                options = _Options(question.include, question.exclude)
                together.setdefault((line, high, options), []).append((low, question))
        for (line, high, options), lows in together.items():
            lows.sort(key=lambda item: item[0], reverse=True)
            yield from _scan(line, high, accept=acceptor(*options), lows=lows, newest=newest, found=found)
    return found


def _scan(
    line: str,
    high: bytes,
    *,
    accept: Callable[[str], bool] | None,
    lows: Sequence[tuple[bytes, Question]],
    newest: bool,
    found: dict[Question, _Missed],
) -> Generator[Page, Sequence[TagRecord], None]:
    """Read a line from its end down to the lowest low, and note for each question the records above its own."""
    waiting = list(reversed(lows))
    missed: _Missed | None = None
    span, before = Span(line, waiting[0][0], high), None
    most = 1 if newest and accept is None else PAGE_TAGS
    while waiting:
        records = yield Page(span, before, most)
        for record in records:
            while waiting and record.rank < waiting[-1][0]:
                _note(waiting.pop()[1], missed, found)
            if accept is None or accept(record.name):
                missed = missed or _Missed(record.name, record, record.first_seen)
                missed.add(record)
                if newest:
                    break
        if (newest and missed) or len(records) < most:
            break
        before = records[-1].rank, records[-1].name
    for _, question in waiting:
        _note(question, missed, found)


def _note(question: Question, missed: _Missed | None, found: dict[Question, _Missed]) -> None:
    if missed is not None:
        found[question] = replace(missed)

"""Questions about a running tag, and their answers from the tags of its repository. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.annotations import acceptor
from exporter.versions import Strategy, Tags


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
        behind: how many patches are missed.
        published: epoch seconds when the first missed patch was published: the earliest date of all missed ones. None
            if none is missed, or the date of the first is unknown.
        first_seen: epoch seconds when a missed patch was first seen; None if none is missed.
        undated: the first missed patch, if its publish time was not asked for yet.
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


class TagRecord(NamedTuple):
    """What is known of a tag.

    Attributes:
        first_seen: epoch seconds when a list first held it.
        dated: whether its publish time was asked for, successfully or not.
        published: epoch seconds of its publish time; None where it is unknown.
    """

    first_seen: float
    dated: bool
    published: float | None


def judge(records: Mapping[str, TagRecord], questions: Sequence[Question]) -> list[Verdict]:
    """Answer questions about one repository, in their order.

    Args:
        records: every tag of the repository.
        questions: what to answer.
    """
    published = {name: record.published for name, record in records.items() if record.published is not None}
    tags = Tags(records, published=published)
    return [_verdict(tags, records, question) for question in questions]


def _verdict(tags: Tags, records: Mapping[str, TagRecord], question: Question) -> Verdict:
    accept = acceptor(question.include, question.exclude)
    patch = tags.offer(question.tag, strategy=question.strategy, accept=accept)
    missed = [records[name] for name in patch.missed]
    # Without the date of the first missed patch the dates of later ones say nothing.
    dates = [record.published for record in missed if record.published is not None]
    first_dated = bool(missed) and missed[0].published is not None
    return Verdict(
        latest=patch.latest,
        behind=len(missed),
        published=min(dates) if first_dated else None,
        first_seen=min((record.first_seen for record in missed), default=None),
        undated=patch.missed[0] if missed and not missed[0].dated else None,
        minor=tags.newer_line(question.tag, strategy=Strategy.MINOR, accept=accept),
        major=tags.newer_line(question.tag, strategy=Strategy.MAJOR, accept=accept),
    )

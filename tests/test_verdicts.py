"""Answers from the tags of one repository."""

import pytest

from exporter.verdicts import Question, TagRecord, judge
from exporter.versions import Strategy

UNASKED = TagRecord(first_seen=1_000.0, dated=False, published=None)
UNKNOWN = TagRecord(first_seen=2_000.0, dated=True, published=None)


def dated(published, first_seen=3_000.0):
    return TagRecord(first_seen=first_seen, dated=True, published=published)


@pytest.mark.parametrize(
    ("records", "published", "undated", "first_seen"),
    [
        ({}, None, None, None),
        ({"v1.0.1": UNASKED}, None, "v1.0.1", 1_000.0),
        ({"v1.0.1": UNKNOWN}, None, None, 2_000.0),
        ({"v1.0.1": dated(500.0)}, 500.0, None, 3_000.0),
        ({"v1.0.1": dated(500.0), "v1.0.2": dated(300.0, 900.0)}, 300.0, None, 900.0),
        ({"v1.0.1": UNKNOWN, "v1.0.2": dated(300.0)}, None, None, 2_000.0),
        ({"v1.0.1": UNASKED, "v1.0.2": dated(300.0)}, None, "v1.0.1", 1_000.0),
    ],
    ids=[
        "none missed",
        "not asked",
        "unknown",
        "known",
        "earliest",
        "later is known",
        "later is known, first not asked",
    ],
)
def test_the_date_of_the_first_missed_patch(records, published, undated, first_seen):
    (verdict,) = judge({"v1.0.0": UNKNOWN, **records}, [Question("v1.0.0")])
    assert (verdict.published, verdict.undated, verdict.first_seen) == (published, undated, first_seen)
    assert verdict.behind == len(records)


def test_questions_are_answered_in_their_order_each_under_its_options():
    records = dict.fromkeys(["v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0"], UNASKED)
    questions = [Question("v1.0.0"), Question("v1.0.0", Strategy.MINOR), Question("v1.0.0", exclude="v1.0.1")]
    verdicts = judge(records, questions)
    assert [verdict.latest for verdict in verdicts] == ["v1.0.1", "v1.1.0", "v1.0.0"]
    assert {(verdict.minor, verdict.major) for verdict in verdicts} == {("v1.1.0", "v2.0.0")}

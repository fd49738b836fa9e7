"""Answers from the tags of one repository."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.annotations import acceptor
from exporter.verdicts import PAGE_TAGS, Question
from exporter.versions import Strategy
from tests.support.tags import Record, Tags

UNASKED = Record(first_seen=1_000.0, dated=False, published=None)
UNKNOWN = Record(first_seen=2_000.0, dated=True, published=None)


def judge(records, *questions):
    tags = Tags(())
    for name, record in records.items():
        tags.put(name, record)
    return tags.judge(*questions)


def dated(published, first_seen=3_000.0):
    return Record(first_seen=first_seen, dated=True, published=published)


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
    (verdict,) = judge({"v1.0.0": UNKNOWN, **records}, Question("v1.0.0"))
    assert (verdict.published, verdict.undated, verdict.first_seen) == (published, undated, first_seen)
    assert verdict.behind == len(records)


def test_questions_are_answered_in_their_order_each_under_its_options():
    records = dict.fromkeys(["v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0"], UNASKED)
    questions = [Question("v1.0.0"), Question("v1.0.0", Strategy.MINOR), Question("v1.0.0", exclude="v1.0.1")]
    verdicts = judge(records, *questions)
    assert [verdict.latest for verdict in verdicts] == ["v1.0.1", "v1.1.0", "v1.0.0"]
    assert {(verdict.minor, verdict.major) for verdict in verdicts} == {("v1.1.0", "v2.0.0")}


cores = st.builds("v{}.{}.{}".format, *[st.integers(0, 3)] * 3)
tags = st.builds(
    "{}{}".format, cores, st.sampled_from(["", "", ".1", "-rc", "-rc.1", "-rc1", ".1-rc.2", "-x-2.1", "-alpine"])
)
dates = st.none() | st.integers(0, 9).map(float)
records = st.builds(Record, first_seen=st.integers(0, 9).map(float), dated=st.booleans(), published=dates)
questions = st.builds(Question, tags, st.sampled_from(Strategy), st.sampled_from(["", r"v[0-2].*"]), st.just(""))


@given(st.dictionaries(tags, records, max_size=40), st.lists(questions, min_size=1, max_size=12))
def test_many_questions_have_the_answers_that_each_has_by_itself(known, asked):
    repository = Tags(())
    for name, record in known.items():
        repository.put(name, record)
    for question, verdict in zip(asked, repository.judge(*asked), strict=True):
        accept = acceptor(question.include, question.exclude)
        offer = repository.offer(question.tag, strategy=question.strategy, accept=accept)
        missed = [known[name] for name in offer.missed]
        published = [record.published for record in missed if record.published is not None]
        assert (verdict.latest, verdict.behind) == (offer.latest, len(offer.missed))
        assert verdict.first_seen == min((record.first_seen for record in missed), default=None)
        assert verdict.published == (min(published) if missed and missed[0].published is not None else None)
        assert verdict.undated == (offer.missed[0] if missed and not missed[0].dated else None)
        assert verdict.minor == repository.newer_line(question.tag, strategy=Strategy.MINOR, accept=accept)
        assert verdict.major == repository.newer_line(question.tag, strategy=Strategy.MAJOR, accept=accept)


def counting(repository):
    """The number of records that are read, in a list that grows."""
    counts, read = [], repository.read

    def counted(page):
        records = read(page)
        counts.append(len(records))
        return records

    repository.read = counted
    return counts


def test_a_tag_is_read_once_for_any_number_of_running_tags():
    repository = Tags(f"v1.0.{patch}" for patch in range(3 * PAGE_TAGS))
    counts = counting(repository)
    verdicts = repository.judge(*(Question(f"v1.0.{patch}") for patch in range(PAGE_TAGS)))
    assert [verdict.behind for verdict in verdicts] == [3 * PAGE_TAGS - 1 - patch for patch in range(PAGE_TAGS)]
    assert sum(counts) == 3 * PAGE_TAGS - 1, "and none for newer lines"


def test_a_tag_is_read_once_for_each_expression_and_strategy():
    repository = Tags(f"v{major}.0.0" for major in range(3 * PAGE_TAGS))
    counts = counting(repository)
    verdicts = repository.judge(*(Question(f"v{major}.0.0", include="v1[.].*") for major in range(PAGE_TAGS)))
    assert verdicts[0].major == "v1.0.0"
    assert {verdict.major for verdict in verdicts[1:]} == {f"v{major}.0.0" for major in range(1, PAGE_TAGS)}
    assert sum(counts) <= 3 * PAGE_TAGS + PAGE_TAGS, "and one for each running tag"


@pytest.mark.parametrize(
    ("tags", "running", "found", "latest"),
    [
        (["v1.0.0"], "v1.0.0", True, "v1.0.0"),
        (["v1.0.0"], "v99.0.0", False, "v99.0.0"),
        ([], "v1.0.0", False, "v1.0.0"),
        (["v1.0.0", "v2.0.0"], "v1.0.1", False, "v1.0.1"),
        (["v1.0.1"], "v1.0.0", True, "v1.0.1"),
        (["v1.0.0-rc1"], "v1.0.0-rc.1", False, "v1.0.0-rc.1"),
        ([f"v1.0.0-{word}" for word in ("RC", "Rc", "rC", "rc")], "v1.0.0-RC", True, "v1.0.0-RC"),
    ],
    ids=["listed", "not listed", "no tags", "a newer line", "withdrawn, with a patch", "another spelling", "spellings"],
)
def test_a_tag_that_its_repository_lacks_is_not_found_unless_a_patch_of_it_is_known(tags, running, found, latest):
    (verdict,) = judge(dict.fromkeys(tags, UNKNOWN), Question(running))
    assert (verdict.found, verdict.latest) == (found, latest)


def test_an_expression_that_excludes_the_running_tag_does_not_hide_that_it_exists():
    (verdict,) = judge({"v1.0.0": UNKNOWN}, Question("v1.0.0", exclude=".*"))
    assert (verdict.found, verdict.latest) == (True, "v1.0.0")

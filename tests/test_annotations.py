"""Annotations: for all containers or for one; an error names the invalid one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.annotations import PREFIX, Annotations, InvalidAnnotationError, LimitExceededError, Options, acceptor
from exporter.images import Repository
from exporter.limits import Limit
from exporter.versions import STRATEGY_NAMES, Strategy


def read_options(annotations, container):
    return Annotations(annotations, [container]).options(container)


def of(container="app", **annotations):
    return read_options(
        [(PREFIX + key.replace("_", "-").replace("__", "."), value) for key, value in annotations.items()], container
    )


def test_without_annotations_the_options_are_the_default():
    assert read_options([("other.io/ignore", "maybe")], "app") == Options()


def test_every_option():
    assert of(ignore="true").ignore
    assert of(include_tags="v1.*").include == "v1.*"
    assert of(exclude_tags=".*-rc").exclude == ".*-rc"
    assert of(image="ghcr.io/a/b").lookup == Repository("ghcr.io", "a/b")


@pytest.mark.parametrize(("name", "strategy"), STRATEGY_NAMES.items())
def test_strategies_by_name_and_alias(name, strategy):
    assert of(strategy=name).strategy is strategy


@pytest.mark.parametrize("order", [1, -1])
def test_an_annotation_for_one_container_overrides_that_for_all(order):
    annotations = [
        (PREFIX + "strategy", "minor"),
        (PREFIX + "strategy.side.car", "major"),
        (PREFIX + "ignore.other", "true"),
    ][::order]
    assert read_options(annotations, "side.car") == Options(strategy=Strategy.MAJOR)
    assert read_options(annotations, "app") == Options(strategy=Strategy.MINOR)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ignore", "yes"),
        ("strategy", "newest"),
        ("strategy.app", ""),
        ("include-tags", "("),
        ("exclude-tags", "a" * 257),
        ("exclude-tags", "\ud800"),
        ("image", "a/b:v1;id"),
        ("strategie", "minor"),
        ("exclude-tag", ".*-rc"),
        ("exclude", ".*-rc"),
        ("exclude-tag.app", ".*-rc"),
        ("includeTags", ".*-rc"),
    ],
)
def test_an_invalid_annotation_is_an_error_that_names_it(key, value):
    with pytest.raises(InvalidAnnotationError, match=key.partition(".")[0]):
        read_options([(PREFIX + key, value)], "app")


def test_an_invalid_annotation_for_another_container_is_ignored():
    assert read_options([(PREFIX + "strategy.other", "newest")], "app") == Options()


@pytest.mark.parametrize(
    "key", ["approved-by", "ignore-until", "team/owner", "strategy.nobody", "strategie.nobody", ""]
)
def test_what_belongs_elsewhere_is_ignored_and_named(key):
    annotations = Annotations([(PREFIX + key, "x"), (PREFIX + "strategy", "minor")], ["app"])
    (ignored,) = annotations.ignored
    assert ignored.startswith(PREFIX + key)
    assert annotations.options("app") == Options(strategy=Strategy.MINOR)


@pytest.mark.parametrize(
    ("limit", "expressions"),
    [
        (Limit.EXPRESSION_LENGTH, ["a" * 257]),
        (Limit.EXPRESSION_MEMORY, [r"\pL{1000}"]),
        (Limit.EXPRESSION_MEMORY, [r"(\pL|\pN|\pM){300}"]),
        (Limit.EXPRESSIONS, [f"v{number}" for number in range(17)]),
        (Limit.ANNOTATION_COUNT, ["v1"] * 257),
    ],
)
def test_expressions_that_cost_too_much_are_refused(limit, expressions):
    names = [f"c{number}" for number in range(len(expressions))]
    pairs = [(f"{PREFIX}include-tags.{name}", text) for name, text in zip(names, expressions, strict=True)]
    annotations = Annotations(pairs, names)
    for name in names:
        with pytest.raises(LimitExceededError) as caught:
            annotations.options(name)
        assert caught.value.limit is limit


def test_as_many_expressions_as_the_limit_allows_are_accepted():
    names = [f"c{number}" for number in range(256)]
    annotations = Annotations([(f"{PREFIX}include-tags.{name}", f"v{name[-1:]}") for name in names], names)
    assert annotations.options("c255").include == "v5"


def test_an_expression_is_compiled_once_for_all_containers(monkeypatch):
    compiled = []
    monkeypatch.setattr("exporter.annotations._compile", compiled.append)
    names = [f"c{number}" for number in range(100)]
    annotations = Annotations([(PREFIX + "include-tags", "v.*")], names)
    assert {annotations.options(name).include for name in names} == {"v.*"}
    assert compiled == ["v.*"]


def test_an_expression_matches_the_complete_tag():
    accept = acceptor(r"v1\.\d+\.\d+", r".*\.13")
    assert [tag for tag in ("v1.2.3", "v1.2.3-rc", "xv1.2.3", "v1.2.13") if accept(tag)] == ["v1.2.3"]
    assert acceptor("", "") is None


def test_an_expression_that_backtracking_makes_slow_is_fast():
    assert not acceptor("(a*)*b", "")("a" * 128)


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_annotation_is_options_or_an_error(key, value):
    with contextlib.suppress(InvalidAnnotationError):
        read_options([(PREFIX + key, value)], "app")
    with contextlib.suppress(InvalidAnnotationError):
        read_options([(PREFIX + "exclude-tags", value)], "app")

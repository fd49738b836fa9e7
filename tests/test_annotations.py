"""Annotations: for all containers or for one; an error names the invalid one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.annotations import PREFIX, InvalidAnnotationError, Options, acceptor, read_options
from exporter.images import Repository
from exporter.versions import STRATEGY_NAMES, Strategy


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
        ("image", "a/b:v1;id"),
        ("strategie", "minor"),
    ],
)
def test_an_invalid_annotation_is_an_error_that_names_it(key, value):
    with pytest.raises(InvalidAnnotationError, match=key.partition(".")[0]):
        read_options([(PREFIX + key, value)], "app")


def test_an_invalid_annotation_for_another_container_is_ignored():
    assert read_options([(PREFIX + "strategy.other", "newest")], "app") == Options()


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

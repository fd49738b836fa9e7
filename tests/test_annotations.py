"""Annotations: for all containers or for one; what is not understood is said with its key."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.annotations import PREFIX, InvalidAnnotationError, Options, acceptor, read_options
from exporter.images import Repository
from exporter.versions import Strategy


def of(container="app", **annotations):
    return read_options(
        [(PREFIX + key.replace("_", "-").replace("__", "."), value) for key, value in annotations.items()], container
    )


def test_nothing_said_is_the_default():
    assert read_options([("other.io/ignore", "maybe")], "app") == Options()


def test_every_option():
    assert of(ignore="true").ignore
    assert of(strategy="minor").strategy is Strategy.MINOR
    assert of(strategy="bugfix").strategy is Strategy.PATCH
    assert of(include_tags="v1.*").include == "v1.*"
    assert of(exclude_tags=".*-rc").exclude == ".*-rc"
    assert of(image="ghcr.io/a/b").lookup == Repository("ghcr.io", "a/b")


@pytest.mark.parametrize("order", [1, -1])
def test_a_container_of_its_own_goes_before_all(order):
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
def test_what_is_not_understood_is_an_error_that_names_it(key, value):
    with pytest.raises(InvalidAnnotationError, match=key.partition(".")[0]):
        read_options([(PREFIX + key, value)], "app")


def test_a_bad_option_of_another_container_is_not_ours():
    assert read_options([(PREFIX + "strategy.other", "newest")], "app") == Options()


def test_tags_match_as_a_whole():
    accept = acceptor(r"v1\.\d+\.\d+", r".*\.13")
    assert [tag for tag in ("v1.2.3", "v1.2.3-rc", "xv1.2.3", "v1.2.13") if accept(tag)] == ["v1.2.3"]
    assert acceptor("", "") is None


def test_an_expression_made_to_be_slow_is_not():
    assert not acceptor("(a*)*b", "")("a" * 128)


@given(st.text(max_size=300), st.text(max_size=300))
def test_total(key, value):
    with contextlib.suppress(InvalidAnnotationError):
        read_options([(PREFIX + key, value)], "app")

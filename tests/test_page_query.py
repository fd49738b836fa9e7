"""What the page's address asks for."""

import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.page.query import LONGEST_TEXT, QueryError, Sort, View
from exporter.words import State


def test_without_parameters_everything_is_shown_the_most_urgent_first():
    assert View.of({}) == View(namespace="", text="", state=None, sort=Sort.URGENCY, reverse=False, start=0)
    assert View.of({"q": "", "namespace": "", "state": "", "sort": "", "order": "", "from": ""}) == View()
    assert not View().filtered


_VIEWS = st.builds(
    View,
    namespace=st.text(max_size=20),
    text=st.text(max_size=LONGEST_TEXT).map(lambda text: " ".join(text.split())),
    state=st.none() | st.sampled_from(State),
    sort=st.sampled_from(Sort),
    reverse=st.booleans(),
    start=st.integers(0, 10**9 - 1),
)


@given(_VIEWS)
def test_the_address_of_a_view_asks_for_that_view(view):
    url = view.url(start=view.start)
    assert url == "./" or url.startswith("?")
    assert View.of(dict(parse_qsl(url[1:]))) == view


@given(_VIEWS)
def test_another_order_or_filter_begins_with_the_first_row(view):
    assert "from=" not in view.url(reverse=not view.reverse)


def test_the_address_of_everything_has_no_parameter():
    # An empty address would keep the present parameters.
    assert View().url() == "./"
    assert View(text="a b", state=State.PATCH).url() == "?q=a+b&state=patch"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"state": "missing"}, "state: expected one of patch, superseded, unknown, current"),
        ({"sort": "name"}, "sort: expected one of urgency, workload, image, behind, age, owner"),
        ({"order": "desc"}, "order: expected reverse, or nothing"),
        ({"from": "-1"}, "from: expected a number of at most 9 digits"),
        ({"from": "1" * 10}, "from: expected a number of at most 9 digits"),
        ({"from": "٣"}, "from: expected a number of at most 9 digits"),
        ({"q": "x" * 201}, "q: expected at most 200 characters"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_is_expected(parameters, message):
    with pytest.raises(QueryError, match=f"^{re.escape(message)}$"):
        View.of(parameters)

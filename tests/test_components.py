"""Tests that need a component are found, and one that is overlooked fails."""

import pytest

from tests.support import chart, components, kube, registries, scenarios, web, workloads


def names_a_module():
    chart.kubectl(None)


def calls_it_in_a_function_inside():
    def inside():
        return components.need("kubectl")

    return inside


@pytest.mark.parametrize(
    "function",
    [chart.rendered, registries.registry, kube.Kube, names_a_module, calls_it_in_a_function_inside],
)
def test_what_needs_a_component_is_found(function):
    assert components.reaches(function)


@pytest.mark.parametrize("function", [web.web, workloads.body, scenarios.life_cycle, repr])
def test_what_needs_none_is_left_alone(function):
    assert not components.reaches(function)


def test_this_one_needs_none(request):
    assert not components.needed_by(request.node)
    assert request.node.get_closest_marker(components.MARK) is None


def test_what_the_search_overlooks_fails_and_is_not_skipped():
    hidden = vars(components)["need"]  # not by its name, which the search would find
    with pytest.raises(pytest.fail.Exception, match="Mark it"):
        hidden("kubectl")

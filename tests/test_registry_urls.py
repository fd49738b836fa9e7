"""Addresses that registries send, valid and hostile."""

import httpx
import pytest
from httpx import URL
from hypothesis import given
from hypothesis import strategies as st

from exporter.registry import urls
from tests.support.bad_registries import MALFORMED_HOSTS

PAGE = URL("https://registry.example/v2/a/b/tags/list?n=100")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/a/b/tags/list?last=v1&n=100", "https://registry.example/v2/a/b/tags/list?last=v1&n=100"),
        ("list?last=v1", "https://registry.example/v2/a/b/tags/list?last=v1"),
        ("//evil.example/x", "https://evil.example/x"),
        ("https://xn--mnchen-3ya.example/x", "https://xn--mnchen-3ya.example/x"),
        ("", None),
        ("https://a:0/", None),
        ("https://a:99999/", None),
        ("https://" + ".".join("a" * 60 for _ in range(5)), None),
        ("/" + "a" * 9000, None),
        ("http://[::1", None),
        ("https://a\x00b/", None),
        ("\ud800", None),
    ],
)
def test_relative_addresses(target, expected):
    assert urls.join(PAGE, target) == (URL(expected) if expected else None)


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
def test_a_malformed_host_is_an_invalid_address(host):
    assert urls.parse(f"https://{host}/") is None
    assert urls.join(PAGE, f"//{host}/") is None


def test_a_host_is_read_as_it_is_sent():
    assert urls.host(URL("https://M\u00fcnchen.example:5000/")) == "xn--mnchen-3ya.example"
    assert urls.host(URL("https://[::1]/")) == "::1"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://registry.example:443/x", True),
        ("http://registry.example/x", False),
        ("https://registry.example:8443/", False),
        ("https://registry.example.evil/", False),
    ],
)
def test_origins(other, same):
    assert urls.same_origin(PAGE, URL(other)) is same


@given(
    st.text(max_size=100), st.sampled_from(["", "//", "https://", "https://xn--", "https://a.xn--", "/", "https://a:"])
)
def test_whatever_is_joined_can_be_sent(text, start):
    for url in (urls.parse(start + text), urls.join(PAGE, start + text)):
        if url is not None:
            urls.same_origin(url, PAGE)
            httpx.Request("GET", url)

"""Headers of registries, valid and hostile."""

import pytest
from httpx import URL
from hypothesis import given
from hypothesis import strategies as st

from exporter.registry.headers import challenge, next_page, remaining, retry_after, same_origin

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
PAGE = URL("https://registry.example/v2/a/b/tags/list?n=100")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
            'scope="repository:library/redis:pull,push"',
            {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:library/redis:pull,push",
            },
        ),
        ("bearer Realm=https://a.example/t, service=x", {"realm": "https://a.example/t", "service": "x"}),
        (r'Bearer realm="https://a.example/\"t"', {"realm": 'https://a.example/"t'}),
        ('Bearer realm="https://a.example/t,u",service="a=b"', {"realm": "https://a.example/t,u", "service": "a=b"}),
        (
            'Bearer ,, realm="https://a.example/t", =x, service',
            {"realm": "https://a.example/t", "": "x", "service": ""},
        ),
        ('Bearer realm=https://a.example/t, Basic realm="y"', {"realm": "https://a.example/t", "basic realm": "y"}),
        ('Bearer realm="unclosed', {"realm": '"unclosed'}),
        ("Bearer realm=", None),
        ('Basic realm="x"', None),
        ('Bearer service="x"', None),
        ("", None),
    ],
)
def test_challenges(header, expected):
    assert challenge(header) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60),
        ({"retry-after": "Tue, 14 Nov 2000 22:14:20 GMT"}, 0),
        ({"retry-after": "1746036555555"}, 3600),
        ({"x-retry-after": "1700000030"}, 30),
        ({"retry-after": "5", "x-retry-after": "1700000030"}, 5),
        ({"retry-after": "soon", "x-retry-after": "1700000030"}, 30),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers, expected):
    assert retry_after(headers, now=NOW) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [("100;w=21600", 100), ("7", 7), ("", None), ("-1", None), ("many", None), ("1x", None)]
)
def test_requests_left(said, expected):
    assert remaining({"ratelimit-remaining": said}) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('</v2/a/b/tags/list?last=v1&n=100>; rel="next"', "https://registry.example/v2/a/b/tags/list?last=v1&n=100"),
        ("<https://registry.example/x>;rel=next", "https://registry.example/x"),
        ('</first>; rel="prev", </second>; rel="next"', "https://registry.example/second"),
        ("<//evil.example/x>; rel=next", "https://evil.example/x"),
        ('</v2/x>; rel="prev"', None),
        ("", None),
    ],
)
def test_the_next_page(header, expected):
    assert next_page(header, current=PAGE) == (URL(expected) if expected else None)


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
    assert same_origin(PAGE, URL(other)) is same


@given(st.text(max_size=200))
def test_any_header_is_read_without_an_error(text):
    challenge(text)
    challenge(f"Bearer {text}")
    next_page(f"<{text}>; rel=next", current=PAGE)
    wait = retry_after({"retry-after": text, "x-retry-after": text}, now=NOW)
    assert wait is None or 0 <= wait <= 3600
    assert (remaining({"ratelimit-remaining": text}) or 0) >= 0

"""Headers of registries, valid and hostile."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.reasons import Reason
from exporter.registry import RegistryError
from exporter.registry.headers import challenge, is_sendable_etag, next_page, remaining, retry_after
from tests.support.bad_registries import UNREADABLE_LINKS

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


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
        ('</v2/a/b/tags/list?last=v1&n=100>; rel="next"', "/v2/a/b/tags/list?last=v1&n=100"),
        ("<https://registry.example/x>;rel=next", "https://registry.example/x"),
        ('</first>; rel="prev", </second>; rel="next"', "/second"),
        ('</a,b;c>; title="x, </y>; rel=prev"; REL="last NEXT"', "/a,b;c"),
        (r'</x>; title="a \"quoted\" \\"; rel="ne\xt"', "/x"),
        (" , </x> ; rel = next ,, ", "/x"),
        ("</x>; rel=next; rel=prev", "/x"),
        ("</x>; rel=prev; rel=next", None),
        ("</x>; rel=next, </y>; rel=next", "/x"),
        ("</x>; crossorigin; rel=next", "/x"),
        ("<>; rel=next", ""),
        ('</v2/x>; rel="prev"', None),
        ('</v2/x>; rel="nextpage"', None),
        ("</v2/x>", None),
        ("", None),
        (" ,, ", None),
    ],
)
def test_the_next_page(header, expected):
    assert next_page(header) == expected


@pytest.mark.parametrize("header", [link for link in UNREADABLE_LINKS if not link.startswith(("<h", "<>"))])
def test_a_link_that_cannot_be_read_is_not_a_last_page(header):
    with pytest.raises(RegistryError, match="Link header") as caught:
        next_page(header)
    assert caught.value.reason is Reason.BAD_ANSWER


# RFC 8288, section 3: a header as its grammar generates it.
TOKENS = st.text("abcdefXYZ0123456789!#$%&'*+.^_`|~-", min_size=1, max_size=12)
QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(
    lambda text: '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
)
PARAMETERS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() != "rel"), st.none() | TOKENS | QUOTED), max_size=3
).map(lambda found: "".join(f"; {name}" if value is None else f" ;{name}={value}" for name, value in found))
TARGETS = st.text("abc/?&=,;:.%20", min_size=1, max_size=20)
LINKS = st.lists(st.tuples(TARGETS, PARAMETERS, PARAMETERS), max_size=3)


@given(LINKS, TARGETS, PARAMETERS, LINKS, st.sampled_from([", ", ",", " , ,"]))
def test_the_next_page_is_found_in_any_header_of_the_grammar(before, target, parameters, after, comma):
    def others(links):
        return [f"<{place}>{some}; rel=prev{more}" for place, some, more in links]

    link = f'<{target}>{parameters}; rel="first next"{parameters}'
    assert next_page(comma.join([*others(before), link, *others(after)])) == target
    assert next_page(comma.join(others([*before, *after]))) is None


@pytest.mark.parametrize(
    ("value", "sendable"),
    [
        ('"1"', True),
        ('W/"a-b/c"', True),
        ('""', True),
        ('"' + "x" * 256 + '"', True),
        ('"' + "x" * 257 + '"', False),
        ('"\u00e9"', False),
        ("unquoted", False),
        ('w/"1"', False),
        ('"a"b"', False),
        ('"a b"', False),
        ('"1"\n', False),
        ('"1", "2"', False),
        ("", False),
    ],
)
def test_only_entity_tags_of_ascii_are_sent_back(value, sendable):
    assert is_sendable_etag(value) is sendable


@given(st.text(max_size=200))
def test_any_header_is_read_without_an_unexpected_error(text):
    challenge(text)
    challenge(f"Bearer {text}")
    is_sendable_etag(text)
    for header in (text, f"<{text}>; rel=next", f"</x>; rel={text}"):
        with contextlib.suppress(RegistryError):
            next_page(header)
    wait = retry_after({"retry-after": text, "x-retry-after": text}, now=NOW)
    assert wait is None or 0 <= wait <= 3600
    assert (remaining({"ratelimit-remaining": text}) or 0) >= 0

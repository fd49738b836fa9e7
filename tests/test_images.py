"""References by the grammar of the OCI distribution specification: what is accepted and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.images import InvalidReferenceError, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("redis", "docker.io/library/redis", None, None),
        ("redis:6", "docker.io/library/redis", "6", None),
        ("docker.io/redis:6", "docker.io/library/redis", "6", None),
        ("index.docker.io/mojaloop/quoting-service:v1.0.0", "docker.io/mojaloop/quoting-service", "v1.0.0", None),
        ("registry-1.docker.io/mojaloop/a:v1.0.0", "docker.io/mojaloop/a", "v1.0.0", None),
        ("mojaloop/central-ledger:v19.14.0", "docker.io/mojaloop/central-ledger", "v19.14.0", None),
        ("ghcr.io/a/b:1", "ghcr.io/a/b", "1", None),
        (f"a/b:v1@{DIGEST}", "docker.io/a/b", "v1", DIGEST),
        (f"quay.io/cilium/cilium@{DIGEST}", "quay.io/cilium/cilium", None, DIGEST),
        ("localhost:5000/a:v1.0.0", "localhost:5000/a", "v1.0.0", None),
        ("localhost/a:v1", "localhost/a", "v1", None),
        ("Registry.Example:443/a/b_c/d--e:v1", "registry.example:443/a/b_c/d--e", "v1", None),
        ("[::1]:5000/a:v1", "[::1]:5000/a", "v1", None),
        ("a:5000", "docker.io/library/a", "5000", None),
    ],
)
def test_references_are_normalised_as_container_runtimes_do(text, repository, tag, digest):
    reference = parse(text)
    assert (str(reference.repository), reference.tag, reference.digest, reference.written) == (
        repository,
        tag,
        digest,
        text,
    )


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "A/b:v1", "a/b:", "a/b:v1 ", "a/b:v1\n", "a//b:v1", "/a", "a/", "-a/b", "a/b@sha256:123",
        "a/b:v1@", "a/b:v1@md5:" + "a" * 32, "a/b:" + "v" * 129, "a/" + "b" * 260, "host:99999/a:v1", "host:0/a",
        "a/b:v1$(id)", "a/b:v1;id", "a/b:`id`", "a/b:v1'", 'a/b:"v1"', "a b/c:v1",
        "{{ .Values.image }}", "a/b:${TAG}", "[::1/a:v1", "user@host.example/a:v1", "https://docker.io/a:v1", "é/b:v1",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_a_sentence(text):
    with pytest.raises(InvalidReferenceError) as caught:
        parse(text)
    assert len(str(caught.value)) > 10


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[a-z.:/@$`'\"\\ ]{1,60}", fullmatch=True)))
def test_nothing_that_a_shell_or_a_label_could_mistake_gets_through(text):
    try:
        reference = parse(text)
    except InvalidReferenceError:
        return
    assert set(reference.written) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@[]")

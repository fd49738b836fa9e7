"""Who may ask the API: a port of its own, a token in a file, and the tags of private repositories."""

import base64
import os

import pytest

from exporter.api.auth import Guard, TokenError, read_token
from exporter.api.problems import ProblemError
from exporter.config import ConfigurationError, load
from tests.support.asking import asking, until_judged
from tests.support.kube import free_port

AT = 1.6e9
TOKEN = "a-token.of_ours~1+2/3=="
IMAGE = "/api/v1/images?reference=ghcr.io/team/private:v1.0.0"
PROTECTED = [IMAGE, "/api/v1/images/tags?repository=ghcr.io/team/private", "/api/v1/findings", "/images/a/b/v1.0.0",
             "/api/v1/none", "/images/a"]  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """An exporter with a token and a port for the API, and a private repository."""
    folder = tmp_path_factory.mktemp("access")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "config.json").write_text('{"auths": {}}')
    with asking(
        folder,
        images={"private": "ghcr.io/team/private:v1.0.0"},
        tags={"ghcr.io/team/private": {"v1.0.0": AT, "v1.0.1": AT}},
        entries={"ghcr.io": {"docker_config_file": folder / "config.json"}},
        api_listen=("127.0.0.1", (port := free_port())),
        api_token_file=folder / "token",
    ) as running:
        running.port, running.token = port, TOKEN
        until_judged(running, 1)
        yield running


def test_the_token_lets_in_and_private_tags_are_answered_with_it(guarded):
    assert guarded.ask(IMAGE).json()["latest_tag"] == "v1.0.1"
    assert guarded.ask(PROTECTED[1]).json()["count"] == 2
    assert guarded.ask(IMAGE, Authorization=f"bearer   {TOKEN}").status == 200, "a scheme has no case (RFC 9110)"


NO = 'Bearer realm="mojaloop-image-patch-exporter"'
WRONG = f'{NO}, error="invalid_token"'


@pytest.mark.parametrize("target", PROTECTED)
@pytest.mark.parametrize(
    ("sent", "challenge"),
    [
        ("Basic YTpi", NO),
        ("Bearer", WRONG),
        ("Bearer ", WRONG),
        (f"Bearer {TOKEN}x", WRONG),
        (f"Bearer {TOKEN[:-1]}", WRONG),
        (f"Bearer {TOKEN.upper()}", WRONG),
        (TOKEN, NO),
        ("", NO),
        ("Bearer \u00e9", WRONG),
    ],
)
def test_without_the_token_nothing_is_answered_and_the_header_says_what_to_send(guarded, target, sent, challenge):
    answer = guarded.ask(target, Authorization=sent)
    assert (answer.status, answer.problem, answer.headers["www-authenticate"]) == (401, "unauthorized", challenge)
    assert TOKEN not in answer.body.decode()


def test_every_method_needs_the_token_and_the_document_does_not(guarded):
    for method in ("HEAD", "OPTIONS", "POST"):
        assert guarded.ask(IMAGE, method, Authorization="").status == 401
    assert guarded.ask("/api/v1/openapi.json", Authorization="").status == 200


def test_with_a_port_of_its_own_the_api_is_not_on_the_other_one_and_the_metrics_are_not_on_this_one(guarded):
    main = guarded.main_port
    assert main != guarded.port
    for path in ("/metrics", "/-/ready", "/-/healthy", "/"):
        assert guarded.send(path, port=main, Authorization="").status == 200
    for path in ("/metrics", "/-/ready", "/-/healthy"):
        assert guarded.send(path).status == 404
    for path in [*PROTECTED, "/api/v1/openapi.json"]:
        assert guarded.send(path, port=main).status == 404
    assert b"/api/v1/" not in guarded.send("/", port=main).body


def test_the_page_is_where_the_api_is_and_takes_its_token_also_as_a_password(guarded):
    password = "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for sent in (f"Bearer {TOKEN}", password):
        answer = guarded.send("/", Authorization=sent)
        assert (answer.status, b"ghcr.io" in answer.body) == (200, True)
    for sent in ("", "Bearer other", "Basic " + base64.b64encode(b"anybody:other").decode()):
        answer = guarded.send("/", Authorization=sent)
        assert (answer.status, b"ghcr.io" in answer.body) == (401, False)
    # Its style sheet and script hold nothing that is secret.
    assert guarded.send("/page/page.css", Authorization="").status == 200
    assert guarded.send("/page/page.css", port=guarded.main_port).status == 404
    assert b"ghcr.io" not in guarded.send("/", port=guarded.main_port).body


def headers(token):
    return [(b"host", b"a"), (b"authorization", f"Bearer {token}".encode())]


def lets_in(guard, token):
    try:
        guard.check(headers(token))
    except ProblemError:
        return False
    return True


def test_the_file_is_read_again_when_it_changes(tmp_path, caplog):
    file = tmp_path / "token"
    file.write_text("one\n")
    guard = Guard(file)
    assert lets_in(guard, "one")
    file.write_text("two\n")
    assert lets_in(guard, "two")
    assert not lets_in(guard, "one")
    new = tmp_path / "new"
    new.write_text("three")
    os.replace(new, file)  # noqa: PTH105 - as a kubelet swaps the folder of a Secret
    assert lets_in(guard, "three")
    for wrong in ("", "two words"):
        file.write_text(wrong)
        assert not lets_in(guard, "three")
        assert not lets_in(guard, wrong)
    file.unlink()
    assert not lets_in(guard, "three")
    assert not lets_in(guard, "three")
    assert [record.getMessage().partition(": api.token_file")[0] for record in caplog.records] == [
        "the API denies all requests"
    ] * 3, "once for each change"
    file.write_text("four")
    assert lets_in(guard, "four")


def test_two_tokens_in_one_request_are_none(tmp_path):
    (tmp_path / "token").write_text("one")
    guard = Guard(tmp_path / "token")
    with pytest.raises(ProblemError):
        guard.check([*headers("one"), *headers("one")])


def test_without_a_file_everybody_may_ask():
    Guard(None).check([])


@pytest.mark.parametrize("text", ["", " \n", "two words", "caf\u00e9", "a" * 5_000, "=="])
def test_a_file_without_a_token_is_refused_and_not_shown(tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(TokenError, match="expected one token"):
        read_token(tmp_path / "token")
    (tmp_path / "config.yaml").write_text(f"api: {{token_file: {tmp_path}/token}}\n")
    with pytest.raises(ConfigurationError, match=r"line 1: api\.token_file: .*expected one token") as caught:
        load(tmp_path / "config.yaml", {})
    assert "words" not in str(caught.value)

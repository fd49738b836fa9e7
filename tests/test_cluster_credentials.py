"""How the cluster is reached: plugins of a kubeconfig that fail, proxies of the environment, and an early end."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading

import pytest

from exporter.cluster import ClusterConfigurationError, UnreachableError, open_connection
from exporter.cluster.credentials import is_loopback
from tests.support.registry_client import tls
from tests.support.web import reply, web

pytestmark = pytest.mark.anyio
DEAD = "http://hub:s3cret@127.0.0.1:1"
VERSION = "client.authentication.k8s.io/v1"
TOKEN = {"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": "t0ken"}}


@pytest.fixture
def kubeconfig(tmp_path):
    def kubeconfig(server, *, command=None, code=""):
        user = {}
        if command or code:
            user = {"exec": {"apiVersion": VERSION, "command": command or sys.executable, "args": ["-c", code]}}
        file = tmp_path / "kubeconfig.json"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "a", "cluster": {"server": server}}],
                    "users": [{"name": "a", "user": user}],
                    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                    "current-context": "a",
                }
            )
        )
        return file

    return kubeconfig


async def ask(kubeconfig):
    async with open_connection(kubeconfig=kubeconfig) as connection, connection.get("/version") as body:
        return bytes(body)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"code": "import sys; sys.stderr.write('\\nYou must be logged in\\nUsage: ...'); sys.exit(7)"},
            "failed with exit status 7: You must be logged in$",
        ),
        ({"code": "raise SystemExit(1)"}, "failed with exit status 1: no output on standard error$"),
        ({"command": "/no/aws"}, "plugin /no/aws of the kubeconfig cannot be started: No such file or directory$"),
        ({"code": "print(1.5)"}, "failed: "),
        ({"code": "print('<html>')"}, "failed: exec: failed to decode process output"),
        (
            {"code": f"print({json.dumps(json.dumps({**TOKEN, 'status': {}}))})"},
            "returned neither a token nor a certificate$",
        ),
    ],
    ids=["status", "status alone", "not installed", "a number", "no JSON", "no token"],
)
async def test_a_plugin_that_fails_is_named_with_its_status_and_first_line(kubeconfig, how, said):
    async with web(lambda _: reply(status=401)) as server:
        with pytest.raises(ClusterConfigurationError, match=said) as caught:
            await ask(kubeconfig(f"http://{server.host}", **how))
        assert str(caught.value).startswith("the credential plugin /")
        assert server.requests == [], "nothing is asked without credentials"


async def test_a_plugin_that_works_is_run_once(kubeconfig, tmp_path):
    code = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); print({json.dumps(TOKEN)!r})"
    async with web(lambda _: reply(b"{}")) as server:
        assert await ask(kubeconfig(f"http://{server.host}", code=code)) == b"{}"
        assert server.requests[0].headers["authorization"] == "Bearer t0ken"
    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_never_goes_through_a_proxy(kubeconfig, monkeypatch, variable, host):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(variable, DEAD)
    async with web(lambda _: reply(b"{}")) as server:
        assert await ask(kubeconfig(f"http://{host}:{server.port}")) == b"{}"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("https://127.0.0.1:6443", True), ("https://127.9.9.9", True), ("https://[::1]:6443", True),
        ("https://localhost:6443", True), ("http://api.localhost.", True), ("https://10.0.0.1", False),
        ("https://localhost.example.org", False), ("https://[fd00::1]", False), ("", False),
    ],
)  # fmt: skip
def test_what_loopback_is(url, loopback):
    assert is_loopback(url) == loopback


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_dead_proxy_is_named_without_its_credentials(kubeconfig, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme}_proxy", DEAD)
    with pytest.raises(UnreachableError) as caught:
        await ask(kubeconfig(f"{scheme}://cluster.example"))
    assert "cannot connect to the proxy 127.0.0.1:1: Connect call failed" in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_proxy_that_refuses_is_named(kubeconfig, monkeypatch):
    async with web(lambda _: reply(status=403)) as between:
        monkeypatch.setenv("https_proxy", f"http://{between.host}")
        with pytest.raises(UnreachableError, match=r"the proxy 127\.0\.0\.1 returned status 403"):
            await ask(kubeconfig("https://cluster.example"))


async def test_a_watch_that_is_given_up_does_not_wait_for_the_server(kubeconfig, tmp_path):
    """This server never answers the end of a TLS connection; asyncio would keep the connection for 30 s."""
    ended = threading.Event()

    def serve():
        with tls(tmp_path).wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.socket(fileno=os.dup(connection.fileno())) as raw, contextlib.suppress(ConnectionResetError):
                raw.settimeout(60)
                while raw.recv(65536):
                    pass
            ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        file = kubeconfig(f"https://127.0.0.1:{listener.getsockname()[1]}")
        document = json.loads(file.read_text())
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
        file.write_text(json.dumps(document))
        server = threading.Thread(target=serve)
        server.start()
        async with open_connection(kubeconfig=file) as connection:
            with pytest.raises(LookupError):
                async with connection.stream("/", params={}, accept="application/json", silence=60):
                    raise LookupError
            assert await asyncio.to_thread(ended.wait, 25)
        server.join()

"""Real registries on free loopback ports.

Debian's docker-registry 2.8 returns all tags at once. distribution 3.1 returns pages with `Link`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.components import need
from tests.support.kube import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """A registry process. `stop` and `start` keep its port and content."""

    def __init__(self, binary: str, folder: Path, *, more: str = "") -> None:
        (self._binary,) = need(binary)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.storage = folder / "storage"
        self._log = folder / "registry.log"
        self._config = folder / "registry.yml"
        self._config.write_text(
            f"version: 0.1\nlog: {{accesslog: {{disabled: false}}, level: error}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.storage}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.host}'}}\n{more}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [str(self._binary), "serve", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5).close()
            except urllib.error.HTTPError:  # it requires credentials, so it is up
                return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise AssertionError(f"{self._binary} does not respond:\n{self._log.read_text()[-2000:]}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None

    def requests(self) -> list[str]:
        """The logged requests, as `GET /v2/...`."""
        lines = [line.partition('"')[2].partition(" HTTP/")[0] for line in self._log.read_text().splitlines()]
        return [line for line in lines if line.startswith(("GET /v2/", "HEAD /v2/", "POST /v2/", "PUT /v2/"))]

    def push(
        self, path: str, tags: Iterable[str], *, created: str = "2024-05-06T07:08:09Z", index: bool = False
    ) -> None:
        """Push images of one tiny layer, all with the same creation time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

        def request(method: str, target: str, body: bytes = b"", media: str = "application/octet-stream") -> str:
            connection.request(method, target, body, {"Content-Type": media})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status in (201, 202), (method, target, answer.status, content)
            return answer.getheader("Location") or ""

        def blob(content: bytes) -> dict[str, object]:
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            place = request("POST", f"/v2/{path}/blobs/uploads/").partition(self.host)[2]
            request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content)
            return {"digest": digest, "size": len(content)}

        layer = blob(b"layer")
        for tag in tags:
            document = {"architecture": "amd64", "os": "linux", "created": created, "config": {"Labels": {"tag": tag}},
                        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}  # fmt: skip
            config = {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                **blob(json.dumps(document).encode()),
            }
            layers = [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **layer}]
            manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
            content = json.dumps(manifest).encode()
            if index:
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                request("PUT", f"/v2/{path}/manifests/{digest}", content, _MANIFEST)
                platform = {"os": "linux", "architecture": "amd64"}
                one = {"mediaType": _MANIFEST, "digest": digest, "size": len(content), "platform": platform}
                content = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [one]}).encode()
            request("PUT", f"/v2/{path}/manifests/{tag}", content, _INDEX if index else _MANIFEST)
        connection.close()


@contextlib.contextmanager
def registry(binary: str, folder: Path, *, more: str = "") -> Iterator[Registry]:
    """Run a registry."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = Registry(binary, folder, more=more)
    try:
        opened.start()
        yield opened
    finally:
        opened.stop()

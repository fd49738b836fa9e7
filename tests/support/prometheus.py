"""A real Prometheus that scrapes what a test names, and answers queries."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.components import need
from tests.support.kube import free_port


class Prometheus:
    """Where it answers."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "prometheus.log"
        self.address = f"127.0.0.1:{free_port()}"

    def ask(self, query: str) -> list[dict[str, Any]] | None:
        """The result of an instant query; None while there is no answer."""
        url = f"http://{self.address}/api/v1/query?query={urllib.parse.quote(query)}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())["data"]["result"]
        return None

    def labels(self, query: str, *, count: int = 1, seconds: float = 120.0) -> list[dict[str, str]]:
        """The labels of the series that a query finds, once there are so many."""
        end = time.monotonic() + seconds
        while len(found := self.ask(query) or []) != count:
            assert time.monotonic() < end, (query, found, self.log.read_text()[-2000:])
            time.sleep(0.1)
        return [one["metric"] for one in found]


@contextlib.contextmanager
def prometheus(binary: str, folder: Path, *, target: str, labels: Mapping[str, str]) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one target once a second with `honor_labels`, as the README says.

    Args:
        binary: `prometheus` (2) or `prometheus3`.
        folder: for its files.
        target: host and port.
        labels: of the target.
    """
    (program,) = need(binary)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [{"targets": [target], "labels": dict(labels)}]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "patch", "honor_labels": True, "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    opened = Prometheus(folder)
    options = (
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={opened.address}",
    )
    with opened.log.open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        yield opened
    finally:
        process.terminate()
        process.wait(timeout=60)

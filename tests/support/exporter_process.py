"""The exporter as a process, as on a hub: started, queried over HTTP, killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse


class Exporter:
    """`serve`, on a port of its choice, or on a fixed one across restarts."""

    def __init__(
        self,
        folder: Path,
        *,
        config: dict[str, Any] | None,
        kubeconfig: Path | None = None,
        environment: dict[str, str | None] | None = None,
        port: int = 0,
    ) -> None:
        """Prepare a process without starting it.

        Args:
            folder: directory for its files.
            config: the configuration; None for none.
            kubeconfig: value of the option; None omits it.
            environment: variables to set, or to unset if None.
            port: port to listen on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log_file = folder / "exporter.log"
        self.config = folder / "config.json"
        if config is not None:
            self.configure(config)
        self._command = [
            sys.executable, "-m", "exporter", "serve",
            "--listen", f"127.0.0.1:{port}", "--state-dir", str(folder / "state"),
            *(() if config is None else ("--config", str(self.config))),
            *(() if kubeconfig is None else ("--kubeconfig", str(kubeconfig))),
        ]  # fmt: skip
        variables = {**os.environ, **(environment or {})}
        self._environment = {name: value for name, value in variables.items() if value is not None}
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, config: dict[str, Any]) -> None:
        """Write the configuration file, also while the process runs."""
        self.config.write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        before = len(self.log())
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        found = self.until(lambda: re.search(r"listens on (http://\S+)", self.log()[before:]))
        self.url = found[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.process = None
        return status

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def get(self, path: str, **headers: str) -> tuple[int, str, bytes]:
        request = urllib.request.Request(self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read()

    def samples(
        self, name: str = "mojaloop_image", **labels: str
    ) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return the samples with this name prefix and these labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(self.get("/metrics")[2].decode())
            for sample in family.samples
            if sample.name.startswith(name) and labels.items() <= sample.labels.items()
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only sample; None if there is none."""
        found = list(self.samples(name, **labels).values())
        assert len(found) < 2, found
        return found[0] if found else None

    def findings(self) -> list[dict[str, Any]]:
        return self._listed("findings")

    def workloads(self) -> list[dict[str, Any]]:
        return self._listed("workloads")

    def _listed(self, key: str) -> list[dict[str, Any]]:
        """A list of the findings; empty before the cluster has been listed."""
        status, _, body = self.get("/api/v1/findings")
        return json.loads(body)[key] if status == 200 else []

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until a condition holds, and return its result."""
        end = time.monotonic() + seconds
        while not (outcome := condition()):
            if time.monotonic() > end or (self.process is not None and self.process.poll() is not None):
                raise AssertionError(f"not within {seconds} s\n{self.log()[-3000:]}")
            time.sleep(0.03)
        return outcome

    def peak_mib(self) -> float:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


@contextlib.contextmanager
def exporter(folder: Path, **more: Any) -> Iterator[Exporter]:
    """Run the exporter."""
    opened = Exporter(folder, **more)
    try:
        opened.start()
        yield opened
    finally:
        if opened.process is not None and opened.process.poll() is None:
            opened.process.kill()
            opened.process.wait(timeout=60)


def local(*hosts: str, **more: Any) -> dict[str, Any]:
    """Return entries for registries on this machine."""
    return {host: {"insecure": True, "allow_private": ["127.0.0.0/8"], **more} for host in hosts}

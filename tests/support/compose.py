"""The example with Compose: the project as Compose reads it, and its services as processes without containers.

A service runs with the command of its container. Its mounts are copied to a folder, and paths and addresses in the
command and in the copies are replaced by those of this machine. What a test wants faster it changes in the copies.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.components import need
from tests.support.kube import free_port

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "compose"


def read(path: Path = EXAMPLE / "compose.yaml") -> subprocess.CompletedProcess[str]:
    """What Compose's library makes of a file: its canonical JSON, or an error."""
    (binary,) = need("compose")
    return subprocess.run([binary, path], capture_output=True, text=True, timeout=120, check=False)


@functools.cache
def _project() -> str:
    done = read()
    assert done.returncode == 0, done.stderr
    return done.stdout


def project() -> dict[str, Any]:
    """The example's project."""
    return json.loads(_project())


def mounts(service: Mapping[str, Any], kind: str) -> dict[str, Path]:
    """The paths of a service's mounts in its container, and what is mounted there.

    Args:
        service: of the project.
        kind: `bind` for files and folders, `volume` for volumes (by name), `secret` for secrets (by file).
    """
    if kind == "secret":
        secrets = project()["secrets"]
        return {given["target"]: Path(secrets[given["source"]]["file"]) for given in service.get("secrets", ())}
    return {given["target"]: Path(given["source"]) for given in service["volumes"] if given["type"] == kind}


class Machine:
    """Runs services of the project as processes.

    Args:
        folder: for the roots of the services and their logs.
        secrets: the content of each secret, by name.

    Attributes:
        services: of the project, by name.
        home: the empty home of every process.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, str]) -> None:
        self._folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.services: dict[str, dict[str, Any]] = project()["services"]
        # What one service calls another, and what a service calls itself.
        self.addresses = {
            f"{name}:{port['target']}": f"127.0.0.1:{free_port()}"
            for name, service in self.services.items()
            for port in service["ports"]
        }
        for name, service in self.services.items():
            for target, source in mounts(service, "bind").items():
                place = self.path(name, target)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
            for target in mounts(service, "volume"):
                self.path(name, target).mkdir(parents=True)
            for given in service.get("secrets", ()):
                self.path(name, given["target"]).write_text(secrets[given["source"]])

    def path(self, name: str, inside: str) -> Path:
        """Where a path of a service's container is on this machine."""
        return self._folder / name / inside.lstrip("/")

    def url(self, name: str) -> str:
        """The address of a service."""
        (port,) = self.services[name]["ports"]
        given = f"{name}:{port['target']}"
        return f"http://{self.addresses[given]}"

    def log(self, name: str) -> str:
        """What a service has written."""
        return (self._folder / f"{name}.log").read_text()

    def here(self, name: str, text: str) -> str:
        """A text of a service, such as an argument or a file, with the paths and addresses of this machine."""
        for given, address in self.addresses.items():
            service, _, port = given.partition(":")
            text = re.sub(rf"\b{re.escape(given)}\b", address, text)
            if service == name:  # its own port on every address, or on loopback
                text = re.sub(rf"(?<![\w.])(127\.0\.0\.1)?:{port}\b", address, text)
        mounted = [target for kind in ("bind", "volume", "secret") for target in mounts(self.services[name], kind)]
        for target in sorted(mounted, key=len, reverse=True):
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?![\w.-])", str(self.path(name, target)), text)
        return text

    @contextlib.contextmanager
    def running(
        self, name: str, *entrypoint: str | Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """Run a service with the command of its container.

        Args:
            name: of the service.
            entrypoint: what the image runs with the command.
            environment: what the process gets in addition to the path and an empty home.
        """
        command = [self.here(name, argument) for argument in self.services[name]["command"]]
        given = {"PATH": os.environ["PATH"], "HOME": str(self.home), **(environment or {})}
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*entrypoint, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=given, cwd=ROOT
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

"""`demo` as a person runs it: in a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path


class Demo:
    """A running demo, and what its terminal shows."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._terminal, theirs = pty.openpty()
        self._output = bytearray()
        self._closing = False
        # A shell starts background jobs with SIGINT ignored, and `nohup` ignores SIGHUP: children inherit both.
        # The terminal is that of the process' session: who closes it sends SIGHUP.
        env, setsid = shutil.which("env"), shutil.which("setsid")
        assert env is not None
        assert setsid is not None
        self.process = subprocess.Popen(
            [
                *(env, "--default-signal=INT,HUP", setsid, "--ctty"),
                *(sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"),
            ],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # On Linux the end of a terminal that nobody has open is an error.
        with contextlib.suppress(OSError):
            # A read that waits would keep the terminal open.
            while not self._closing:
                if select.select([self._terminal], [], [], 0.05)[0]:
                    self._output += os.read(self._terminal, 65536)
        os.close(self._terminal)

    @property
    def output(self) -> str:
        return self._output.decode().replace("\r\n", "\n")

    @property
    def folder(self) -> Path:
        (kubeconfig,) = re.findall(r"^export KUBECONFIG=(.+)$", self.output, re.MULTILINE)
        return Path(kubeconfig).parent

    def until(self, text: str, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.output:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < end, f"{text!r} is not there after {seconds} s:\n{self.output}"
            time.sleep(0.05)

    def press_enter(self) -> None:
        os.write(self._terminal, b"\n")

    def started(self) -> list[str]:
        """The command lines of the processes that have the demo's folder in them."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [line for line in found if str(self.folder) in line]

    def close_terminal(self) -> None:
        """As a window does that is closed."""
        self._closing = True
        self._reader.join()

    def end(self) -> None:
        self.close_terminal()
        try:
            self.process.wait(timeout=60)
        finally:
            # The session's processes are one group. Usually the demo has ended all of them.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def demo(environment: Mapping[str, str] = os.environ) -> Iterator[Demo]:
    opened = Demo(environment)
    try:
        yield opened
    finally:
        opened.end()

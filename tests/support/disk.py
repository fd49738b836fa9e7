"""A file system small enough to be filled: the only real way to a full disk or a read-only directory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """A tmpfs. Mounting it requires root, or sudo without a password, as on CI runners."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        options = f"size={size},uid={os.getuid()},gid={os.getgid()},mode=700"
        _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        (self.folder / "ballast").unlink()

    def remount(self, how: str) -> None:
        _as_root("mount", "-o", f"remount,{how}", str(self.folder))

    def unmount(self) -> None:
        _as_root("umount", "--lazy", str(self.folder))


@contextlib.contextmanager
def mounted(folder: Path, size: str = "512k") -> Iterator[Disk]:
    """Mount a disk at a path that does not exist yet."""
    disk = Disk(folder, size)
    try:
        yield disk
    finally:
        disk.unmount()


def _as_root(*command: str) -> None:
    prefix = () if os.geteuid() == 0 else ("sudo", "-n")
    subprocess.run([*prefix, *command], check=True)

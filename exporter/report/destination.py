"""Where a report goes: standard output, or a file that is replaced at once, so that nobody reads half a report."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

STANDARD_OUTPUT = "-"


class OutputError(Exception):
    """The output cannot be written: it is closed, its disk is full, or it is not a file that we may replace."""


def check_writable(name: str) -> None:
    """Refuse a file that cannot be written before anything is looked up for it.

    Raises:
        OutputError: it is a folder, or its folder does not exist or cannot be written.
    """
    if name == STANDARD_OUTPUT:
        return
    path = _target(name)
    if path.is_dir():
        raise OutputError(f"cannot write {name}: it is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {name}: the folder {path.parent} does not exist")
    if not os.access(path if _is_special(path) else path.parent, os.W_OK):
        raise OutputError(f"cannot write {name}: no permission to write {'it' if _is_special(path) else 'its folder'}")


def write(text: str, name: str) -> None:
    """Write a text to a file, which is replaced in one step, or to standard output for `-`.

    Raises:
        OutputError: it cannot be written. A file that was there keeps its content.
    """
    if name == STANDARD_OUTPUT:
        write_text(text)
        return
    path, content = _target(name), text.encode()
    try:
        if _is_special(path):
            path.write_bytes(content)
        else:
            _replace(path, content)
    except OSError as error:
        raise OutputError(f"cannot write {name}: {error.strerror}") from error


def write_text(text: str) -> None:
    """Write a text to standard output.

    Raises:
        OutputError: it cannot be written.
    """
    if sys.stdout is None:  # Python sets it to None if it was closed before the start
        raise OutputError("cannot write to standard output: it is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"cannot write to standard output: its encoding {error.encoding} lacks a character; set PYTHONUTF8=1"
        ) from error
    except OSError as error:
        # What is left in the buffer cannot be written either. Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _target(name: str) -> Path:
    """The file itself: a symbolic link stays one. What /dev/stdout leads to may have no path."""
    return Path(name) if _is_special(Path(name)) else Path(os.path.realpath(name))


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, such as /dev/stdout, which is written and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _replace(path: Path, content: bytes) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fchmod(opened.fileno(), mode)
            os.fsync(opened.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

"""Write a report to standard output, or atomically to a file, so nobody reads a partial report."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

STANDARD_OUTPUT = "-"


class OutputError(Exception):
    """The output cannot be written: it is closed, its disk is full, or the file may not be replaced."""


def check_writable(name: str) -> None:
    """Refuse a file that is not writable, before any lookup.

    Raises:
        OutputError: it is a directory, or its directory does not exist or is not writable.
    """
    if name == STANDARD_OUTPUT:
        return
    path = _target(name)
    if path.is_dir():
        raise OutputError(f"cannot write {name}: it is a directory")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {name}: directory {path.parent} does not exist")
    if not os.access(path if _is_special(path) else path.parent, os.W_OK):
        raise OutputError(
            f"cannot write {name}: no write permission for {'it' if _is_special(path) else 'its directory'}"
        )


def write(text: str, name: str) -> None:
    """Write a text atomically to a file, or to standard output for `-`.

    Raises:
        OutputError: it cannot be written. An existing file keeps its content.
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
    if sys.stdout is None:  # if it was closed before the start of Python
        raise OutputError("cannot write to standard output: it is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"cannot write to standard output: its encoding {error.encoding} lacks a character; set PYTHONUTF8=1"
        ) from error
    except OSError as error:
        # The rest of the buffer cannot be written either, and Python would report that at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _target(name: str) -> Path:
    """Return the file itself, so a symbolic link stays one. The target of /dev/stdout may have no path."""
    return Path(name) if _is_special(Path(name)) else Path(os.path.realpath(name))


def _is_special(path: Path) -> bool:
    """Return whether it is a device or a pipe, such as /dev/stdout, which is written instead of replaced."""
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
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

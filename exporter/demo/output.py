"""Output of the demo, and waiting for the user: for Enter on a terminal, otherwise not at all."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from exporter.app import CommandError
from exporter.report.progress import progress

PROG = "mojaloop-image-patch-exporter"
# Every step of the demo takes seconds. A hanging step must be reported.
STEP_SECONDS = 60.0


def say(text: str = "") -> None:
    """Print a line and flush.

    Raises:
        CommandError: the terminal or the pipe is closed.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        # The rest would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("the demo ended: its output is closed") from error


def clock() -> str:
    """Return the time as HH:MM:SS."""
    return time.strftime("%H:%M:%S")


def own_command() -> str:
    """Return the shell command that this process was started with."""
    started = Path(sys.argv[0])
    if started.name != PROG:
        return f"{shlex.quote(sys.executable)} -m exporter"
    return PROG if shutil.which(PROG) == str(started) else shlex.quote(str(started))


async def until(what: str, done: Callable[[], bool]) -> None:
    """Wait for a condition, and name it on a terminal.

    Raises:
        CommandError: the wait timed out.
    """
    with progress() as show:
        show(what, 0, 0)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not done():
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise CommandError(f"the demo timed out after {STEP_SECONDS:.0f} s of waiting for {what}") from error


async def done_by_hand(done: Callable[[], bool]) -> bool:
    """Wait until the user has pasted a command, or presses Enter to let the demo run it; do not wait without a
    terminal.

    Returns:
        Whether the command was run by hand.
    """
    if not sys.stdin.isatty():
        say("No terminal found, so the demo runs the command.")
        return done()
    say("Paste it into another terminal, or press Enter here to let the demo run it.")
    loop, entered, terminal = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()

    def read() -> None:
        # A closed terminal is always readable, and empty.
        if not os.read(terminal, 1024):
            loop.remove_reader(terminal)
        entered.set()

    loop.add_reader(terminal, read)
    try:
        while not done() and not entered.is_set():
            await asyncio.sleep(0.1)
    finally:
        loop.remove_reader(terminal)
    return done()

"""What the demo prints, and how it waits for a person: on a terminal for Enter, otherwise for nobody."""

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
# Every step of the demo takes seconds; a step that hangs should be reported.
STEP_SECONDS = 60.0


def say(text: str = "") -> None:
    """Print at once.

    Raises:
        CommandError: nobody reads any more; the terminal or the pipe is closed.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        # What is left would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("the demo ended: its output is closed") from error


def clock() -> str:
    """The time as HH:MM:SS."""
    return time.strftime("%H:%M:%S")


def own_command() -> str:
    """How to start this command in a shell, in the way that it was started."""
    started = Path(sys.argv[0])
    if started.name != PROG:
        return f"{shlex.quote(sys.executable)} -m exporter"
    return PROG if shutil.which(PROG) == str(started) else shlex.quote(str(started))


async def until(what: str, done: Callable[[], bool]) -> None:
    """Wait for a condition, and show on a terminal what for.

    Raises:
        CommandError: it did not come true in time.
    """
    with progress() as show:
        show(what, 0, 0)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not done():
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise CommandError(f"the demo ended: after {STEP_SECONDS:.0f} s it still waits: {what}") from error


async def done_by_hand(done: Callable[[], bool]) -> bool:
    """Wait until somebody pasted a command, or pressed Enter for the demo to run it; without a terminal, do not wait.

    Returns:
        Whether it is done.
    """
    if not sys.stdin.isatty():
        say("There is no terminal, so the demo runs it.")
        return done()
    say("Paste it in another terminal, or press Enter here and the demo runs it.")
    loop, entered, terminal = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()

    def read() -> None:
        # A closed terminal can always be read, and has nothing.
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

"""The command: `python -m exporter`, and `mojaloop-image-patch-exporter` when installed.

PID 1 of a container ignores every signal that it has no handler for. A signal sent during the imports would be lost,
and the container would be killed at the end of its grace period. So this module installs a handler before the imports,
and `serve` replaces it with its own.
"""

import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command and return its exit status."""
    signal.signal(signal.SIGTERM, _end)
    from exporter.cli import main as run  # noqa: PLC0415 - the imports that take a second

    return run()


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

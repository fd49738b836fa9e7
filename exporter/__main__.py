"""The command: `python -m exporter`, and `mojaloop-image-patch-exporter` where it is installed.

The first process of a container ignores every signal that it has no handler for. A signal sent during the imports would
be lost, and the container killed at the end of its grace period. So a handler is installed before them; `serve`
replaces it with its own.
"""

import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command; gives its exit status."""
    signal.signal(signal.SIGTERM, _end)
    from exporter.cli import main as run  # noqa: PLC0415 - the imports that take a second

    return run()


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

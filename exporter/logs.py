"""Log one event per line, as text or JSON, to standard error.

httpx and httpcore stay at warning even if the level is debug, because their debug logs contain credentials in headers
and presigned URLs.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import TextIO

_QUIET = ("httpx", "httpcore", "asyncio", "aiohttp", "urllib3")
# Characters that terminals or line readers would interpret, and lone surrogates, which no stream can encode.
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Its exceptions say the same.
_SILENT = ("kubernetes",)
# It logs a warning for every bad request, and anyone can send them.
_ERRORS_ONLY = ("uvicorn",)
_LONGEST_SHOWN = 300


def shown(text: str) -> str:
    """Return untrusted text for a log line: printable, and at most 300 characters."""
    return printable(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def printable(text: str) -> str:
    """Return a text with control characters, line breaks, changes of direction and lone surrogates escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _Formatter(logging.Formatter):
    """Formats times in UTC, to the millisecond (RFC 3339)."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"

    def parts(self, record: logging.LogRecord) -> tuple[str, str]:
        """Return the message, and the traceback or an empty string."""
        return record.getMessage(), self.formatException(record.exc_info) if record.exc_info else ""


class TextFormatter(_Formatter):
    """`2026-11-21T04:05:06.123Z WARNING exporter.checker message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, with characters that would break it escaped."""
        message, error = self.parts(record)
        line = f"{self.formatTime(record)} {record.levelname} {record.name} {message}"
        if error:
            line += f" | {error}"
        return _BREAKING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), line)


class JsonFormatter(_Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., "error": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; `error` holds the traceback if there is one."""
        message, error = self.parts(record)
        event = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        return json.dumps({**event, "error": error} if error else event)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `text` or `json`.
        stream: where to write; None means standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in _ERRORS_ONLY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))

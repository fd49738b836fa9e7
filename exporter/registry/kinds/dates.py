"""Publish times in the formats of registries."""

from __future__ import annotations

from datetime import datetime

# Docker's first release. Reproducible builds set their images' time to 1970 or 1980.
_EARLIEST = datetime.fromisoformat("2013-01-01T00:00:00+00:00").timestamp()


def publish_time(text: str | None) -> float | None:
    """Return the epoch seconds of an RFC 3339 time; None if no image can have been published then.

    A time in the future is returned, because only the exporter's clock, which may be wrong, makes it one.

    Args:
        text: the registry's value; None if there is none.
    """
    try:
        at = datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return at if at >= _EARLIEST else None

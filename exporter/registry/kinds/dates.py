"""Publish times as registries write them."""

from __future__ import annotations

from datetime import datetime

# Docker's first release. Reproducible builds set their images' time to 1970 or 1980.
_EARLIEST = datetime.fromisoformat("2013-01-01T00:00:00+00:00").timestamp()
_DAY_SECONDS = 86400.0


def publish_time(text: str | None, *, now: float) -> float | None:
    """Epoch seconds of an RFC 3339 time; None if it cannot be when an image was published.

    Args:
        text: as the registry wrote it; None if it did not.
        now: epoch seconds. A time more than a day later is wrong.
    """
    try:
        at = datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return at if _EARLIEST <= at <= now + _DAY_SECONDS else None

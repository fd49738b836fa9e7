"""Publish times as registries write them."""

from __future__ import annotations

from datetime import datetime

# Docker's first release. Reproducible builds set their images' time to 1970 or 1980.
_EARLIEST = datetime.fromisoformat("2013-01-01T00:00:00+00:00").timestamp()


def publish_time(text: str | None) -> float | None:
    """Epoch seconds of an RFC 3339 time; None if it cannot be when an image was published.

    A time in the future is returned: whether it is one depends on the clock of the exporter, which may be wrong.

    Args:
        text: as the registry wrote it; None if it did not.
    """
    try:
        at = datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return at if at >= _EARLIEST else None

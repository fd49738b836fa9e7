"""Content negotiation from untrusted headers. No header value is an error.

prometheus_client's own negotiation raises on a version that is not a number, and responds in any requested version.
This one supports two formats.
"""

from __future__ import annotations

from collections.abc import Iterator

OPENMETRICS = "application/openmetrics-text"


def accepts_openmetrics(header: str) -> bool:
    """Whether `Accept` (RFC 9110, section 12.5.1) names OpenMetrics 1.0.0, or OpenMetrics without a version."""
    return any(
        kind == OPENMETRICS and parameters.get("version", "1.0.0") == "1.0.0" and _wanted(parameters)
        for kind, parameters in _elements(header)
    )


def accepts_gzip(header: str) -> bool:
    """Whether `Accept-Encoding` (RFC 9110, section 12.5.3) accepts gzip."""
    for coding, parameters in _elements(header):
        if coding in ("gzip", "x-gzip", "*"):
            return _wanted(parameters)
    return False


def _elements(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the elements of a list with their parameters, in lower case."""
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _wanted(parameters: dict[str, str]) -> bool:
    """Whether the quality value is not zero."""
    return parameters.get("q", "1").strip("0.") != ""

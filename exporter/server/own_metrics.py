"""The exporter's own metrics as text. A family is rendered again only if one of its values changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Metric

_EOF = b"# EOF\n"


class OwnMetrics:
    """A registry whose families are rendered again only if a value or label changed.

    Most are failure counters that rarely change. Rendering all of them would take longer than the rest of a scrape.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # Values, hash of the labels, and rendered text, by format and family.
        self._known: dict[tuple[bool, str], tuple[list[float], int, bytes]] = {}

    def render(self, encode: Callable[[Any], bytes], *, openmetrics: bool) -> bytes:
        """Render the registry.

        Args:
            encode: `prometheus_client`'s encoder of the format.
            openmetrics: whether the format is OpenMetrics.
        """
        parts: list[bytes] = []
        for family in self._registry.collect():
            values = [sample.value for sample in family.samples]
            # After a reload, other windows may have the same values.
            labels = hash(tuple(tuple(sample.labels.values()) for sample in family.samples))
            known = self._known.get((openmetrics, family.name))
            if known is None or known[:2] != (values, labels):
                known = values, labels, encode(_One(family)).removesuffix(_EOF)
                self._known[openmetrics, family.name] = known
            parts.append(known[2])
        return b"".join((*parts, _EOF if openmetrics else b""))


class _One:
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family

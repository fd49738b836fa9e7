"""Positions of containers in manifests, for editors and code scanners.

They are not part of workloads and findings, because `serve` keeps thousands of those and needs no positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from exporter.findings import Finding
from exporter.workloads import Container, WorkloadKey


class Place(NamedTuple):
    """A line of a file.

    Attributes:
        file: the path as given, or as found in a given directory; empty for standard input.
        line: of the image, or of its document if that is unknown; from 1.
    """

    file: str
    line: int


class Places:
    """The places of containers. Duplicates (a base and its overlay) have their first place."""

    def __init__(self) -> None:
        self._places: dict[tuple[Any, ...], Place] = {}

    def add(self, key: WorkloadKey, container: Container, place: Place) -> None:
        """Add the place of a workload's container."""
        name = key, container.type, container.name
        for known in ((*name, container.image), name, (key,)):
            self._places.setdefault(known, place)

    def of(self, finding: Finding) -> Place | None:
        """Return the place of a finding's container; None if it is not from a manifest.

        An invalid reference is cut and escaped in its finding, and a finding about a complete workload has no
        container.
        """
        name = finding.workload, finding.container_type, finding.container
        known = ((*name, finding.reference), name, (finding.workload,))
        return next((self._places[one] for one in known if one in self._places), None)

"""Where the containers of manifests are written: what editors and code scanners mark.

Workloads and findings do not hold it, because `serve` has none of it and keeps thousands of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from exporter.findings import Finding
from exporter.workloads import Container, WorkloadKey


class Place(NamedTuple):
    """A line of a file.

    Attributes:
        file: as it was named, or found in a folder that was named; empty for standard input.
        line: of the image, or of its document where that is not known; from 1.
    """

    file: str
    line: int


class Places:
    """The places of containers. What is written more than once (a base and its overlay) is at its first place."""

    def __init__(self) -> None:
        self._places: dict[tuple[Any, ...], Place] = {}

    def add(self, key: WorkloadKey, container: Container, place: Place) -> None:
        """Note where a container of a workload is."""
        name = key, container.type, container.name
        for known in ((*name, container.image), name, (key,)):
            self._places.setdefault(known, place)

    def of(self, finding: Finding) -> Place | None:
        """The place of a finding's container; None for what is not from a manifest.

        An invalid reference is cut and escaped in its finding, and a finding about a whole workload names no container.
        """
        name = finding.workload, finding.container_type, finding.container
        known = ((*name, finding.reference), name, (finding.workload,))
        return next((self._places[one] for one in known if one in self._places), None)

"""Registries: what is asked of them (`client`), what may be done with each (`entry`), and how they fail (`errors`)."""

from __future__ import annotations

from exporter.registry.client import RegistryClient
from exporter.registry.entries import DEFAULT_ENTRIES, Api, RegistryEntries, RegistryEntry
from exporter.registry.errors import RegistryError, TagList
from exporter.registry.transport import Limits

__all__ = [
    "DEFAULT_ENTRIES",
    "Api",
    "Limits",
    "RegistryClient",
    "RegistryEntries",
    "RegistryEntry",
    "RegistryError",
    "TagList",
]

"""Registries: requests to them (`client`), the settings of each (`entries`), and failures (`errors`)."""

from __future__ import annotations

from exporter.registry.client import RegistryClient
from exporter.registry.entries import DEFAULT_ENTRIES, RegistryEntries, RegistryEntry
from exporter.registry.errors import RegistryError, TagList
from exporter.registry.kinds import REGISTRY_KINDS
from exporter.registry.transport import Limits

__all__ = [
    "DEFAULT_ENTRIES",
    "REGISTRY_KINDS",
    "Limits",
    "RegistryClient",
    "RegistryEntries",
    "RegistryEntry",
    "RegistryError",
    "TagList",
]

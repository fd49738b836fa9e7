"""Registries: what is asked of them (`client`), what may be done with each (`policy`), and how they fail (`errors`)."""

from __future__ import annotations

from exporter.registry.client import RegistryClient
from exporter.registry.errors import RegistryError, TagList
from exporter.registry.policy import DEFAULT_POLICIES, Api, Policies, RegistryPolicy
from exporter.registry.transport import Limits

__all__ = [
    "DEFAULT_POLICIES",
    "Api",
    "Limits",
    "Policies",
    "RegistryClient",
    "RegistryError",
    "RegistryPolicy",
    "TagList",
]

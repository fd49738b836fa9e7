"""Configuration from one YAML file and the environment, whose values are YAML too and override the file.

`document` reads YAML with line numbers. `parsers`, `globs` and `watch` turn its nodes into values. `schema` and
`registries` declare each key once, and `loading` combines everything. An error names its place, what was found and what
is expected. Nothing is guessed or ignored.
"""

from __future__ import annotations

from exporter.config.document import ConfigurationError, content_of
from exporter.config.globs import Globs
from exporter.config.key import FILE_VARIABLE
from exporter.config.loading import differing, load, parse_option
from exporter.config.model import Configuration
from exporter.config.registries import REGISTRY_KEYS
from exporter.config.schema import KEYS
from exporter.config.windows import FREEZE_KEYS, WINDOW_KEYS, EntryKey

__all__ = [
    "FILE_VARIABLE",
    "FREEZE_KEYS",
    "KEYS",
    "REGISTRY_KEYS",
    "WINDOW_KEYS",
    "Configuration",
    "ConfigurationError",
    "EntryKey",
    "Globs",
    "content_of",
    "differing",
    "load",
    "parse_option",
]

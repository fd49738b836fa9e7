"""A configuration key: its name, parser, documentation and default.

The text of a default is rendered from its value, so the documentation cannot differ from the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from exporter.config.parsers import Parser

ENVIRONMENT_PREFIX = "IMAGE_PATCH_"
FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"
"""The environment variable that names the configuration file."""


def show(value: Any) -> str:
    """Format a value as YAML, a list without its brackets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def default_of(model: type, field: str) -> Any:
    """Return the default of a dataclass field.

    Raises:
        LookupError: there is no such field.
    """
    for found in fields(model):
        if found.name == field:
            return found.default
    raise LookupError(f"{model.__name__} has no field {field}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A configuration key.

    Attributes:
        name: dotted name, as in errors.
        field: field of the dataclass that holds the value.
        value: default; None and an empty tuple mean that the key is not set.
        help: one or two sentences, in Markdown.
        parse: converts a node to the value.
        unset: effect of leaving the key unset, for the column of defaults.
        show: inverse of `parse`.
        live: whether a change of the file applies without a restart.
    """

    name: str
    field: str
    value: Any
    help: str
    parse: Parser
    unset: str = "none"
    show: Callable[[Any], str] = show
    live: bool = False

    def of(self, model: Any) -> Any:
        """Return the value of this key in a configuration or a registry entry."""
        value = getattr(model, self.field)
        # One field holds the globs of two keys.
        last = self.name.rpartition(".")[2]
        return getattr(value, last) if last in ("include", "exclude") else value

    @property
    def default(self) -> str:
        """The default as shown in docs/configuration.md."""
        return self.unset if self.value in (None, ()) else self.show(self.value)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

"""A key of the configuration: how it is named, parsed, documented, and what its default is.

The text of a default is rendered from its value, so that the documentation cannot differ from the code.
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
    """A value as YAML would have it; a list without its brackets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def default_of(model: type, field: str) -> Any:
    """The default of a dataclass's field.

    Raises:
        LookupError: there is no such field.
    """
    for found in fields(model):
        if found.name == field:
            return found.default
    raise LookupError(f"{model.__name__} has no field {field}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: dotted, as errors name it.
        field: of the dataclass that holds the value.
        value: the default; None and an empty tuple mean that the key is not set.
        help: one or two sentences, in Markdown.
        parse: from what was written to the value.
        unset: what happens if the key is not set, in the column of defaults.
        show: from the value to what `parse` parses to it.
        live: whether a change of the file applies while the exporter runs; otherwise it needs a restart.
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
        """What a configuration, or an entry of a registry, has as the value of this key."""
        value = getattr(model, self.field)
        # One field holds the patterns of two keys.
        last = self.name.rpartition(".")[2]
        return getattr(value, last) if last in ("include", "exclude") else value

    @property
    def default(self) -> str:
        """The default as docs/configuration.md shows it."""
        return self.unset if self.value in (None, ()) else self.show(self.value)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

"""Numbers of YAML, as Kubernetes reads them: never in base 60.

YAML 1.1 reads `1:30` as 90, and PyYAML still does. Nobody means that in a manifest or a configuration, where such a
text is a time or a port, and a long one takes PyYAML quadratic time.
"""

from __future__ import annotations

from typing import Any

import yaml

NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
TEXT = "tag:yaml.org,2002:str"


class DecimalResolver:
    """A base for loaders of PyYAML that makes a plain scalar with a colon text; it comes before the loader's own."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node, as PyYAML asks for it."""
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[misc]
        return TEXT if tag in NUMBERS and kind is yaml.ScalarNode and ":" in value else tag

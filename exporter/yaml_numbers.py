"""Parse YAML numbers like Kubernetes: never in base 60.

YAML 1.1 reads `1:30` as 90, and PyYAML still does. Nobody means that in a manifest or a configuration, where such a
text is a time or a port. A long one also takes PyYAML quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


def decimal_resolvers(loader: Any, *, without: Collection[str] = ()) -> dict[str, list[tuple[str, Any]]]:
    """Return the resolvers of a PyYAML loader, without numbers that contain a colon.

    Args:
        loader: the loader's class.
        without: further tags whose scalars are text.

    Returns:
        Its `yaml_implicit_resolvers`: by the first character of a scalar, tags and expressions.
    """
    return {
        first: [
            (tag, _without_colon(expression) if tag in NUMBERS else expression)
            for tag, expression in resolvers
            if tag not in without
        ]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }


def _without_colon(expression: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(rf"(?![^:]*:)(?:{expression.pattern})", expression.flags)

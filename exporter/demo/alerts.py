"""The shipped rules with other values at their marked places, for the demo and the tests, like the chart does it.

A marked place is a value followed by `# value: NAME` on the same line. Nothing else is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# The files in a wheel; symbolic links to alerts/ in a checkout.
RULES = (Path(__file__).parent.parent / "shipped" / "mojaloop-image-patch.rules.yml").resolve()
FOLDER = RULES.parent
_MARK = re.compile(r"^(?P<before>\s*(?:\S.*?[\s])?)(?P<value>\S+)(?P<mark>\s+# value: (?P<name>\w+))$", re.MULTILINE)
# Only the base of these values is replaced: the part before a dashboard's path, and before a runbook's section.
_BASES = {"grafana": re.compile(r"http://localhost:3000(?=/d/)"), "runbook": re.compile(r"https://\S+(?=#)")}


def names(text: str) -> set[str]:
    """Return the names of the marked places of a rule file."""
    return {match["name"] for match in _MARK.finditer(text)}


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a rule file with other values at its marked places.

    Args:
        text: of the rule file.
        values: by name. `grafana` replaces the address before a dashboard's path, `runbook` the address before a
            section of the runbook, every other one the complete value.

    Raises:
        KeyError: a name has no marked place.
    """
    unknown = values.keys() - names(text)
    if unknown:
        raise KeyError(
            f"no place is marked {', '.join(sorted(unknown))}; expected one of {', '.join(sorted(names(text)))}"
        )

    def put(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in values:
            return match[0]
        value = values[name]
        if name in _BASES:
            return _BASES[name].sub(lambda _: value.rstrip("/"), match[0])
        return f"{match['before']}{value}{match['mark']}"

    return _MARK.sub(put, text)

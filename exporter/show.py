"""`show`: prints the files that are installed with the command and that other programs need.

They are the rules for Prometheus, the example and the template for Alertmanager, and the dashboards for Grafana.
`exporter/shipped` has symbolic links to them in the repository, and their content in a wheel.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "shipped"
_PREFIX = "mojaloop-image-patch"
_FILES = {
    "rules": f"{_PREFIX}.rules.yml",
    "outside-windows": "outside-windows.rules.yml",
    "alertmanager": "alertmanager.yml",
    "slack": "slack.tmpl",
}


class UnknownNameError(Exception):
    """Nothing has that name; the message lists what there is."""


def dashboards() -> dict[str, Path]:
    """The files of the dashboards by name: what follows the prefix in the file's name, or `overview`."""
    found = {path.stem.removeprefix(_PREFIX).lstrip("-") or "overview": path for path in FOLDER.glob("*.json")}
    return dict(sorted(found.items()))


def text(what: str, name: str | None = None) -> str:
    """The content of a file.

    Args:
        what: `rules`, `outside-windows`, `alertmanager`, `slack` or `dashboard`.
        name: of a dashboard; None otherwise.

    Raises:
        UnknownNameError: there is no such dashboard, or something else has a name.
    """
    if what != "dashboard":
        if name is not None:
            raise UnknownNameError(f"show {what} expects no name, found {name!r}")
        return (FOLDER / _FILES[what]).read_text("utf-8")
    known = dashboards()
    if name not in known:
        found = "no name" if name is None else repr(name)
        raise UnknownNameError(f"show dashboard expects one of {', '.join(known)}; found {found}")
    return known[name].read_text("utf-8")

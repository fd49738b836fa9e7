"""`show`: print installed files for other programs.

These are rules for Prometheus, an example and a template for Alertmanager, and dashboards for Grafana.
`exporter/shipped` contains symbolic links to them in the repository, and copies in a wheel.
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
    """A name is unknown; the message lists the known ones."""


def dashboards() -> dict[str, Path]:
    """Return the files of the dashboards by name: the file name without its prefix, or `overview`."""
    found = {path.stem.removeprefix(_PREFIX).lstrip("-") or "overview": path for path in FOLDER.glob("*.json")}
    return dict(sorted(found.items()))


def text(what: str, name: str | None = None) -> str:
    """Return the content of a file.

    Args:
        what: `rules`, `outside-windows`, `alertmanager`, `slack` or `dashboard`.
        name: of a dashboard, otherwise None.

    Raises:
        UnknownNameError: the dashboard is unknown, or `what` has no names.
    """
    if what != "dashboard":
        if name is not None:
            raise UnknownNameError(f"show {what}: expected no name, found {name!r}")
        return (FOLDER / _FILES[what]).read_text("utf-8")
    known = dashboards()
    if name not in known:
        found = "no name" if name is None else repr(name)
        raise UnknownNameError(f"show dashboard: expected one of {', '.join(known)}; found {found}")
    return known[name].read_text("utf-8")

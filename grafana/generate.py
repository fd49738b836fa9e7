"""Generate the dashboards: `make dashboards`, or `python -m grafana.generate`."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import fleet, health, images, overview, workload

HERE = Path(__file__).parent
BOARDS = (overview.build, workload.build, images.build, health.build, fleet.build)


def render() -> dict[str, str]:
    """Return every dashboard as JSON, by file name."""
    return {
        f"{board.uid}.json": JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n"
        for board in (b() for b in BOARDS)
    }


def main() -> None:
    """Write the files next to this one."""
    for name, content in render().items():
        (HERE / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main()

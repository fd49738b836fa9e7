"""The numbers of Grafana's overview as text, from the queries of the committed dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx

DASHBOARD = Path(__file__).parent.parent / "shipped" / "mojaloop-image-patch.json"
_DAY = 86400.0


async def overview(prometheus: str) -> list[tuple[str, str]]:
    """Return the title and value of each number on the overview, with every variable set to All.

    Args:
        prometheus: the address of a Prometheus that evaluates the shipped rules.

    Raises:
        httpx.HTTPError: Prometheus does not answer.
    """
    found = []
    async with httpx.AsyncClient(base_url=prometheus, trust_env=False) as client:
        for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
            if panel["type"] == "stat":
                query = re.sub(r"\$\w+", ".*", panel["targets"][0]["expr"])
                answer = (await client.get("/api/v1/query", params={"query": query})).json()["data"]["result"]
                defaults = panel["fieldConfig"]["defaults"]
                shown = _shown(float(answer[0]["value"][1]), defaults["unit"]) if answer else defaults["noValue"]
                found.append((panel["title"], shown))
    return found


def _shown(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value / _DAY:.0f} days"
    return f"{value:.1%}" if unit == "percentunit" else f"{value:.0f}"

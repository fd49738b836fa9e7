"""Time each query of the overview with 10,000 containers on a real Prometheus.

`python -m benchmarks.dashboards [CONTAINERS]`
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request

from benchmarks.alerts import ask, scraped
from exporter.demo.grafana import DASHBOARD


def main(containers: int) -> None:
    with scraped(containers // 2) as address:
        # Each workload has two containers of one image and tag.
        while ask(address, "count(mojaloop:workload_patch_since_timestamp_seconds)") < containers // 2:
            time.sleep(2)
        time.sleep(120)
        worst = 0.0
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = urllib.request.quote(re.sub(r"\$\w+", ".*", target["expr"]))
                now = time.time()
                path = (
                    f"query?query={query}"
                    if target.get("instant")
                    else f"query_range?query={query}&start={now - 86400}&end={now}&step=120"
                )
                began = time.monotonic()
                with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=60) as answer:
                    size = len(answer.read())
                took = time.monotonic() - began
                worst = max(worst, took)
                print(f"{took:6.3f} s {size / 1024:8.0f} KiB  {panel['title']} {target['refId']}")
        print(f"dashboards: {worst:.2f} s for the slowest query of the overview, {containers} containers")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

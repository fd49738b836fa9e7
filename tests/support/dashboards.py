"""The dashboards as Grafana sees them: panels, queries, and a query with values for its variables."""

from __future__ import annotations

import json
import re

from grafana.generate import render

DASHBOARDS = {name: json.loads(content) for name, content in render().items()}


def panels():
    """Every panel with its dashboard."""
    return [(board, panel) for board in DASHBOARDS.values() for panel in board["panels"]]


def panel_of(uid, title, kind):
    """One panel."""
    (found,) = (p for p in DASHBOARDS[f"{uid}.json"]["panels"] if (p["title"], p["type"]) == (title, kind))
    return found


def queries():
    """Every query: its place, expression, and whether it is asked for a range."""
    for board in DASHBOARDS.values():
        for panel in board["panels"]:
            for target in panel.get("targets") or ():
                place = f"{board['uid']} / {panel['title']} / {target['refId']}"
                yield place, target["expr"], not target.get("instant")
        for annotation in board["annotations"].get("list") or ():
            yield f"{board['uid']} / {annotation['name']}", annotation["expr"], True


def substituted(expr, **values):
    """A query as Grafana sends it; a variable without a value is All."""

    def value(match):
        name = match[1]
        if name == "__rate_interval":
            return "1m"
        given = values.get(name)
        if given is None:
            return ".*"
        escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", one) for one in given]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    # `$1` is not a variable: it stands for what label_replace captured.
    return re.sub(r"\$([a-z_]\w*)", value, expr)

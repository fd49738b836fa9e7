"""The pages behind the links of the demo: the Slack channel, and the targets of its buttons.

The demo has no Grafana and, on Debian, no web application of Alertmanager. So the page of a dashboard says how to
import it, that of the overview also has its numbers, and that of Alertmanager lists its alerts.
"""

from __future__ import annotations

import html
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from exporter.demo.alerts import FOLDER
from exporter.demo.grafana import overview
from exporter.demo.pipeline import Pipeline
from exporter.demo.slack import StandInSlack

_UID = "mojaloop-image-patch"


class Pages:
    """The channel at `/`, dashboards at `/d/UID`, the runbook at `/runbook`, Alertmanager at `/alertmanager/`.

    Args:
        slack: the channel.
        command: the shell command of this program.

    Attributes:
        behind: Prometheus and Alertmanager; None while they are not running.
        app: the ASGI application to serve.
    """

    def __init__(self, slack: StandInSlack, *, command: str) -> None:
        self._command = command
        self.behind: Pipeline | None = None
        self.app = Starlette(
            routes=[
                Route("/d/{uid}", self._dashboard),
                Route("/runbook", self._runbook),
                # Buttons without a better address open the first.
                Route("/alertmanager", self._alerts),
                Route("/alertmanager/", self._alerts),
                Mount("/", slack.app),
            ]
        )

    async def _dashboard(self, request: Request) -> Response:
        uid: str = request.path_params["uid"]
        name = uid.removeprefix(_UID).lstrip("-") or "overview"
        numbers = await overview(self.behind.prometheus) if self.behind and name == "overview" else []
        return _page(
            f"Dashboard {name}",
            "<p>The demo has no Grafana. To see this dashboard in yours, print it to a file and choose "
            "<i>Dashboards, New, Import</i>:</p>"
            f"<pre>{html.escape(f'{self._command} show dashboard {name} > {uid}.json')}</pre>"
            + "".join(f"<p>{html.escape(title)}: <b>{html.escape(shown)}</b></p>" for title, shown in numbers),
        )

    async def _runbook(self, _: Request) -> Response:
        return PlainTextResponse((FOLDER / "runbook.md").read_text("utf-8"))

    async def _alerts(self, _: Request) -> Response:
        if self.behind is None:
            return _page("Alerts", "<p>Alertmanager is not running.</p>")
        async with httpx.AsyncClient(base_url=self.behind.alertmanager, trust_env=False) as client:
            # Debian's package lacks this script. Its page says how to get the web application.
            if (await client.get("/script.js")).status_code == 200:
                return RedirectResponse(self.behind.alertmanager)
            alerts: list[dict[str, Any]] = (await client.get("/api/v2/alerts")).json()
        return _page("Alerts", "".join(map(_alert, alerts)) or "<p>No alerts are firing.</p>")


def _alert(alert: dict[str, Any]) -> str:
    annotations = alert["annotations"]
    shown = [f"<h2>{html.escape(alert['labels']['alertname'])}</h2><p>{html.escape(annotations['description'])}</p>"]
    commands = {"To patch": annotations.get("patch_command"), "To roll back": annotations.get("rollback_command")}
    shown += [f"<p>{what}:</p><pre>{html.escape(command)}</pre>" for what, command in commands.items() if command]
    return "".join(shown)


def _page(title: str, body: str) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>'
        "body{font:15px/1.46 Lato,system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1c1d}"
        "pre{background:#f8f8f8;border:1px solid #ddd;padding:.5rem;white-space:pre-wrap;overflow-wrap:anywhere}"
        f"</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )

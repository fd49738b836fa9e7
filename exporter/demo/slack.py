"""A sink for Slack's incoming webhooks: takes what Slack would take, refuses what it would refuse, and shows messages as people see them.

Limits, with their sources:

- more than one message a second is 429 with `Retry-After` (https://api.slack.com/docs/rate-limits; short bursts are taken);
- `text` of more than 40,000 characters is cut (https://api.slack.com/changelog/2018-04-truncating-really-long-messages); here it is refused,
  as a message that was cut is a fault of ours;
- the text of an attachment is cut at about 8,000 characters (not documented; seen by users), and a title at 1,024 by Alertmanager itself
  (https://github.com/prometheus/alertmanager/pull/2774): both are refused here as well;
- a message may hold 100 attachments (https://api.slack.com/reference/messaging/attachments); 20 are advised.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

LONGEST_TEXT = 40_000
LONGEST_ATTACHMENT_TEXT = 8_000
LONGEST_TITLE = 1_024
MOST_ATTACHMENTS = 100
# Slack allows bursts; this many within as many seconds are taken.
BURST = 10
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_COLORS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30200"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came: title, text in Slack's mrkdwn, color."""

    title: str
    text: str
    color: str

    def as_text(self) -> str:
        """For a terminal: links as addresses, code as it is."""
        text = _LINK.sub(lambda match: f"{match[2]}: {match[1]}", self.text).replace("```", "\n")
        lines = [line.strip() for line in text.splitlines()]
        return "\n".join([self.title, *(f"  | {line}" for line in lines if line)])

    def as_html(self) -> str:
        """As Slack shows it: a coloured bar, the title, links, code blocks."""
        parts = self.text.split("```")
        shown = "".join(
            f"<pre>{html.escape(part)}</pre>"
            if number % 2
            else "<br>".join(
                re.sub(r"&lt;(https?://[^|]+?)\|([^<]+?)&gt;", r'<a href="\1">\2</a>', html.escape(line))
                for line in part.strip().splitlines()
            )
            for number, part in enumerate(parts)
        )
        color = _COLORS.get(self.color, self.color)
        return f'<article style="border-left:4px solid {html.escape(color)}"><h2>{html.escape(self.title)}</h2>{shown}</article>'


class StandInSlack:
    """Webhooks at `/services/...`, and the messages that came as a page at `/`.

    Attributes:
        messages: in the order in which they came.
        refusals: why others were refused.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.messages: list[Message] = []
        self.refusals: list[str] = []
        self._clock = clock
        self._times: list[float] = []
        self.app = Starlette(
            routes=[Route("/", self._page), Route("/services/{path:path}", self._webhook, methods=["POST"])]
        )

    async def _webhook(self, request: Request) -> Response:
        now = self._clock()
        self._times = [at for at in self._times if now - at < BURST]
        if len(self._times) >= BURST:
            self.refusals.append("rate_limited")
            return PlainTextResponse("rate_limited", status_code=429, headers={"Retry-After": "1"})
        self._times.append(now)
        try:
            body = await request.json()
            refused = _refusal(body)
        except (ValueError, TypeError, AttributeError):
            refused = "invalid_payload"
        if refused is not None:
            self.refusals.append(refused)
            return PlainTextResponse(refused, status_code=400)
        for attachment in body["attachments"]:
            self.messages.append(
                Message(attachment.get("title", ""), attachment.get("text", ""), attachment.get("color", ""))
            )
        return PlainTextResponse("ok")

    async def _page(self, _: Request) -> Response:
        shown = "".join(message.as_html() for message in self.messages) or "<p>No message yet.</p>"
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>#mojaloop-patches</title><style>'
            "body{font:15px/1.46 Lato,system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1c1d}"
            "article{padding:.2rem 0 .4rem 1rem;margin:1rem 0}h2{font-size:15px;margin:.2rem 0}"
            "pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:.5rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}"
            f"</style></head><body><h1>#mojaloop-patches</h1>{shown}</body></html>"
        )


def _refusal(body: dict[str, Any]) -> str | None:
    """Why Slack would not take a message, or would cut it."""
    attachments = body.get("attachments") or []
    if not body.get("text") and not attachments:
        return "no_text"
    if len(attachments) > MOST_ATTACHMENTS:
        return "too_many_attachments"
    if len(body.get("text") or "") > LONGEST_TEXT:
        return "msg_too_long"
    for attachment in attachments:
        if (
            len(attachment.get("text") or "") > LONGEST_ATTACHMENT_TEXT
            or len(attachment.get("title") or "") > LONGEST_TITLE
        ):
            return "msg_too_long"
    return None

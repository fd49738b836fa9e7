"""A sink for Slack's incoming webhooks, which accepts and refuses messages like Slack, and shows them like Slack.

Limits, with their sources:

- Slack refuses more than one message a second with 429 and `Retry-After` (https://api.slack.com/docs/rate-limits).
  Short bursts are accepted.
- Slack truncates a `text` of more than 40,000 characters
  (https://api.slack.com/changelog/2018-04-truncating-really-long-messages). The stand-in refuses it: sending one is a
  bug in our template.
- Slack truncates the text of an attachment at about 8,000 characters (observed by users, not documented), and
  Alertmanager truncates titles at 1,024 (https://github.com/prometheus/alertmanager/pull/2774). Both are refused here
  too.
- A message has at most 100 attachments (https://api.slack.com/reference/messaging/attachments).
- An attachment has at most 5 buttons, and each needs its text and its URL
  (https://api.slack.com/legacy/message-buttons).
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

LONGEST_TEXT = 40_000
LONGEST_ATTACHMENT_TEXT = 8_000
LONGEST_TITLE = 1_024
MOST_ATTACHMENTS = 100
MOST_BUTTONS = 5
# Slack allows bursts: this many messages within as many seconds are accepted.
BURST = 10
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_BOLD = re.compile(r"(?<![^\s])\*([^*\s]+)\*(?![^\s])")
_COLORS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30200"}


class Button(NamedTuple):
    """A button of a message, which opens a URL."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """A received message: title, text in Slack's mrkdwn, color, buttons, and the time (epoch seconds)."""

    title: str
    text: str
    color: str
    buttons: tuple[Button, ...] = ()
    at: float = field(default=0.0, compare=False)

    @property
    def time(self) -> str:
        """The time of receipt, as HH:MM:SS in local time."""
        return time.strftime("%H:%M:%S", time.localtime(self.at))

    def as_text(self) -> str:
        """Render for a terminal: bold and code without marks, links and buttons as URLs."""
        text = _LINK.sub(lambda match: f"{match[2]}: {match[1]}", _BOLD.sub(r"\1", self.text)).replace("```", "\n")
        lines = [line.strip() for line in text.splitlines()]
        buttons = [f"[{button.text}] {button.url}" for button in self.buttons]
        return "\n".join([self.title, *(f"  | {line}" for line in (*lines, *buttons) if line)])

    def as_html(self) -> str:
        """Render like Slack: a coloured bar, the title, links, code blocks, buttons."""
        parts = self.text.split("```")
        shown = "".join(
            f"<pre>{html.escape(part)}</pre>" if number % 2 else "<br>".join(map(_as_html, part.strip().splitlines()))
            for number, part in enumerate(parts)
        )
        buttons = " ".join(
            f'<a class="button" href="{html.escape(button.url)}">{html.escape(button.text)}</a>'
            for button in self.buttons
        )
        color = html.escape(_COLORS.get(self.color, self.color))
        title = f"<h2>{html.escape(self.title)} <time>{self.time}</time></h2>"
        return f'<article style="border-left:4px solid {color}">{title}{shown}<p>{buttons}</p></article>'


def _as_html(line: str) -> str:
    linked = re.sub(r"&lt;(https?://[^|]+?)\|([^<]+?)&gt;", r'<a href="\1">\2</a>', html.escape(line))
    return _BOLD.sub(r"<b>\1</b>", linked)


class StandInSlack:
    """Webhooks at `/services/...`, and a page with the messages at `/`, the newest first.

    Args:
        note: text above the messages on the page.
        clock: seconds, for limits.
        now: epoch seconds, for the times of messages.

    Attributes:
        messages: accepted ones, in order of arrival.
        refusals: why others were refused.
    """

    def __init__(
        self,
        *,
        note: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._note = note
        self._now = now
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
            title, text, color = (attachment.get(name, "") for name in ("title", "text", "color"))
            buttons = tuple(Button(action["text"], action["url"]) for action in attachment.get("actions") or ())
            self.messages.append(Message(title, text, color, buttons, self._now()))
        return PlainTextResponse("ok")

    async def _page(self, _: Request) -> Response:
        shown = "".join(message.as_html() for message in reversed(self.messages)) or "<p>No messages yet.</p>"
        note = f"<pre>{html.escape(self._note)}</pre>" if self._note else ""
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
            "<title>#mojaloop-patches</title><style>"
            "body{font:15px/1.46 Lato,system-ui,sans-serif;"
            "max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1c1d}"
            "article{padding:.2rem 0 .4rem 1rem;margin:1rem 0}h2{font-size:15px;margin:.2rem 0}"
            "time{color:#616061;font-weight:normal}"
            "pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:.5rem;font-size:12px;"
            "white-space:pre-wrap;overflow-wrap:anywhere}"
            ".button{border:1px solid #ddd;border-radius:4px;padding:.2rem .6rem;text-decoration:none;font-weight:bold}"
            f"</style></head><body><h1>#mojaloop-patches</h1>{note}{shown}</body></html>"
        )


def _refusal(body: dict[str, Any]) -> str | None:
    """Return why Slack would refuse or truncate a message; None if it would not."""
    attachments = body.get("attachments") or []
    if not body.get("text") and not attachments:
        return "no_text"
    if len(attachments) > MOST_ATTACHMENTS:
        return "too_many_attachments"
    if len(body.get("text") or "") > LONGEST_TEXT:
        return "msg_too_long"
    for attachment in attachments:
        text, title = attachment.get("text") or "", attachment.get("title") or ""
        if len(text) > LONGEST_ATTACHMENT_TEXT or len(title) > LONGEST_TITLE:
            return "msg_too_long"
        actions = attachment.get("actions") or ()
        if len(actions) > MOST_BUTTONS or not all(action.get("text") and action.get("url") for action in actions):
            return "invalid_attachments"
    return None

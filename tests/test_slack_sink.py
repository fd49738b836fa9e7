"""The demo's sink for Slack's webhooks: what it refuses, and how it shows messages."""

import httpx
import pytest

from exporter.demo import StandInSlack, serving
from exporter.demo.slack import Button, Message
from exporter.demo.story import beginning

pytestmark = pytest.mark.anyio
BUTTON = {"type": "button", "text": "Runbook", "url": "https://a.example/runbook"}
TEXT = "*ledger* v1.0.0, see <https://a.example/b?c|there>\n```kubectl 'x' <y>```"


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, "no_text"),
        ([], "invalid_payload"),
        ({"attachments": [{"text": "x" * 8001}]}, "msg_too_long"),
        ({"attachments": [{"title": "x" * 1025}]}, "msg_too_long"),
        ({"attachments": [{"text": "x"}] * 101}, "too_many_attachments"),
        ({"attachments": [{"text": "x", "actions": [BUTTON] * 6}]}, "invalid_attachments"),
        ({"attachments": [{"text": "x", "actions": [{**BUTTON, "url": ""}]}]}, "invalid_attachments"),
    ],
)
async def test_the_sink_refuses_what_slack_would_refuse_or_truncate(body, refusal):
    slack = StandInSlack()
    async with serving(slack.app) as channel, httpx.AsyncClient(base_url=channel) as client:
        answer = await client.post("/services/x", json=body)
        assert (answer.status_code, answer.text) == (400, refusal)
    assert slack.refusals == [refusal]
    assert slack.messages == []


async def test_more_messages_than_a_burst_are_refused_until_time_passes():
    now = 0.0
    slack = StandInSlack(clock=lambda: now)
    async with serving(slack.app) as channel, httpx.AsyncClient(base_url=channel) as client:

        async def post():
            return (await client.post("/services/x", json={"text": "x", "attachments": []})).status_code

        assert [await post() for _ in range(12)] == [200] * 10 + [429] * 2
        now = 10.0
        assert await post() == 200


async def test_the_page_shows_messages_as_slack_does():
    slack = StandInSlack()
    attachment = {"title": "<b>", "text": TEXT, "color": "good", "actions": [BUTTON]}
    async with serving(slack.app) as channel, httpx.AsyncClient(base_url=channel) as client:
        assert (await client.post("/services/x", json={"attachments": [attachment]})).text == "ok"
        page = (await client.get("/")).text
    assert slack.messages == [Message("<b>", TEXT, "good", (Button("Runbook", "https://a.example/runbook"),))]
    assert "&lt;b&gt;" in page
    assert "<b>ledger</b> v1.0.0" in page
    assert '<a href="https://a.example/b?c">there</a>' in page
    assert "<pre>kubectl &#x27;x&#x27; &lt;y&gt;</pre>" in page
    assert '<a class="button" href="https://a.example/runbook">Runbook</a>' in page


async def test_the_newest_message_is_the_first_on_the_page_and_each_has_its_time():
    now = 1_790_000_000.0
    slack = StandInSlack(note="export KUBECONFIG=x", now=lambda: now)
    async with serving(slack.app) as channel, httpx.AsyncClient(base_url=channel) as client:
        for title in ("older", "newer"):
            await client.post("/services/x", json={"attachments": [{"title": title}]})
            now += 61
        page = (await client.get("/")).text
    older, newer = slack.messages
    assert newer.at - older.at == 61
    shown = ["export KUBECONFIG=x", f"newer <time>{newer.time}</time>", f"older <time>{older.time}</time>"]
    assert [page.index(text) for text in shown] == sorted(page.index(text) for text in shown)


def test_on_a_terminal_links_and_buttons_are_addresses():
    message = Message("title", TEXT, "good", (Button("Runbook", "https://a.example/runbook"),))
    assert message.as_text().splitlines() == [
        "title",
        "  | ledger v1.0.0, see there: https://a.example/b?c",
        "  | kubectl 'x' <y>",
        "  | [Runbook] https://a.example/runbook",
    ]


@pytest.mark.parametrize(("findings", "lines"), [(4, 9), (6, 11)])
def test_the_demo_shows_how_a_long_message_begins(findings, lines):
    shown = beginning(Message("title", "line\n```kubectl```\n" * findings, "good")).splitlines()
    assert len(shown) == lines
    assert shown[:3] == ["title", "  | line", "  | kubectl"]
    assert (shown[-1] == "  | ... and 3 more lines") == (findings == 6)

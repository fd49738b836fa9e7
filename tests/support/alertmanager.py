"""A real Alertmanager with the shipped configuration, and an HTTP sink in the place of Slack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.demo.alerts import FOLDER
from tests.support.kube import free_port, need
from tests.support.web import Request, reply, web

Attachment = dict[str, Any]


class Channel:
    """What came to Slack's webhook, one attachment per message, in the order in which it came."""

    def __init__(self) -> None:
        self.messages: list[Attachment] = []

    def __call__(self, request: Request) -> bytes:
        self.messages += json.loads(request.body)["attachments"]
        return reply(b"ok")

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


def configuration(webhook: Path, **intervals: str) -> dict[str, Any]:
    """The shipped example, with a webhook's address from a file and without the wait for Monday.

    Args:
        webhook: the file.
        intervals: `group_wait`, `group_interval`, `repeat_interval` in place of every one that is configured.
    """
    config: dict[str, Any] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text("utf-8"))
    config["templates"] = [str(FOLDER / "slack.tmpl")]
    ours = config["route"]["routes"][0]
    for route in (ours, *ours["routes"]):
        route.pop("active_time_intervals", None)
        route.update({name: value for name, value in intervals.items() if name in route})
    for receiver in config["receivers"]:
        for slack in receiver.get("slack_configs", ()):
            slack["api_url_file"] = str(webhook)
    return config


@contextlib.asynccontextmanager
async def alertmanager(
    folder: Path, *, change: Callable[[dict[str, Any]], None] = lambda _: None, **intervals: str
) -> AsyncIterator[tuple[httpx.AsyncClient, Channel]]:
    """A client for Alertmanager's API, and what it sends.

    Args:
        folder: for its files.
        change: is given the configuration before it is written.
        intervals: see `configuration`.
    """
    (binary,) = need("prometheus-alertmanager")
    channel = Channel()
    async with web(channel) as sink:
        (folder / "webhook").write_text(f"http://{sink.host}/services/test")
        config = configuration(folder / "webhook", **intervals)
        change(config)
        (folder / "alertmanager.yml").write_text(json.dumps(config))
        address = f"127.0.0.1:{free_port()}"
        with (folder / "alertmanager.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={folder / 'alertmanager.yml'}",
                    f"--storage.path={folder / 'data'}",
                    f"--web.listen-address={address}",
                    "--cluster.listen-address=",
                    "--web.external-url=http://alertmanager.example",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}") as client:

                async def ready() -> bool:
                    with contextlib.suppress(httpx.HTTPError):
                        return (await client.get("/-/ready")).status_code == 200
                    return False

                await until(ready, 120, (folder / "alertmanager.log").read_text)
                yield client, channel
        finally:
            process.kill()
            process.wait(timeout=60)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float, what: Callable[[], object]) -> Any:
    """What a condition comes to, once that is true; an assertion with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.1)
    return found


async def post(client: httpx.AsyncClient, alerts: list[dict[str, Any]]) -> None:
    answer = await client.post("/api/v2/alerts", json=alerts)
    assert answer.status_code == 200, answer.text


def ended(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**alert, "startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"} for alert in alerts]


def commands_in(text: str) -> list[str]:
    """The commands in a text of Slack's, in their order."""
    return re.findall(r"```(kubectl .*?)```", text, re.DOTALL)

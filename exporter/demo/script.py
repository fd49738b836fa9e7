"""What `demo` shows: the exporter on the embedded cluster, and the shipped alerts up to the messages in Slack."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace

from exporter import report
from exporter.app import CommandError, SnapshotPublisher, exporting, wait_for_signal
from exporter.config import Configuration
from exporter.demo import MissingError, Pipeline, StandInSlack, overview, pipeline, serving, stand_ins
from exporter.demo.slack import Message
from exporter.report.progress import progress
from exporter.server import ListenError, listen

# Every step of the demo takes seconds; a step that hangs should be reported.
_STEP_SECONDS = 60.0
_QUIET_SECONDS = 4.0
# Enough for a message about one workload; one about many is longer than a terminal.
_SHOWN_LINES = 10


async def run(configuration: Configuration, *, any_port: bool) -> None:
    """Show the demo; on a terminal, keep everything running until Ctrl-C.

    Args:
        configuration: the demo replaces its cluster, registries and state.
        any_port: whether another port than the configured one will do.

    Raises:
        CommandError: no message arrived in time.
    """
    if any_port:
        configuration = replace(configuration, listen=_free_address(configuration.listen[1]))
    slack = StandInSlack()
    async with AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins())
        configuration = replace(configuration, kubeconfig=there.kubeconfig, registries=there.registries, state_dir=None)
        address, publisher = await opened.enter_async_context(exporting(configuration))
        channel = await opened.enter_async_context(serving(slack.app))
        behind: Pipeline | MissingError
        try:
            folder, target = there.kubeconfig.parent / "pipeline", address.removeprefix("http://")
            behind = await opened.enter_async_context(pipeline(folder, targets=[(target, {})], slack=channel))
        except MissingError as error:
            behind = error
        await _judged(publisher)
        report.write(publisher.snapshot, "table", now=time.time())
        _say(
            f"""
The cluster and the registries are embedded. The cluster runs Mojaloop v17.3.0, some of it older: updates were missed.
  metrics       {address}/metrics
  findings      {address}/api/v1/findings
  kubectl       kubectl --kubeconfig {there.kubeconfig} --namespace mojaloop get deployments"""
        )
        if isinstance(behind, MissingError):
            _say(f"\n{behind}.")
        else:
            await _show_pipeline(behind, slack, channel)
        if sys.stdin.isatty():
            _say("\nPatch a Deployment with a command from above and look again. Press Ctrl-C to stop.")
            await wait_for_signal()


def _free_address(port: int) -> tuple[str, int]:
    """A loopback address: the usual port if it is free, otherwise any, so that a second demo works too."""
    try:
        listen("127.0.0.1", port).close()
    except ListenError:
        return "127.0.0.1", 0
    return "127.0.0.1", port


async def _judged(publisher: SnapshotPublisher) -> None:
    """Wait until every container is judged and every date is known."""
    with progress() as show:
        async with asyncio.timeout(_STEP_SECONDS):
            while not (publisher.complete() and publisher.dated()):
                findings = publisher.snapshot.findings
                show("judging", sum(finding.reason is None for finding in findings), len(findings))
                await asyncio.sleep(0.1)


async def _show_pipeline(behind: Pipeline, slack: StandInSlack, channel: str) -> None:
    _say(
        f"""  Prometheus    {behind.prometheus}/alerts
  Alertmanager  {behind.alertmanager}
  Slack         {channel}

The alerts are the shipped ones, but wait for seconds instead of a quarter of an hour. Slack shows:
"""
    )
    await _show_messages(slack)
    _say("\nGrafana's overview, from the same queries:\n")
    for title, shown in await overview(behind.prometheus):
        _say(f"  {title:<28} {shown}")


async def _show_messages(slack: StandInSlack) -> None:
    """Print how every message with a command begins, and the titles of all others."""
    with progress() as show:
        loop = asyncio.get_running_loop()
        end, quiet, known = loop.time() + _STEP_SECONDS, 0.0, 0
        # Alertmanager sends its groups one after another. If none came for some seconds, that was the last.
        while loop.time() < end and not (known and loop.time() - quiet > _QUIET_SECONDS):
            if len(slack.messages) != known:
                known, quiet = len(slack.messages), loop.time()
            show("waiting for alerts", known, 0)
            await asyncio.sleep(0.2)
    if not slack.messages:
        raise CommandError(f"no message arrived within {_STEP_SECONDS:.0f} s; Slack refused {slack.refusals}")
    patches = [message for message in slack.messages if "```" in message.text]
    for message in patches:
        _say(beginning(message) + "\n")
    if others := [message for message in slack.messages if message not in patches]:
        _say(f"and {len(others)} without a command:")
        for message in others:
            _say(f"  {message.title}")


def beginning(message: Message) -> str:
    """The first lines of a message as text, and how many more it has."""
    lines = message.as_text().splitlines()
    more = len(lines) - _SHOWN_LINES
    return "\n".join(lines if more <= 0 else [*lines[:_SHOWN_LINES], f"  | ... and {more} more lines"])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

"""Start the parts of the demo, run its steps, and stop everything again, even after a signal."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from exporter import config
from exporter.app import exporting
from exporter.config import Configuration
from exporter.demo import MissingError, Pages, StandInSlack, pipeline, release, serving, stand_ins
from exporter.demo.output import own_command, say
from exporter.demo.story import Story
from exporter.patching import patching
from exporter.server import ListenError, listen

# A hub waits for a quarter of an hour. Alerts for planning are left out.
_VALUES = {"available_for": "2s", "overdue_for": "2s"}
_LOOKUP_SECONDS = 3.0
_ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run(configuration: Configuration, *, any_port: bool) -> int:
    """Show the demo; on a terminal, keep everything running until Ctrl-C.

    Args:
        configuration: only its listen address is used.
        any_port: whether to use another port if the configured one is in use.

    Returns:
        The exit status: 0 after all steps, otherwise that of the signal.

    Raises:
        CommandError: a step timed out.
    """
    told = asyncio.Event()
    received: list[int] = []
    loop, playing = asyncio.get_running_loop(), asyncio.create_task(_play(configuration, told, any_port=any_port))

    def end(number: int) -> None:
        # A second signal would interrupt the removal of processes and files.
        if not received:
            playing.cancel()
        received.append(number)

    for number in _ENDED_BY:
        # `nohup` ignores SIGHUP, which must stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, number)
    try:
        await playing
    except asyncio.CancelledError:
        if not received:
            raise
        return 0 if told.is_set() else 128 + received[0]
    say("\nThe demo is over. Everything that it started is stopped and removed.")
    return 0


async def _play(configuration: Configuration, told: asyncio.Event, *, any_port: bool) -> None:
    command = own_command()
    async with AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins(release.maintained()))
        export = f"export KUBECONFIG={shlex.quote(str(there.kubeconfig))}"
        say(
            "The demo runs its own Kubernetes cluster and registries. It contacts nothing outside of this machine.\n\n"
            "Before you paste one of its kubectl commands into a terminal, run this line there.\n"
            f"Otherwise the command goes to your current cluster.\n\n{export}"
        )
        listens = _free_address(configuration.listen[1]) if any_port else configuration.listen
        # The demo uses the same file that it offers to others.
        ours = replace(config.load(there.config, {}), listen=listens, interval=_LOOKUP_SECONDS, state_dir=None)
        address, publisher = await opened.enter_async_context(exporting(ours))
        # The demo prints what the patcher does; its audit log would get in the way.
        patcher = await opened.enter_async_context(
            patching(replace(ours, listen=("127.0.0.1", 0)), audit=lambda _: None)
        )
        slack = StandInSlack(note=f"# Before you paste a command, run this in the same terminal:\n{export}")
        pages = Pages(slack, command=command)
        channel = await opened.enter_async_context(serving(pages.app))
        alerts = f"{channel}/alertmanager"
        try:
            pages.behind = await opened.enter_async_context(
                pipeline(
                    there.config.parent / "pipeline",
                    targets=[(address.removeprefix("http://"), {})],
                    slack=channel,
                    values={**_VALUES, "grafana": channel, "runbook": f"{channel}/runbook"},
                    interval="1s",
                    group_wait="1s",
                    group_interval="2s",
                    further_scrapes=[_scrape("image-patcher", patcher)],
                    alertmanager_url=alerts,
                )
            )
        except MissingError as error:
            say(f"\n{error}.")
        await Story(
            there=there,
            publisher=publisher,
            address=address,
            command=command,
            slack=slack,
            channel=channel,
            behind=pages.behind,
            alerts=f"{alerts}/",
        ).tell()
        told.set()
        if sys.stdin.isatty():
            say("\nEverything keeps running: paste more commands and look again. Press Ctrl-C to end the demo.")
            await asyncio.Event().wait()


def _scrape(job: str, address: str) -> dict[str, Any]:
    targets = [{"targets": [address.removeprefix("http://")]}]
    return {"job_name": job, "honor_labels": True, "static_configs": targets}


def _free_address(port: int) -> tuple[str, int]:
    """Return a loopback address with the usual port if it is free, otherwise any, so a second demo works too."""
    try:
        listen("127.0.0.1", port).close()
    except ListenError:
        return "127.0.0.1", 0
    return "127.0.0.1", port

"""The pipeline behind the exporter: a real Prometheus with the shipped rules, and a real Alertmanager.

Alertmanager uses the shipped template. Only the marked values in the rules and the intervals of the routes are changed.
As a result, the demo takes seconds where a real hub waits for a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.demo.alerts import FOLDER, RULES, substitute

# The names of the binaries, in Debian and upstream.
BINARIES = {"Prometheus": ("prometheus",), "Alertmanager": ("prometheus-alertmanager", "alertmanager")}
SPED_UP = dict.fromkeys(("available_for", "overdue_for", "superseded_for", "mixed_for", "unknown_for"), "10s")
_READY_SECONDS = 30.0
# Debian's package has only the older web application.
_ALERTS_PAGES = ("/alerts", "/classic/alerts", "/api/v1/alerts")


class MissingError(Exception):
    """A component is not installed; the message says which, and how to install it."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The addresses of Prometheus and Alertmanager, `http://HOST:PORT`, and of Prometheus' alerts page."""

    prometheus: str
    alertmanager: str
    alerts: str


def binaries() -> dict[str, str]:
    """Return the paths of Prometheus and Alertmanager.

    Raises:
        MissingError: one is not installed.
    """
    found = {what: next(filter(None, map(shutil.which, names)), None) for what, names in BINARIES.items()}
    missing = [what for what, path in found.items() if path is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingError(
            f"{' and '.join(missing)} {verb} not installed, so the demo sends nothing to Slack; install both "
            "with `apt-get install prometheus prometheus-alertmanager` (Debian, Ubuntu), "
            "`brew install prometheus alertmanager` (macOS), or from https://prometheus.io/download/"
        )
    return {what: path for what, path in found.items() if path is not None}


def alertmanager_config(webhook: Path, *, group_wait: str = "2s", group_interval: str = "5s") -> dict[str, Any]:
    """Return the shipped example with shorter intervals.

    Args:
        webhook: a file that contains the webhook URL.
        group_wait: how long Alertmanager waits for more alerts before it sends a new group.
        group_interval: how long Alertmanager waits before it sends a group again with more alerts. It applies to every
            route. Routes that send on Mondays only send at once.
    """
    config: dict[str, Any] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text("utf-8"))
    config["templates"] = [str(FOLDER / "slack.tmpl")]
    (ours,) = config["route"]["routes"]
    for route in (ours, *ours["routes"]):
        route |= {"group_wait": group_wait, "group_interval": group_interval}
        route.pop("active_time_intervals", None)
    for receiver in config["receivers"]:
        for slack in receiver.get("slack_configs", ()):
            slack["api_url_file"] = str(webhook)
    return config


@contextlib.asynccontextmanager
async def pipeline(
    folder: Path,
    *,
    targets: Sequence[tuple[str, Mapping[str, str]]],
    slack: str,
    values: Mapping[str, str] = SPED_UP,
    interval: str = "2s",
    group_wait: str = "2s",
    group_interval: str = "5s",
    further_scrapes: Sequence[Mapping[str, Any]] = (),
    alertmanager_url: str | None = None,
) -> AsyncIterator[Pipeline]:
    """Run Prometheus and Alertmanager while the context lasts.

    Args:
        folder: for their files.
        targets: HOST:PORT of exporters to scrape, with labels to add to each.
        slack: the address of the Slack sink.
        values: for the marked values of the rules.
        interval: between two scrapes, and between two evaluations.
        group_wait, group_interval: of Alertmanager.
        further_scrapes: more of Prometheus' `scrape_configs`.
        alertmanager_url: base of the links in messages; None for Alertmanager's own address.

    Raises:
        MissingError: one is not installed.
    """
    found = binaries()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules.yml").write_text(substitute(RULES.read_text("utf-8"), values), "utf-8")
    (folder / "webhook").write_text(f"{slack}/services/demo", "utf-8")
    routes = alertmanager_config(folder / "webhook", group_wait=group_wait, group_interval=group_interval)
    (folder / "alertmanager.yml").write_text(json.dumps(routes), "utf-8")
    prometheus, alertmanager = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    scrape = {
        "job_name": "image-patch",
        "honor_labels": True,
        "static_configs": [{"targets": [target], "labels": dict(labels)} for target, labels in targets],
    }
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [scrape, *further_scrapes],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")
    async with (
        _running(
            folder / "alertmanager.log",
            found["Alertmanager"],
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alerts'}",
            f"--web.listen-address={alertmanager}",
            f"--web.external-url={alertmanager_url or f'http://{alertmanager}'}",
            "--web.route-prefix=/",
            "--cluster.listen-address=",
        ),
        _running(
            folder / "prometheus.log",
            found["Prometheus"],
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={prometheus}",
            "--log.level=warn",
            "--rules.alert.resend-delay=5s",
        ),
    ):
        await _ready(f"http://{prometheus}/-/ready", folder / "prometheus.log")
        await _ready(f"http://{alertmanager}/-/ready", folder / "alertmanager.log")
        alerts = await _first_page(f"http://{prometheus}", _ALERTS_PAGES)
        yield Pipeline(f"http://{prometheus}", f"http://{alertmanager}", alerts)


@contextlib.asynccontextmanager
async def _running(log: Path, *command: str) -> AsyncIterator[None]:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(url: str, log: Path) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _READY_SECONDS
    async with httpx.AsyncClient(trust_env=False) as client:
        while loop.time() < end:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text('utf-8', 'replace')[-2000:]}")


async def _first_page(address: str, paths: Sequence[str]) -> str:
    """Return the address of the first of these pages that exists."""
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        for path in paths:
            if (await client.get(path)).status_code == 200:
                return f"{address}{path}"
    raise RuntimeError(f"{address} has none of {', '.join(paths)}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

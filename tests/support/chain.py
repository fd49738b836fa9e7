"""The chain after the exporter as real processes: Prometheus with the shipped rules, Alertmanager, and Slack's sink.

Tests are plain functions: the sink serves from the event loop of a thread of its own, so that they may block.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import start_blocking_portal

from exporter.demo import Pipeline, StandInSlack, pipeline, serving
from exporter.demo.slack import Message
from tests.support.components import need

# Every patch alert fires as Available within seconds, none as Overdue, and no other alert fires in between.
SECONDS = {
    "available_for": "1s",
    "overdue_seconds": "100000000000",
    "unknown_for": "1h",
    "down_for": "1h",
    "mixed_for": "1h",
    "superseded_for": "1h",
}
AVAILABLE = "MojaloopImagePatchAvailable"


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], object] = lambda: "") -> Any:
    """Wait until something holds, and return it; otherwise fail with what there is instead."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what()}"
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Finding:
    """What a message tells about one workload.

    Attributes:
        line: what is missing.
        command: to paste; None where there is none.
        advice: the lines after it, up to the next finding.
    """

    line: str
    command: str | None
    advice: str


def findings_in(text: str) -> dict[str, Finding]:
    """The findings of a message by workload."""
    found = {}
    for part in re.split(r"^(?=\*)", text, flags=re.MULTILINE)[1:]:
        matched = re.fullmatch(r"(\*([^*]+)\* [^\n]+)\n(?:```(kubectl [^\n]*?)```\n)?(.*)", part, re.DOTALL)
        assert matched, part
        found[matched[2]] = Finding(matched[1], matched[3], matched[4])
    return found


@dataclass(frozen=True)
class Chain:
    """A running chain."""

    behind: Pipeline
    slack: StandInSlack
    folder: Path
    _client: httpx.Client = field(repr=False)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query: `{"metric": {...}, "value": [time, text]}`."""
        answer = self._client.get(f"{self.behind.prometheus}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def firing(self, namespace: str, alert: str = AVAILABLE) -> dict[str, dict[str, Any]]:
        """Firing alerts of a namespace by workload."""
        alerts = self._client.get(f"{self.behind.prometheus}/api/v1/alerts").json()["data"]["alerts"]
        return {
            a["labels"].get("workload", ""): a
            for a in alerts
            if (a["labels"]["alertname"], a["labels"].get("namespace"), a["state"]) == (alert, namespace, "firing")
        }

    def messages(self, namespace: str) -> list[Message]:
        """The messages about missing patches in a namespace."""
        return [m for m in self.slack.messages if re.search(rf"in (\w+/)?{namespace}: A newer patch", m.title)]

    def message(self, namespace: str, *workloads: str) -> Message:
        """Wait for a message that names all of these workloads."""

        def there() -> Message | None:
            return next((m for m in self.messages(namespace) if set(workloads) <= findings_in(m.text).keys()), None)

        return until(there, 120, lambda: [(m.title, m.text[:500]) for m in self.slack.messages] + [self.log()])

    def evaluated(self, times: int = 2) -> None:
        """Wait for further evaluations of the rules, so that alerts show what was scraped before."""
        marker = 'mojaloop:workload_patch_missing{workload=""}'
        for _ in range(times):
            before = self.query(marker)[0]["value"][1]
            until(lambda last=before: self.query(marker)[0]["value"][1] > last, 60, self.log)

    def log(self) -> str:
        """The end of what Prometheus and Alertmanager logged."""
        return "\n".join((self.folder / f"{name}.log").read_text()[-1000:] for name in ("prometheus", "alertmanager"))


@contextlib.contextmanager
def chain(
    folder: Path,
    *targets: str,
    values: Mapping[str, str] = SECONDS,
    further_scrapes: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Chain]:
    """Run a chain on exporters, by their addresses."""
    need("prometheus", "prometheus-alertmanager")
    slack = StandInSlack()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(slack.app)) as channel,
        portal.wrap_async_context_manager(
            pipeline(
                folder,
                targets=[(target.removeprefix("http://"), {}) for target in targets],
                slack=channel,
                values=values,
                interval="1s",
                group_interval="1s",
                further_scrapes=further_scrapes,
            )
        ) as behind,
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        yield Chain(behind, slack, folder, client)


@dataclass(frozen=True)
class Shell:
    """A shell as people have it who paste a command: kubectl on the path, and their kubeconfig."""

    environment: Mapping[str, str]

    def __call__(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


def shell(folder: Path, kubeconfig: Path, *, path: str = "", **environment: str) -> Shell:
    """A shell with the real kubectl, in front of what `path` names."""
    (kubectl,) = need("kubectl")
    tools = folder / "bin"
    tools.mkdir(parents=True)
    (tools / "kubectl").symlink_to(kubectl)
    everything = ":".join(filter(None, (str(tools), path, "/usr/bin:/bin")))
    return Shell({"PATH": everything, "KUBECONFIG": str(kubeconfig), "HOME": str(folder), **environment})

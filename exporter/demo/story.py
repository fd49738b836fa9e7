"""The six steps of `demo`: a patch is published, pasted, rolled back, and finally approved for the patcher."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from exporter.app import CommandError, SnapshotPublisher
from exporter.demo import SOAK_SECONDS, StandIns
from exporter.demo.objects import APPROVALS, apply_json_patch
from exporter.demo.output import clock, done_by_hand, say, until
from exporter.demo.pipeline import Pipeline
from exporter.demo.slack import Message, StandInSlack
from exporter.findings import Finding, WorkloadPatch
from exporter.kinds import KINDS
from exporter.patcher.approvals import State
from exporter.workloads import WorkloadKey

IMAGE = "docker.io/mojaloop/central-ledger"
RUNNING, PUBLISHED = "v19.14.0", "v19.14.1"


@dataclass(slots=True, kw_only=True)
class Story:
    """The steps, and their environment.

    Attributes:
        there: the cluster and the registries.
        publisher: of the exporter's snapshots.
        address: of the exporter.
        command: the shell command of this program.
        slack, channel: the channel and its address.
        behind: Prometheus and Alertmanager; None if they are not installed.
        alerts: the address of the alerts page.
    """

    there: StandIns
    publisher: SnapshotPublisher
    address: str
    command: str
    slack: StandInSlack
    channel: str
    behind: Pipeline | None
    alerts: str
    _seen: int = field(default=0, init=False)

    async def tell(self) -> None:
        """Run every step.

        Raises:
            CommandError: a step timed out, or a command failed.
        """
        await self._few_are_behind()
        await self._published()
        patch = await self._told()
        patch = await self._pasted(patch)
        await self._rolled_back(patch)
        await self._approved(patch.workload)
        if self.behind is not None:
            say("\nThe messages in Slack, the newest first:\n")
            for message in reversed(self.slack.messages):
                say(f"  {message.time}  {message.title}")

    async def _few_are_behind(self) -> None:
        await until("the first lookup of every image", lambda: self.publisher.complete() and self.publisher.dated())
        findings = self.publisher.snapshot.findings
        missed = [finding for finding in findings if finding.patch_available]
        say("\nStep 1 of 6: a hub that is up to date, except for a few workloads\n")
        say(
            "The cluster runs Mojaloop v17.3.0 and its supporting services. "
            f"{len(missed)} of {len(findings)} containers miss a patch release:\n"
        )
        for finding in missed:
            say(f"  {_line(finding)}")
        unknown = sum(finding.reason is not None for finding in findings)
        say(f"\n{unknown} cannot be judged, most of them because they run a floating tag (busybox:1.28).")
        self._say_where_to_look()
        if self.behind is not None:
            say("\nThe alerts are those of a real hub, but they fire after seconds instead of a quarter of an hour.")
            namespaces = {finding.workload.namespace for finding in missed}
            await until(
                "the first alerts",
                lambda: all(any(f"in {name}:" in m.title for m in self.slack.messages) for name in namespaces),
            )
            for message in self._new_messages():
                say(f"{message.time}  Slack: {message.title}")

    def _say_where_to_look(self) -> None:
        config = shlex.quote(str(self.there.config))
        links = {"metrics": f"{self.address}/metrics", "findings": f"{self.address}/api/v1/findings"}
        if self.behind is not None:
            links |= {"Slack": f"{self.channel}/", "Prometheus": self.behind.alerts, "Alertmanager": self.alerts}
        links |= {
            "all containers": f"{self.command} check --config {config} --cluster",
            "second exporter": f"{self.command} serve --config {config}",
            "for your Grafana": f"{self.command} show dashboard overview > overview.json",
        }
        say("\nLook around while the demo runs:\n")
        for name, where in links.items():
            say(f"  {name:<18} {where}")

    async def _published(self) -> None:
        say(f"\nStep 2 of 6: a new patch is published, mojaloop/central-ledger:{PUBLISHED}\n")
        self.there.registry.repositories[IMAGE][PUBLISHED] = time.time()
        say(f"{clock()}  {PUBLISHED} is in the registry.")
        await until("the next lookup of the exporter", lambda: bool(self._patches()))
        say(f"{clock()}  The exporter found it: {len(self._patches())} workloads run {RUNNING}.")

    async def _told(self) -> WorkloadPatch:
        """Show the message, and return the patch of its first command."""
        patches = self._patches()
        if self.behind is None:
            say("\nStep 3 of 6: the exporter publishes a command for each workload\n")
            first = patches[0]
        else:
            say("\nStep 3 of 6: the message in Slack, with a command for each workload\n")
            message = await self._message(lambda message: PUBLISHED in message.text)
            say(f"{message.time}  Slack: {beginning(message, most=2)}")
            first = min(
                (patch for patch in patches if patch.patch_command in message.text),
                key=lambda patch: message.text.index(patch.patch_command),
            )
            say()
        say("This is the first command. Paste it only where KUBECONFIG is set as shown above.\n")
        say(first.patch_command)
        return first

    async def _pasted(self, first: WorkloadPatch) -> WorkloadPatch:
        """Wait for a patch, or apply it, and return the applied one."""
        patches = {patch.workload: patch for patch in self._patches()}
        outcome = "its workload misses no patch any more" if self.behind is None else "its alert is resolved"
        say(f"\nStep 4 of 6: the command is pasted, and {outcome}\n")
        await self._paste(first.patch_command, lambda: bool(self._patched()))
        await until("the exporter to see the change", lambda: bool(self._patched()))
        key = self._patched()[0]
        patch = patches.get(key, first)
        say(f"{clock()}  The exporter found it: {_named(key)} runs {PUBLISHED}.")
        if self.behind is not None:
            message = await self._message(lambda message: f"{key.name}:{RUNNING}" in _resolved(message))
            say(f"{message.time}  Slack: {message.title}\n  | {_resolved(message)}")
        return patch

    async def _rolled_back(self, patch: WorkloadPatch) -> None:
        say("\nStep 5 of 6: the patch is rolled back with the exporter's rollback command\n")
        say(f"{patch.rollback_command}\n")
        await self._paste(patch.rollback_command, lambda: patch.workload not in self._patched())
        await until("the exporter to see the change", lambda: patch.workload not in self._patched())
        say(f"{clock()}  The exporter found it: {_named(patch.workload)} runs {RUNNING} again.")
        if self.behind is not None:
            message = await self._message(lambda message: PUBLISHED in message.text and not _resolved(message))
            say(f"{message.time}  Slack: {message.title}")

    async def _approved(self, first: WorkloadKey) -> None:
        say("\nStep 6 of 6: the patch is approved, and the patcher applies it in an upgrade window\n")
        say(
            "The demo also runs the patcher. Its upgrade window is always open, and a workload must stay healthy for "
            f"{SOAK_SECONDS} seconds after its patch.\nOn a real hub, the window is at night, and the time is five "
            "minutes. This command approves the patch of one workload:\n"
        )
        command = f"{self.command} approve {first} --tag {PUBLISHED} --config {shlex.quote(str(self.there.config))}"
        say(f"{command}\n")
        if not await done_by_hand(lambda: bool(self._approvals())):
            said = await _run(*shlex.split(command), "--yes", environment=dict(os.environ))
            say(f"{clock()}  {said.splitlines()[-1]}")
        key = self._approvals()[0][0]
        await until(
            "the patcher to patch the workload", lambda: key in self._patched() or self._approvals()[0][1].final
        )
        say(f"{clock()}  The exporter found it: {_named(key)} runs {PUBLISHED}.")
        await until("the workload to stay healthy", lambda: self._approvals()[0][1].final)
        _, state, text = self._approvals()[0]
        say(f"{clock()}  The patcher: {state}. {text}")
        if self.behind is not None:
            message = await self._message(lambda message: f"{key.name}:{RUNNING}" in _resolved(message))
            say(f"{message.time}  Slack: {message.title}\n  | {_resolved(message)}")

    def _approvals(self) -> list[tuple[WorkloadKey, State, str]]:
        """Return the workloads with approved patches, with the state and message of each approval."""
        found = []
        for thing in self.there.cluster.of(APPROVALS.plural):
            ref, status = thing["spec"]["workload"], thing.get("status", {})
            key = WorkloadKey(thing["metadata"]["namespace"], ref["kind"], ref["name"])
            found.append((key, State(status.get("state", "")), status.get("message", "")))
        return found

    def _patches(self) -> list[WorkloadPatch]:
        """Return the workloads that miss the published patch and have a command."""
        patches = self.publisher.snapshot.patches
        return [patch for patch in patches if patch.latest_tag == PUBLISHED and patch.patch_command]

    def _patched(self) -> list[WorkloadKey]:
        """Return the workloads that have completely rolled out the published patch."""
        findings = [finding for finding in self.publisher.snapshot.findings if finding.image == IMAGE]
        older = {finding.workload for finding in findings if finding.tag != PUBLISHED}
        return [key for key in dict.fromkeys(finding.workload for finding in findings) if key not in older]

    def _new_messages(self) -> Iterator[Message]:
        while self._seen < len(self.slack.messages):
            self._seen += 1
            yield self.slack.messages[self._seen - 1]

    async def _message(self, wanted: Callable[[Message], bool]) -> Message:
        """Wait for the next matching message."""
        found: list[Message] = []

        def arrived() -> bool:
            found.extend(message for message in self._new_messages() if wanted(message))
            return bool(found)

        await until("the message in Slack", arrived)
        return found[0]

    async def _paste(self, command: str, done: Callable[[], bool]) -> None:
        if await done_by_hand(done):
            return
        if shutil.which("kubectl") is None:
            self._apply(command)
            say(f"{clock()}  kubectl is not installed, so the demo applied the patch to its cluster itself.")
        else:
            # kubectl caches API discovery; keep that in the directory that is removed.
            cache = str(self.there.kubeconfig.parent / "kubectl")
            ours = {"KUBECONFIG": str(self.there.kubeconfig), "KUBECACHEDIR": cache}
            said = await _run("sh", "-c", command, environment={**os.environ, **ours})
            say(f"{clock()}  {said}")

    def _apply(self, command: str) -> None:
        """Apply one of the exporter's commands to the cluster."""
        _, _, namespace, _, what, _, patch = shlex.split(command)
        kind, _, name = what.partition("/")
        plural = next(known.plural for known in KINDS.values() if known.name.lower() == kind)
        thing = self.there.cluster.get(plural, namespace, name)
        if thing is None:
            raise CommandError(f"the demo failed: {what} is no longer in its cluster")
        self.there.cluster.put(apply_json_patch(thing, json.loads(patch.removeprefix("-p="))))


async def _run(*command: str, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    said = output.decode(errors="replace").strip()
    if process.returncode != 0:
        raise CommandError(f"the demo failed: its command returned: {said}")
    return said


def _line(finding: Finding) -> str:
    behind = f"{finding.releases_behind} release{'' if finding.releases_behind == 1 else 's'} behind"
    name = finding.image.removeprefix("docker.io/")
    return f"{name}:{finding.tag} -> {finding.latest_tag} ({behind}): {_named(finding.workload)}"


def _named(key: WorkloadKey) -> str:
    return f"{key.kind.lower()}/{key.name} in {key.namespace}"


def _resolved(message: Message) -> str:
    """Return the line of a message with the resolved alerts; empty if it has none."""
    return next((line for line in message.text.splitlines() if line.startswith("Resolved: ")), "")


def beginning(message: Message, *, most: int = 10) -> str:
    """Return the first lines of a message as text, and the number of further ones."""
    lines = message.as_text().splitlines()
    # The first one is the title.
    more = len(lines) - most
    return "\n".join(lines if more <= 0 else [*lines[:most], f"  | ... and {more} more lines"])

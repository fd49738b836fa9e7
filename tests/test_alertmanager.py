"""The shipped routes and inhibit rules on a real Alertmanager: who hears of what, and how often."""

import asyncio
import re
import subprocess
import time

import pytest
import yaml

from exporter.demo.alerts import FOLDER, RULES
from tests.support.alertmanager import alertmanager, commands_in, ended, post, until
from tests.support.components import need
from tests.support.patch_alerts import patch_alert
from tests.support.promtool import IMAGE, Case, Page, run

pytestmark = pytest.mark.anyio
RULE_OF = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
WEEKLY = {"MojaloopImagePatchLineSuperseded", "MojaloopImageStatusUnknown"}


def alert(name, **labels):
    return {
        "labels": {"alertname": name, "severity": RULE_OF[name]["labels"]["severity"], **labels},
        "annotations": {"summary": RULE_OF[name]["annotations"]["summary"], "description": f"{name}."},
    }


def amtool(*arguments):
    (binary,) = need("amtool")
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def test_the_example_is_valid():
    status, said = amtool("check-config", str(FOLDER / "alertmanager.yml"))
    assert status == 0, said


@pytest.mark.parametrize("name", RULE_OF)
def test_every_alert_has_its_route(name):
    severity = RULE_OF[name]["labels"]["severity"]
    status, said = amtool(
        "config",
        "routes",
        "test",
        "--config.file",
        str(FOLDER / "alertmanager.yml"),
        f"alertname={name}",
        f"severity={severity}",
    )
    assert (status, said.splitlines()[-1]) == (0, "image-patch-slack-weekly" if name in WEEKLY else "image-patch-slack")


async def heard(channel, count, seconds=30):
    """That many messages, and after a while no more."""

    async def enough():
        return len(channel.messages) >= count

    await until(enough, seconds, channel.titles)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert len(channel.messages) <= count, channel.titles()
        await asyncio.sleep(0.1)
    return sorted(channel.titles())


async def test_what_inhibits_what(tmp_path):
    """Overdue replaces Available; an exporter that is down silences what would be wrong, and no patch."""
    patch = {
        "cluster": "north",
        "namespace": "mojaloop",
        "workload_kind": "Deployment",
        "workload": "a",
        "image": IMAGE,
        "tag": "v1.0.0",
    }
    alerts = [
        alert("MojaloopImagePatchOverdue", **patch),
        alert("MojaloopImagePatchAvailable", **patch),
        alert("MojaloopImagePatchAvailable", **{**patch, "workload": "b"}),
        alert("MojaloopImagePatchExporterDown", cluster="north", watched_namespace="*"),
        alert("MojaloopImageLookupStale", cluster="north", registry="docker.io"),
        alert("MojaloopRegistryFailing", cluster="north", registry="docker.io"),
        alert("MojaloopImageStatusUnknown", cluster="north", namespace="mojaloop"),
        alert("MojaloopRegistryFailing", cluster="south", registry="docker.io"),
        alert("MojaloopImagePatchLabelsRenamed", cluster="west", job="patch"),
        alert("MojaloopImagePatchNothingWatched", cluster="west", watched_namespace="*"),
        alert("MojaloopImageVersionsMixed", cluster="west", namespace="monitoring", image=IMAGE),
        alert("MojaloopImagePatchAvailable", **{**patch, "cluster": "west"}),
    ]
    async with alertmanager(tmp_path, group_wait="1s", group_interval="1s") as (client, channel):
        await post(client, alerts)
        assert await heard(channel, 6) == [
            "[critical] west: Prometheus changes the labels of the image patch exporter's metrics (1)",
            "[warning] central-ledger in north/mojaloop: A newer patch release of a running image is available (1)",
            (
                "[warning] central-ledger in north/mojaloop: "
                "A patch release of a running image has been available for longer than allowed (1)"
            ),
            "[warning] central-ledger in west/mojaloop: A newer patch release of a running image is available (1)",
            "[warning] north: The image patch exporter is down (1)",
            "[warning] south: Requests to a registry keep failing (1)",
        ]


async def test_an_exporter_of_watched_images_that_is_down_silences_nothing(tmp_path):
    alerts = [
        alert("MojaloopImagePatchExporterDown", cluster="north", workload_kind="Image"),
        alert("MojaloopRegistryFailing", cluster="north", registry="docker.io"),
    ]
    async with alertmanager(tmp_path, group_wait="1s", group_interval="1s") as (client, channel):
        await post(client, alerts)
        assert await heard(channel, 2) == [
            "[warning] north: Requests to a registry keep failing (1)",
            "[warning] north: The image patch exporter is down (1)",
        ]


# Upgrade windows.

WINDOWS = FOLDER / "outside-windows.rules.yml"
CLOSED = "MojaloopUpgradeWindowsClosed"


def windows(values, opens, *, cluster="north", name="night"):
    """A window of the exporter: whether it is open, and when it opens next (minutes)."""
    page = Page(cluster).add("mojaloop_upgrade_window_open", values, window=name)
    return page.add("mojaloop_upgrade_window_next_timestamp_seconds", opens, window=name)


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        # Closed until minute 300; from an hour before that, messages are no longer muted.
        ([windows("0x299 1x60", f"{300 * 60}x299 {1740 * 60}x60")], {10: 1, 239: 1, 241: 0, 299: 0, 301: 0, 359: 0}),
        ([windows("0x100 1x60 0x100", f"{1440 * 60}x261")], {90: 1, 102: 0, 170: 1}),
        # One of two windows is open.
        ([windows("0x60", "100000x60"), windows("1x60", "100000x60", name="day")], {50: 0}),
        # The windows of another cluster are its own.
        ([windows("0x60", "100000x60"), windows("1x60", "100000x60", cluster="south")], {50: 1}),
        # The exporter goes down: nothing stays muted for longer than a quarter of an hour.
        ([windows("0x30 stale", "100000x30 stale")], {30: 1, 44: 1, 47: 0}),
        ([Page("north").synced("1x60")], {50: 0}),
    ],
    ids=["before and in a window", "after a window", "one of two", "two clusters", "down", "no windows"],
)
def test_the_example_rule_fires_while_every_window_is_closed(tmp_path, pages, expected):
    firing = f'count(ALERTS{{alertname="{CLOSED}",alertstate="firing",cluster="north"}}) or vector(0)'
    case = Case(pages, [(minute, firing, count) for minute, count in expected.items()])
    status, said = run(tmp_path, case, WINDOWS.read_text())
    assert status == 0, said


async def test_outside_the_windows_only_what_is_overdue_is_sent(tmp_path):
    patch = {"namespace": "mojaloop", "workload_kind": "Deployment", "image": IMAGE, "tag": "v1.0.0"}
    closed = {"labels": {"alertname": CLOSED, "severity": "none", "cluster": "north"}, "annotations": {}}
    alerts = [
        alert("MojaloopImagePatchAvailable", **patch, cluster="north", workload="a"),
        alert("MojaloopImagePatchOverdue", **patch, cluster="north", workload="b"),
        alert("MojaloopImagePatchAvailable", **patch, cluster="south", workload="a"),
    ]
    available = "central-ledger in {}/mojaloop: A newer patch release of a running image is available (1)"
    overdue = (
        "[warning] central-ledger in north/mojaloop: "
        "A patch release of a running image has been available for longer than allowed (1)"
    )
    async with alertmanager(tmp_path, group_wait="1s", group_interval="1s") as (client, channel):
        await post(client, [closed, *alerts])
        muted = [f"[warning] {available.format('south')}", overdue]
        assert await heard(channel, 2) == sorted(muted)
        # The window opens.
        await post(client, ended([closed]))
        assert await heard(channel, 3) == sorted([*muted, f"[warning] {available.format('north')}"])


# kube-prometheus-stack.

# As that chart configures Alertmanager, and its rule InfoInhibitor.
STACK_INHIBITS = [
    {
        "source_matchers": ["severity = critical"],
        "target_matchers": ["severity =~ warning|info"],
        "equal": ["namespace", "alertname"],
    },
    {
        "source_matchers": ["severity = warning"],
        "target_matchers": ["severity = info"],
        "equal": ["namespace", "alertname"],
    },
    {"source_matchers": ["alertname = InfoInhibitor"], "target_matchers": ["severity = info"], "equal": ["namespace"]},
    {"target_matchers": ["alertname = InfoInhibitor"]},
]
INFO_INHIBITOR = """
groups:
  - name: general.rules
    rules:
      - alert: InfoInhibitor
        expr: >-
          ALERTS{severity="info"} == 1 unless on (namespace)
          ALERTS{alertname!="InfoInhibitor",severity=~"warning|critical",alertstate="firing"} == 1
        labels: {severity: none}
"""


def expect_info_inhibitors(folder, rules, count):
    """Fail the test where there are not as many InfoInhibitor alerts while two of ours are all that fires."""
    page = Page("north").synced("1x120").upgrade("1x120").unknown("1x120", "floating_tag", workload="other")
    inhibiting = 'count(ALERTS{alertname="InfoInhibitor",namespace="mojaloop"}) or vector(0)'
    status, said = run(folder, Case([page], [(100, inhibiting, count)]), rules, more=[INFO_INHIBITOR])
    assert status == 0, said


async def test_kube_prometheus_stacks_inhibit_rules_silence_none_of_ours(tmp_path):
    text = RULES.read_text()
    expect_info_inhibitors(tmp_path, text, 0)
    quiet = re.sub(r"severity: \w+(?=  # value: (superseded|unknown)_severity)", "severity: info", text)
    # So would it be with info.
    expect_info_inhibitors(tmp_path, quiet, 2)

    def change(config):
        config["inhibit_rules"] += STACK_INHIBITS

    own = {"cluster": "north", "namespace": "mojaloop"}
    alerts = [
        alert(name, **own)
        for name in RULE_OF
        if name not in ("MojaloopImagePatchLabelsRenamed", "MojaloopImagePatchExporterDown")
    ]
    info = [{"labels": {"alertname": "InfoInhibitor", "severity": "none", **own}}]
    async with alertmanager(tmp_path, change=change, group_wait="1s", group_interval="1s") as (client, channel):
        await post(client, [*alerts, *info])
        # Overdue inhibits Available, which has the same labels here.
        assert len(await heard(channel, len(alerts) - 1)) == len(alerts) - 1


# How many messages a hub gets: docs/alerts.md has the same numbers.

# An hour lasts this long.
HOUR = 1.0


def scaled(duration):
    number, unit = re.fullmatch(r"(\d+)([mhd])", duration).groups()
    return f"{round(int(number) * {'m': 1 / 60, 'h': 1, 'd': 24}[unit] * HOUR * 1000)}ms"


def faster(config):
    ours = config["route"]["routes"][0]
    for route in (ours, *ours["routes"]):
        for name in ("group_wait", "group_interval", "repeat_interval"):
            if name in route:
                route[name] = scaled(route[name])


def hub_of_a_hundred_containers():
    """Three namespaces, a hundred containers: 36 workloads miss a patch, 24 of them for longer than allowed."""
    missing = [patch_alert(f"moja-service-{n:02}", image=f"service-{n % 18}") for n in range(28)]
    missing += [patch_alert(f"backend-{n}", image=f"backend-{n}", namespace="backend") for n in range(6)]
    missing += [patch_alert(f"ingress-{n}", image="ingress", namespace="ingress") for n in range(2)]
    overdue = [
        {
            **one,
            "labels": {**one["labels"], "alertname": "MojaloopImagePatchOverdue"},
            "annotations": {
                **one["annotations"],
                "summary": RULE_OF["MojaloopImagePatchOverdue"]["annotations"]["summary"],
            },
        }
        for one in missing[10:34]
    ]
    own = {"cluster": "north", "namespace": "mojaloop"}
    mixed = [alert("MojaloopImageVersionsMixed", image=f"docker.io/mojaloop/service-{n}", **own) for n in range(2)]
    weekly = [
        alert(
            "MojaloopImagePatchLineSuperseded",
            **{**own, "namespace": namespace},
            image=f"docker.io/mojaloop/service-{n}",
            tag="v1.0.0",
            latest_tag="v1.1.0",
        )
        for namespace in ("mojaloop", "backend")
        for n in range(10)
    ]
    weekly.append(alert("MojaloopImageStatusUnknown", cluster="north", namespace="backend", reason="floating_tag"))
    return missing, overdue, mixed, weekly


async def two_days(folder, begin, release=()):
    """The messages of the first day of a hub, and those of the second.

    Args:
        folder: for the files of an Alertmanager.
        begin: the alerts that fire from the beginning.
        release: those that fire, three at a time, during the first hour of the second day.
    """
    folder.mkdir()
    async with alertmanager(folder, change=faster) as (client, channel):
        began = time.monotonic()

        async def day(number):
            """Until shortly before what is sent on a day is repeated on the next."""
            await asyncio.sleep(max(0.0, began + (24 * number - 2) * HOUR - time.monotonic()))
            said, channel.messages[:] = list(channel.messages), []
            return said

        await post(client, begin)
        first = await day(1)
        # Within half of that hour: on a slow machine, posting takes the other half.
        for at in range(0, len(release), 3):
            await post(client, list(release[at : at + 3]))
            await asyncio.sleep(HOUR / 2 * 3 / len(release))
        return first, await day(2)


async def test_a_hub_gets_as_many_messages_as_the_documentation_says(tmp_path):
    missing, overdue, mixed, weekly = hub_of_a_hundred_containers()
    new = [patch_alert(f"moja-new-{number:02}", image=f"new-{number}") for number in range(15)]
    # Two hubs at a time: one begins on a Monday, the other has a release on its second day.
    (monday, quiet), (first, release) = await asyncio.gather(
        two_days(tmp_path / "monday", [*missing, *overdue, *mixed, *weekly]),
        two_days(tmp_path / "release", [*missing, *overdue, *mixed], new),
    )
    counts = {
        "first day": len(first),
        "quiet day": len(quiet),
        "monday": len(monday) - len(first),
        "release": len(release) - len(quiet),
    }
    print(counts, [message["title"] for message in first])
    assert counts["first day"] == 5
    assert counts["quiet day"] == 2
    assert counts["monday"] == 3
    assert counts["release"] in (1, 2)
    about_new = [message["text"] for message in release if "is available" in message["title"]]
    assert "moja-new-14" in "".join(commands_in(about_new[-1])) or "more, with their commands" in about_new[-1]
    documented = (FOLDER.parent / "docs" / "alerts.md").read_text()
    for row in (
        "| the first day | 5 |",
        "| a quiet day | 2 |",
        "| Monday, in addition | 3 |",
        "| a release of 15 services, in addition | 1 or 2 |",
    ):
        assert row in documented

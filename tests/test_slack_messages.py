"""What people read in Slack: the finding and its command first, whole commands only, what was resolved by name."""

import re
from urllib.parse import urlparse

import pytest
import yaml

from exporter.demo.alerts import RULES
from tests.support.alertmanager import alertmanager, commands_in, ended, post, until
from tests.support.patch_alerts import HELM, patch_alert

pytestmark = pytest.mark.anyio
# Slack cuts the text of an attachment at about LONGEST characters, and folds it after FOLDED.
LONGEST, FOLDED, FIRST_COMMAND = 8_000, 700, 250


def fifteen():
    return [patch_alert(f"moja-centralledger-handler-transfer-position-{n:02}") for n in range(15)]


def two_hundred_in_forty():
    """Two hundred findings in forty workloads, of which fifteen run one image."""
    return [
        patch_alert(
            f"moja-handler-transfer-position-{n:02}",
            image="central-ledger" if n < 15 else f"service-{n % 11}",
            containers=5,
        )
        for n in range(40)
    ]


async def sent(folder, alerts):
    """The one message about alerts, and the one that they are resolved."""
    async with alertmanager(folder, group_wait="500ms", group_interval="1s") as (client, channel):
        await post(client, alerts)

        async def first():
            return channel.messages

        await until(first, 30, (folder / "alertmanager.log").read_text)
        await post(client, ended(alerts))

        async def second():
            return channel.messages[1:]

        await until(second, 30, (folder / "alertmanager.log").read_text)
        message, resolved = channel.messages
        return message, resolved


def known(alerts):
    return {alert["annotations"][field] for alert in alerts for field in ("patch_command", "rollback_command")}


async def test_one_finding_is_a_line_its_command_and_what_else_there_is(tmp_path):
    alerts = [patch_alert("moja-centralledger-service")]
    message, resolved = await sent(tmp_path, alerts)
    annotations = alerts[0]["annotations"]
    assert (
        message["title"]
        == "[warning] central-ledger in north/mojaloop: A newer patch release of a running image is available (1)"
    )
    assert message["text"].splitlines() == [
        (
            "*moja-centralledger-service* v19.12.3, 5 patch releases behind v19.12.8, "
            "the first published at least 38 days ago."
        ),
        f"```{annotations['patch_command']}```",
        HELM,
        'If kubectl says "The request is invalid", the command is out of date and changed nothing.',
        "Mojaloop tests the services of a release together: "
        "<https://docs.mojaloop.io/adoption/HubOperations/TechOps/release-management.html"
        "|what to consider before you patch one of them>.",
        f"Roll moja-centralledger-service back to v19.12.3: ```{annotations['rollback_command']}```",
    ]
    assert message["text"].index(annotations["patch_command"]) + len(annotations["patch_command"]) < FOLDED, (
        "before the fold"
    )
    assert [(action["text"], action["url"]) for action in message["actions"]] == [
        ("Runbook", annotations["runbook_url"]),
        ("Dashboard", annotations["dashboard_url"]),
        ("What changed", annotations["changes_url"]),
    ]
    assert (
        resolved["title"]
        == "[resolved] central-ledger in north/mojaloop: A newer patch release of a running image is available (1)"
    )
    assert resolved["text"] == "Resolved: moja-centralledger-service:v19.12.3"
    show("one finding", message, resolved)


async def test_fifteen_workloads_of_one_image_are_one_message_with_every_command(tmp_path):
    alerts = fifteen()
    message, resolved = await sent(tmp_path, alerts)
    assert message["title"].endswith("(15)")
    assert len(message["text"]) <= LONGEST
    shown = commands_in(message["text"])
    assert shown[:15] == [alert["annotations"]["patch_command"] for alert in alerts]
    assert "more, with their commands" not in message["text"]
    assert message["text"].count(HELM) == 1, "what is everybody's advice is given once"
    assert message["text"].count("release-management.html") == 1
    rest = "" if len(shown) == 15 else f" of {30 - len(shown)} more"
    assert f"Rollback commands{rest}: <http://alertmanager.example/#/alerts|all alerts>" in message["text"]
    assert [action["url"] for action in message["actions"][:2]] == [
        alerts[0]["annotations"]["runbook_url"],
        "http://grafana/d/mojaloop-image-patch",
    ]
    for alert in alerts:
        assert f"{alert['labels']['workload']}:v19.12.3" in resolved["text"]
    show("fifteen", message, resolved)


async def test_of_two_hundred_findings_no_command_is_cut_and_the_rest_is_counted(tmp_path):
    alerts = two_hundred_in_forty()
    message, resolved = await sent(tmp_path, alerts)
    assert len(message["text"]) <= LONGEST
    assert len(message["title"]) <= 1_024
    shown = commands_in(message["text"])
    assert message["text"].count("```") == 2 * len(shown)
    assert set(shown) <= known(alerts), "a command is cut"
    left = int(
        re.search(
            r"And (\d+) more, with their commands: <http://alertmanager.example/#/alerts\|all alerts>", message["text"]
        )[1]
    )
    assert len(shown) + left == 40
    assert len(shown) >= 5
    assert message["actions"][2]["text"] == "All alerts"
    assert all(alert["labels"]["workload"] in resolved["text"] for alert in alerts)
    show("two hundred findings in forty workloads", message, resolved)


def show(what, *messages):
    for message in messages:
        at = message["text"].find("kubectl")
        print(
            f"\n=== {what}: {len(message['text'])} characters, first command at {at}"
            f"\n{message['title']}\n{message['text']}"
        )
        print(" ".join(f"[{action['text']}] {action['url']}" for action in message["actions"]))


LONG_NAMES = {"image": "i" * 200, "tag": "v1." + "0" * 120}


@pytest.mark.parametrize(
    "alerts",
    [
        [patch_alert("ledger")],
        fifteen(),
        two_hundred_in_forty(),
        [patch_alert("ledger", behind=1, days=1)],
        [patch_alert("ledger", advice="a" * 400)],
        [patch_alert("w" * 253, **LONG_NAMES)],
        [patch_alert("w" * 253, **LONG_NAMES), patch_alert("other", image="other")],
        [patch_alert("ledger", name="MojaloopImagePatchOverdue")],
    ],
    ids=["one", "fifteen", "forty", "one release", "long advice", "long names", "long names and others", "overdue"],
)
async def test_the_first_command_is_among_the_first_characters(tmp_path, alerts):
    message, _ = await sent(tmp_path, alerts)
    assert 0 < message["text"].index("kubectl") <= FIRST_COMMAND


async def test_where_there_is_no_command_the_advice_is_what_is_read(tmp_path):
    long = "The command has more than 2,000 bytes: get it with `check --output commands`."
    alerts = [
        patch_alert("a", command=False, advice=long),
        patch_alert("b", command=False, advice=long),
        patch_alert("c"),
    ]
    message, _ = await sent(tmp_path, alerts)
    lines = message["text"].splitlines()
    assert lines[:2] == [
        "*a* v19.12.3, 5 patch releases behind v19.12.8, the first published at least 38 days ago.",
        long,
    ]
    assert lines[2].startswith("*b* v19.12.3")
    assert message["text"].count(long) == 1, "once for workloads that follow one another"
    assert lines[3].startswith("*c*")
    assert lines[5] == HELM


WATCHED = {"workload_kind": "Image", "namespace": ""}


def watched_alert(name, *, image="central-ledger", tag="v19.12.3", **labels):
    """An alert about a watched image as the rules write it."""
    advice = f"Set the image to mojaloop/{image}:v19.12.8 where it runs, then in the watch list."
    alert = patch_alert(name, image=image, tag=tag, command=False, advice=advice, **WATCHED, **labels)
    return _without_namespace(
        alert,
        description=alert["annotations"]["description"].replace(
            f"Deployment mojaloop/{name} runs", f"{name} on the watch list is"
        ),
        dashboard_url=f"http://grafana/d/mojaloop-image-patch-workload?var-kind=Image&var-workload={name}",
    )


def _without_namespace(alert, **annotations):
    """An empty label counts as absent."""
    kept = {name: value for name, value in alert["labels"].items() if value}
    return {"labels": kept, "annotations": {**alert["annotations"], **annotations}}


@pytest.mark.parametrize(
    ("cluster", "names", "start"),
    [
        ("", ["central-ledger"], "[warning] central-ledger: A newer"),
        ("north", ["central-ledger"], "[warning] central-ledger in north: A newer"),
        ("", ["central-ledger", "ml-api-adapter"], "[warning] A newer"),
        ("north", ["central-ledger", "ml-api-adapter"], "[warning] north: A newer"),
    ],
)
async def test_watched_images_have_an_advice_and_no_stray_slash(tmp_path, cluster, names, start):
    alerts = [watched_alert(name, image=name, cluster=cluster) for name in names]
    message, resolved = await sent(tmp_path, alerts)
    show("watched images", message, resolved)
    assert message["title"] == f"{start} patch release of a watched image is available ({len(names)})"
    expected = []
    for name in names:
        tag = "v19.12.3" if len(names) == 1 else f"{name}:v19.12.3"
        expected += [
            f"*{name}* {tag}, 5 patch releases behind v19.12.8, the first published at least 38 days ago.",
            f"Set the image to mojaloop/{name}:v19.12.8 where it runs, then in the watch list.",
        ]
    assert message["text"].splitlines()[: len(expected)] == expected
    assert "kubectl" not in message["text"]
    assert resolved["text"] == f"Resolved: {', '.join(f'{name}:v19.12.3' for name in names)}"
    for one in (message, resolved):
        assert not re.search(r"(^|\s)/|/(\s|$)| in :|in  ", one["title"] + "\n" + one["text"])


OF_WATCHED = {
    "MojaloopImagePatchOverdue": (
        {"workload_kind": "Image", "workload": "ledger", "image": "docker.io/mojaloop/ledger", "tag": "v1.0.0"},
        "[warning] ledger: A patch release of a watched image has been available for longer than allowed (1)",
        "ledger:v1.0.0",
    ),
    "MojaloopImagePatchLineSuperseded": (
        {"image": "docker.io/mojaloop/ledger", "tag": "v1.0.0", "latest_tag": "v1.1.0"},
        "[warning] ledger: A newer minor release of a watched image exists (1)",
        "ledger:v1.0.0",
    ),
    "MojaloopImageStatusUnknown": (
        {"reason": "unauthorized"},
        "[warning] Watched images cannot be checked for patches (1)",
        "unauthorized",
    ),
    "MojaloopImagePatchExporterDown": (
        {"workload_kind": "Image"},
        "[warning] The image patch exporter is down (1)",
        "watched images",
    ),
}


async def test_every_alert_about_watched_images_says_so(tmp_path):
    summaries = {
        rule["alert"]: rule["annotations"]["summary"]
        for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
        if "alert" in rule
    }
    alerts = [
        {
            "labels": {"alertname": name, "severity": "warning", **labels},
            "annotations": {"summary": summaries[name], "description": f"All of {name}."},
        }
        for name, (labels, _, _) in OF_WATCHED.items()
    ]
    async with alertmanager(tmp_path, group_wait="500ms", group_interval="1s") as (client, channel):
        await post(client, alerts)

        async def all_of_them():
            return len(channel.messages) >= len(alerts)

        await until(all_of_them, 30, channel.titles)
        assert sorted(channel.titles()) == sorted(title for _, title, _ in OF_WATCHED.values())
        channel.messages.clear()
        await post(client, ended(alerts))
        await until(all_of_them, 30, channel.titles)
        said = {message["text"] for message in channel.messages}
        assert said == {f"Resolved: {subject}" for _, _, subject in OF_WATCHED.values()}


HEALTH = {
    "MojaloopImagePatchNotRolledOut": (
        {"namespace": "mojaloop", "workload_kind": "Deployment", "workload": "ledger"},
        "ledger",
    ),
    "MojaloopImagePatchLineSuperseded": (
        {"namespace": "mojaloop", "image": "docker.io/mojaloop/ledger", "tag": "v1.0.0", "latest_tag": "v1.1.0"},
        "ledger:v1.0.0",
    ),
    "MojaloopImageVersionsMixed": ({"namespace": "mojaloop", "image": "docker.io/mojaloop/ledger"}, "ledger"),
    "MojaloopImageStatusUnknown": ({"namespace": "mojaloop", "reason": "unauthorized"}, "unauthorized"),
    "MojaloopImagePatchExporterDown": ({"watched_namespace": "mojaloop"}, "namespace mojaloop"),
    "MojaloopImagePatchExporterNotSynced": ({"watched_namespace": "*"}, "north"),
    "MojaloopImagePatchExporterScrapesFail": (
        {"scrape_job": "patch", "scrape_instance": "10.0.0.1:9090"},
        "10.0.0.1:9090",
    ),
    "MojaloopImagePatchLabelsRenamed": ({"job": "patch"}, "patch"),
    "MojaloopImagePatchSamplesMissing": (
        {"scrape_job": "patch", "metric": "mojaloop_image_info"},
        "mojaloop_image_info",
    ),
    "MojaloopImagePatchNothingWatched": ({"watched_namespace": "mojaloop"}, "namespace mojaloop"),
    "MojaloopImagePatchConfigReloadFailed": ({"job": "patch"}, "patch"),
    "MojaloopImagePatchReplicasDisagree": ({}, "north"),
    "MojaloopImageLookupStale": ({"registry": "docker.io", "image": "docker.io/mojaloop/ledger"}, "ledger"),
    "MojaloopImagePatchRolledBack": (
        {
            "namespace": "mojaloop",
            "workload_kind": "Deployment",
            "workload": "ledger",
            "tag": "v1.0.2",
            "state": "RolledBack",
        },
        "ledger:v1.0.2",
    ),
    "MojaloopImagePatchApprovalStuck": (
        {"namespace": "mojaloop", "workload_kind": "Deployment", "workload": "ledger", "tag": "v1.0.2"},
        "ledger:v1.0.2",
    ),
    "MojaloopImagePatcherDown": ({"job": "patcher"}, "patcher"),
    "MojaloopRegistryFailing": ({"registry": "docker.io", "reason": "unreachable"}, "docker.io (unreachable)"),
}


async def test_a_resolved_message_names_what_was_resolved_for_every_alert(tmp_path):
    shipped = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"] if "alert" in rule}
    assert HEALTH.keys() | {"MojaloopImagePatchAvailable", "MojaloopImagePatchOverdue"} == shipped
    alerts = [
        {
            "labels": {"alertname": name, "severity": "warning", "cluster": "north", **labels},
            "annotations": {"summary": f"{name}.", "description": f"All of {name}."},
        }
        for name, (labels, _) in HEALTH.items()
    ]

    def change(config):
        config["inhibit_rules"] = []

    async with alertmanager(tmp_path, change=change, group_wait="500ms", group_interval="1s") as (client, channel):
        await post(client, alerts)

        async def all_of_them():
            return len(channel.messages) >= len(alerts)

        await until(all_of_them, 30, channel.titles)
        for message in channel.messages:
            assert all(urlparse(action["url"]).scheme == "http" for action in message["actions"]), (
                "every button has a URL"
            )
            assert message["text"].startswith("All of Mojaloop")
        channel.messages.clear()
        await post(client, ended(alerts))
        await until(all_of_them, 30, channel.titles)
        said = {
            re.search(r"(Mojaloop\w+) \(1\)$", message["title"])[1]: message["text"] for message in channel.messages
        }
        assert said == {name: f"Resolved: {subject}" for name, (_, subject) in HEALTH.items()}
        assert not any("*" in message["title"] + message["text"] for message in channel.messages)


async def test_a_command_that_approves_follows_the_patch_command_before_the_fold(tmp_path):
    alerts = [patch_alert("moja-centralledger-handler-transfer-position")]
    approve = (
        "mojaloop-image-patch-exporter approve mojaloop/Deployment/moja-centralledger-handler-transfer-position "
        "--tag v19.12.8"
    )
    alerts[0]["annotations"]["approve_command"] = approve
    message, _ = await sent(tmp_path, alerts)
    first, patch, second, *_ = message["text"].splitlines()
    assert patch == f"```{alerts[0]['annotations']['patch_command']}```"
    assert second == f"To patch in an upgrade window: ```{approve}```"
    assert len(f"{first}\n{patch}\n{second}") < FOLDED

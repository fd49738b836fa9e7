"""Alerts about images and workloads: silent just before their time, and firing after it with exactly these words."""

import pytest

from tests.support.promtool import (
    AVAILABLE,
    DAY,
    GRAFANA,
    IMAGE,
    OVERDUE,
    Case,
    Page,
    firing,
    passes,
    said,
    silent_and_then_firing,
)

HUB = {"cluster": "north", "namespace": "mojaloop"}
WORKLOAD = {**HUB, "workload_kind": "Deployment", "workload": "ledger"}
ONE_WORKLOAD = f"{GRAFANA}-workload?var-namespace=mojaloop&var-workload=ledger"
ONE_IMAGE = f"{GRAFANA}-images?var-namespace=mojaloop&var-image={IMAGE}"
COMMANDS = {
    "patch": (
        "kubectl -n mojaloop patch deployment/ledger --type=json"
        """ -p='[{"op":"test","path":"/spec/template/spec/containers/0/image"}]'"""
    ),
    "rollback": "kubectl -n mojaloop patch deployment/ledger back",
    "advice": "Helm release mojaloop/moja manages it: change the image's tag in the values as well.",
}


def about_a_patch(
    alert,
    description,
    *,
    image=IMAGE,
    changes="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
    commands=COMMANDS,
):
    summary = {
        AVAILABLE: "A newer patch release of a running image is available.",
        OVERDUE: "A patch release of a running image has been available for longer than allowed.",
    }[alert]
    return said(
        alert,
        {**WORKLOAD, "image": image, "tag": "v1.0.0"},
        summary,
        f"Deployment mojaloop/ledger runs {image}:v1.0.0, {description} {commands['advice']}",
        dashboard_url=ONE_WORKLOAD,
        changes_url=changes,
        patch_command=commands["patch"],
        rollback_command=commands["rollback"],
        approve_command="",
    )


def available():
    page = Page("north").synced("1x60").container("1x60", published=-2.5 * DAY * 60, **COMMANDS)
    return (
        page,
        14,
        16,
        about_a_patch(AVAILABLE, "2 patch releases behind v1.0.2, the first published at least 2 days ago."),
    )


def available_for_a_day():
    page = Page("north").synced("1x60").container("1x60", published=-DAY * 60, behind=1, **COMMANDS)
    return page, 14, 16, about_a_patch(AVAILABLE, "1 patch release behind v1.0.2, published at least 1 day ago.")


def available_since_today():
    page = Page("north").synced("1x60").container("1x60", first_seen=0, behind=11, **COMMANDS)
    return (
        page,
        14,
        16,
        about_a_patch(AVAILABLE, "11 patch releases behind v1.0.2, the first seen less than a day ago."),
    )


def available_without_a_command():
    """An image of nobody's that we know to compare, on the host of a port, whose command was too long."""
    image, commands = (
        "registry.example:5000/kafka",
        {"patch": "", "rollback": "", "advice": "Get the command with `check --output commands`."},
    )
    page = Page("north").synced("1x60").container("1x60", published=0, image=image, behind=1, **commands)
    return (
        page,
        14,
        16,
        about_a_patch(
            AVAILABLE,
            "1 patch release behind v1.0.2, seen less than a day ago.",
            image=image,
            changes="",
            commands=commands,
        ),
    )


def overdue():
    page = Page("north").synced("1x60").container("1x60", published=-14 * DAY * 60 + 1200, **COMMANDS)
    return (
        page,
        35,
        37,
        about_a_patch(OVERDUE, "2 patch releases behind v1.0.2, the first published at least 14 days ago."),
    )


def not_rolled_out():
    page = Page("north").add(
        "mojaloop_workload_rollout_incomplete", "1x60", **{k: v for k, v in WORKLOAD.items() if k != "cluster"}
    )
    return (
        page,
        29,
        31,
        said(
            "MojaloopImagePatchNotRolledOut",
            WORKLOAD,
            "A workload still runs pods of an old template.",
            "Deployment mojaloop/ledger has not rolled out its template for a long time. "
            "The rollout is paused or stuck, or the update strategy is OnDelete."
            " The other alerts judge the template, and the pods may run an older image.",
            dashboard_url=ONE_WORKLOAD,
        ),
    )


def superseded():
    """It names the newest as the exporter does: sorted as text, v1.10.0-snapshot.2 and v1.9.0 would be newer."""
    page = Page("north").upgrade("1x90", workload="a", latest="v1.10.0").upgrade("1x90", workload="b", latest="v1.10.0")
    own = {**HUB, "image": IMAGE, "tag": "v1.0.0", "latest_tag": "v1.10.0"}
    return (
        page,
        59,
        61,
        said(
            "MojaloopImagePatchLineSuperseded",
            own,
            "A newer minor release of a running image exists.",
            f"2 containers run {IMAGE}:v1.0.0 in mojaloop, and v1.10.0 is a newer minor release. "
            "Mojaloop rarely backports fixes to older lines.",
            dashboard_url=ONE_IMAGE,
            changes_url="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.10.0",
        ),
    )


def superseded_elsewhere():
    """Of other images we do not know whether fixes are backported."""
    image = "docker.io/library/mysql"
    page = Page("north").upgrade("1x90", image=image)
    return (
        page,
        59,
        61,
        said(
            "MojaloopImagePatchLineSuperseded",
            {**HUB, "image": image, "tag": "v1.0.0", "latest_tag": "v1.1.0"},
            "A newer minor release of a running image exists.",
            f"1 container runs {image}:v1.0.0 in mojaloop, and v1.1.0 is a newer minor release.",
            dashboard_url=ONE_IMAGE.replace(IMAGE, image),
            changes_url="",
        ),
    )


def mixed():
    page = (
        Page("north").container("0x90", workload="a", behind=0).container("0x90", workload="b", tag="v1.0.10", behind=0)
    )
    page.container("0x90", workload="c", tag="", behind=0).container(
        "0x90", workload="d", image="docker.io/library/redis", behind=0
    )
    return (
        page,
        59,
        61,
        said(
            "MojaloopImageVersionsMixed",
            {**HUB, "image": IMAGE},
            "A Mojaloop image runs at several tags in one namespace.",
            f"{IMAGE} runs at 2 tags in mojaloop: v1.0.0, v1.0.10. "
            "Mojaloop tests the services of one release together.",
            dashboard_url=ONE_IMAGE,
        ),
    )


def unknown():
    page = Page("north").unknown("1x90").unknown("1x90", workload="b").unknown("1x90", "pending", workload="c")
    return (
        page,
        59,
        61,
        said(
            "MojaloopImageStatusUnknown",
            {**HUB, "reason": "unreachable"},
            "Containers cannot be checked for patches.",
            "2 containers in mojaloop cannot be checked for patches: unreachable. They may miss a patch.",
            dashboard_url=f"{GRAFANA}?var-namespace=mojaloop",
        ),
    )


def unknown_once():
    page = Page("north").unknown("1x90", "floating_tag")
    return (
        page,
        59,
        61,
        said(
            "MojaloopImageStatusUnknown",
            {**HUB, "reason": "floating_tag"},
            "Containers cannot be checked for patches.",
            "1 container in mojaloop cannot be checked for patches: floating_tag. They may miss a patch.",
            dashboard_url=f"{GRAFANA}?var-namespace=mojaloop",
        ),
    )


# Watched images: where a container has a namespace, they have nothing.

WATCHED = {"kind": "Image", "namespace": "", "container": ""}


def a_watched_image():
    advice = "Set the image to mojaloop/central-ledger:v1.0.2 where it runs, then in the watch list."
    page = Page("north", more={"namespace": "monitoring"}).synced("1x60", "")
    page.watched("1x60", published=-2.5 * DAY * 60, advice=advice)
    return (
        page,
        14,
        16,
        said(
            AVAILABLE,
            {
                "cluster": "north",
                "workload_kind": "Image",
                "workload": "central-ledger",
                "image": IMAGE,
                "tag": "v1.0.0",
            },
            "A newer patch release of a running image is available.",
            f"central-ledger on the watch list is {IMAGE}:v1.0.0, 2 patch releases behind v1.0.2, "
            f"the first published at least 2 days ago. {advice}",
            dashboard_url=f"{GRAFANA}-workload?var-kind=Image&var-workload=central-ledger",
            changes_url="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2",
            patch_command="",
            rollback_command="",
            approve_command="",
        ),
    )


def a_superseded_watched_image():
    page = Page("north").upgrade("1x90", workload="central-ledger", **WATCHED)
    return (
        page,
        59,
        61,
        said(
            "MojaloopImagePatchLineSuperseded",
            {"cluster": "north", "image": IMAGE, "tag": "v1.0.0", "latest_tag": "v1.1.0"},
            "A newer minor release of a running image exists.",
            f"The watch list has {IMAGE}:v1.0.0, and v1.1.0 is a newer minor release. "
            "Mojaloop rarely backports fixes to older lines.",
            dashboard_url=f"{GRAFANA}-images?var-kind=Image&var-image={IMAGE}",
            changes_url="https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.1.0",
        ),
    )


def unknown_watched_images():
    """One exporter judges an image, and another one does not reach the registry for an image of the same name."""
    page = Page("north").unknown("1x90", workload="a", **WATCHED).unknown("1x90", workload="b", **WATCHED)
    page.watched("0x90", workload="a", tag="v1.0.1", behind=0)
    return (
        page,
        59,
        61,
        said(
            "MojaloopImageStatusUnknown",
            {"cluster": "north", "reason": "unreachable"},
            "Containers cannot be checked for patches.",
            "2 watched images cannot be checked for patches: unreachable. They may miss a patch.",
            dashboard_url=f"{GRAFANA}?var-kind=Image",
        ),
    )


CASES = (
    available,
    available_for_a_day,
    available_since_today,
    available_without_a_command,
    overdue,
    not_rolled_out,
    superseded,
    superseded_elsewhere,
    mixed,
    unknown,
    unknown_once,
    a_watched_image,
    a_superseded_watched_image,
    unknown_watched_images,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_silent_just_before_its_time_and_firing_after_it(tmp_path, case):
    silent_and_then_firing(tmp_path, *case())


def test_compliance_and_lag(tmp_path):
    old = -20 * DAY * 60
    page = Page("north").synced("1x60").container("1x60", published=old).container("1x60", workload="b", published=0)
    page.container("0x60", workload="c", behind=0).container("0x60", workload="d", namespace="x", behind=0)
    passes(
        tmp_path,
        Case(
            [page, Page(None, "b").synced("1x60")],
            [
                (30, 'sum(round(namespace:mojaloop_image_patch_compliance:ratio{namespace="mojaloop"} * 300))', 200),
                (30, 'sum(namespace:mojaloop_image_patch_compliance:ratio{namespace="x"})', 1),
                (30, "sum(cluster:mojaloop_image_patch_compliance:ratio)", 0.75),
                (30, "sum(cluster:mojaloop_image_patch_lag_seconds:max)", 30 * 60 - old),
                (30, "sum(namespace:mojaloop_image_containers:watched)", 4),
                (30, firing(OVERDUE), 1),
            ],
        ),
    )

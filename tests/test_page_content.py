"""The texts of the page: what a row, a notice and a total say."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from exporter.commands import LONGEST_LABEL_BYTES
from exporter.images import Repository
from exporter.page.content import ROWS, make_content
from exporter.page.query import Sort, View
from exporter.page.rows import make_table
from exporter.reasons import Reason
from exporter.words import explain
from exporter.workloads import ContainerType, Manager
from tests.support.page import DAY, HELM, LEDGER, NOW, found, hub, missing, snapshot

HOUR = 3600.0


def content(shown, view=None, *, now=NOW, stale_seconds=6 * HOUR):
    return make_content(shown, make_table(shown), view or View(), now=now, stale_seconds=stale_seconds)


def row(*findings, **more):
    (found_row,) = content(snapshot(*findings, **more)).rows
    return found_row


def test_a_missing_patch_has_everything_that_it_takes_to_decide():
    shown = row(
        missing("ledger", days=40, behind=3, latest="v1.0.3", minor="v1.3.0", major="v3.0.1"), managers={"ledger": HELM}
    )
    compare = "https://github.com/mojaloop/central-ledger/compare/v1.0.0"
    assert (shown.state, shown.words, shown.name, shown.place) == (
        "patch", "Patch available", "ledger", "mojaloop · Deployment",
    )  # fmt: skip
    assert (shown.registry, shown.image, shown.tag, shown.latest) == (
        "docker.io", "mojaloop/central-ledger", "v1.0.0", "v1.0.3",
    )  # fmt: skip
    assert (shown.behind, shown.age, shown.since) == ("3", "40 days", "2026-12-06T08:00:00Z")
    assert shown.lines == (("v1.3.0", "minor", f"{compare}...v1.3.0"), ("v3.0.1", "major", f"{compare}...v3.0.1"))
    assert (shown.manager, shown.source) == ("Helm", "mojaloop/moja")
    assert shown.changes == f"{compare}...v1.0.3"
    assert [command.name for command in shown.commands] == ["patch", "rollback"]
    assert "Helm release mojaloop/moja" in shown.advice[0]


def test_commands_are_those_of_the_snapshot():
    shown = hub()
    commands = {(cells.name, command.name): command.text for cells in content(shown).rows for command in cells.commands}
    expected = {}
    for patch in shown.patches:
        expected[patch.workload.name, "patch"] = patch.patch_command
        expected[patch.workload.name, "rollback"] = patch.rollback_command
    assert commands == {key: command for key, command in expected.items() if command}
    assert set(commands) == {(name, command) for name in ("ledger", "quoting") for command in ("patch", "rollback")}


def test_a_command_that_approves_is_one_more():
    shown = hub()
    patches = tuple(replace(patch, approve_command=f"approve {patch.workload}") for patch in shown.patches)
    for cells in content(replace(shown, patches=patches)).rows:
        approving = [command for command in cells.commands if command.name == "approve"]
        assert [command.text.partition(" ")[0] for command in approving] == ["approve"] * bool(cells.latest)
        assert [command.title for command in approving] == ["Copy approve command"] * bool(cells.latest)


@pytest.mark.parametrize("reason", Reason)
def test_an_unknown_container_says_why_and_what_to_do(reason):
    assert row(found("vault", reason=reason)).advice == tuple(explain(reason))


def test_an_unjudged_container_has_no_version_that_it_could_be_judged_by():
    shown = row(found("vault", reason=Reason.FLOATING_TAG, tag="latest"))
    assert (shown.latest, shown.behind, shown.age, shown.lines, shown.commands, shown.changes) == (
        "", "", "", (), (), "",
    )  # fmt: skip


def test_zero_patches_on_a_superseded_line_do_not_read_as_up_to_date():
    shown = row(found("ledger", minor="v1.3.0"))
    assert shown.words == "Line superseded"
    assert shown.advice == ("No patch is missing on this line. Fixes may only be in the newer one.",)
    assert [line.tag for line in shown.lines] == ["v1.3.0"]
    assert row(found("ledger")).advice == ()


@pytest.mark.parametrize(
    ("image", "link"),
    [
        (LEDGER, "https://github.com/mojaloop/central-ledger/compare/v1.0.0...v1.0.2"),
        ("docker.io/mojaloop/a/b", ""),
        ("ghcr.io/mojaloop/central-ledger", ""),
        ("docker.io/bitnami/mysql", ""),
    ],
)
def test_changes_are_linked_for_images_of_mojaloop_as_in_the_alerts(image, link):
    assert row(missing("ledger", image=image)).changes == link


def test_a_watched_image_reads_as_one():
    shown = row(missing("tool", namespace="", kind="Image", container=""))
    assert (shown.name, shown.place, shown.containers) == ("tool", "watched image", "")
    assert shown.commands == ()
    assert shown.advice, "what to do in place of a command"


@pytest.mark.parametrize(
    ("containers", "text"),
    [
        (["main"], "container main"),
        (["ledger"], ""),
        (["main", "init-1"], "containers main, init-1 (init)"),
        (["a", "b", "c", "d"], "containers a, b and 2 more"),
    ],
)
def test_containers_are_named_where_the_workload_does_not_say_it(containers, text):
    kinds = {True: ContainerType.INIT_CONTAINER, False: ContainerType.CONTAINER}
    findings = (
        found("ledger", container=name, container_type=kinds[name.startswith("init")], position=number)
        for number, name in enumerate(containers)
    )
    assert row(*findings).containers == text


def test_a_digest_is_shown_where_there_is_no_tag_and_a_bad_reference_as_written():
    digest = "sha256:" + "0123456789ab" * 5
    assert row(found("a", tag="", digest=digest, reason=Reason.DIGEST_ONLY)).tag == "sha256:0123456789ab…"
    shown = row(found("a", image="", tag="", reference="$(reboot)", reason=Reason.INVALID_REFERENCE))
    assert (shown.registry, shown.image) == ("", "$(reboot)")


def test_totals_have_the_titles_of_the_dashboard_and_lead_to_their_rows():
    totals = {total.title: (total.text, total.url) for total in content(hub()).totals}
    assert totals == {
        "Workloads that miss a patch": ("4", "?state=patch"),
        "Worst lag": ("90 days", ""),
        "Median lag": ("21 days", ""),
        "Superseded lines": ("1", ""),
        "Unknown containers": ("2", "?state=unknown"),
        "Watched containers": ("8", "./"),
    }
    totals = {total.title: total.text for total in content(snapshot(found("fine"))).totals}
    assert (totals["Workloads that miss a patch"], totals["Worst lag"]) == ("0", "none")


@pytest.mark.parametrize(
    ("more", "notice"),
    [
        ({"listed": False}, "The list is incomplete: not everything that is watched has been listed yet."),
        (
            {"synced": MappingProxyType({"*": False})},
            "The list is incomplete: some watched resources in the cluster cannot be listed or followed. "
            "See the exporter's log for details.",
        ),
        (
            {"synced": MappingProxyType({"a": True, "b": False, "c": False})},
            "The list is incomplete: some watched resources in b, c cannot be listed or followed. "
            "See the exporter's log for details.",
        ),
        (
            {
                "lookups": MappingProxyType(
                    {
                        Repository("docker.io", "mojaloop/ledger"): NOW - 3 * DAY,
                        Repository("docker.io", "library/redis"): NOW - 7 * HOUR,
                        Repository("docker.io", "mojaloop/new"): NOW - HOUR,
                    }
                )
            },
            "Newer patches may be missing: the last lookup of mojaloop/ledger, redis was up to 3 days ago.",
        ),
    ],
)
def test_a_list_that_is_incomplete_or_old_says_so(more, notice):
    assert content(snapshot(found("a"), **more)).notices == (notice,)


def test_a_list_that_is_complete_and_new_says_nothing():
    assert content(hub()).notices == ()


def test_pages_follow_each_other_and_show_each_row_once():
    shown = snapshot(*(found(f"w-{number:03}") for number in range(2 * ROWS + 30)))
    view, names, sizes = View(), [], []
    while True:
        page = content(shown, view)
        names += [cells.name for cells in page.rows]
        sizes.append(len(page.rows))
        assert page.first == view.start + 1
        assert bool(page.before) == (view.start > 0)
        if not page.after:
            break
        view = View(start=int(page.after.removeprefix("?from=")))
    assert sizes == [ROWS, ROWS, 30]
    assert names == [f"w-{number:03}" for number in range(2 * ROWS + 30)]
    beyond = content(shown, View(start=10**6))
    assert (beyond.first, len(beyond.rows)) == (201, 30), "rows that went away leave the last page"


def _workload_with(containers, name="many"):
    return [missing(name, container=f"c-{number}", position=number) for number in range(containers)]


def test_a_page_ends_early_where_commands_are_long():
    findings = [finding for number in range(30) for finding in _workload_with(40, f"many-{number:02}")]
    shown = snapshot(*findings)
    assert len(shown.patches[0].patch_command) > 3 * LONGEST_LABEL_BYTES
    view, pages, names = View(sort=Sort.WORKLOAD), 0, []
    while True:
        page = content(shown, view)
        assert sum(len(command.text) for cells in page.rows for command in cells.commands) < 130_000
        names += [cells.name for cells in page.rows]
        pages += 1
        if not page.after:
            break
        view = View(sort=Sort.WORKLOAD, start=int(page.after.partition("from=")[2]))
    assert pages > 1
    assert names == [f"many-{number:02}" for number in range(30)]


def test_a_command_that_is_too_long_for_a_page_says_how_to_print_it():
    shown = row(*_workload_with(200))
    assert shown.commands == ()
    assert shown.advice[0] == (
        "The command is too long to show here. Print it with "
        "`mojaloop-image-patch-exporter check --cluster --namespace mojaloop --output commands`."
    )


def test_the_entity_tag_changes_with_what_is_shown_and_with_nothing_else():
    tag = content(hub()).etag
    assert content(hub()).etag == tag
    assert content(hub(), now=NOW + 60).etag == tag
    assert content(hub(), now=NOW + 2 * DAY).etag != tag
    assert content(hub(), View(reverse=True)).etag != tag
    assert content(snapshot(*hub().findings[1:])).etag != tag


def test_sorted_columns_say_their_direction_and_turn_it():
    columns = {column.title: column for column in content(hub()).columns}
    assert [title for title, column in columns.items() if column.sorted] == ["State"]
    assert columns["State"] == ("State", "?order=reverse", "ascending")
    columns = {column.title: column for column in content(hub(), View(sort=Sort.BEHIND, text="a")).columns}
    assert columns["Behind"] == ("Behind", "?q=a&sort=behind&order=reverse", "descending")
    assert columns["Workload"] == ("Workload", "?q=a&sort=workload", "")


def test_namespaces_to_choose_from_are_those_that_there_are_and_the_chosen_one():
    def choices(**view):
        return [(choice.value, choice.text, choice.chosen) for choice in content(hub(), View(**view)).namespaces]

    assert choices() == [
        ("", "All namespaces", True),
        ("-", "Watched images", False),
        ("backing", "backing", False),
        ("mojaloop", "mojaloop", False),
    ]
    assert ("gone", "gone", True) in choices(namespace="gone")
    assert ("-", "Watched images", True) in choices(namespace="-")


@pytest.mark.parametrize(
    ("manager", "shown"),
    [
        (Manager("argocd", "app"), "Argo CD"),
        (Manager("flux", ""), "Flux"),
        (Manager("operator", "Kafka/hub"), "Operator"),
    ],
)
def test_owners_are_named_as_people_know_them(manager, shown):
    cells = row(found("a"), managers={"a": manager})
    assert (cells.manager, cells.source) == (shown, manager.source)

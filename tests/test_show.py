"""`show` prints the files of the repository, and says what there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter import show

ROOT = Path(__file__).parent.parent
DASHBOARDS = {
    "exporter": "mojaloop-image-patch-exporter.json",
    "fleet": "mojaloop-image-patch-fleet.json",
    "images": "mojaloop-image-patch-images.json",
    "overview": "mojaloop-image-patch.json",
    "workload": "mojaloop-image-patch-workload.json",
}
FILES = {
    ("rules",): "alerts/mojaloop-image-patch.rules.yml",
    ("outside-windows",): "alerts/outside-windows.rules.yml",
    ("alertmanager",): "alerts/alertmanager.yml",
    ("slack",): "alerts/slack.tmpl",
    **{("dashboard", name): f"grafana/{file}" for name, file in DASHBOARDS.items()},
}


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "show", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("rules",), ("dashboard", "fleet")])
def test_the_command_prints_a_file_as_it_is(arguments):
    assert command(*arguments) == (0, (ROOT / FILES[arguments]).read_text(), "")


def test_a_full_disk_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "exporter", "show", "rules"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    message = "mojaloop-image-patch-exporter: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.parametrize(("arguments", "path"), FILES.items())
def test_every_name_has_its_file(arguments, path):
    assert show.text(*arguments) == (ROOT / path).read_text()


def test_every_file_of_the_repository_is_shipped_and_none_is_a_copy():
    wanted = [*(ROOT / "alerts").iterdir(), *(ROOT / "grafana").glob("*.json")]
    assert {path.name: path.readlink() for path in show.FOLDER.iterdir()} == {
        path.name: Path("../..") / path.relative_to(ROOT) for path in wanted
    }


def test_every_dashboard_has_a_name_and_the_help_lists_them():
    assert {name: path.name for name, path in show.dashboards().items()} == DASHBOARDS
    status, helped, _ = command("--help")
    assert status == 0
    assert all(name in helped for (*_, name) in FILES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dashboard",), "show dashboard: expected one of exporter, fleet, images, overview, workload; found no name"),
        (("dashboard", "x"), "show dashboard: expected one of exporter, fleet, images, overview, workload; found 'x'"),
        (("slack", "x"), "show slack: expected no name, found 'x'"),
    ],
)
def test_a_wrong_name_is_refused_with_the_names_that_there_are(arguments, message):
    assert command(*arguments) == (2, "", f"mojaloop-image-patch-exporter: {message}\n")

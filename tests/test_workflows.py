"""The workflows of .github: actionlint accepts them, actions are pinned, and the scripts of a release do what they say.

`make lint` runs zizmor on them. Nothing here runs an action: that needs GitHub.
"""

import re
import shutil
import subprocess

import pytest
import yaml

import exporter
from tests.support.chart import CHART, ROOT
from tests.support.components import need

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
VERSION = exporter.__version__


def test_actionlint_has_nothing_to_say():
    (binary,) = need("actionlint")
    done = subprocess.run([binary, "-no-color", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_action_is_pinned_by_one_commit_with_its_release():
    found = set()
    for path in WORKFLOWS:
        for action in re.findall(r"^\s*(?:- )?uses: (?!\./)(.+)$", path.read_text(), re.MULTILINE):
            pinned = re.fullmatch(r"([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", action)
            assert pinned, f"{path.name}: {action}"
            found.add(pinned.groups())
    assert len(found) >= 10
    assert len({action for action, *_ in found}) == len(found), "one commit of each action"


def test_continuous_integration_runs_what_every_other_machine_runs():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert job["steps"][-1]["run"] == "bash .ci/run"


# The scripts of release.yml.


def script(job, start):
    (found,) = (step["run"] for step in RELEASE["jobs"][job]["steps"] if step.get("name", step.get("id")) == start)
    return found


def run(text, folder, **environment):
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    given = {"PATH": f"{folder}/bin:/usr/bin:/bin", **RELEASE["env"], **environment}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path):
    """What the checks of a release read, as it is just before the release is tagged."""
    (tmp_path / "exporter").mkdir()
    shutil.copy(ROOT / "exporter" / "__init__.py", tmp_path / "exporter")
    chart = tmp_path / CHART.relative_to(ROOT)
    chart.mkdir(parents=True)
    text = (CHART / "Chart.yaml").read_text()
    named, count = re.subn(r'(patch\.mojaloop\.io/released: ").*"', rf'\g<1>{VERSION}"', text)
    assert count == 1
    (chart / "Chart.yaml").write_text(named)
    sections = (
        "## [Unreleased]",
        f"## [{VERSION}] - 2026-12-01\n\n### Added\n\n- What is new.",
        "## [0.0.1] - 2026-01-01\n\n- The one before.",
    )
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n" + "\n\n".join(sections) + "\n")
    return tmp_path


def checked(tree, tag):
    return run(script("version", "check"), tree, TAG=tag, GITHUB_OUTPUT=str(tree / "output"))


def test_a_tag_of_the_codes_version_is_released(tree):
    done = checked(tree, f"v{VERSION}")
    assert done.returncode == 0, done.stdout
    assert (tree / "output").read_text() == f"version={VERSION}\n"


@pytest.mark.parametrize("tag", ["v99.0.0", f"v{VERSION}-rc.1", "vtest", VERSION.replace(".", "x")])
def test_another_tag_is_not(tree, tag):
    assert checked(tree, tag).returncode != 0
    assert not (tree / "output").exists()


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("exporter/__init__.py", r"__version__ = .*"),
        ("charts/mojaloop-image-patch-exporter/Chart.yaml", r"(?m)^version: .*"),
        ("charts/mojaloop-image-patch-exporter/Chart.yaml", r"(?m)^appVersion: .*"),
        ("charts/mojaloop-image-patch-exporter/Chart.yaml", r"(?m)^.*io/released: .*"),
        ("CHANGELOG.md", rf"(?m)^## \[{VERSION}\].*"),
    ],
)
def test_a_release_is_refused_where_one_place_has_not_its_version(tree, file, pattern):
    text, count = re.subn(pattern, "", (tree / file).read_text())
    assert count == 1
    (tree / file).write_text(text)
    assert checked(tree, f"v{VERSION}").returncode != 0


def test_the_notes_are_the_changelogs_entry_and_what_to_deploy_by(tree):
    (tree / "bin").mkdir()
    gh = tree / "bin" / "gh"
    gh.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    gh.chmod(0o755)
    digest = f"sha256:{'0a' * 32}"
    text = RELEASE["jobs"]["notes"]["steps"][-1]["run"]
    done = run(text, tree, TAG=f"v{VERSION}", VERSION=VERSION, DIGEST=digest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["release", "create", f"v{VERSION}"]
    notes = (tree / "notes.md").read_text()
    assert "### Added\n\n- What is new.\n" in notes
    assert "The one before." not in notes
    assert f"@{digest}`" in notes

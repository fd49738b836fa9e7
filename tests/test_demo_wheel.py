"""An installed wheel has everything that a checkout has: `show` and `demo` run from it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package out of a wheel that was built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("exporter", "alerts", "grafana"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    pip("wheel", *quiet, "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    pip("install", *quiet, "--target", str(folder / "site"), str(wheel))
    shutil.rmtree(source)
    return folder / "site"


@pytest.fixture
def run(installed, tmp_path):
    def run(*arguments):
        path = Path(sys.executable).parent
        done = subprocess.run(
            arguments, cwd=tmp_path, env={"PATH": str(path), "PYTHONPATH": str(installed)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_has_the_files_and_not_their_sources(installed, run):
    found = run(sys.executable, "-c", "import exporter; print(exporter.__file__)").strip()
    assert Path(found).is_relative_to(installed)
    shipped = {path.name: path.read_bytes() for path in (installed / "exporter" / "shipped").iterdir()}
    wanted = [*(ROOT / "alerts").iterdir(), *(ROOT / "grafana").glob("*.json")]
    assert shipped == {path.name: path.read_bytes() for path in wanted}
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"exporter", "bin"}


def test_reports_find_their_templates(run):
    check = (sys.executable, "-m", "exporter", "check", "--allow-empty", "--manifests", "-", "--output", "html")
    assert run(*check).startswith("<!doctype html>\n")


def test_it_has_the_files_of_the_page(installed):
    sources, files = (root / "exporter" / "page" / "files" for root in (ROOT, installed))
    found = {path.name: path.read_bytes() for path in files.iterdir()}
    assert found == {path.name: path.read_bytes() for path in sources.iterdir()}
    assert found.keys() == {"page.css", "page.html", "page.js"}


def test_show_and_the_demo_run_from_it(run):
    ours = (sys.executable, "-m", "exporter")
    assert run(*ours, "show", "rules") == (ROOT / "alerts" / "mojaloop-image-patch.rules.yml").read_text()
    assert run(*ours, "demo", "--listen", "127.0.0.1:0").endswith(
        "Everything that it started is stopped and removed.\n"
    )

"""docs/architecture.md names what there is: every module, every path, and the layers of the import contract."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text()
# The first column of the tables: a module, or a package with a slash at the end.
NAMED = re.findall(r"^\| `([^`]+)` \| \S.*\. \|$", TEXT, re.MULTILINE)
PATHS = sorted(set(re.findall(r"`((?:alerts|charts|docs|exporter|grafana|tests|tools)/[^`]*)`", TEXT)))


def modules():
    for folder in ("exporter", "grafana"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT)
            package = path.name == "__init__.py" and name.parent != Path("exporter")
            yield f"{name.parent}/" if package else str(name)


def test_every_module_has_a_sentence_and_no_other():
    assert sorted(NAMED) == sorted(modules())


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert (ROOT / path).exists()
    assert (ROOT / path).is_dir() == path.endswith("/")


def test_the_layers_are_those_of_the_import_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    (shown,) = re.findall(r"```text\n(.*?)\n```", TEXT, re.DOTALL)
    assert shown.splitlines() == layers


def test_only_the_named_modules_import_the_configuration():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (protected,) = [one for one in contracts if one.get("protected_modules") == ["exporter.config"]]
    (sentence,) = re.findall(r"Only (.*) import `config`", TEXT)
    named = [f"exporter.{name}" for name in re.findall(r"`([\w.]+)`", sentence)]
    assert [*named, "tests.**"] == protected["allowed_importers"]


def test_the_diagram_names_every_part_that_data_passes():
    (diagram,) = re.findall(r"```mermaid\n(.*?)\n```", TEXT, re.DOTALL)
    parts = ("cluster", "registry", "inventory", "catalogue", "polling", "evaluate", "checker", "collector", "report")
    assert [part for part in parts if not re.search(rf"\b{part}\b", diagram)] == []

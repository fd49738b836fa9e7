"""The generated tables say what the code does."""

from pathlib import Path

import pytest

from tools.readme import PARTS, SCHEMA, json_schema, with_tables


@pytest.mark.parametrize("file", PARTS, ids=lambda file: file.name)
def test_every_generated_table_is_that_of_the_code(file: Path):
    assert with_tables(file) == file.read_text(encoding="utf-8"), "run `make readme`"


def test_the_schema_is_that_of_the_code():
    assert SCHEMA.read_text(encoding="utf-8") == json_schema(), "run `make readme`"

"""The README's tables are made of the code."""

from tools.readme import README, with_tables


def test_the_tables_are_those_of_the_code():
    text = README.read_text()
    assert with_tables(text) == text, "run `make readme`"

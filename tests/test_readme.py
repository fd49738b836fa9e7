"""The README's tables are made of the code: `python -m tests.test_readme` writes them."""

import re
from pathlib import Path

from exporter.collector import FAMILIES

README = Path(__file__).parent.parent / "README.md"


def metrics():
    rows = [f"| `{family.name}` | `{family.labels.replace(', ', '`, `')}` | {family.help} |" for family in FAMILIES]
    return "\n".join(["| metric | labels | value |", "| --- | --- | --- |", *rows])


def written(text, name, table):
    opening, closing = re.search(rf"<!-- {name}: .*? -->", text)[0], f"<!-- /{name} -->"
    head, rest = text.split(opening)
    return f"{head}{opening}\n{table}\n{closing}{rest.split(closing)[1]}"


def test_the_table_of_metrics_is_that_of_the_code():
    text = README.read_text()
    assert written(text, "metrics", metrics()) == text, "run `python -m tests.test_readme`"


if __name__ == "__main__":
    README.write_text(written(README.read_text(), "metrics", metrics()))

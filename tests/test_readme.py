"""The README's tables are made of the code: `python -m tests.test_readme` writes them."""

import re
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from exporter.collector import FAMILIES
from exporter.config import KEYS, REGISTRY_KEYS
from exporter.telemetry import Telemetry

README = Path(__file__).parent.parent / "README.md"


def names(labels):
    return ", ".join(f"`{label}`" for label in labels)


def metrics():
    rows = [f"| `{family.name}` | {names(family.labels)} | {family.help} |" for family in FAMILIES]
    return "\n".join(["| metric | labels | value |", "| --- | --- | --- |", *rows])


def own():
    """The exporter's own metrics: what `Telemetry` holds."""
    rows = []
    for metric in vars(Telemetry()).values():
        if isinstance(metric, MetricWrapperBase):
            labels = names(metric._labelnames)
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            rows.append(f"| `{name}` | {labels} | {metric._documentation} |")
    return "\n".join(["| metric | labels | value |", "| --- | --- | --- |", *rows])


def configuration():
    rows = [f"| `{key.name}` | `{key.variable}` | {key.default} | {key.help} |" for key in KEYS]
    table = ["| key | environment variable | default | what |", "| --- | --- | --- | --- |", *rows]
    entries = [f"| `{key.name}` | {key.default} | {key.help} |" for key in REGISTRY_KEYS]
    return "\n".join(
        [
            *table,
            "",
            "An entry under `registries` is named as images name the registry (`ghcr.io`), or a part of one (`ghcr.io/hub/mirror`); the longest name that fits holds. It has these keys:",
            "",
            "| key | default | what |",
            "| --- | --- | --- |",
            *entries,
        ]
    )


def written(text, name, table):
    opening, closing = re.search(rf"<!-- {name}: .*? -->", text)[0], f"<!-- /{name} -->"
    head, rest = text.split(opening)
    return f"{head}{opening}\n{table}\n{closing}{rest.split(closing)[1]}"


def whole(text):
    for name, table in (("metrics", metrics()), ("own metrics", own()), ("configuration", configuration())):
        text = written(text, name, table)
    return text


def test_the_tables_are_those_of_the_code():
    text = README.read_text()
    assert whole(text) == text, "run `python -m tests.test_readme`"


if __name__ == "__main__":
    README.write_text(whole(README.read_text()))

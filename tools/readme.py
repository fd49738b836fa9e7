"""Generate documentation from code: `python -m tools.readme` writes tables and a JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from exporter.collector import FAMILIES
from exporter.config import FREEZE_KEYS, KEYS, REGISTRY_KEYS, WINDOW_KEYS, EntryKey
from exporter.limits import Limit
from exporter.report.json_output import schema
from exporter.telemetry import Telemetry

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = DOCS / "findings.schema.json"
_ENTRIES = (
    "The name of an entry under `registries` is a registry as in image references (`ghcr.io`), or a path prefix in it "
    "(`ghcr.io/hub/mirror`).\nThe entry with the longest matching name applies.\nIt has these keys:"
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def metrics() -> str:
    """Render the metrics of containers and workloads: `FAMILIES`."""
    rows = ((f"`{f.name}`", ", ".join(f"`{label}`" for label in f.labels), f.help) for f in FAMILIES)
    return table(("metric", "labels", "value"), rows)


def own() -> str:
    """Render the exporter's own metrics: `Telemetry`."""
    rows = []
    for metric in vars(Telemetry()).values():
        if isinstance(metric, MetricWrapperBase):
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - no public name
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")  # noqa: SLF001
            rows.append((f"`{name}`", labels, metric._documentation))  # noqa: SLF001
    return table(("metric", "labels", "value"), rows)


def configuration() -> str:
    """Render the keys of the configuration file, and of an entry under `registries`."""
    keys = (
        (f"`{key.name}`", f"`{key.variable}`", str(key.default), "yes" if key.live else "no", key.help) for key in KEYS
    )
    entries = ((f"`{key.name}`", str(key.default), key.help) for key in REGISTRY_KEYS)
    above = table(("key", "environment variable", "default", "live", "what"), keys)
    return "\n".join((above, "", _ENTRIES, "", table(("key", "default", "what"), entries)))


def entries(keys: Iterable[EntryKey]) -> str:
    """Render the keys of a list entry."""
    return table(("key", "default", "what"), ((f"`{key.name}`", key.default, key.help) for key in keys))


def limits() -> str:
    """Render every limit on untrusted input: `Limit`."""
    rows = ((f"`{limit.label}`", f"{limit.most:,} {limit.unit}", limit.refused) for limit in Limit)
    return table(("`limit`", "default", "what exceeds it"), rows)


# The generated parts of each file: their renderers, by the name in its comments.
PARTS: dict[Path, dict[str, Callable[[], str]]] = {
    DOCS / "metrics.md": {"metrics": metrics, "own metrics": own},
    DOCS / "configuration.md": {"configuration": configuration},
    DOCS / "security.md": {"limits": limits},
    DOCS / "windows.md": {"windows": partial(entries, WINDOW_KEYS), "freezes": partial(entries, FREEZE_KEYS)},
}


def with_tables(file: Path) -> str:
    """Return a file with updated tables."""
    text = file.read_text(encoding="utf-8")
    for name, render in PARTS[file].items():
        marked = rf"(<!-- {name}: .*? -->).*?(<!-- /{name} -->)"
        # A function, because `re` would interpret backslashes of the table in a replacement string.
        content = render().replace("\\", r"\\")
        text, count = re.subn(marked, rf"\1\n{content}\n\2", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(
                f"{file.name} needs the comments <!-- {name}: ... --> and <!-- /{name} --> once, not {count} times"
            )
    return text


def json_schema() -> str:
    """Return the JSON Schema of `check --output json` and `/api/v1/findings`."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(json_schema(), encoding="utf-8")
    for path in PARTS:
        path.write_text(with_tables(path), encoding="utf-8")

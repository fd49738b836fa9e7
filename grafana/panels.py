"""Builders of panels: stats, time series, tables, state timelines, alert lists and texts.

They use Grafana's SDK, so the JSON matches its schema. Colours and thresholds are defined here once. Every builder
requires a title and a description. Panels with values also have a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from grafana.promql import WATCHED, one_line

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# The colours of Okabe and Ito, which are safe for all types of colour vision. Each has one meaning on all panels.
GOOD, MISSED, OVERDUE, NEUTRAL = "#009E73", "#E69F00", "#D55E00", "#56B4E9"

# A colour applies from its value on; None is the lowest.
Steps = Sequence[tuple[float | None, str]]
NONE_IS_GOOD: Steps = ((None, GOOD), (1, MISSED))
RATIO_STEPS: Steps = ((None, OVERDUE), (0.9, MISSED), (1, GOOD))

Panel = Any  # the SDK's panel builders have no common base


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Return colours by value."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def query(
    expr: str, legend: str = "__auto", *, instant: bool = False, as_table: bool = False, ref: str = "A"
) -> prometheus.Dataquery:
    """Return a query of a panel."""
    built = prometheus.Dataquery().expr(one_line(expr)).legend_format(legend).ref_id(ref).datasource(DATASOURCE)
    if instant:
        built = built.instant()
    if as_table:
        built = built.format(prometheus_models.PromQueryFormat.TABLE)
    return built


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    steps: Steps = NONE_IS_GOOD,
    width: int = 4,
    no_value: str = "0",
    decimals: int = 0,
) -> Panel:
    """Return a stat panel."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .no_value(no_value)
        .thresholds(thresholds(steps))
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query(expr, instant=True))
        .span(width)
        .height(4)
    )


def lines(
    title: str,
    description: str,
    *targets: tuple[str, str],
    unit: str = "short",
    width: int = 12,
    height: int = 8,
    stacked: bool = False,
) -> Panel:
    """Return a time series panel.

    Args:
        title: of the panel.
        description: of the panel.
        targets: queries, each with its legend.
        unit: in Grafana's notation.
        width: of the grid's 24 columns.
        height: in rows of the grid.
        stacked: whether series are drawn on top of one another.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(20 if stacked else 5)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .span(width)
        .height(height)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    for ref, (expr, legend) in zip("ABCDEF", targets, strict=False):
        panel = panel.with_target(query(expr, legend, ref=ref))
    return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A table column with more than text.

    Attributes:
        title: above it.
        unit: in Grafana's notation.
        link: URL to open.
        steps: colours of its text by value.
        words: words and their colours, by the value that they replace.
        empty: replacement for an empty text.
        hidden: whether only links use it.
        number: whether to convert a label's text to a number.
        inspect: whether to offer viewing and copying of texts longer than the cell.
        width: in pixels.
    """

    title: str
    unit: str | None = None
    link: str | None = None
    steps: Steps | None = None
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    empty: str = ""
    hidden: bool = False
    number: bool = False
    inspect: bool = False
    width: int | None = None

    def overrides(self) -> list[models.DynamicConfigValue]:
        """Return Grafana's overrides for the column."""
        values: dict[str, Any] = {}
        if self.unit is not None:
            values["unit"] = self.unit
        if self.link is not None:
            values["links"] = [{"title": "show", "url": self.link}]
        if self.steps is not None:
            steps = [{"value": value, "color": color} for value, color in self.steps]
            values["thresholds"] = {"mode": "absolute", "steps": steps}
        if mappings := self._mappings():
            values["mappings"] = mappings
        if self.hidden:
            values["custom.hidden"] = True
        if self.steps is not None or self.words:
            values["custom.cellOptions"] = {"type": "color-text"}
        if self.inspect:
            values["custom.inspect"] = True
        if self.width is not None:
            values["custom.width"] = self.width
        return [models.DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]

    def _mappings(self) -> list[dict[str, Any]]:
        options = {
            str(value): {"text": word, "color": color, "index": place}
            for place, (value, (word, color)) in enumerate(self.words.items())
        }
        mappings: list[dict[str, Any]] = [{"type": "value", "options": options}] if options else []
        if self.empty:
            result = {"text": self.empty, "index": 0}
            mappings += [
                {"type": "special", "options": {"match": match, "result": result}} for match in ("empty", "null")
            ]
        return mappings


NAMESPACE_COLUMN = Column(title="Namespace", empty=WATCHED)


def rows(
    title: str,
    description: str,
    targets: Mapping[str, str],
    *,
    columns: Mapping[str, str | Column],
    sort_by: str | None = None,
    height: int = 12,
    width: int = 24,
    no_value: str = "",
) -> Panel:
    """Return a table of one or several instant queries, which Grafana joins on their common labels.

    Args:
        title: of the panel.
        description: of the panel.
        targets: queries, by a name for their value.
        columns: by label or by the name of a value, in order; other values are hidden.
        sort_by: a column's title, in descending order.
        height: in rows of the grid.
        width: of the grid's 24 columns.
        no_value: text for an empty table, and for empty cells.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .span(width)
        .height(height)
        .no_value(no_value)
    )
    fields: dict[str, str] = {}
    for ref, (value, expr) in zip("ABCDEFGH", targets.items(), strict=False):
        panel = panel.with_target(query(expr, instant=True, as_table=True, ref=ref))
        fields["Value" if len(targets) == 1 else f"Value #{ref}"] = value
    full = {name: column if isinstance(column, Column) else Column(title=column) for name, column in columns.items()}
    for transformation in _transformations(fields, full):
        panel = panel.with_transformation(transformation)
    for column in full.values():
        if overrides := column.overrides():
            panel = panel.override_by_name(column.title, overrides)
    if sort_by is not None:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(True)])
    return panel


def _transformations(fields: Mapping[str, str], columns: Mapping[str, Column]) -> list[models.DataTransformerConfig]:
    """Return the transformations: join, convert to numbers, order, rename and hide. `fields` maps Grafana's value names
    to ours.
    """
    steps: dict[str, dict[str, Any]] = {}
    if len(fields) > 1:
        steps["merge"] = {}
    if numbers := [name for name, column in columns.items() if column.number]:
        conversions = [{"targetField": name, "destinationType": "number"} for name in numbers]
        steps["convertFieldType"] = {"fields": {}, "conversions": conversions}
    values = set(fields.values())
    shown = {field: columns[value].title for field, value in fields.items() if value in columns}
    shown |= {label: column.title for label, column in columns.items() if label not in values}
    steps["organize"] = {
        "excludeByName": {"Time": True, **{field: True for field, value in fields.items() if value not in columns}},
        "indexByName": {source: list(columns).index(fields.get(source, source)) for source in shown},
        "renameByName": shown,
    }
    return [models.DataTransformerConfig(id_val=name, options=options) for name, options in steps.items()]


def states(title: str, description: str, expr: str, legend: str) -> Panel:
    """Return a state timeline, with a row for each series."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .span(24)
        .height(8)
        .thresholds(thresholds([(None, NEUTRAL)]))
        .with_target(query(expr, legend))
    )


def alert_list(title: str, description: str, options: Mapping[str, Any], *, width: int, height: int) -> Panel:
    """Return Grafana's alert list, for which the SDK has no builder."""
    return (
        dashboard.Panel()
        .type("alertlist")
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .span(width)
        .height(height)
        .options(dict(options))
    )


def note(title: str, description: str, content: str) -> Panel:
    """Return a text panel in Markdown."""
    return text.Panel().title(title).description(description).span(24).height(4).content(" ".join(content.split()))

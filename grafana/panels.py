"""Builders of panels: a number, lines over time, a table, states over time, a list of alerts, a text.

They are built with Grafana's SDK, so that the JSON fits its schema. Colours and thresholds are defined here once.
Every builder requires a title and a description; a panel that shows values also has a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from grafana.promql import one_line

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# The colours of Okabe and Ito, which people with any colour vision can tell apart. Each means the same on every panel.
GOOD, MISSED, OVERDUE, NEUTRAL = "#009E73", "#E69F00", "#D55E00", "#56B4E9"
# The rules' overdue_seconds: a test compares them.
OVERDUE_SECONDS = 1209600

# A colour applies from its value on; None is the lowest.
Steps = Sequence[tuple[float | None, str]]
NONE_IS_GOOD: Steps = ((None, GOOD), (1, MISSED))
LAG_STEPS: Steps = ((None, GOOD), (1, MISSED), (OVERDUE_SECONDS, OVERDUE))
RATIO_STEPS: Steps = ((None, OVERDUE), (0.9, MISSED), (1, GOOD))

Panel = Any  # the SDK's builders of panels have no common base


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Colours by value."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def query(
    expr: str, legend: str = "__auto", *, instant: bool = False, as_table: bool = False, ref: str = "A"
) -> prometheus.Dataquery:
    """A query of a panel."""
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
    """One number."""
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
    """Values over time.

    Args:
        title: of the panel.
        description: of the panel.
        targets: queries, each with its legend.
        unit: as Grafana names it.
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


def rows(
    title: str,
    description: str,
    targets: Mapping[str, str],
    *,
    names: Mapping[str, str],
    units: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    colors: Mapping[str, Steps] | None = None,
    sort_by: str | None = None,
    height: int = 12,
    width: int = 24,
) -> Panel:
    """A table of one or several instant queries, joined on the labels that all of them have.

    Args:
        title: of the panel.
        description: of the panel.
        targets: queries, by a name for their value.
        names: of columns, by label or by the name of a value, in their order; a value without a name here is hidden.
        units: by a column's name.
        links: by a column's name, where a click leads.
        colors: by a column's name, the steps that colour its text.
        sort_by: a column's name, the greatest first.
        height: in rows of the grid.
        width: of the grid's 24 columns.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .span(width)
        .height(height)
        .no_value("")
    )
    columns: dict[str, str] = {}
    for ref, (value, expr) in zip("ABCDEFGH", targets.items(), strict=False):
        panel = panel.with_target(query(expr, instant=True, as_table=True, ref=ref))
        columns["Value" if len(targets) == 1 else f"Value #{ref}"] = value
    if len(targets) > 1:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(_organized(columns, names))
    for column, unit in (units or {}).items():
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="unit", value=unit)])
    for column, url in (links or {}).items():
        panel = panel.override_by_name(
            column, [models.DynamicConfigValue(id_val="links", value=[{"title": "show", "url": url}])]
        )
    for column, steps in (colors or {}).items():
        marks = {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}
        cell = {"type": "color-text"}
        panel = panel.override_by_name(
            column,
            [
                models.DynamicConfigValue(id_val="custom.cellOptions", value=cell),
                models.DynamicConfigValue(id_val="thresholds", value=marks),
            ],
        )
    if sort_by is not None:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(True)])
    return panel


def _organized(columns: Mapping[str, str], names: Mapping[str, str]) -> models.DataTransformerConfig:
    """Order, names and visibility of a table's columns; `columns` maps Grafana's name of a value to ours."""
    values = set(columns.values())
    shown = {column: names[value] for column, value in columns.items() if value in names}
    shown |= {label: name for label, name in names.items() if label not in values}
    hidden = {"Time": True, **{column: True for column, value in columns.items() if value not in names}}
    order = {source: list(names).index(columns.get(source, source)) for source in shown}
    return models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": hidden, "indexByName": order, "renameByName": shown}
    )


def states(title: str, description: str, expr: str, legend: str) -> Panel:
    """States over time, a row for each series."""
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
    """Grafana's list of alerts, which the SDK has no builder for."""
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
    """A text in Markdown."""
    return text.Panel().title(title).description(description).span(24).height(4).content(" ".join(content.split()))

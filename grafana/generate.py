"""Writes the dashboards: `make dashboards`, or `python -m grafana.generate`.

Built with Grafana's own SDK, so that what is written fits its schema. What every dashboard has in common (datasource, variables, links,
colours, thresholds) stands here once; each dashboard is a function further down.

Every query counts containers or workloads after taking replicas together (`max by` or `count by` the contract's labels), so that a second
exporter changes no number. The selectors work without a `cluster` label: All is `.*`, which an absent label matches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

HERE = Path(__file__).parent
OVERVIEW, WORKLOAD, IMAGES, EXPORTER, FLEET = (
    "mojaloop-image-patch",
    "mojaloop-image-patch-workload",
    "mojaloop-image-patch-images",
    "mojaloop-image-patch-exporter",
    "mojaloop-image-patch-fleet",
)
TAG = "mojaloop-image-patch"
DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Okabe and Ito's colours, which people with any colour vision tell apart; each means one thing on every panel.
GOOD, MISSED, OVERDUE, NEUTRAL = "#009E73", "#E69F00", "#D55E00", "#56B4E9"
# The rules' overdue_seconds: a test compares them.
OVERDUE_SECONDS = 1209600

W = "namespace, workload_kind, workload, container, container_type"
EACH = f"cluster, {W}, image, tag"
AT = 'cluster=~"$cluster",namespace=~"$namespace"'
MISSING = f'mojaloop:image_patch_missing{{{AT},workload!=""}}'
LAG = f"(time() - mojaloop:image_patch_since_timestamp_seconds{{{AT}}} and on ({EACH}) mojaloop:image_patch_missing)"
WORKLOADS = "count by (cluster, namespace, workload_kind, workload)"

Panel = Any  # the SDK's panels have no base of their own


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Colours from a value on; None is from the lowest."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


NONE_IS_GOOD = ((None, GOOD), (1, MISSED))
LAG_STEPS = ((None, GOOD), (1, MISSED), (OVERDUE_SECONDS, OVERDUE))
RATIO_STEPS = ((None, OVERDUE), (0.9, MISSED), (1, GOOD))


def query(
    expr: str, legend: str = "__auto", *, instant: bool = False, as_table: bool = False, ref: str = "A"
) -> prometheus.Dataquery:
    """A query of a panel."""
    built = prometheus.Dataquery().expr(" ".join(expr.split())).legend_format(legend).ref_id(ref).datasource(DATASOURCE)
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
    steps: Any = NONE_IS_GOOD,
    width: int = 4,
    no_value: str = "0",
    decimals: int = 0,
) -> Panel:
    """One number, the answer first."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .no_value(no_value)
        .thresholds(thresholds(*steps))
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
    """Something over time."""
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
    targets: dict[str, str],
    *,
    names: dict[str, str],
    units: dict[str, str] | None = None,
    links: dict[str, str] | None = None,
    colors: dict[str, Any] | None = None,
    sort_by: str | None = None,
    height: int = 12,
    width: int = 24,
) -> Panel:
    """A table of several instant queries, joined on the labels that they share.

    Args:
        title, description: of the panel.
        targets: by what the value is called.
        names: of columns, by label or by what a value is called; what is not named is hidden.
        units: by a column's name.
        links: by a column's name, where a click leads.
        colors: by a column's name, the steps that colour its text.
        sort_by: a column's name, the greatest first.
        height, width: on the grid.
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
    shown = {
        **{column: names[value] for column, value in columns.items() if value in names},
        **{n: t for n, t in names.items() if n not in targets},
    }
    hidden = {"Time": True, **{column: True for column, value in columns.items() if value not in names}}
    order = {source: list(names).index(columns.get(source, source)) for source in shown}
    panel = panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": hidden, "indexByName": order, "renameByName": shown}
        )
    )
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


def base(
    uid: str, title: str, description: str, *variables: Any, refresh: str = "1m", time_from: str = "now-24h"
) -> dashboard.Dashboard:
    """What every dashboard has."""
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .refresh(refresh)
        .time(time_from, "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Image patches")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .link(dashboard.DashboardLink("Runbook").type(models.DashboardLinkType.LINK).url(RUNBOOK).target_blank(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in variables:
        board = board.with_variable(variable)
    return board


def choice(name: str, label: str, expr: str) -> dashboard.QueryVariable:
    """A variable of a label's values, several or All."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(expr)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


CLUSTER = choice("cluster", "Cluster", "label_values(mojaloop_image_info, cluster)")
NAMESPACE = choice("namespace", "Namespace", 'label_values(mojaloop_image_info{cluster=~"$cluster"}, namespace)')
WORKLOAD_NAME = choice("workload", "Workload", f"label_values(mojaloop_image_info{{{AT}}}, workload)")
IMAGE = choice("image", "Image", f"label_values(mojaloop_image_info{{{AT}}}, image)")
JOB = choice("job", "Job", "label_values(mojaloop_exporter_build_info, job)")

TO_WORKLOAD = f"/d/{WORKLOAD}?var-cluster=${{__data.fields.Cluster}}&var-namespace=${{__data.fields.Namespace}}&var-workload=${{__data.fields.Workload}}&${{datasource:queryparam}}"
TO_IMAGE = f"/d/{IMAGES}?var-image=${{__data.fields.Image}}&${{datasource:queryparam}}"
RUNBOOK = "https://github.com/mojaloop/mojaloop-image-patch-exporter/blob/main/alerts/runbook.md"
CAME_OUT = (
    f"count by (namespace, workload) ({MISSING})"
    f" unless on (namespace, workload) count by (namespace, workload) ({MISSING} offset 5m)"
)
PATCHED = (
    f"count by (namespace, workload) ({MISSING} offset 5m)"
    f" unless on (namespace, workload) count by (namespace, workload) ({MISSING})"
)


def events(name: str, expr: str, color: str) -> dashboard.AnnotationQuery:
    """Marks on every panel over time."""
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .expr(" ".join(expr.split()))
    )


def overview() -> dashboard.Dashboard:
    """How far the hub is behind, in one look."""
    upgrade = (
        f'max by (cluster, {W}, image, tag, latest_tag) (mojaloop_image_upgrade_available{{{AT},strategy="%s"}} == 1)'
    )
    return (
        base(
            OVERVIEW,
            "Mojaloop image patches",
            "Which workloads of the hub miss a patch release of their image, for how long, and what no patch will help.",
            CLUSTER,
            NAMESPACE,
            IMAGE,
        )
        .annotation(events("A patch came out", CAME_OUT, MISSED))
        .annotation(events("Patched or gone", PATCHED, GOOD))
        .with_panel(number("Workloads that miss a patch", "Workloads with a container whose image has a newer patch release.", f"count({WORKLOADS} ({MISSING})) or vector(0)"))
        .with_panel(number("Worst lag", "How long the longest missed patch has been published, or known where that is not known.", f"max(namespace:mojaloop_image_patch_lag_seconds:max{{{AT}}}) or vector(0)", unit="s", steps=LAG_STEPS))
        .with_panel(number("Median lag", "Half of the containers that miss a patch have missed it for longer.", f"quantile(0.5, {LAG}) or vector(0)", unit="s", steps=LAG_STEPS))
        .with_panel(
            number(
                "Within 14 days",
                "The share of judged containers that miss no patch for longer than 14 days. What is unknown is not counted.",
                f"1 - sum(namespace:mojaloop_image_containers:overdue{{{AT}}}) / sum(namespace:mojaloop_image_containers:judged{{{AT}}})",
                unit="percentunit", steps=RATIO_STEPS, no_value="nothing judged", decimals=1,
            )
        )
        .with_panel(number("Superseded lines", "Images of which a newer minor release exists. A line that is superseded gets no patches: none missing there is not safe.", f'count(count by (cluster, namespace, image) (mojaloop_image_upgrade_available{{{AT},strategy="minor"}} == 1)) or vector(0)'))
        .with_panel(number("Unknown containers", "Containers that cannot be judged. Unknown is not up to date.", f"count(max by (cluster, {W}) (mojaloop_image_status_unknown{{{AT}}})) or vector(0)"))
        .with_panel(
            rows(
                "What to patch",
                "Every container that misses a patch, the longest missed first. A workload's name leads to its commands.",
                {
                    "behind": f'max by (cluster, {W}, image, tag, latest_tag) (mojaloop:image_patch_releases_behind{{{AT},image=~"$image"}})',
                    "lag": f'max by (cluster, {W}, image, tag) (time() - mojaloop:image_patch_since_timestamp_seconds{{{AT},image=~"$image"}} and on ({EACH}) mojaloop:image_patch_releases_behind)',
                    "managed": f'max by (cluster, {W}, image, tag, manager) (mojaloop:image_patch_releases_behind{{{AT},image=~"$image"}})',
                    "minor_": f'max by (cluster, {W}, image, tag, minor) (label_replace({upgrade % "minor"}, "minor", "$1", "latest_tag", "(.+)")) and on ({EACH}) mojaloop:image_patch_releases_behind',
                    "major_": f'max by (cluster, {W}, image, tag, major) (label_replace({upgrade % "major"}, "major", "$1", "latest_tag", "(.+)")) and on ({EACH}) mojaloop:image_patch_releases_behind',
                },
                names={
                    "cluster": "Cluster", "namespace": "Namespace", "workload_kind": "Kind", "workload": "Workload", "container": "Container", "image": "Image", "tag": "Running",
                    "latest_tag": "Newest patch", "behind": "Behind", "lag": "Lag", "manager": "Managed by", "minor": "Next minor", "major": "Next major",
                },
                units={"Lag": "s"}, colors={"Lag": LAG_STEPS}, links={"Workload": TO_WORKLOAD, "Image": TO_IMAGE}, sort_by="Lag",
            )
        )
        .with_panel(lines("Workloads that miss a patch", "By namespace, over time.", (f"count by (namespace) ({WORKLOADS} ({MISSING})) or vector(0)", "{{namespace}}"), stacked=True))
        .with_panel(lines("Worst lag", "By namespace, over time.", (f"max by (namespace) (namespace:mojaloop_image_patch_lag_seconds:max{{{AT}}}) or vector(0)", "{{namespace}}"), unit="s"))
        .with_panel(
            rows(
                "Superseded lines",
                "Images of which a newer minor release exists, and how many containers run on the old line.",
                {"containers": f'count by (cluster, namespace, image, latest_tag) (max by (cluster, {W}, image, latest_tag) (mojaloop_image_upgrade_available{{{AT},strategy="minor",image=~"$image"}} == 1))'},
                names={"cluster": "Cluster", "namespace": "Namespace", "image": "Image", "latest_tag": "Newest minor", "containers": "Containers"},
                links={"Image": TO_IMAGE}, sort_by="Containers", height=8, width=12,
            )
        )
        .with_panel(
            rows(
                "Unknown, and why",
                "Containers that cannot be judged, by reason.",
                {"containers": f"count by (cluster, namespace, reason) (max by (cluster, {W}, reason) (mojaloop_image_status_unknown{{{AT}}}))"},
                names={"cluster": "Cluster", "namespace": "Namespace", "reason": "Reason", "containers": "Containers"},
                sort_by="Containers", height=8, width=12,
            )
        )
    )  # fmt: skip


def workload() -> dashboard.Dashboard:
    """One workload: what runs, since when, and what to paste."""
    at = f'{AT},workload=~"$workload"'
    each = f"cluster, {W}, image, tag"
    return (
        base(WORKLOAD, "Mojaloop image patches: workload", "One workload: its containers, their tags over time, and the alerts with the commands to paste.", CLUSTER, NAMESPACE, WORKLOAD_NAME, time_from="now-7d")
        .annotation(events("A patch came out", CAME_OUT, MISSED))
        .annotation(events("Patched or gone", PATCHED, GOOD))
        .with_panel(
            rows(
                "Containers",
                "Every container with its reference as written. Behind is empty where it cannot be judged.",
                {
                    "info": f"max by ({each}, reference) (mojaloop_image_info{{{at}}})",
                    "behind": f"max by ({each}) (mojaloop_image_patch_releases_behind{{{at}}})",
                    "lag": f"max by ({each}) (time() - mojaloop:image_patch_since_timestamp_seconds{{{at}}} and on ({EACH}) mojaloop:image_patch_missing)",
                    "newest": f"max by ({each}, latest_tag) (mojaloop_image_patch_available{{{at}}})",
                },
                names={
                    "cluster": "Cluster", "namespace": "Namespace", "workload_kind": "Kind", "workload": "Workload", "container": "Container", "reference": "Reference",
                    "latest_tag": "Newest patch", "behind": "Behind", "lag": "Lag",
                },
                units={"Lag": "s"}, colors={"Lag": LAG_STEPS}, sort_by="Lag", height=8,
            )
        )
        .with_panel(
            statetimeline.Panel().title("Tags over time").description("Which tags ran when; 1 is running.").datasource(DATASOURCE).unit("short").span(24).height(8)
            .thresholds(thresholds((None, NEUTRAL))).with_target(query(f"max by (container, tag) (mojaloop_image_info{{{at}}})", "{{container}} {{tag}}"))
        )
        .with_panel(
            rows(
                "Alerts that fire",
                "The alerts of this workload; the commands to paste are in their annotations.",
                {"firing": f'count by (alertname, severity, namespace, workload, image, tag) (ALERTS{{{at},alertstate="firing",alertname=~"MojaloopImage.+"}})'},
                names={"alertname": "Alert", "severity": "Severity", "namespace": "Namespace", "workload": "Workload", "image": "Image", "tag": "Running"},
                height=10, width=16,
            )
        )
        .with_panel(
            # Grafana's own list of alerts, of which the SDK has no builder: it shows the annotations, and with them the commands.
            dashboard.Panel().type("alertlist").title("Commands to paste").description("The alerts with their annotations: patch_command, rollback_command, and in the description what to do beside them, or instead.").datasource(DATASOURCE).unit("short").span(8).height(10)
            .options({"alertInstanceLabelFilter": '{workload=~"$workload",namespace=~"$namespace"}', "datasource": "${datasource}", "groupMode": "default", "maxItems": 20, "sortOrder": 3,
                      "stateFilter": {"firing": True, "pending": False, "noData": False, "normal": False, "error": True}, "viewMode": "list"})
        )
        .with_panel(
            text.Panel().title("How to paste").description("What the commands do, and when they do nothing.").span(24).height(4).content(
                "`patch_command` and `rollback_command` stand in the alert, in its message, and in `/api/v1/findings` of the exporter; they are the same text. "
                "Each tests what it finds before it changes anything: *The request is invalid* means that it has grown stale and changed nothing."
            )
        )
        .with_panel(lines("Releases behind", "Newer patch releases than the one that runs, by container.", (f"max by (container) (mojaloop_image_patch_releases_behind{{{at}}})", "{{container}}")))
        .with_panel(lines("Rollout incomplete", "1 while pods of an older template still run.", (f"max by (workload) (mojaloop_workload_rollout_incomplete{{{at}}}) or vector(0)", "{{workload}}")))
    )  # fmt: skip


def images() -> dashboard.Dashboard:
    """By repository: which versions are in use, and what is newest."""
    at = f'{AT},image=~"$image"'
    return (
        base(IMAGES, "Mojaloop image patches: images", "By image: the versions in use, where several are mixed, what is newest, and when it was looked up.", CLUSTER, NAMESPACE, IMAGE)
        .with_panel(number("Images", "Repositories that run.", f"count(count by (image) (mojaloop_image_info{{{at}}})) or vector(0)", steps=((None, NEUTRAL),), width=6))
        .with_panel(number("Mixed", "Images that run at several tags in one namespace.", f"count(count by (cluster, namespace, image) (count by (cluster, namespace, image, tag) (mojaloop_image_info{{{at}}})) > 1) or vector(0)", width=6))
        .with_panel(number("Oldest lookup", "How long ago the repository was looked up that waited longest.", 'max(time() - max by (cluster, image) (mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster"})) or vector(0)', unit="s", steps=((None, GOOD), (7200, MISSED), (21600, OVERDUE)), width=6))
        .with_panel(number("Never judged", "Images of which no container is judged.", f"count(count by (image) (mojaloop_image_info{{{at}}}) unless on (image) count by (image) (mojaloop_image_patch_available)) or vector(0)", width=6))
        .with_panel(
            rows(
                "Versions in use",
                "Every image and tag with the number of workloads. More than one tag in a namespace is mixed: the services of one release are tested together.",
                {
                    "workloads": f"count by (cluster, namespace, image, tag) (max by (cluster, namespace, workload_kind, workload, image, tag) (mojaloop_image_info{{{at}}}))",
                    "tags": f"max by (cluster, namespace, image, tag) (mojaloop_image_info{{{at}}}) * on (cluster, namespace, image) group_left () count by (cluster, namespace, image) (count by (cluster, namespace, image, tag) (mojaloop_image_info{{{at}}}))",
                    "newest": f"max by (cluster, namespace, image, tag, latest_tag) (mojaloop_image_patch_available{{{at}}})",
                    "minor_": f'max by (cluster, namespace, image, tag, minor) (label_replace(max by (cluster, namespace, image, tag, latest_tag) (mojaloop_image_upgrade_available{{{at},strategy="minor"}}), "minor", "$1", "latest_tag", "(.+)"))',
                },
                names={"cluster": "Cluster", "namespace": "Namespace", "image": "Image", "tag": "Running", "workloads": "Workloads", "tags": "Tags here", "latest_tag": "Newest patch", "minor": "Newest minor"},
                colors={"Tags here": ((None, GOOD), (2, MISSED))}, sort_by="Tags here", height=14,
            )
        )
        .with_panel(
            rows(
                "Lookups",
                "When each repository's tags were looked up last.",
                {"age": 'time() - max by (cluster, registry, image) (mojaloop_image_lookup_timestamp_seconds{cluster=~"$cluster",image=~"$image"})'},
                names={"cluster": "Cluster", "registry": "Registry", "image": "Image", "age": "Age"},
                units={"Age": "s"}, sort_by="Age", height=10,
            )
        )
    )  # fmt: skip


def health() -> dashboard.Dashboard:
    """Whether the exporter itself is well."""
    at = 'cluster=~"$cluster",job=~"$job"'
    return (
        base(EXPORTER, "Mojaloop image patches: exporter", "Whether the exporter knows everything that it watches, and what its registries and its cluster answer.", CLUSTER, JOB)
        .with_panel(number("Exporters", "Processes that were scraped.", f"count(mojaloop_exporter_build_info{{{at}}}) or vector(0)", steps=((None, OVERDUE), (1, GOOD)), width=6))
        .with_panel(number("Not synced", "Watched namespaces of which something is not known.", f"count(max by (cluster, watched_namespace) (mojaloop_exporter_synced{{{at}}}) == 0) or vector(0)", width=6))
        .with_panel(number("Forbidden", "Kinds that may not be listed.", f"count(max by (cluster, kind, watched_namespace) (mojaloop_exporter_kubernetes_forbidden{{{at}}}) == 1) or vector(0)", width=6))
        .with_panel(number("Catalogue resets", "Times a damaged catalogue was set aside, since each process began.", f"sum(mojaloop_exporter_catalogue_resets_total{{{at}}}) or vector(0)", width=6))
        .with_panel(lines("Requests to registries", "Requests a second, by registry.", (f"sum by (registry) (rate(mojaloop_exporter_registry_requests_total{{{at}}}[$__rate_interval]))", "{{registry}}"), unit="reqps"))
        .with_panel(lines("Failures", "Failed lookups a second, by registry and reason.", (f"sum by (registry, reason) (rate(mojaloop_exporter_registry_failures_total{{{at}}}[$__rate_interval])) > 0 or vector(0)", "{{registry}} {{reason}}"), unit="reqps"))
        .with_panel(lines("Time of a request", "The 95th percentile, by registry.", (f"histogram_quantile(0.95, sum by (registry, le) (rate(mojaloop_exporter_registry_request_duration_seconds_bucket{{{at}}}[$__rate_interval]))) >= 0 or vector(0)", "{{registry}}"), unit="s"))
        .with_panel(lines("Rate limit left", "Requests left, as the registry said last.", (f"min by (registry) (mojaloop_exporter_registry_ratelimit_remaining{{{at}}})", "{{registry}}")))
        .with_panel(lines("Watch restarts", "Watches that were started anew a second, by kind and reason.", (f"sum by (kind, reason) (rate(mojaloop_exporter_kubernetes_watch_restarts_total{{{at}}}[$__rate_interval])) > 0 or vector(0)", "{{kind}} {{reason}}"), unit="ops"))
        .with_panel(lines("Containers", "By state.", (f"max by (state) (mojaloop_exporter_containers{{{at}}})", "{{state}}")))
        .with_panel(lines("Age of the last list", "How long ago each kind was last listed whole; a watch goes on from there.", (f"time() - min by (kind) (mojaloop_exporter_kubernetes_last_sync_timestamp_seconds{{{at}}})", "{{kind}}"), unit="s"))
        .with_panel(lines("Memory", "Resident, by process.", (f"max by (instance) (process_resident_memory_bytes{{{at}}} and on (instance, job) mojaloop_exporter_build_info)", "{{instance}}"), unit="bytes"))
        .with_panel(lines("Cost of a scrape", "Seconds that Prometheus waited, by process.", (f"max by (instance) (scrape_duration_seconds{{{at}}} and on (instance, job) mojaloop_exporter_build_info)", "{{instance}}"), unit="s"))
        .with_panel(lines("Samples of a scrape", "By process.", (f"max by (instance) (scrape_samples_scraped{{{at}}} and on (instance, job) mojaloop_exporter_build_info)", "{{instance}}")))
    )  # fmt: skip


def fleet() -> dashboard.Dashboard:
    """Many clusters in one Grafana."""
    at = 'cluster=~"$cluster"'
    return (
        base(FLEET, "Mojaloop image patches: fleet", "Many clusters in one Grafana, by their cluster label; without one, everything is one cluster without a name.", CLUSTER)
        .with_panel(
            rows(
                "Clusters",
                "The worst first. A cluster's name leads to its overview.",
                {
                    "missing": f'count by (cluster) (count by (cluster, namespace, workload_kind, workload) (mojaloop:image_patch_missing{{{at},workload!=""}})) or count by (cluster) (mojaloop_exporter_synced{{{at}}}) * 0',
                    "lag": f"max by (cluster) (cluster:mojaloop_image_patch_lag_seconds:max{{{at}}})",
                    "ratio": f"max by (cluster) (cluster:mojaloop_image_patch_compliance:ratio{{{at}}})",
                    "unknown": f"count by (cluster) (max by (cluster, {W}) (mojaloop_image_status_unknown{{{at}}}))",
                },
                names={"cluster": "Cluster", "missing": "Workloads that miss a patch", "lag": "Worst lag", "ratio": "Within 14 days", "unknown": "Unknown"},
                units={"Worst lag": "s", "Within 14 days": "percentunit"}, links={"Cluster": f"/d/{OVERVIEW}?var-cluster=${{__data.fields.Cluster}}&${{datasource:queryparam}}"}, sort_by="Worst lag",
            )
        )
        .with_panel(lines("Within 14 days", "The share of judged containers that miss no patch for longer than 14 days, by cluster.", (f"max by (cluster) (cluster:mojaloop_image_patch_compliance:ratio{{{at}}})", "{{cluster}}"), unit="percentunit"))
        .with_panel(lines("Worst lag", "By cluster.", (f"max by (cluster) (cluster:mojaloop_image_patch_lag_seconds:max{{{at}}}) or vector(0)", "{{cluster}}"), unit="s"))
    )  # fmt: skip


BOARDS = (overview, workload, images, health, fleet)


def render() -> dict[str, str]:
    """Every dashboard as JSON, by its file's name."""
    files = {}
    for make in BOARDS:
        board = make().build()
        for number, panel in enumerate(board.panels or (), start=1):
            panel.id_val = number
        files[f"{board.uid}.json"] = JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n"
    return files


def main() -> None:
    """Write the files beside this one."""
    for name, content in render().items():
        json.loads(content)
        (HERE / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main()

"""The common parts of all dashboards: uid, variables, links, event annotations, and JSON output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from grafana.panels import DATASOURCE, GOOD, MISSED, NEUTRAL, OVERDUE, Column, Panel
from grafana.promql import AT, IN_NAMESPACE, WORKLOAD_LABELS, joined, missing, one_line

# Alerts and bookmarks link to these uids, so they must never change.
OVERVIEW = "mojaloop-image-patch"
WORKLOAD = "mojaloop-image-patch-workload"
IMAGES = "mojaloop-image-patch-images"
EXPORTER = "mojaloop-image-patch-exporter"
FLEET = "mojaloop-image-patch-fleet"

TAG = "mojaloop-image-patch"
RUNBOOK = "https://github.com/mojaloop/mojaloop-image-patch-exporter/blob/main/alerts/runbook.md"


def _choice(name: str, label: str, expr: str) -> dashboard.QueryVariable:
    """Return a multi-value variable of a label's values, with All."""
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


CLUSTER = _choice("cluster", "Cluster", "label_values(mojaloop_image_info, cluster)")
NAMESPACE = _choice("namespace", "Namespace", 'label_values(mojaloop_image_info{cluster=~"$cluster"}, namespace)')
# The kind `Image` selects the images of watch lists, which have no namespace: a variable cannot be empty.
KIND = _choice("kind", "Kind", f"label_values(mojaloop_image_info{{{IN_NAMESPACE}}}, workload_kind)")
WORKLOAD_NAME = _choice("workload", "Workload", f"label_values(mojaloop_image_info{{{AT}}}, workload)")
IMAGE = _choice("image", "Image", f"label_values(mojaloop_image_info{{{AT}}}, image)")
JOB = _choice("job", "Job", "label_values(mojaloop_exporter_build_info, job)")

# Links in tables. A column missing from the table, such as Cluster without a `cluster` label, is an empty value.
TO_OVERVIEW = f"/d/{OVERVIEW}?var-cluster=${{__data.fields.Cluster}}&${{datasource:queryparam}}"
# The column Scope is hidden. It is the namespace, or All for watched images; `scoped` adds it.
TO_WORKLOAD = (
    f"/d/{WORKLOAD}?var-cluster=${{__data.fields.Cluster}}&var-namespace=${{__data.fields.Scope}}"
    "&var-kind=${__data.fields.Kind}&var-workload=${__data.fields.Workload}&${datasource:queryparam}"
)
SCOPE = Column(title="Scope", hidden=True)
TO_IMAGE = f"/d/{IMAGES}?var-image=${{__data.fields.Image}}&${{datasource:queryparam}}"


def scoped(expr: str) -> str:
    """Add the label `scope`, which links use as the namespace."""
    scope = f'label_replace({expr}, "scope", "$1", "namespace", "(.+)")'
    return f'label_replace({scope}, "scope", "All", "namespace", "")'


class _Annotation(models.AnnotationQuery):
    """An annotation query with a title, which Grafana supports but the SDK's model lacks."""

    title_format: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the model's JSON with the title."""
        return {**super().to_json(), "titleFormat": self.title_format}


def _event(name: str, title: str, expr: str, color: str) -> models.AnnotationQuery:
    """Return annotations for every time series panel."""
    event = _Annotation(name=name, datasource=DATASOURCE, enable=True, icon_color=color, expr=one_line(expr))
    event.title_format = title
    return event


def events(at: str, *, approvals: str) -> tuple[models.AnnotationQuery, ...]:
    """Return annotations for released and applied patches, and for the actions of the patcher.

    Args:
        at: selects findings.
        approvals: selects approvals, which have no image.
    """
    now = f"group by ({WORKLOAD_LABELS}) ({missing(at)})"
    before = f"group by ({WORKLOAD_LABELS}) ({missing(at)} offset 5m)"
    workload = "{{workload_kind}} {{workload}}"

    def event(name: str, title: str, expr: str, color: str) -> models.AnnotationQuery:
        return _event(name, f"{workload} {title}", joined(expr, "workload", "namespace", "workload"), color)

    def began(name: str, title: str, states: str, color: str) -> models.AnnotationQuery:
        """Return annotations for approvals that entered one of these states."""
        approval = f'mojaloop_image_patch_approval{{{approvals},state=~"{states}"}}'
        expr = f"group by ({WORKLOAD_LABELS}, tag) ({approval})"
        return event(name, title, f"{expr} unless on ({WORKLOAD_LABELS}, tag) {approval} offset 5m", color)

    return (
        event("Patch released", "misses a patch", f"{now} unless on ({WORKLOAD_LABELS}) {before}", MISSED),
        event("Patched or gone", "misses none", f"{before} unless on ({WORKLOAD_LABELS}) {now}", GOOD),
        began("Patched on approval", "is patched to {{tag}} on approval", "RollingOut|Soaking|Applied", NEUTRAL),
        began("Patch failed", "could not be patched to {{tag}}", "RollingBack|RolledBack|Failed", OVERDUE),
    )


def board(
    uid: str,
    title: str,
    description: str,
    *,
    variables: Sequence[Any],
    panels: Sequence[Panel],
    marks: Sequence[models.AnnotationQuery] = (),
    time_from: str = "now-24h",
) -> models.Dashboard:
    """Build a dashboard, with its panels from left to right and from top to bottom."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .refresh("1m")
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
        built = built.with_variable(variable)
    for panel in panels:
        built = built.with_panel(panel)
    finished = built.build()
    if marks:
        finished.annotations = models.AnnotationContainer(list_val=list(marks))
    for number, panel in enumerate(finished.panels or (), start=1):
        panel.id_val = number
    return finished

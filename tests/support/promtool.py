"""Cases for promtool: what exporters publish over time, and what the rules must make of it.

`RULES_UNDER_TEST` names another rules file to run the cases on, such as that of an earlier commit: a case that passes
there as well proves nothing about a change.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.alerts import RULES
from tests.support.components import need

IMAGE = "docker.io/mojaloop/central-ledger"
HOUR, DAY = 60, 1440  # minutes
AVAILABLE, OVERDUE = "MojaloopImagePatchAvailable", "MojaloopImagePatchOverdue"
DOWN = "MojaloopImagePatchExporterDown"
RUNBOOK = "https://github.com/mojaloop/mojaloop-image-patch-exporter/blob/main/alerts/runbook.md#"
GRAFANA = "http://localhost:3000/d/mojaloop-image-patch"


def rules_under_test() -> str:
    """The text of the shipped rules, or of those that `RULES_UNDER_TEST` names."""
    return Path(os.environ.get("RULES_UNDER_TEST") or RULES).read_text("utf-8")


def labels(**more: object) -> str:
    """Labels as the text format writes them; those that are None are left out."""
    escaped = {
        name: str(value).replace("\\", "\\\\").replace('"', '\\"') for name, value in more.items() if value is not None
    }
    return ",".join(f'{name}="{value}"' for name, value in escaped.items())


@dataclass
class Page:
    """What one exporter publishes over time, in promtool's notation: runs of samples, one per interval of the case.

    Attributes:
        cluster: the value of that label; None where there is none.
        old: whether this is an exporter of before `mojaloop_workload_patch_releases_behind`.
        more: labels that the scrape adds to every series, such as the namespace that the exporter runs in; what the
            exporter itself publishes takes precedence (`honor_labels`).
        series: what promtool reads.
        groups: what a sample of `mojaloop_workload_patch_releases_behind` is there for.
    """

    cluster: str | None = None
    instance: str = "a"
    job: str = "patch"
    old: bool = False
    more: dict[str, str] = field(default_factory=dict)
    series: list[dict[str, str]] = field(default_factory=list)
    groups: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, name: str, values: str, **own: object) -> Page:
        target = {**self.more, "cluster": self.cluster, "instance": self.instance, "job": self.job}
        self.series.append({"series": f"{name}{{{labels(**{**target, **own})}}}", "values": values})
        return self

    def synced(
        self, values: str, namespace: str = "*", *, check: str | None = None, started: str | None = None
    ) -> Page:
        """A scope; and, unless the exporter is an old one, what every page of it has.

        Args:
            values: of `mojaloop_exporter_synced`.
            namespace: that is watched.
            check: values of `mojaloop_exporter_scrape_check`, where they are not those of every page.
            started: values of `process_start_time_seconds`.
        """
        self.add("mojaloop_exporter_synced", values, watched_namespace=namespace)
        if not self.old and not any("scrape_check" in one["series"] for one in self.series):
            self.add("mojaloop_exporter_scrape_check", check or same(values, 1), namespace="kept", container="kept")
            self.add("mojaloop_exporter_samples", same(values, 0), metric="mojaloop_image_patch_available")
        if started is not None:
            self.add("process_start_time_seconds", started)
        return self

    def container(
        self,
        values: str,
        *,
        kind: str = "Deployment",
        workload: str = "ledger",
        container: str = "main",
        init: bool = False,
        tag: str = "v1.0.0",
        latest: str = "v1.0.2",
        namespace: str = "mojaloop",
        image: str = IMAGE,
        behind: int = 2,
        published: float | None = None,
        first_seen: float | None = None,
        available: str | None = None,
        patch: str = "patch",
        rollback: str = "rollback",
        advice: str = "",
    ) -> Page:
        """A container that is judged where `values` has samples (1 or 0 as `mojaloop_image_patch_available` has it)."""
        key = {"namespace": namespace, "workload_kind": kind, "workload": workload}
        w = {
            **key,
            "container": container,
            "container_type": "init_container" if init else "container",
            "image": image,
            "tag": tag,
        }
        self.add("mojaloop_image_patch_available", available or values, **w, latest_tag=latest)
        self.add("mojaloop_image_patch_releases_behind", same(values, behind), **w)
        reference = f"{image.removeprefix('docker.io/')}:{tag}"
        self.add("mojaloop_image_info", same(values, 1), **w, digest="", reference=reference, position=0)
        if published is not None:
            self.add("mojaloop_image_patch_published_timestamp_seconds", same(values, published), **w)
        if first_seen is not None:
            self.add("mojaloop_image_patch_first_seen_timestamp_seconds", same(values, first_seen), **w)
        group = (namespace, kind, workload, image, tag, latest)
        if behind and not self.old and group not in self.groups:
            self.groups.add(group)
            self.add(
                "mojaloop_workload_patch_releases_behind",
                same(values, behind),
                **key,
                image=image,
                tag=tag,
                latest_tag=latest,
                patch_command=patch,
                rollback_command=rollback,
                advice=advice,
            )
        return self

    def watched(self, values: str, *, workload: str = "central-ledger", **more: Any) -> Page:
        """A watched image, which no command patches; `more` is what `container` accepts."""
        more = {"advice": "Set the image where it runs.", **more}
        return self.container(
            values, kind="Image", namespace="", container="", workload=workload, patch="", rollback="", **more
        )

    def unknown(
        self,
        values: str,
        reason: str = "unreachable",
        *,
        tag: str = "v1.0.0",
        kind: str = "Deployment",
        workload: str = "ledger",
        container: str = "main",
        namespace: str = "mojaloop",
    ) -> Page:
        return self.add(
            "mojaloop_image_status_unknown",
            values,
            namespace=namespace,
            workload_kind=kind,
            workload=workload,
            container=container,
            container_type="container",
            image=IMAGE,
            tag=tag,
            reason=reason,
        )

    def upgrade(
        self,
        values: str,
        *,
        workload: str = "ledger",
        tag: str = "v1.0.0",
        latest: str = "v1.1.0",
        image: str = IMAGE,
        kind: str = "Deployment",
        namespace: str = "mojaloop",
        container: str = "main",
    ) -> Page:
        return self.add(
            "mojaloop_image_upgrade_available",
            values,
            namespace=namespace,
            workload_kind=kind,
            workload=workload,
            container=container,
            container_type="container",
            image=image,
            tag=tag,
            strategy="minor",
            latest_tag=latest,
        )


def same(values: str, number: float) -> str:
    """The same runs with another value."""
    return " ".join(
        part if part.startswith(("_", "stale")) else f"{number}x{part.partition('x')[2]}" for part in values.split()
    )


def firing(alert: str, **more: object) -> str:
    """How many alerts of a name fire."""
    return f"count(ALERTS{{{labels(alertname=alert, alertstate='firing', **more)}}}) or vector(0)"


def ever(alert: str, hours: int) -> str:
    """At how many evaluations an alert fired within the last hours."""
    return f'sum(count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[{hours}h])) or vector(0)'


def sparse(page: Page, minutes: int) -> Page:
    """A page that is scraped once in so many minutes, in a case of one minute."""
    for series in page.series:
        value, _, count = series["values"].partition("x")
        series["values"] = " ".join([f"{value} _x{minutes - 1}"] * int(count))
    return page


@dataclass(frozen=True)
class Case:
    """A situation and what must come of it.

    Attributes:
        pages: of each exporter.
        expected: (minute, expression, value).
        minutes: between two samples and two evaluations.
        alerts: promtool's own `alert_rule_test`s.
        series: in addition to those of the pages.
    """

    pages: Sequence[Page]
    expected: Sequence[tuple[float, str, float]] = ()
    minutes: float = 1
    alerts: Sequence[dict[str, Any]] = ()
    series: Sequence[dict[str, str]] = ()


def asked_for(rules: str, case: Case) -> str:
    """The rules that a case asks for, and the rules that those read. All others are left out, which saves time.

    No rule reads alerts, which is tested, so that the rules that are left evaluate to the same.
    """
    asked = [*(expr for _, expr, _ in case.expected), *(test["alertname"] for test in case.alerts)]
    words = set(re.findall(r"[\w:]+", " ".join(asked)))
    document = yaml.load(rules, yaml.CSafeLoader)
    every = [rule for group in document["groups"] for rule in group["rules"]]
    while more := [rule for rule in every if (rule.get("record") or rule["alert"]) in words]:
        words.update(re.findall(r"[\w:]+", " ".join(rule["expr"] for rule in more)))
        every = [rule for rule in every if rule not in more]
    for group in document["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule not in every]
    return json.dumps(document)


def run(
    folder: Path,
    case: Case,
    rules: str,
    *,
    more: Sequence[str] = (),
    promtools: Sequence[str] = ("promtool3", "promtool"),
) -> tuple[int, str]:
    """The status and the output of promtool.

    Args:
        folder: for the files.
        case: to run.
        rules: the text of a rules file.
        more: texts of further rules files that the same Prometheus evaluates.
        promtools: which; by default the newest and the oldest that is supported. They must agree. The first evaluates
            every rule, so that a rule that fails in the situation fails the test. The second evaluates what the case
            asks for.
    """
    # Both, also where one is enough: the mark `components` is read from these calls.
    available = dict(zip(("promtool", "promtool3"), need("promtool", "promtool3"), strict=True))
    running = []
    for name, text in zip(promtools, (rules, rules if more else asked_for(rules, case)), strict=False):
        (folder / name).mkdir(exist_ok=True)
        file = _test_file(folder / name, case, (text, *more))
        running.append(
            subprocess.Popen(
                [available[name], "test", "rules", str(file)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # Its heap is small: with Go's default it spends a quarter of its time on collecting garbage.
                env={**os.environ, "GOGC": "400"},
            )
        )
    said = [process.communicate(timeout=110)[0] for process in running]
    (status,) = {process.returncode for process in running}
    return status, "\n".join(said)


def _test_file(folder: Path, case: Case, rules: Sequence[str]) -> Path:
    """The files that promtool reads for a case with these rules."""
    files = []
    for number, text in enumerate(rules):
        file = folder / f"rules-{number}.yml"
        file.write_text(text, "utf-8")
        files.append(str(file))
    step = f"{round(case.minutes * 60)}s"
    test = {
        "interval": step,
        "input_series": [*(series for page in case.pages for series in page.series), *case.series],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{round(minute * 60)}s", "exp_samples": [{"labels": "{}", "value": value}]}
            for minute, expr, value in case.expected
        ],
        "alert_rule_test": list(case.alerts),
    }
    document = {"rule_files": files, "evaluation_interval": step, "tests": [test]}
    file = folder / "test.yml"
    file.write_text(json.dumps(document), "utf-8")
    return file


def passes(folder: Path, case: Case, **more: Any) -> None:
    """Fail the test with promtool's words where the rules do not make of a case what they must; see `run`."""
    status, said = run(folder, case, rules_under_test(), **more)
    assert status == 0, said


def fails(folder: Path, case: Case, part: str, instead: str) -> None:
    """Fail the test where the rules pass a case although a part of them is replaced."""
    text = rules_under_test()
    assert part in text, "the mutation is out of date"
    # One promtool and the rules that the case asks for are enough to notice it.
    status, said = run(folder, case, asked_for(text.replace(part, instead), case), promtools=["promtool3"])
    assert status == 1, said
    assert "FAILED" in said


def named(*cases: Callable[..., object]) -> list[Any]:
    """Cases as parameters that go by their functions' names."""
    return [pytest.param(case, id=case.__name__) for case in cases]


# What an alert says.

Said = tuple[str, list[dict[str, Any]]]


def said(
    alert: str, own: dict[str, str], summary: str, description: str, *, severity: str = "warning", **more: str
) -> Said:
    """An alert's name, and what promtool expects of it."""
    annotations = {"summary": summary, "description": description, "runbook_url": RUNBOOK + alert.lower(), **more}
    return alert, [{"exp_labels": {**own, "severity": severity}, "exp_annotations": annotations}]


def about_the_exporter(alert: str, own: dict[str, str], summary: str, description: str, **more: str) -> Said:
    """The same of an alert about the exporter of the cluster `north`."""
    return said(alert, {"cluster": "north", **own}, summary, description, dashboard_url=f"{GRAFANA}-exporter", **more)


def silent_and_then_firing(folder: Path, page: Page, before: float, after: float, expected: Said) -> None:
    """Fail the test where an alert fires at one minute, or does not fire at another with exactly these words."""
    name, alerts = expected
    tests = [
        {"alertname": name, "eval_time": f"{before}m", "exp_alerts": []},
        {"alertname": name, "eval_time": f"{after}m", "exp_alerts": alerts},
    ]
    passes(folder, Case([page], alerts=tests))

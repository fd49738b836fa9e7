"""Every query of every dashboard on a real Prometheus that scrapes the demo with the shipped rules; and what a dashboard's linter looks at."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from dataclasses import replace

import httpx
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from exporter.cli import exporting
from exporter.config import Configuration
from exporter.demo import StandInSlack, pipeline, serving, stand_ins
from exporter.demo.alerts import RULES
from grafana.generate import BOARDS, EXPORTER, FLEET, HERE, OVERDUE_SECONDS, OVERVIEW, render
from tests.support.components import need
from tests.support.kube import free_port

pytestmark = pytest.mark.anyio
DASHBOARDS = {name: json.loads(content) for name, content in render().items()}
UIDS = {board["uid"] for board in DASHBOARDS.values()}


def panels():
    return [(board, panel) for board in DASHBOARDS.values() for panel in board["panels"]]


def queries():
    """Every query: its place, expression, and whether it is asked for a range."""
    for board in DASHBOARDS.values():
        for panel in board["panels"]:
            for target in panel.get("targets") or ():
                yield (
                    f"{board['uid']} / {panel['title']} / {target['refId']}",
                    target["expr"],
                    not target.get("instant"),
                )
        for annotation in board["annotations"].get("list") or ():
            yield f"{board['uid']} / {annotation['name']}", annotation["expr"], True


def substituted(expr, **values):
    """A query as Grafana sends it; None is All."""

    def value(match):
        name = match[1]
        if name == "__rate_interval":
            return "1m"
        given = values.get(name)
        if given is None:
            return ".*"
        escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", one) for one in given]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    return re.sub(r"\$(\w+)", value, expr)


# Empty for a reason: nothing of it happens in the demo.
EMPTY = {
    f"{EXPORTER} / Rate limit left / A": "the stand-in tells no limit",
    "mojaloop-image-patch / Patched or gone": "nothing was patched yet",
    "mojaloop-image-patch-workload / Patched or gone": "nothing was patched yet",
}


class Asked:
    """A Prometheus, asked as Grafana asks."""

    def __init__(self, client):
        self._client = client

    async def all(self, expr, *, ranged=False):
        now = time.time()
        if ranged:
            answer = await self._client.get(
                "/api/v1/query_range", params={"query": expr, "start": now - 60, "end": now, "step": 5}
            )
        else:
            answer = await self._client.get("/api/v1/query", params={"query": expr, "time": now})
        body = answer.json()
        assert body["status"] == "success", (expr, body)
        assert not body.get("warnings"), (expr, body["warnings"])
        return body["data"]["result"]

    async def one(self, expr):
        result = await self.all(expr)
        assert len(result) == 1, (expr, result)
        return float(result[0]["value"][1])


@contextlib.asynccontextmanager
async def hub(tmp_path, *targets_of):
    """The demo's exporter behind a Prometheus; `targets_of` says under which labels it is scraped, once for each."""
    need("prometheus", "prometheus-alertmanager")
    async with contextlib.AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins())
        loaded = replace(
            Configuration(), listen=("127.0.0.1", 0), kubeconfig=there.kubeconfig, registries=there.registries
        )
        latest = None
        targets = []
        for labels in targets_of:
            address, latest = await opened.enter_async_context(exporting(loaded))
            targets.append((address.removeprefix("http://"), labels))
        slack = await opened.enter_async_context(serving(StandInSlack().app))
        behind = await opened.enter_async_context(
            pipeline(tmp_path / "pipeline", targets=targets, slack=slack, interval="1s")
        )
        client = await opened.enter_async_context(httpx.AsyncClient(base_url=behind.prometheus, timeout=30))
        asked = Asked(client)
        async with asyncio.timeout(60):
            firing = 'ALERTS{alertstate="firing",alertname="MojaloopImagePatchOverdue"}'
            while not (latest.complete() and latest.dated() and await asked.all(firing)):
                await asyncio.sleep(0.5)
            # Every exporter has the same findings; rates and ranges need some scrapes of each.
            samples = len(targets) * sum(f.reason is None for f in latest.snapshot.findings)
            some_scrapes = "count(count_over_time(mojaloop_image_patch_available[1m]) >= 5)"
            while not await asked.all(f"{some_scrapes} == {samples}"):
                await asyncio.sleep(0.5)
        yield asked, latest.snapshot


def stat_of(title, **values):
    panel = next(p for p in DASHBOARDS[f"{OVERVIEW}.json"]["panels"] if p["title"] == title and p["type"] == "stat")
    return substituted(panel["targets"][0]["expr"], **values)


VALUES = {
    "cluster": [None], "namespace": [None, ["mojaloop"], ["mojaloop", "backing"]], "image": [None, ["docker.io/mojaloop/central-ledger"]],
    "workload": [None, ["moja-centralledger-handler-transfer-get"]], "job": [None, ["image-patch"]],
}  # fmt: skip


async def test_every_query_has_an_answer_on_a_real_prometheus(tmp_path):
    async with hub(tmp_path, {}) as (asked, snapshot):
        empty = []
        for place, expr, ranged in queries():
            for row in itertools.product(*VALUES.values()):
                result = await asked.all(substituted(expr, **dict(zip(VALUES, row, strict=True))), ranged=ranged)
                if not result and row == (None,) * len(VALUES):
                    empty.append(place)
        assert sorted(empty) == sorted(EMPTY)
        for board in DASHBOARDS.values():
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
                    found = await asked.all(f"count by ({label}) ({substituted(metric)})")
                    assert found, variable["name"]
        missing = {f.workload for f in snapshot.findings if f.patch_available}
        assert await asked.one(stat_of("Workloads that miss a patch")) == len(missing)
        mojaloop = {key for key in missing if key.namespace == "mojaloop"}
        assert await asked.one(stat_of("Workloads that miss a patch", namespace=["mojaloop"])) == len(mojaloop)
        unknown = {(f.workload, f.container, f.container_type) for f in snapshot.findings if f.reason is not None}
        assert await asked.one(stat_of("Unknown containers")) == len(unknown)
        judged = [f for f in snapshot.findings if f.reason is None]
        late = [f for f in judged if f.patch_available and time.time() - f.published > OVERDUE_SECONDS]
        assert await asked.one(stat_of("Within 14 days")) == pytest.approx(1 - len(late) / len(judged))
        oldest = min(f.published for f in judged if f.patch_available)
        assert await asked.one(stat_of("Worst lag")) == pytest.approx(time.time() - oldest, abs=30)


async def test_two_replicas_change_no_number_and_two_clusters_are_counted_apart(tmp_path):
    async with hub(
        tmp_path, {"cluster": "north", "replica": "a"}, {"cluster": "north", "replica": "b"}, {"cluster": "south"}
    ) as (asked, snapshot):
        missing = len({f.workload for f in snapshot.findings if f.patch_available})
        unknown = sum(f.reason is not None for f in snapshot.findings)
        for title, count in (("Workloads that miss a patch", missing), ("Unknown containers", unknown)):
            assert await asked.one(stat_of(title, cluster=["north"])) == count
            assert await asked.one(stat_of(title, cluster=["north", "south"])) == 2 * count
            assert await asked.one(stat_of(title)) == 2 * count
        ratio = await asked.one(stat_of("Within 14 days", cluster=["south"]))
        assert await asked.one(stat_of("Within 14 days")) == pytest.approx(ratio)
        clusters = next(p for p in DASHBOARDS[f"{FLEET}.json"]["panels"] if p["title"] == "Clusters")
        for target in clusters["targets"]:
            assert {r["metric"]["cluster"] for r in await asked.all(substituted(target["expr"]))} == {"north", "south"}
        for _, expr, ranged in queries():
            await asked.all(substituted(expr, cluster=["north", "south"]), ranged=ranged)


async def test_an_exporter_that_knows_nothing_shows_no_error_and_no_wrong_number(tmp_path):
    need("prometheus", "prometheus-alertmanager")
    cluster = {
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}],
        "users": [{"name": "a", "user": {}}],
    }
    context = {"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}
    (tmp_path / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **cluster, **context}))
    loaded = replace(Configuration(), listen=("127.0.0.1", 0), kubeconfig=tmp_path / "kubeconfig")
    async with exporting(loaded) as (address, _), serving(StandInSlack().app) as slack:
        target = (address.removeprefix("http://"), {})
        async with (
            pipeline(tmp_path / "pipeline", targets=[target], slack=slack, interval="1s") as behind,
            httpx.AsyncClient(base_url=behind.prometheus, timeout=30) as client,
        ):
            asked = Asked(client)
            async with asyncio.timeout(30):
                while not await asked.all("count_over_time(mojaloop_exporter_synced[1m]) >= 4"):
                    await asyncio.sleep(0.3)
            for _, expr, ranged in queries():
                await asked.all(substituted(expr), ranged=ranged)
            for title in (
                "Workloads that miss a patch",
                "Worst lag",
                "Median lag",
                "Superseded lines",
                "Unknown containers",
            ):
                assert await asked.one(stat_of(title)) == 0
            assert await asked.all(stat_of("Within 14 days")) == [], "nothing judged is no 100 percent"


# What is written.


def test_the_files_are_what_the_generator_writes():
    assert {file.name: file.read_text() for file in HERE.glob("*.json")} == render(), "run `make dashboards`"
    assert len(render()) == len(BOARDS) == 5


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    for board in DASHBOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken = set()
        for panel in board["panels"]:
            grid = panel["gridPos"]
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken, panel["title"]
            assert grid["x"] + grid["w"] <= 24
            taken |= cells


def test_the_schema_of_the_sdk_takes_them_as_they_are():
    for name, content in render().items():
        board = models.Dashboard.from_json(json.loads(content))
        again = json.loads(JSONEncoder(sort_keys=True).encode(board))
        assert again["uid"] == name.removesuffix(".json")
        assert [(p["title"], p["type"], p["gridPos"]) for p in again["panels"]] == [
            (p["title"], p["type"], p["gridPos"]) for p in json.loads(content)["panels"]
        ]


def test_every_link_leads_somewhere():
    text = json.dumps(DASHBOARDS) + RULES.read_text()
    linked = set(re.findall(r"/d/([a-z-]+)", text))
    assert linked
    assert linked <= UIDS
    for board in DASHBOARDS.values():
        dashboards, runbook = board["links"]
        assert dashboards["tags"] == ["mojaloop-image-patch"] == board["tags"]
        assert (RULES.parent.parent / runbook["url"].partition("/blob/main/")[2]).is_file()


def test_thresholds_come_from_one_place():
    values = set(re.findall(r"(\d+)  # value: overdue_seconds", RULES.read_text()))
    assert values == {str(OVERDUE_SECONDS)}


# The rules of Grafana's dashboard linter (grafana/dashboard-linter, docs/index.md), by their names.


def test_template_datasource_rule():
    for board in DASHBOARDS.values():
        first = board["templating"]["list"][0]
        assert (first["type"], first["name"], first["label"], first["query"]) == (
            "datasource",
            "datasource",
            "Data source",
            "prometheus",
        )


def test_template_job_rule():
    """On the health dashboard alone: recorded series have no job."""
    for board in DASHBOARDS.values():
        jobs = [v for v in board["templating"]["list"] if v["name"] == "job"]
        assert len(jobs) == (board["uid"] == EXPORTER)
        for job in jobs:
            assert (job["type"], job["multi"], job["allValue"], job["datasource"]["uid"]) == (
                "query",
                True,
                ".*",
                "${datasource}",
            )


def test_template_label_promql_rule():
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"][1:]:
            assert re.fullmatch(r"label_values\([a-z_]+(\{[^}]*\})?, \w+\)", variable["query"])


def test_template_on_time_change_reload_rule():
    assert all(
        variable["refresh"] == 2 for board in DASHBOARDS.values() for variable in board["templating"]["list"][1:]
    )


def test_panel_datasource_rule():
    for _, panel in panels():
        if panel["type"] != "text":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panel_title_description_rule():
    for _, panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")


def test_panel_units_rule():
    for _, panel in panels():
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panel_no_targets_rule():
    assert all(panel.get("targets") for _, panel in panels() if panel["type"] not in ("text", "alertlist"))


def test_target_rate_interval_rule():
    for place, expr, _ in queries():
        assert set(re.findall(r"(?:rate|increase)\([^\[]+\[([^\]]+)\]", expr)) <= {"$__rate_interval"}, place


def test_target_counter_agg_rule():
    for place, expr, _ in queries():
        for name in re.findall(r"\w+_total", expr):
            # The one exception counts what happened since a process began.
            assert f"rate({name}" in expr or name == "mojaloop_exporter_catalogue_resets_total", place


def test_target_job_rule():
    for place, expr, _ in queries():
        if place.startswith(EXPORTER):
            assert 'job=~"$job"' in expr, place


def test_uneditable_dashboard_rule():
    for board in DASHBOARDS.values():
        assert board["editable"] is False
        assert board["uid"]
        assert len(board["uid"]) <= 40


def test_no_panel_needs_a_plugin():
    assert {panel["type"] for _, panel in panels()} <= {
        "stat",
        "timeseries",
        "table",
        "state-timeline",
        "text",
        "alertlist",
    }

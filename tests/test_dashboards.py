"""Every query of every dashboard on a real Prometheus that scrapes the demo and evaluates the shipped rules."""

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

from exporter.app import exporting
from exporter.config import Configuration
from exporter.demo import StandInSlack, pipeline, serving, stand_ins
from exporter.demo.alerts import RULES
from exporter.workloads import WorkloadKey
from grafana.board import EXPORTER, FLEET, OVERVIEW, WORKLOAD
from tests.support.components import need
from tests.support.dashboards import DASHBOARDS, panel_of, panels, queries, substituted
from tests.support.kube import free_port

pytestmark = pytest.mark.anyio
OVERDUE_SECONDS = int(re.search(r"(\d+)  # value: overdue_seconds", RULES.read_text())[1])

# Nothing of it happens in the demo, or only before the first scrape; test_dashboard_queries has samples for each.
EMPTY = {
    f"{EXPORTER} / Duration of a request / A": "registries are asked before the first scrape",
    f"{EXPORTER} / Rate limit remaining / A": "the stand-in tells no limit",
    f"{EXPORTER} / Failures in the last hour / A": "no lookup fails",
    f"{EXPORTER} / Watch restarts in the last hour / A": "no watch restarts",
    f"{EXPORTER} / Limits exceeded in the last hour / A": "nothing exceeds a limit",
    f"{EXPORTER} / Unexpected errors in the last hour / A": "there is none",
    f"{EXPORTER} / Samples by metric / C": "no sample is dropped",
    f"{EXPORTER} / Lookup interval / A": "not published by every exporter",
    f"{EXPORTER} / Reloads in the last hour / A": "there is no configuration file",
    f"{EXPORTER} / Age of the configuration / A": "there is no configuration file",
    f"{OVERVIEW} / Upgrade windows / A": "no window is configured",
    f"{OVERVIEW} / Upgrade windows / B": "no window is configured",
    f"{OVERVIEW} / Patched or gone": "nothing was patched yet",
    f"{WORKLOAD} / Patched or gone": "nothing was patched yet",
    **{
        f"{board} / {what}": "no patcher runs"
        for board in (OVERVIEW, WORKLOAD)
        for what in ("Approved patches / A", "Patched on approval", "Patch failed")
    },
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

    async def empty(self):
        """The places of the queries without an answer, with every variable at All."""
        return {place for place, expr, ranged in queries() if not await self.all(substituted(expr), ranged=ranged)}


async def eventually(condition, *, seconds):
    """Wait until `condition` returns nothing that is still pending."""
    deadline = time.monotonic() + seconds
    while pending := await condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s still pending: {pending}")
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def hub(tmp_path, *targets_of):
    """The demo's exporter behind a Prometheus; `targets_of` says under which labels it is scraped, once for each."""
    need("prometheus", "prometheus-alertmanager")
    async with contextlib.AsyncExitStack() as opened:
        there = await opened.enter_async_context(stand_ins())
        loaded = replace(
            Configuration(), listen=("127.0.0.1", 0), kubeconfig=there.kubeconfig, registries=there.registries
        )
        published = []
        targets = []
        for labels in targets_of:
            address, latest = await opened.enter_async_context(exporting(loaded))
            targets.append((address.removeprefix("http://"), labels))
            published.append(latest)
        slack = await opened.enter_async_context(serving(StandInSlack().app))
        behind = await opened.enter_async_context(
            pipeline(tmp_path / "pipeline", targets=targets, slack=slack, interval="1s")
        )
        client = await opened.enter_async_context(httpx.AsyncClient(base_url=behind.prometheus, timeout=30))
        asked = Asked(client)
        clusters = {labels.get("cluster") for labels in targets_of}

        async def pending():
            if not all(latest.complete() and latest.dated() for latest in published):
                return "the exporters' lookups"
            late = overdue(published[0].snapshot)
            alerts = 'ALERTS{alertname="MojaloopImagePatchOverdue"}'
            if len(await asked.all(alerts)) != len({(f.workload, f.image, f.tag) for f in late}) * len(clusters):
                return "alerts of what is overdue"
            return await asked.empty() - EMPTY.keys()

        await eventually(pending, seconds=90)
        yield asked, published[0].snapshot


def overdue(snapshot):
    return [f for f in snapshot.findings if f.patch_available and time.time() - f.published > OVERDUE_SECONDS]


def stat_of(title, **values):
    return substituted(panel_of(OVERVIEW, title, "stat")["targets"][0]["expr"], **values)


LEDGER = "docker.io/mojaloop/central-ledger"
VALUES = {
    "cluster": [None], "namespace": [None, ["mojaloop"], ["mojaloop", "backing"]], "image": [None, [LEDGER]],
    "workload": [None, ["moja-centralledger-handler-transfer-get"]], "job": [None, ["image-patch"]],
    "kind": [None, ["Image", "Deployment"]],
}  # fmt: skip


async def test_every_query_has_an_answer_on_a_real_prometheus(tmp_path):
    async with hub(tmp_path, {}) as (asked, snapshot):
        for _, expr, ranged in queries():
            for row in itertools.product(*VALUES.values()):
                await asked.all(substituted(expr, **dict(zip(VALUES, row, strict=True))), ranged=ranged)
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
        ledger = {f.workload for f in snapshot.findings if f.patch_available and f.image == LEDGER}
        assert await asked.one(stat_of("Workloads that miss a patch", image=[LEDGER])) == len(ledger)
        unknown = {(f.workload, f.container, f.container_type) for f in snapshot.findings if f.reason is not None}
        assert await asked.one(stat_of("Unknown containers")) == len(unknown)
        judged = [f for f in snapshot.findings if f.reason is None]
        share = 1 - len(overdue(snapshot)) / len(judged)
        assert await asked.one(stat_of("Not overdue")) == pytest.approx(share)
        assert await asked.one("cluster:mojaloop_image_patch_compliance:ratio") == pytest.approx(share)
        oldest = min(f.published for f in judged if f.patch_available)
        assert await asked.one(stat_of("Worst lag")) == pytest.approx(time.time() - oldest, abs=30)


async def test_the_commands_of_the_workload_page_are_those_of_the_exporter(tmp_path):
    async with hub(tmp_path, {}) as (asked, snapshot):
        (target,) = panel_of(WORKLOAD, "Commands to paste", "table")["targets"]
        shown = [row["metric"] for row in await asked.all(substituted(target["expr"]))]
        findings = {(f.workload, f.image, f.tag): f.latest_tag for f in snapshot.findings if f.patch_available}
        assert len(shown) == len(findings)
        for row in shown:
            key = WorkloadKey(row["namespace"], row["workload_kind"], row["workload"])
            assert row["latest_tag"] == findings[key, row["image"], row["tag"]]
            assert row.get("patch_command") or row.get("advice"), row
            assert bool(row.get("patch_command")) == bool(row.get("rollback_command")), row


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
        ratio = await asked.one(stat_of("Not overdue", cluster=["south"]))
        assert await asked.one(stat_of("Not overdue")) == pytest.approx(ratio)
        for target in panel_of(FLEET, "Clusters", "table")["targets"]:
            assert {r["metric"]["cluster"] for r in await asked.all(substituted(target["expr"]))} == {"north", "south"}
        for _, expr, ranged in queries():
            await asked.all(substituted(expr, cluster=["north", "south"]), ranged=ranged)
        # Every series of a chart has the labels that its legend names, and no two have the same legend.
        for _, panel in panels():
            for target in panel.get("targets") or ():
                if panel["type"] in ("timeseries", "state-timeline"):
                    series = [row["metric"] for row in await asked.all(substituted(target["expr"]), ranged=True)]
                    legend = re.findall(r"{{(\w+)}}", target["legendFormat"])
                    named = [tuple(labels.get(name) for name in legend) for labels in series]
                    assert all(all(names) for names in named), (panel["title"], series)
                    assert len(set(named)) == len(named), (panel["title"], series)


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

            async def pending():
                if not await asked.all("mojaloop_exporter_synced"):
                    return "a scrape"
                # What the rules write at each evaluation, also where nothing is missing.
                both = "count_over_time(mojaloop:workload_patch_missing[1m]) > 2 and on () up"
                return None if await asked.all(both) else "evaluations of the rules"

            await eventually(pending, seconds=30)
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
            assert await asked.all(stat_of("Not overdue")) == [], "nothing judged is not 100 percent"

"""From a missing patch to a message in Slack and back, on real processes; the command is taken from the message and pasted."""

import asyncio
import contextlib
import json
import re
import subprocess
import time
import urllib.request

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.commands import patch_command, rollback_command
from exporter.demo import StandInSlack, pipeline, serving
from exporter.demo.alerts import RULES, substitute
from exporter.findings import Finding, WorkloadState
from exporter.images import InvalidReferenceError, parse
from exporter.workloads import ContainerType, WorkloadKey, is_kind, is_object_name
from tests.support.exporter_process import exporter
from tests.support.kube import METADATA_PATHS, free_port, need
from tests.support.registries import registry
from tests.test_cluster_live import body, owner, pod_spec

pytestmark = pytest.mark.anyio
NEVER = "100000000000"
DIGEST = "@sha256:" + "0a" * 32
PATCHED_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob")
PATHS = {"CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}


def containers_of(kube, kind, namespace, name):
    spec = kube.request("GET", f"{METADATA_PATHS[kind]}/namespaces/{namespace}/{kind.lower()}s/{name}")
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    return {c["name"]: c["image"] for c in (*spec.get("initContainers", ()), *spec["containers"])}


def made(kube, kind, namespace, reference):
    document = body(kind, kind.lower(), reference)
    spec = document
    for part in PATHS.get(kind, ("spec", "template", "spec")):
        spec = spec[part]
    spec["containers"].append({"name": "other", "image": "busybox:1.36.0"})
    spec["initContainers"] = [{"name": "wait", "image": reference}]
    kube.create(kind, namespace, document)


async def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.2)
    return found


def commands_in(text):
    return re.findall(r"```(kubectl .*?)```", text, re.DOTALL)


async def test_the_command_from_the_message_patches_and_the_way_back_restores(kube, namespace, tmp_path):
    (kubectl,) = need("kubectl")
    need("prometheus", "prometheus-alertmanager")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(kubectl)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "KUBECONFIG": str(kube.kubeconfig()), "HOME": str(tmp_path)}

    async def bash(command):
        return await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    with registry("docker-registry", tmp_path / "registry") as hub:
        written = {}
        for kind in PATCHED_KINDS:
            hub.push(f"mojaloop/{kind.lower()}", ["v1.0.0", "v1.0.1", "v1.0.2"])
            # One with a digest, the others without a registry.
            written[kind] = f"mojaloop/{kind.lower()}:v1.0.0{DIGEST if kind == 'StatefulSet' else ''}"
            made(kube, kind, namespace, written[kind])
        hub.push("mojaloop/others", ["v1.0.0", "v1.0.1"])
        others = "mojaloop/others:v1.0.0"
        kube.create("Job", namespace, body("Job", "job", others))
        kube.create("Pod", namespace, {"metadata": {"name": "pod"}, "spec": pod_spec(others)})
        kube.create(
            "Pod",
            namespace,
            {"metadata": {"name": "hub-0", "ownerReferences": owner("StrimziPodSet", "hub")}, "spec": pod_spec(others)},
        )
        flux = body("Deployment", "of-flux", others)
        flux["metadata"]["labels"] = {
            "helm.toolkit.fluxcd.io/name": "moja",
            "helm.toolkit.fluxcd.io/namespace": "flux-system",
        }
        kube.create("Deployment", namespace, flux)
        entry = {"endpoint": f"http://{hub.host}", "api": "oci", "allow_private": ["127.0.0.0/8"]}
        config = {"registries": {"docker.io": entry}, "namespaces": {"include": [namespace]}}
        slack = StandInSlack()
        values = {"available_for": "2s", "overdue_seconds": NEVER, "unknown_for": "1h", "down_for": "1h"}
        with exporter(tmp_path / "exporter", kubeconfig=kube.kubeconfig(), config=config) as ours:
            target = ours.url.removeprefix("http://")
            async with (
                serving(slack.app) as channel,
                pipeline(
                    tmp_path / "pipeline", targets=[(target, {})], slack=channel, values=values, interval="1s"
                ) as behind,
                httpx.AsyncClient(base_url=behind.prometheus) as prometheus,
            ):

                async def firing():
                    answer = (await prometheus.get("/api/v1/alerts")).json()["data"]["alerts"]
                    return {
                        a["labels"]["workload"]: a
                        for a in answer
                        if a["labels"]["alertname"] == "MojaloopImagePatchAvailable" and a["state"] == "firing"
                    }

                def about(name):
                    return [m for m in slack.messages if f"/{name} runs" in m.text]

                async def all_there():
                    names = [*(kind.lower() for kind in PATCHED_KINDS), "job", "pod", "hub", "of-flux"]
                    return all(about(name) for name in names)

                await until(all_there, 60, lambda: [m.title for m in slack.messages] + [ours.log()[-500:]])
                assert slack.refusals == []
                alerts = await firing()
                findings = {
                    f["workload"]: f
                    for f in await asyncio.to_thread(ours.findings)
                    if f["container"] in ("main", "hub")
                }
                for name, alert in alerts.items():
                    for field in ("patch_command", "rollback_command"):
                        assert alert["annotations"].get(field, "") == (findings[name][field] or ""), (name, field)
                    assert alert["annotations"]["description"].endswith(
                        findings[name]["advice"] or "release-management.html"
                    ), name
                for name in ("job", "pod", "hub", "of-flux"):
                    assert findings[name]["patch_command"] is None
                    assert findings[name]["advice"] in about(name)[0].text
                assert not commands_in(about("job")[0].text)

                before = {kind: containers_of(kube, kind, namespace, kind.lower()) for kind in PATCHED_KINDS}
                for kind in PATCHED_KINDS:
                    patch, back = commands_in(about(kind.lower())[0].text)
                    done = await bash(patch)
                    assert done.returncode == 0, done.stderr
                    new = f"mojaloop/{kind.lower()}:v1.0.2"
                    assert containers_of(kube, kind, namespace, kind.lower()) == {
                        "main": new,
                        "wait": new,
                        "other": "busybox:1.36.0",
                    }
                    assert (await bash(patch)).returncode == 1, "a stale command fails"

                async def none_of_them():
                    return not (await firing()).keys() & {kind.lower() for kind in PATCHED_KINDS}

                await until(none_of_them, 10, lambda: "they did not resolve")
                slack.messages.clear()
                for kind in PATCHED_KINDS:
                    _, back = patch_and_back(findings[kind.lower()])
                    done = await bash(back)
                    assert done.returncode == 0, done.stderr
                    assert containers_of(kube, kind, namespace, kind.lower()) == before[kind], "byte for byte"

                async def all_again():
                    return (await firing()).keys() >= {kind.lower() for kind in PATCHED_KINDS}

                await until(all_again, 20, lambda: "they did not fire again")


def patch_and_back(finding):
    return finding["patch_command"], finding["rollback_command"]


async def test_the_sink_refuses_what_slack_would_refuse():
    slack = StandInSlack(clock=lambda: 0.0)
    async with serving(slack.app) as channel, httpx.AsyncClient(base_url=channel) as client:

        async def post(body):
            answer = await client.post("/services/x", json=body)
            return answer.status_code, answer.text

        assert await post({}) == (400, "no_text")
        assert await post([]) == (400, "invalid_payload")
        assert await post({"attachments": [{"text": "x" * 8001}]}) == (400, "msg_too_long")
        assert await post({"attachments": [{"title": "x" * 1025}]}) == (400, "msg_too_long")
        assert await post({"attachments": [{"text": "x"}] * 101}) == (400, "too_many_attachments")
        assert await post(
            {
                "attachments": [
                    {
                        "title": "<b>",
                        "text": "see <https://a.example/b?c|there>\n```kubectl 'x' <y>```",
                        "color": "good",
                    }
                ]
            }
        ) == (200, "ok")
        statuses = [(await post({"text": "x", "attachments": []}))[0] for _ in range(6)]
        assert statuses == [200, 200, 200, 200, 429, 429]
        page = (await client.get("/")).text
        assert "&lt;b&gt;" in page
        assert '<a href="https://a.example/b?c">there</a>' in page
        assert "<pre>kubectl &#x27;x&#x27; &lt;y&gt;</pre>" in page


# Prometheus away for longer than it looks back, and the exporter as well: a gap that promtool cannot show.


@contextlib.contextmanager
def prometheus(folder, target, address):
    (binary,) = need("prometheus")
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(
            [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}",
             "--query.lookback-delta=3s", "--rules.alert.for-grace-period=0s"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def ask(address, query):
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(
            f"http://{address}/api/v1/query?query={urllib.request.quote(query)}", timeout=5
        ) as answer,
    ):
        return len(json.loads(answer.read())["data"]["result"])
    return None


async def test_prometheus_restarted_after_longer_than_its_lookback_loses_nothing(tmp_path):
    (tmp_path / "rules.yml").write_text(substitute(RULES.read_text(), {"available_for": "1s"}))
    address = f"127.0.0.1:{free_port()}"
    w = 'namespace="mojaloop",workload_kind="Deployment",workload="ledger",container="main",container_type="container",image="docker.io/mojaloop/ledger",tag="v1.0.0"'
    page = (
        f'mojaloop_image_patch_available{{{w},latest_tag="v1.0.2"}} 1\nmojaloop_image_patch_releases_behind{{{w}}} 2\n'
        f'mojaloop_image_info{{{w},digest="",reference="mojaloop/ledger:v1.0.0",position="0"}} 1\nmojaloop_exporter_synced{{watched_namespace="*"}} 1\n'
    )
    from tests.support.web import reply, web

    answers = {"page": reply(page.encode(), Content_Type="text/plain")}
    firing, held = (
        'ALERTS{alertname="MojaloopImagePatchAvailable",alertstate="firing"}',
        'mojaloop:image_patch_missing{workload!=""}',
    )

    async def shows(query, count):
        return (await asyncio.to_thread(ask, address, query)) == count

    def log():
        return (tmp_path / "prometheus.log").read_text()[-2000:]

    async with web(lambda _: answers["page"]) as server:
        with prometheus(tmp_path, server.host, address):
            await until(lambda: shows(firing, 1), 30, log)
            answers["page"] = reply(status=503)
            await asyncio.sleep(4)
            assert await shows(firing, 1), "held while the exporter is away"
        await asyncio.sleep(5)
        with prometheus(tmp_path, server.host, address):
            await until(lambda: shows(held, 1), 30, log)
            await until(lambda: shows(firing, 1), 30, log)
            answers["page"] = reply(b'mojaloop_exporter_synced{watched_namespace="*"} 1\n', Content_Type="text/plain")
            await until(lambda: shows(held, 0), 10, log)
            await until(lambda: shows(firing, 0), 10, log)


# Names of anybody, pasted into a real bash.

_text = st.text(max_size=12) | st.sampled_from(
    ["$(touch x)", "`id`", "';touch x;'", '"', "a b", "-n", "--help", "a\nb", "\\", "a'b", "${IFS}", "&", "|", ">x"]
)
_name = _text | st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?\Z")
_image = _text | st.from_regex(r"\A([a-z0-9.]{1,8}(:[0-9]{1,4})?/)?[a-z0-9]{1,6}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,8})?\Z")


@given(
    st.lists(
        st.tuples(_name, _text | st.sampled_from(["Deployment", "CronJob"]), _name, _name, _image, _image),
        min_size=100,
        max_size=150,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_anybody_names_is_executed(tmp_path, rows):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    (tmp_path / "bin").mkdir(exist_ok=True)
    stub = tmp_path / "bin" / "kubectl"
    stub.write_text('#!/bin/sh\nprintf "%s\\037" "$@" >> "$LOG"\nprintf "\\n" >> "$LOG"\n')
    stub.chmod(0o755)
    expected, lines = [], []
    for namespace, kind, name, container, image, latest in rows:
        # The gate that everything passes before it becomes a finding (checker.py).
        try:
            reference, tag = parse(image), parse(f"a:{latest}").tag
        except InvalidReferenceError:
            continue
        if not (
            is_object_name(namespace) and is_kind(kind) and is_object_name(name) and is_object_name(container)
        ) or reference.tag in (None, tag):
            continue
        found = Finding(
            workload=WorkloadKey(namespace, kind, name), container=container, container_type=ContainerType.CONTAINER, position=0, reference=image,
            image=str(reference.repository), tag=reference.tag, latest_tag=tag,
        )  # fmt: skip
        for command in (patch_command([found], WorkloadState()), rollback_command([found], WorkloadState())):
            if command is not None:
                lines.append(command)
                expected.append((namespace, f"{kind.lower()}/{name}"))
    log = tmp_path / "log"
    log.write_text("")
    script = tmp_path / "script"
    script.write_text("\n".join(lines) + "\n")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "LOG": str(log)}
    done = subprocess.run(
        ["bash", str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(folder.iterdir()) == []
    ran = [line.split("\037") for line in log.read_text().splitlines()]
    assert [(words[1], words[3]) for words in ran] == expected
    for words in ran:
        assert words[0:3:2] == ["--namespace", "patch"]
        assert words[4:7] == ["--type", "json", "--patch"]
        json.loads(words[7])

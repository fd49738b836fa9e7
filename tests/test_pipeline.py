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
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.commands import patch_command, rollback_command
from exporter.demo import StandInSlack, pipeline, serving
from exporter.demo.alerts import FOLDER, RULES, substitute
from exporter.demo.pipeline import alertmanager_config
from exporter.demo.slack import LONGEST_ATTACHMENT_TEXT
from exporter.findings import Finding, WorkloadState
from exporter.images import InvalidReferenceError, parse
from exporter.workloads import ContainerType, WorkloadKey, is_kind, is_object_name
from tests.support.components import need
from tests.support.exporter_process import exporter
from tests.support.kube import METADATA_PATHS, free_port
from tests.support.registries import registry
from tests.support.workloads import body, owner, pod_spec

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


# Two hundred findings.


def many_alerts():
    """Two hundred findings in forty workloads: fifteen of one image, the others of eleven more."""
    alerts, commands = [], 0
    for number in range(40):
        image = "central-ledger" if number < 15 else f"service-{number % 11}"
        key = WorkloadKey("mojaloop", "Deployment", f"moja-{image}-handler-transfer-position-{number:02}")
        reference = f"mojaloop/{image}:v19.12.3"
        found = [
            Finding(
                workload=key, container=f"container-{n}", container_type=ContainerType.INIT_CONTAINER if n > 2 else ContainerType.CONTAINER, position=n % 3,
                reference=reference, image=f"docker.io/{reference.partition(':')[0]}", tag="v19.12.3", latest_tag="v19.12.8",
            )
            for n in range(5)
        ]  # fmt: skip
        commands += len(found)
        labels = {
            "alertname": "MojaloopImagePatchAvailable", "severity": "warning", "cluster": "north", "namespace": "mojaloop", "workload_kind": "Deployment",
            "workload": key.name, "image": found[0].image, "tag": "v19.12.3",
        }  # fmt: skip
        state = WorkloadState()
        annotations = {
            "summary": "A newer patch release of a running image is available.",
            "description": f"Deployment mojaloop/{key.name} runs {found[0].image}:v19.12.3 and misses v19.12.8, since 2026-02-27 15:37:17 +0000 UTC.",
            "runbook_url": "https://example.org/runbook", "dashboard_url": "https://example.org/dashboard", "changes_url": "https://example.org/changes",
            "patch_command": patch_command(found, state), "rollback_command": rollback_command(found, state),
        }  # fmt: skip
        alerts.append({"labels": labels, "annotations": annotations})
    assert commands == 200
    return alerts


@contextlib.asynccontextmanager
async def alertmanager(folder, webhook, **more):
    (binary,) = need("prometheus-alertmanager")
    (folder / "webhook").write_text(f"{webhook}/services/test")
    (folder / "alertmanager.yml").write_text(json.dumps(alertmanager_config(folder / "webhook", **more)))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "alertmanager.log").open("ab") as log:
        process = subprocess.Popen(
            [binary, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}", f"--web.listen-address={address}",
             "--cluster.listen-address=", f"--web.external-url=http://{address}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:

            async def ready():
                with contextlib.suppress(httpx.HTTPError):
                    return (await client.get("/-/ready")).status_code == 200

            await until(ready, 20, (folder / "alertmanager.log").read_text)
            yield client
    finally:
        process.kill()
        process.wait(timeout=10)


async def test_two_hundred_findings_keep_slacks_limits_and_no_command_is_cut(tmp_path):
    slack, alerts = StandInSlack(), many_alerts()
    async with serving(slack.app) as channel, alertmanager(tmp_path, channel, group_wait="1s") as client:
        assert (await client.post("/api/v2/alerts", json=alerts)).status_code == 200

        async def every_group():
            return len(slack.messages) >= 12

        await until(every_group, 60, lambda: (len(slack.messages), slack.refusals))
        ledger = next(m for m in slack.messages if "central-ledger" in m.title)
        assert "(15)" in ledger.title
        left = int(re.search(r"And (\d+) more, with their commands", ledger.text)[1])
        known = {a["annotations"][field] for a in alerts for field in ("patch_command", "rollback_command")}
        shown = commands_in(ledger.text)
        assert len(shown) + left == 15
        for message in slack.messages:
            assert len(message.text) <= LONGEST_ATTACHMENT_TEXT
            assert message.text.count("```") % 2 == 0
            assert set(commands_in(message.text)) <= known, "a command was cut"
            assert "more, with" in message.text or len(commands_in(message.text)) >= message.text.count(" runs "), (
                "every command is there"
            )
        print(
            f"{len(slack.messages)} messages of {sorted(len(m.text) for m in slack.messages)} characters; refused {slack.refusals}"
        )
        # They end all at once, and short.
        slack.messages.clear()
        ended = [{**a, "endsAt": "2020-01-01T00:00:00Z", "startsAt": "2019-01-01T00:00:00Z"} for a in alerts]
        assert (await client.post("/api/v2/alerts", json=ended)).status_code == 200

        async def resolved():
            return [m for m in slack.messages if m.title.startswith("[resolved]") and "central-ledger" in m.title]

        (message,) = await until(resolved, 60, lambda: [m.title for m in slack.messages])
        assert len(message.text) < 250
        assert "kubectl" not in message.text


async def test_what_inhibits_what(tmp_path):
    """Overdue takes the place of Available; a missing exporter silences what it would say wrongly, and no patch."""
    slack = StandInSlack()
    patch = {
        "cluster": "north",
        "namespace": "mojaloop",
        "workload_kind": "Deployment",
        "workload": "a",
        "image": "docker.io/mojaloop/a",
        "tag": "v1.0.0",
    }

    def alert(name, **labels):
        return {
            "labels": {"alertname": name, "severity": "warning", **labels},
            "annotations": {"summary": name, "description": "d"},
        }

    alerts = [
        alert("MojaloopImagePatchOverdue", **patch),
        alert("MojaloopImagePatchAvailable", **patch),
        alert("MojaloopImagePatchAvailable", **{**patch, "workload": "b", "image": "docker.io/mojaloop/b"}),
        alert("MojaloopImagePatchExporterDown", cluster="north", watched_namespace="*"),
        alert("MojaloopImageLookupStale", cluster="north", registry="docker.io"),
        alert("MojaloopRegistryFailing", cluster="north", registry="docker.io"),
        alert("MojaloopImageStatusUnknown", cluster="north", namespace="mojaloop"),
        alert("MojaloopRegistryFailing", cluster="south", registry="docker.io"),
    ]
    async with serving(slack.app) as channel, alertmanager(tmp_path, channel, group_wait="1s") as client:
        assert (await client.post("/api/v2/alerts", json=alerts)).status_code == 200

        async def four():
            return len(slack.messages) >= 4

        await until(four, 20, lambda: slack.messages)
        # Every group waits as long as the others do, so this message comes after all that the first alerts may cause.
        one_more = alert("MojaloopImagePatchAvailable", **{**patch, "workload": "c", "image": "docker.io/mojaloop/c"})
        assert (await client.post("/api/v2/alerts", json=[one_more])).status_code == 200

        async def last():
            return any(" c in " in message.title for message in slack.messages)

        await until(last, 20, lambda: slack.messages)
        assert sorted(message.title for message in slack.messages) == [
            "[warning] MojaloopImagePatchExporterDown (1)",
            "[warning] MojaloopRegistryFailing (1)",
            "[warning] a in north/mojaloop: MojaloopImagePatchOverdue (1)",
            "[warning] b in north/mojaloop: MojaloopImagePatchAvailable (1)",
            "[warning] c in north/mojaloop: MojaloopImagePatchAvailable (1)",
        ]


# Alertmanager's configuration and templates.


def amtool(*arguments):
    (binary,) = need("amtool")
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def test_the_example_is_valid():
    status, said = amtool("check-config", str(FOLDER / "alertmanager.yml"))
    assert status == 0, said


ROUTES = {
    "MojaloopImagePatchLineSuperseded": "image-patch-slack-weekly",
    "MojaloopImageStatusUnknown": "image-patch-slack-weekly",
}


@pytest.mark.parametrize(
    "rule",
    [r for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"] if "alert" in r],
    ids=lambda r: r["alert"],
)
def test_every_alert_has_its_route(rule):
    status, said = amtool(
        "config",
        "routes",
        "test",
        "--config.file",
        str(FOLDER / "alertmanager.yml"),
        f"alertname={rule['alert']}",
        f"severity={rule['labels']['severity']}",
    )
    assert (status, said.splitlines()[-1]) == (0, ROUTES.get(rule["alert"], "image-patch-slack"))


def render(tmp_path, name, alerts, status="firing"):
    """A template on data as Alertmanager has it."""
    common = dict(set.intersection(*(set(a["labels"].items()) for a in alerts)))
    notes = dict(set.intersection(*(set(a["annotations"].items()) for a in alerts)))
    data = {
        "receiver": "x", "status": status, "externalURL": "http://alertmanager", "groupLabels": {}, "commonLabels": common, "commonAnnotations": notes,
        "alerts": [{"status": status, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z", "generatorURL": "", "fingerprint": "x", **a} for a in alerts],
    }  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(data))
    status, said = amtool(
        "template",
        "render",
        "--template.glob",
        str(FOLDER / "slack.tmpl"),
        "--template.text",
        f'{{{{ template "{name}" . }}}}',
        "--template.data",
        str(tmp_path / "data.json"),
    )
    assert status == 0, said
    return said.strip()


def test_the_templates_for_one_for_many_and_for_what_is_resolved(tmp_path):
    alerts = many_alerts()
    one = render(tmp_path, "image_patch.text", alerts[:1])
    assert one.startswith(alerts[0]["annotations"]["description"])
    assert commands_in(one) == [alerts[0]["annotations"]["patch_command"], alerts[0]["annotations"]["rollback_command"]]
    title = render(tmp_path, "image_patch.title", alerts[:1])
    assert (
        title
        == "[warning] central-ledger in north/mojaloop: A newer patch release of a running image is available. (1)"
    )
    many = render(tmp_path, "image_patch.text", alerts[:15])
    assert len(many) <= LONGEST_ATTACHMENT_TEXT
    assert re.search(
        r"And \d+ more, with their commands and the ways back: <http://alertmanager/#/alerts\|all alerts>", many
    )
    resolved = render(tmp_path, "image_patch.text", alerts[:15], "resolved")
    assert resolved.startswith("Resolved: moja-central-ledger-handler-transfer-position-00:v19.12.3")
    assert resolved.endswith("more")
    assert render(tmp_path, "image_patch.title", alerts[:15], "resolved").startswith(
        "[resolved] central-ledger in north/mojaloop"
    )
    mail = render(tmp_path, "image_patch.email.text", alerts[:2])
    for alert in alerts[:2]:
        assert alert["annotations"]["patch_command"] in mail
        assert alert["annotations"]["rollback_command"] in mail
    health = [
        {
            "labels": {"alertname": "MojaloopRegistryFailing", "severity": "warning", "registry": "docker.io"},
            "annotations": {"summary": "s", "description": "d", "runbook_url": "r"},
        }
    ]
    assert render(tmp_path, "image_patch.title", health) == "[warning] s (1)"
    assert render(tmp_path, "image_patch.text", health) == "d\n<r|runbook>"
    for status, color in (("firing", "warning"), ("resolved", "good")):
        assert render(tmp_path, "image_patch.color", health, status) == color


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


LOOKBACK = 3  # seconds


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
             f"--query.lookback-delta={LOOKBACK}s", "--rules.alert.for-grace-period=0s"],
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
            await until(lambda: shows(f"max_over_time(up[{LOOKBACK + 1}s]) == 0", 1), 30, log)
            assert await shows(firing, 1), "held while the exporter is away"
        await asyncio.sleep(LOOKBACK + 1)  # Prometheus reads the machine's clock: there is none to inject
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
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_anybody_names_is_executed(tmp_path, rows):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    # A function, as a process for each of some thousand commands takes seconds.
    kubectl = """kubectl() { printf '%s\\037' "$@" >> "$LOG"; printf '\\n' >> "$LOG"; }\n"""
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
    script.write_text(kubectl + "\n".join(lines) + "\n")
    environment = {"PATH": "/usr/bin:/bin", "LOG": str(log)}
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

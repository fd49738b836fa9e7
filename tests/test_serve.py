"""`serve` from end to end: a real API server and real registries in, the metric contract out."""

import asyncio
import base64
import gzip
import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.logs import shown
from tests.support.bad_registries import BAD
from tests.support.components import need
from tests.support.exporter_process import Exporter, exporter, local
from tests.support.kube import ADMIN, READER, free_port
from tests.support.registries import registry
from tests.support.web import web
from tests.support.workloads import IMAGE_PATH, body, pod_spec

# Two seconds are promised; a machine that is busy with something else gets one more.
WITHIN = 3.0
TAGS = ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0"]
W = ("namespace", "workload_kind", "workload", "container", "container_type", "image", "tag")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A registry with a service that has patches."""
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", TAGS)
        yield opened


@pytest.fixture
def running(kube, namespace, hub, tmp_path):
    config = {"registries": local(hub.host), "namespaces": {"include": [namespace]}}
    with exporter(tmp_path, kubeconfig=kube.kubeconfig(), config=config) as opened:
        opened.until(lambda: opened.get("/-/ready")[0] == 200)
        yield opened


@pytest.fixture(scope="module")
def among_bad_registries(kube, hub, tmp_path_factory):
    """An exporter of images at all bad registries and at a good one, its namespace, and the reasons to expect."""
    ready, done, hosts, namespace = threading.Event(), threading.Event(), [], "bad-registries"

    async def misbehave():
        async with AsyncExitStack() as opened:
            for answer, _ in BAD.values():
                hosts.append((await opened.enter_async_context(web(answer))).host)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(misbehave(),))
    thread.start()
    try:
        assert ready.wait(60)
        kube.namespace(namespace)
        images = {f"bad-{number:02}": f"{host}/mojaloop/central-ledger:v1.0.0" for number, host in enumerate(hosts)}
        reasons = {name: reason.value for name, (_, reason) in zip(images, BAD.values(), strict=True)}
        for name, image in {**images, "good": f"{hub.host}/mojaloop/ledger:v1.0.0"}.items():
            kube.create("Deployment", namespace, body("Deployment", name, image=image))
        config = {"registries": local(hub.host, *hosts), "namespaces": {"include": [namespace]}}
        folder = tmp_path_factory.mktemp("bad-registries")
        with exporter(folder, kubeconfig=kube.kubeconfig(), config=config) as ours:
            yield ours, namespace, reasons
    finally:
        done.set()
        thread.join()


def test_among_bad_registries_the_good_one_goes_on(among_bad_registries):
    ours, _, _ = among_bad_registries
    ours.until(lambda: ours.value("mojaloop_image_patch_available", workload="good") == 1.0)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Pod"])
def test_series_appear_change_and_vanish_within_two_seconds(running, kube, namespace, hub, kind):
    image = f"{hub.host}/mojaloop/ledger"
    kube.create(kind, namespace, body(kind, image=f"{image}:v1.0.0"))
    labels = {"namespace": namespace, "workload_kind": kind, "image": image}
    available = "mojaloop_image_patch_available"
    running.until(lambda: running.value(available, tag="v1.0.0", latest_tag="v1.0.2", **labels) == 1.0, WITHIN)
    assert running.value("mojaloop_image_patch_releases_behind", **labels) == 2.0
    assert running.value("mojaloop_image_upgrade_available", strategy="minor", latest_tag="v1.1.0", **labels) == 1.0
    path = IMAGE_PATH.get(kind, "/spec/template/spec/containers/0/image")
    kube.patch(kind, namespace, "thing", [{"op": "replace", "path": path, "value": f"{image}:v1.0.2"}])
    running.until(lambda: running.value(available, tag="v1.0.2", latest_tag="v1.0.2", **labels) == 0.0, WITHIN)
    assert not running.samples("mojaloop", tag="v1.0.0"), "no old series stays"
    kube.delete(kind, namespace, "thing")
    running.until(lambda: not running.samples("mojaloop", **labels), WITHIN)


def test_a_job_appears_and_vanishes(running, kube, namespace, hub):
    kube.create("Job", namespace, body("Job", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    running.until(lambda: running.value("mojaloop_image_patch_available", workload_kind="Job") == 1.0, WITHIN)
    kube.delete("Job", namespace, "thing")
    running.until(lambda: not running.samples(workload_kind="Job"), WITHIN)


def test_both_formats_and_compression(running, kube, namespace, hub):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    running.until(lambda: running.value("mojaloop_exporter_synced") == 1.0 and running.samples("mojaloop_image_patch"))
    status, media, text = running.get("/metrics")
    assert (status, media) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"mojaloop_exporter_build_info" in text
    assert b"process_resident_memory_bytes" in text
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, media, page = running.get("/metrics", Accept=accept)
    assert media.startswith("application/openmetrics-text; version=1.0.0")
    assert page.endswith(b"# EOF\n")
    assert page.count(b"# EOF") == 1
    names = {family.name for family in parse_openmetrics(page.decode())}
    assert {"mojaloop_image_patch_available", "mojaloop_image", "mojaloop_exporter_registry_requests"} <= names
    _, _, packed = running.get("/metrics", Accept=accept, Accept_Encoding="gzip")
    assert gzip.decompress(packed).splitlines()[:20] == page.splitlines()[:20]
    assert gzip.decompress(packed).endswith(b"# EOF\n")


def test_promtool_has_nothing_to_say_of_the_page(running, kube, namespace, hub):
    (promtool,) = need("promtool")
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    running.until(lambda: running.samples("mojaloop_image_patch"))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=running.get("/metrics")[2], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_landing_page_links_what_there_is(running):
    status, media, page = running.get("/")
    assert (status, media) == (200, "text/html; charset=utf-8")
    for path in ("/metrics", "/api/v1/findings", "/-/healthy", "/-/ready"):
        assert f'href="{path.removeprefix("/")}"'.encode() in page
        assert running.get(path)[0] == 200
    assert running.get("/none")[0] == 404


def test_sigterm_ends_it_cleanly(running):
    began = time.monotonic()
    assert running.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in running.log()


def test_killed_and_started_again_without_the_registry_it_says_the_same(kube, namespace, tmp_path):
    with registry("docker-registry", tmp_path / "registry") as opened:
        opened.push("mojaloop/ledger", TAGS)
        for name in ("one", "two"):
            kube.create(
                "Deployment",
                namespace,
                body("Deployment", name, image=f"{opened.host}/mojaloop/ledger:v1.0.{len(name) - 3}"),
            )
        config = {"registries": local(opened.host), "namespaces": {"include": [namespace]}}
        with exporter(tmp_path / "exporter", kubeconfig=kube.kubeconfig(), config=config) as ours:
            dated = "mojaloop_image_patch_published_timestamp_seconds"
            ours.until(lambda: ours.value("mojaloop_exporter_synced") == 1.0 and len(ours.samples(dated)) == 2)
            before = ours.samples()
            assert ours.stop(signal.SIGKILL) == -signal.SIGKILL
            opened.stop()
            ours.start()
            ours.until(lambda: ours.get("/-/ready")[0] == 200)
            assert ours.samples() == before
            assert ours.value("mojaloop_exporter_synced") == 1.0


def test_it_lives_and_is_not_ready_while_the_api_server_is_away(tmp_path):
    config = tmp_path / "kubeconfig"
    document = {
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    config.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **document}))
    with exporter(tmp_path / "exporter", kubeconfig=config, config={}) as ours:
        assert ours.get("/-/healthy")[0] == 200
        assert ours.get("/-/ready")[0] == 503
        assert ours.value("mojaloop_exporter_synced", watched_namespace="*") == 0.0
        assert ours.stop() == 0


def test_without_jobs_all_but_jobs_works(kube, namespace, hub, tmp_path):
    groups = {"": ["pods"], "apps": ["deployments", "statefulsets", "daemonsets", "replicasets"], "batch": ["cronjobs"]}
    rules = [
        {"apiGroups": [group], "resources": names, "verbs": ["get", "list", "watch"]} for group, names in groups.items()
    ]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    kube.request("POST", f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules})
    kube.request(
        "POST",
        f"{rbac}/rolebindings",
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
        },
    )
    image = f"{hub.host}/mojaloop/ledger:v1.0.0"
    kube.create("Deployment", namespace, body("Deployment", image=image))
    job = kube.create("Job", namespace, body("Job", image=image))
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "thing",
        "uid": job["metadata"]["uid"],
        "controller": True,
    }
    kube.create(
        "Pod", namespace, {"metadata": {"name": "of-the-job", "ownerReferences": [owner]}, "spec": pod_spec(image)}
    )
    config = {"registries": local(hub.host), "namespaces": {"include": [namespace]}}
    with exporter(tmp_path / "all", kubeconfig=kube.kubeconfig(READER), config=config) as ours:
        ours.until(lambda: ours.value("mojaloop_image_patch_available", workload_kind="Deployment") == 1.0)
        assert ours.get("/-/ready")[0] == 200
        assert not ours.samples(workload_kind="Job")
        assert not ours.samples(workload="of-the-job")
        assert ours.value("mojaloop_exporter_synced", watched_namespace=namespace) == 0.0
        assert ours.value("mojaloop_exporter_kubernetes_forbidden", kind="Job") == 1.0
        assert ours.log().count("not permitted to list or watch Job") == 1
        restarts = "mojaloop_exporter_kubernetes_watch_restarts_total"
        # It asks again and again, and logs it once.
        ours.until(lambda: (ours.value(restarts, kind="Job", reason="forbidden") or 0) >= 3)
        assert ours.log().count("not permitted to list or watch Job") == 1
    kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Pod"]
    with exporter(
        tmp_path / "some", kubeconfig=kube.kubeconfig(READER), config={**config, "kubernetes": {"kinds": kinds}}
    ) as ours:
        ours.until(lambda: ours.value("mojaloop_exporter_synced", watched_namespace=namespace) == 1.0)
        assert not ours.samples(workload="of-the-job")


HOSTILE = [
    "$(reboot)", "a'; rm -rf / #", 'a"b:v1.0.0', "a\nb", "a`id`:v1.0.0", "a/b:v1.0.0 --help", "a\\b:v1",
    "169.254.169.254/a/b:v1.0.0",
    "A/B:v1.0.0", "a/b:v1.0.0@sha256:abc", "é/b:v1.0.0", "{{ .Values.image }}",
]  # fmt: skip


def test_no_hostile_reference_reaches_a_label_or_a_command(running, kube, namespace, hub):
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(HOSTILE)]
    deployment = body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0")
    deployment["spec"]["template"]["spec"]["containers"] += containers
    kube.create("Deployment", namespace, deployment)
    running.until(lambda: len(running.samples("mojaloop_image_status_unknown")) == len(HOSTILE))
    page = running.get("/metrics")[2].decode()
    found = {f["container"]: f for f in running.findings()}
    for number, image in enumerate(HOSTILE):
        finding = found[f"c{number}"]
        if image.startswith("169."):
            assert finding["reason"] == "registry_not_allowed"
            continue
        assert (finding["reason"], finding["image"], finding["tag"], finding["reference"]) == (
            "invalid_reference",
            "",
            "",
            shown(image),
        ), image
        assert finding["reference"].isprintable()
        assert image not in page, "only the JSON has it"
    assert running.value("mojaloop_image_patch_available", container="main") == 1.0, "nothing else stops"
    assert running.value("mojaloop_exporter_synced", watched_namespace=namespace) == 1.0


def test_a_bad_annotation_concerns_its_container_alone(running, kube, namespace, hub):
    image = f"{hub.host}/mojaloop/ledger:v1.0.0"
    deployment = body("Deployment", image=image)
    template = deployment["spec"]["template"]
    template["spec"]["containers"] += [{"name": "bad", "image": image}, {"name": "left-out", "image": image}]
    prefix = "image-patch.mojaloop.io/"
    annotations = {"strategy.bad": "newest", "ignore.left-out": "true", "strategy.main": "minor"}
    template["metadata"]["annotations"] = {prefix + name: value for name, value in annotations.items()}
    kube.create("Deployment", namespace, deployment)
    running.until(lambda: running.value("mojaloop_image_patch_available", container="main", latest_tag="v1.1.0") == 1.0)
    assert running.value("mojaloop_image_status_unknown", container="bad", reason="invalid_annotation") == 1.0
    assert not running.samples("mojaloop_image", container="left-out")
    assert running.value("mojaloop_exporter_containers", state="ignored") == 1.0


def test_annotations_that_cost_too_much_are_refused_and_counted(running, kube, namespace, hub):
    image = f"{hub.host}/mojaloop/ledger:v1.0.0"
    names = [f"c{number}" for number in range(40)]
    costly = body("Deployment", "costly", image=image)
    costly["spec"]["replicas"] = 0
    template = costly["spec"]["template"]
    template["spec"]["containers"] = [{"name": name, "image": image} for name in names]
    # 2 KiB, which RE2 would compile to 270 MiB.
    expressions = {
        f"image-patch.mojaloop.io/include-tags.{name}": rf"(\pL|\pN|\pM){{{2}{name[1:]:0>2}}}" for name in names
    }
    template["metadata"]["annotations"] = expressions
    kube.create("Deployment", namespace, costly)
    kube.create("Deployment", namespace, body("Deployment", image=image))
    unknown = {"workload": "costly", "reason": "limit_exceeded"}
    running.until(lambda: len(running.samples("mojaloop_image_status_unknown", **unknown)) == len(names))
    assert running.value("mojaloop_exporter_limits_exceeded_total", limit="expressions") == 1.0
    running.until(lambda: running.value("mojaloop_image_patch_available", workload="thing") == 1.0)
    assert running.log().count("different regular expressions") == 1


def test_what_cannot_start_says_why_in_one_line(running, kube, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "exporter", "serve", "--kubeconfig", str(kube.kubeconfig()), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.stderr.count("\n") == 1, done.stderr
        return done.returncode, done.stderr

    free = ["--listen", "127.0.0.1:0", "--state-dir"]
    status, said = run(*free, str(running.folder / "state"))
    assert (status, "another exporter uses this directory" in said) == (1, True)
    status, said = run("--listen", running.url.removeprefix("http://"), "--state-dir", str(tmp_path / "x"))
    assert (status, "cannot listen on" in said) == (1, True)
    (tmp_path / "file").write_text("")
    status, said = run(*free, str(tmp_path / "file" / "state"))
    assert (status, "--state-dir" in said) == (1, True)
    status, said = run("--kubeconfig", str(tmp_path / "none"), *free, str(tmp_path / "y"))
    assert (status, "does not exist" in said) == (1, True)


def test_no_secret_reaches_a_log_a_metric_or_a_finding(kube, namespace, tmp_path):
    hashed = "hub:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"
    (tmp_path / "htpasswd").write_text(hashed)
    for name, text in (("user", "hub"), ("password", "s3cret"), ("wrong", "wr0ng-secret")):
        (tmp_path / name).write_text(text)
    more = f"auth: {{htpasswd: {{realm: x, path: '{tmp_path}/htpasswd'}}}}\n"
    with registry("registry", tmp_path / "registry", more=more) as opened:
        other = opened.host.replace("127.0.0.1", "localhost")
        entries = local(opened.host, username_file=str(tmp_path / "user"), password_file=str(tmp_path / "password"))
        entries |= local(other, username_file=str(tmp_path / "user"), password_file=str(tmp_path / "wrong"))
        config = {"registries": entries, "log": {"level": "debug"}, "namespaces": {"include": [namespace]}}
        for name, host in (("right", opened.host), ("wrong", other)):
            kube.create("Deployment", namespace, body("Deployment", name, image=f"{host}/mojaloop/ledger:v1.0.0"))
        with exporter(tmp_path / "exporter", kubeconfig=kube.kubeconfig(), config=config) as ours:
            ours.until(lambda: ours.value("mojaloop_image_status_unknown", workload="right", reason="not_found"))
            ours.until(lambda: ours.value("mojaloop_image_status_unknown", workload="wrong", reason="unauthorized"))
            said = (
                ours.log()
                + ours.get("/metrics")[2].decode()
                + ours.get("/api/v1/findings")[2].decode()
                + ours.get("/")[2].decode()
            )
    secrets = [
        "s3cret",
        "wr0ng-secret",
        ADMIN,
        *(base64.b64encode(f"hub:{p}".encode()).decode() for p in ("s3cret", "wr0ng-secret")),
    ]
    for secret in secrets:
        assert secret not in said


def test_the_life_of_a_process_leaves_no_traceback(running):
    assert isinstance(running, Exporter)
    assert "Traceback" not in running.log()


def test_told_to_end_while_it_starts_it_ends(tmp_path):
    # In a container nobody else ends it: the kernel does not, for a first process without a handler.
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "serve", "--state-dir", str(tmp_path)], stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 60
        while not _handles(process.pid, signal.SIGTERM):
            assert time.monotonic() < end
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM, "before it has begun to serve, which ends with 0"
    finally:
        process.kill()
        process.communicate()


def _handles(pid, number):
    """Whether a process has a handler for a signal (proc(5))."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[1]
    return int(caught, 16) >> (number - 1) & 1


def test_among_bad_registries_the_good_one_has_its_verdict_and_each_bad_one_its_reason(among_bad_registries):
    """At the end of the module: the slowest may take a minute, which passes while the other tests run."""
    ours, namespace, reasons = among_bad_registries

    def judged():
        return {f["workload"]: f["reason"] for f in ours.findings() if f["workload"] != "good"} == reasons

    ours.until(judged, 90)
    assert ours.value("mojaloop_image_patch_available", workload="good") == 1.0
    assert ours.peak_mib() < 150
    assert ours.value("mojaloop_exporter_synced", watched_namespace=namespace) == 1.0, "the cluster alone"

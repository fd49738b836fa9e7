"""`serve` with a list of images and without a cluster, from end to end: a real registry, and a file that changes."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from exporter.catalogue import FILE
from tests.support.components import need
from tests.support.exporter_process import exporter, local
from tests.support.prometheus import prometheus
from tests.support.registries import registry

TAGS = ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0"]
AVAILABLE, LOOKUP = "mojaloop_image_patch_available", "mojaloop_image_lookup_timestamp_seconds"
RELOADS = "mojaloop_exporter_config_reloads_total"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A registry with services that have patches."""
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        for name in ("ledger", "quoting", "sdk"):
            opened.push(f"mojaloop/{name}", TAGS)
        yield opened


@pytest.fixture
def nowhere(tmp_path):
    """An environment in which kubectl would find no cluster."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "KUBECONFIG": None, "KUBERNETES_SERVICE_HOST": None}


def watching(hub, *watch, **more):
    return {"kubernetes": {"enabled": False}, "registries": local(hub.host), "watch": list(watch), **more}


@pytest.fixture
def config(hub):
    return watching(
        hub,
        f"{hub.host}/mojaloop/ledger:v1.0.0",
        {"reference": f"{hub.host}/mojaloop/quoting:v1.0.0", "name": "quotes", "strategy": "minor"},
        f"{hub.host}/mojaloop/sdk",
    )


@pytest.fixture
def running(config, nowhere, tmp_path):
    with exporter(tmp_path / "exporter", config=config, environment=nowhere) as opened:
        opened.until(lambda: len(opened.samples(AVAILABLE)) == 2)
        yield opened


def image(hub, **more):
    """The labels of the ledger of the list."""
    return {
        "namespace": "", "workload_kind": "Image", "workload": "ledger", "container": "", "container_type": "container",
        "image": f"{hub.host}/mojaloop/ledger", **more,
    }  # fmt: skip


def test_without_a_cluster_images_have_all_metrics_and_the_list_is_synced(running, hub):
    assert running.get("/-/ready")[0] == 200
    labels = image(hub, tag="v1.0.0")
    assert running.samples(AVAILABLE, workload="ledger") == {
        (AVAILABLE, frozenset({**labels, "latest_tag": "v1.0.2"}.items())): 1.0
    }
    assert running.value(AVAILABLE, workload="quotes", latest_tag="v1.1.0") == 1.0, "its own strategy"
    assert running.value("mojaloop_image_patch_releases_behind", **labels) == 2.0
    assert running.value("mojaloop_image_upgrade_available", strategy="minor", **labels) == 1.0
    assert running.value("mojaloop_image_info", reference=f"{hub.host}/mojaloop/ledger:v1.0.0", **labels) == 1.0
    running.until(lambda: running.value("mojaloop_image_patch_published_timestamp_seconds", **labels))
    assert running.samples("mojaloop_exporter_synced") == {
        ("mojaloop_exporter_synced", frozenset({("watched_namespace", "")})): 1.0
    }
    for accept in ("text/plain", "application/openmetrics-text;version=1.0.0"):
        page = running.get("/metrics", Accept=accept)[2].decode()
        assert f'{AVAILABLE}{{namespace="",workload_kind="Image",workload="ledger",container="",' in page
    assert running.get("/api/v1/findings")[0] == 200
    assert {finding["workload"] for finding in running.findings()} == {"ledger", "quotes"}
    assert "kube" not in running.log().lower()


def test_a_repository_without_a_tag_is_looked_up_and_has_no_other_sample(running, hub):
    name = f"{hub.host}/mojaloop/sdk"
    running.until(lambda: running.value(LOOKUP, image=name))
    assert {sample for sample, _ in running.samples(image=name)} == {LOOKUP}


def test_promtool_has_nothing_to_say_of_the_page(running):
    (promtool,) = need("promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=running.get("/metrics")[2], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("binary", ["prometheus", "prometheus3"])
def test_labels_of_the_target_do_not_take_the_place_of_empty_ones(running, hub, tmp_path, binary):
    target = {"namespace": "monitoring", "container": "exporter", "workload": "exporter", "cluster": "north"}
    address = running.url.removeprefix("http://")
    with prometheus(binary, tmp_path / "prometheus", target=address, labels=target) as opened:
        (labels,) = opened.labels(f'{AVAILABLE}{{workload="ledger"}}')
        expected = {name: value for name, value in image(hub, tag="v1.0.0", latest_tag="v1.0.2").items() if value}
        scraped = {"__name__": AVAILABLE, "instance": address, "job": "patch", "cluster": "north"}
        assert labels == {**expected, **scraped}
        # Labels that the exporter does not write are those of the target, which is why it writes the empty ones.
        (other,) = opened.labels(LOOKUP + f'{{image="{hub.host}/mojaloop/sdk"}}')
        assert other["namespace"] == "monitoring"


def test_the_list_follows_what_is_deployed(running, config, hub):
    config["watch"] = [f"{hub.host}/mojaloop/ledger:v1.0.2", f"{hub.host}/mojaloop/quoting"]
    running.configure(config)
    running.until(lambda: running.value(AVAILABLE, tag="v1.0.2", latest_tag="v1.0.2") == 0.0)
    assert {dict(labels)["workload"] for _, labels in running.samples(AVAILABLE)} == {"ledger"}
    running.until(lambda: running.value(LOOKUP, image=f"{hub.host}/mojaloop/sdk") is None)
    assert running.value(RELOADS, result="success") == 1.0


def test_an_invalid_file_changes_nothing_and_sighup_loads_a_valid_one_at_once(running, config, hub):
    before = running.samples(AVAILABLE)
    config["watch"].append(f"{hub.host}/mojaloop/ledger:v1.0.1")
    running.configure(config)
    running.until(lambda: running.value(RELOADS, result="failure") == 1.0)
    assert running.value("mojaloop_exporter_config_last_reload_successful") == 0.0
    assert (
        "watch[3]: its name ledger is used by watch[0] on line 1 already; give one of the two another name"
        in running.log()
    )
    assert running.samples(AVAILABLE) == before
    config["watch"][3] = {"reference": config["watch"][3], "name": "second-ledger"}
    running.configure(config)
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: running.value(AVAILABLE, workload="second-ledger") == 1.0)
    assert running.value("mojaloop_exporter_config_last_reload_successful") == 1.0


def test_the_swap_of_a_config_map_and_a_restart_of_nothing(config, nowhere, hub, tmp_path):
    folder = tmp_path / "exporter"
    with exporter(folder, config=config, environment=nowhere) as ours:

        def publish(version, document):
            (folder / version).mkdir()
            (folder / version / "config.json").write_text(json.dumps(document))
            (folder / "..data_tmp").symlink_to(version)
            (folder / "..data_tmp").rename(folder / "..data")

        publish("..2026_1", config)
        (folder / "link").symlink_to("..data/config.json")
        (folder / "link").rename(ours.config)
        config["watch"] = [f"{hub.host}/mojaloop/ledger:v1.0.1"]
        publish("..2026_2", config)
        shutil.rmtree(folder / "..2026_1")
        ours.until(lambda: ours.value(AVAILABLE, tag="v1.0.1") == 1.0)
        assert len(ours.samples(AVAILABLE)) == 1


def test_keys_apply_while_it_runs_and_the_others_are_named(running, config, hub):
    other = hub.host.replace("127.0.0.1", "localhost")
    config["strategy"] = "minor"
    config["registries"] |= local(other, "127.0.0.1:1")
    config["watch"].append({"reference": f"{other}/mojaloop/ledger:v1.0.0", "name": "elsewhere"})
    # Of a registry that cannot be reached, only the first failure is more than debug.
    config["watch"] += ["127.0.0.1:1/mojaloop/one:v1.0.0", "127.0.0.1:1/mojaloop/two:v1.0.0"]
    config["log"] = {"level": "debug", "format": "json"}
    config["state_dir"] = "/elsewhere"
    config["kubernetes"] = {"kinds": ["Pod"]}
    running.configure(config)
    running.until(lambda: running.value(AVAILABLE, workload="ledger", latest_tag="v1.1.0") == 1.0)
    running.until(lambda: running.value(AVAILABLE, workload="elsewhere") == 1.0)
    running.until(lambda: '"level": "debug"' in running.log())
    messages = [json.loads(line)["message"] for line in running.log().splitlines() if line.startswith("{")]
    assert "configuration reloaded: watch, strategy, registries, log.level, log.format changed" in messages
    # The option --state-dir takes precedence over the file, so it did not change.
    assert "kubernetes.enabled, kubernetes.kinds changed; restart to apply" in messages


def test_a_shorter_interval_applies_to_lookups_that_are_overdue_by_it(config, nowhere, hub, tmp_path):
    config["interval"] = "4h"
    name = f"{hub.host}/mojaloop/sdk"
    with exporter(tmp_path / "exporter", config=config, environment=nowhere) as ours:
        ours.until(lambda: len(ours.samples(LOOKUP)) == 3)
        ours.stop()
        with sqlite3.connect(tmp_path / "exporter" / "state" / FILE) as db:
            db.execute("UPDATE repository SET looked_up = looked_up - 7200")
        db.close()
        ours.start()
        before = ours.until(lambda: ours.value(LOOKUP, image=name))
        config["interval"] = "1h"
        ours.configure(config)
        ours.until(lambda: ours.value(LOOKUP, image=name) > before + 7000)


def test_sighup_without_a_file_is_logged(nowhere, hub, tmp_path):
    environment = {
        **nowhere,
        "IMAGE_PATCH_KUBERNETES_ENABLED": "false",
        "IMAGE_PATCH_WATCH": f"[{hub.host}/mojaloop/ledger:v1.0.0]",
        "IMAGE_PATCH_REGISTRIES": json.dumps(local(hub.host)),
        "IMAGE_PATCH_STRATEGY": "major",
    }
    with exporter(tmp_path / "exporter", config=None, environment=environment) as ours:
        ours.until(lambda: ours.value(AVAILABLE, latest_tag="v1.1.0") == 1.0)
        ours.process.send_signal(signal.SIGHUP)
        ours.until(lambda: "SIGHUP: no configuration file to reload" in ours.log())
        assert ours.stop() == 0


def test_without_a_cluster_and_without_a_list_it_says_what_to_do(nowhere, tmp_path):
    (tmp_path / "config.yaml").write_text("kubernetes:\n  enabled: false\n")
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "serve", "--config", str(tmp_path / "config.yaml")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        "config.yaml, line 2: kubernetes.enabled: found false, expected at least one image under watch" in done.stderr
    )

"""What the shipped rules cost, before and after: `python -m benchmarks.alerts [WORKLOADS]`.

A real Prometheus scrapes a page on which every workload misses a patch for longer than allowed and has not rolled out,
so that 2,000 workloads are 6,000 firing alerts. It evaluates the rules of `OLD_COMMIT` on the metrics of their time,
and the rules of this checkout on today's metrics. Both run at the same time, so that a busy machine slows down both.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.alerts import RULES, names, substitute
from tools import find

OLD_COMMIT = "e9b4219"
# The share of the old rules' time that the new rules may use.
ALLOWED = {"Available and Overdue": 0.5, "all rules": 0.65}
EVALUATIONS = 12
INTERVAL = 20
# The cluster of a benchmark has 40 services. How many tags of each run matters to the old rules: their annotations ask
# for the changes of one workload by a label with as many values as there are pairs of an image and a tag.
_IMAGES = 40
TAGS = 50
FEW_TAGS = 5
_ALERTS = ("MojaloopImagePatchAvailable", "MojaloopImagePatchOverdue", "MojaloopImagePatchNotRolledOut")
_QUICK = {"available_for": "0s", "overdue_for": "0s", "not_rolled_out_for": "0s"}


def old_rules(commit: str = OLD_COMMIT) -> str:
    """The rules of an earlier commit, which a shallow clone does not have."""
    place = f"{commit}:alerts/mojaloop-image-patch.rules.yml"
    return subprocess.run(["git", "show", place], cwd=RULES.parent, capture_output=True, text=True, check=True).stdout


def page(workloads: int, *, old: bool, tags: int = TAGS) -> bytes:
    """Workloads with a container and an init container of one image, 30 days behind and on a superseded line.

    Args:
        workloads: how many; they run 40 images.
        tags: at how many tags each image runs.
        old: as the exporter of `OLD_COMMIT` published it, without the metrics that came later.
    """
    lines: dict[str, list[str]] = {}

    def add(name: str, labels: str, value: float) -> None:
        lines.setdefault(name, []).append(f"{name}{{{labels}}} {value}\n")

    def reference(number: int) -> tuple[str, str]:
        return f"docker.io/mojaloop/service-{number % _IMAGES}", f"v17.8.{number // _IMAGES % tags}"

    for number in range(workloads):
        image, tag = reference(number)
        namespace, name = f"hub-{number % 20:02d}", f"moja-central-ledger-handler-{number:05d}"
        key = f'namespace="{namespace}",workload_kind="Deployment",workload="{name}"'
        short = image.removeprefix("docker.io/")
        for container, kind in (("main", "container"), ("wait", "init_container")):
            each = f'{key},container="{container}",container_type="{kind}",image="{image}",tag="{tag}"'
            add("mojaloop_image_patch_available", f'{each},latest_tag="v17.8.99"', 1)
            add("mojaloop_image_patch_releases_behind", each, 99 - number // _IMAGES % tags)
            add("mojaloop_image_patch_published_timestamp_seconds", each, time.time() - 30 * 86400)
            add("mojaloop_image_patch_first_seen_timestamp_seconds", each, time.time())
            add("mojaloop_image_info", f'{each},digest="",reference="{short}:{tag}",position="0"', 1)
            for strategy, latest in (("minor", "v17.9.0"), ("major", "v19.14.0")):
                add("mojaloop_image_upgrade_available", f'{each},latest_tag="{latest}",strategy="{strategy}"', 1)
        add("mojaloop_workload_managed_by", f'{key},manager="helm",source="mojaloop/moja"', 1)
        add("mojaloop_workload_rollout_incomplete", key, 1)
        if not old:
            patch, back = (
                f"kubectl -n {namespace} patch deployment/{name} --type=json -p='["
                + ",".join(
                    f'{{"op":"{op}","path":"/spec/template/spec/{place}/0/image","value":"{short}:{value}"}}'
                    for place in ("containers", "initContainers")
                    for op, value in (("test", start), ("replace", end))
                )
                + "]'"
                for start, end in ((tag, "v17.8.99"), ("v17.8.99", tag))
            )
            advice = (
                f"The next upgrade of the Helm release mojaloop/moja restores {tag}, unless its values name v17.8.99."
            )
            commands = ",".join(
                f'{label}="{text.translate({34: chr(92) + chr(34)})}"'
                for label, text in (("patch_command", patch), ("rollback_command", back), ("advice", advice))
            )
            labels = f'{key},image="{image}",tag="{tag}",latest_tag="v17.8.99",{commands}'
            add("mojaloop_workload_patch_releases_behind", labels, 99 - number // _IMAGES % tags)
    add("mojaloop_exporter_synced", 'watched_namespace="*"', 1)
    add("process_start_time_seconds", "", time.time())
    if not old:
        add("mojaloop_exporter_scrape_check", 'namespace="kept",container="kept"', 1)
        for name in [name for name in lines if name.startswith(("mojaloop_image_", "mojaloop_workload_"))]:
            add("mojaloop_exporter_samples", f'metric="{name}"', len(lines[name]))
    return "".join(f"# TYPE {name} gauge\n{''.join(of)}" for name, of in lines.items()).encode()


@contextlib.contextmanager
def serving_page(workloads: int = 3, *, old: bool = False, tags: int = TAGS) -> Iterator[str]:
    """Such a page over HTTP; yields HOST:PORT."""
    body = page(workloads, old=old, tags=tags)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def scraped(workloads: int, binary: str | Path = "prometheus", *, old: bool = False, tags: int = TAGS) -> Iterator[str]:
    """A Prometheus that scrapes such a page and evaluates the rules for it; yields its address."""
    text = old_rules() if old else RULES.read_text("utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with serving_page(workloads, old=old, tags=tags) as target, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = {place: value for place, value in _QUICK.items() if place in names(text)}
        (folder / "rules.yml").write_text(substitute(text, quick), "utf-8")
        config = {
            "global": {"scrape_interval": f"{INTERVAL}s", "evaluation_interval": f"{INTERVAL}s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")
        command = [
            str(binary),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield address
        finally:
            process.terminate()
            process.wait()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation took.

    Attributes:
        patches: seconds for the two alerts.
        everything: seconds for all rules.
        cpu: seconds of CPU that Prometheus used since the evaluation before, for scrapes and storage as well.
    """

    patches: float
    everything: float
    cpu: float


def evaluations(address: str, *, workloads: int, count: int) -> list[Evaluation]:
    """Evaluations with every alert firing.

    Raises:
        TimeoutError: the alerts do not fire, or no evaluation follows.
    """
    firing = f'count(ALERTS{{alertstate="firing",alertname=~"{"|".join(_ALERTS)}"}})'
    end = time.monotonic() + 180
    while ask(address, firing) < 3 * workloads:
        if time.monotonic() > end:
            raise TimeoutError(f"{ask(address, firing):.0f} of {3 * workloads} alerts fire after 180 s")
        time.sleep(1)
    seen: dict[str, Evaluation] = {}
    last, used = _groups(address)[0]["lastEvaluation"], _used(address)
    while len(seen) < count:
        if time.monotonic() > end + count * INTERVAL * 3:
            raise TimeoutError(f"{len(seen)} of {count} evaluations were seen")
        time.sleep(INTERVAL / 5)
        groups = _groups(address)
        # Both groups of one round, and not one while the other runs.
        at = groups[0]["lastEvaluation"]
        if at == last:
            continue
        rules = groups[0]["rules"]
        if any(rule["lastEvaluation"][:19] < at[:19] for rule in rules):
            continue
        patches = sum(rule["evaluationTime"] for rule in rules if rule["name"] in _ALERTS[:2])
        now = _used(address)
        seen[at] = Evaluation(patches, sum(group["evaluationTime"] for group in groups), now - used)
        last, used = at, now
    return list(seen.values())


def _used(address: str) -> float:
    """Seconds of CPU that a Prometheus has used."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("process_cpu_seconds_total ")).split()[1])


def _groups(address: str) -> list[dict]:
    with urllib.request.urlopen(f"http://{address}/api/v1/rules", timeout=60) as answer:
        groups = json.loads(answer.read())["data"]["groups"]
    return sorted(groups, key=lambda group: len(group["name"]))


def measure(workloads: int, binary: str | Path, *, tags: int) -> None:
    before = _cpu()
    with (
        scraped(workloads, binary, old=True, tags=tags) as old_address,
        scraped(workloads, binary, tags=tags) as new_address,
        ThreadPoolExecutor() as pool,
    ):
        running = {
            old: pool.submit(evaluations, address, workloads=workloads, count=EVALUATIONS)
            for old, address in ((True, old_address), (False, new_address))
        }
        taken = {old: one.result() for old, one in running.items()}
    after = _cpu()
    stolen = (after[7] - before[7]) / (sum(after) - sum(before) - (after[3] - before[3]))
    print(
        f"{_version(binary)}: {3 * workloads} alerts of {workloads} workloads, {_IMAGES} images at {tags} tags each;"
        f" the host kept {stolen:.0%} of the CPU"
    )
    print(f"{'':<33}{'before':>10}{'after':>10}{'ratio':>8}{'allowed':>9}")
    lines = [len(text.splitlines()) for text in (old_rules(), RULES.read_text("utf-8"))]
    print(f"{'lines of the rules':<33}{lines[0]:>10}{lines[1]:>10}{lines[1] / lines[0]:>8.2f}")
    for what, field in (
        ("Available and Overdue", "patches"),
        ("all rules", "everything"),
        ("CPU of Prometheus", "cpu"),
    ):
        # CPU that is seen a moment late counts for the next evaluation: only its average says something.
        ways = [("mean", statistics.mean)] if field == "cpu" else [("median", statistics.median), ("fastest", min)]
        for how, of in ways:
            seconds = [of([getattr(one, field) for one in taken[old]]) for old in (True, False)]
            ratio = seconds[1] / seconds[0]
            print(
                f"{f'{what}, {how}':<33}{seconds[0]:>10.2f}{seconds[1]:>10.2f}{ratio:>8.2f}{ALLOWED.get(what, ''):>9}"
            )
    print(f"seconds of {len(taken[True])} and {len(taken[False])} evaluations\n", flush=True)


def _version(binary: str | Path) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version, built = re.findall(r"version *(\S*) *\(|go version: *(\S+)", said)
    return f"Prometheus {version[0] or 'of tests/tools'} ({built[1]})"


def _cpu() -> list[int]:
    """Ticks of the machine: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    return [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def ask(address: str, query: str) -> float:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(
            f"http://{address}/api/v1/query?query={urllib.request.quote(query)}", timeout=30
        ) as answer,
    ):
        result = json.loads(answer.read())["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0
    return 0.0


def main(workloads: int) -> None:
    """On the Prometheus of the path (Debian's) and on the newest, where they are there."""
    for name in ("prometheus", "prometheus3"):
        if (binary := find(name)) is not None:
            for tags in (TAGS, FEW_TAGS):
                measure(workloads, binary, tags=tags)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)

"""Prometheus is down for longer than it looks back, and the exporter as well: a gap that promtool cannot show."""

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from exporter.demo.alerts import RULES, substitute
from tests.support.chain import until
from tests.support.components import need
from tests.support.kube import free_port

LOOKBACK = 3  # seconds
SYNCED = (
    'mojaloop_exporter_synced{watched_namespace="*"} 1\n'
    'mojaloop_exporter_scrape_check{namespace="kept",container="kept"} 1\n'
)
WORKLOAD = 'namespace="mojaloop",workload_kind="Deployment",workload="ledger"'
IMAGE = 'image="docker.io/mojaloop/ledger",tag="v1.0.0"'
CONTAINER = f'{WORKLOAD},container="main",container_type="container",{IMAGE}'
MISSING = (
    f'mojaloop_image_patch_available{{{CONTAINER},latest_tag="v1.0.2"}} 1\n'
    f"mojaloop_image_patch_releases_behind{{{CONTAINER}}} 2\n"
    f'mojaloop_image_info{{{CONTAINER},digest="",reference="mojaloop/ledger:v1.0.0",position="0"}} 1\n'
    f"mojaloop_workload_patch_releases_behind{{{WORKLOAD},{IMAGE},"
    'latest_tag="v1.0.2",patch_command="kubectl patch",rollback_command="kubectl undo",advice=""} 2\n'
)
FIRING = 'ALERTS{alertname="MojaloopImagePatchAvailable",alertstate="firing"}'
HELD = 'mojaloop:workload_patch_missing{workload!=""}'


class Page:
    """What the exporter answers; None is a failure."""

    def __init__(self):
        self.text = SYNCED + MISSING
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(503 if page.text is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write((page.text or "").encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.target = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def prometheus(folder, target, address):
    (binary,) = need("prometheus")
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
        "query.lookback-delta": f"{LOOKBACK}s",
        "rules.alert.for-grace-period": "0s",
    }
    with (folder / "prometheus.log").open("ab") as log:
        command = [binary, *(f"--{name}={value}" for name, value in options.items())]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def ask(address, query):
    """The result of an instant query; None while Prometheus does not answer."""
    url = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())["data"]["result"]
    return None


def test_prometheus_restarted_after_longer_than_its_lookback_loses_nothing(tmp_path):
    (tmp_path / "rules.yml").write_text(substitute(RULES.read_text(), {"available_for": "1s"}))
    address = f"127.0.0.1:{free_port()}"

    def shows(query, count, seconds=30):
        def there():
            found = ask(address, query)
            return found is not None and len(found) == count

        until(there, seconds, lambda: (query, (tmp_path / "prometheus.log").read_text()[-2000:]))

    with Page() as page:
        with prometheus(tmp_path, page.target, address):
            shows(FIRING, 1)
            page.text = None
            shows(f"max_over_time(up[{LOOKBACK + 1}s]) == 0", 1)
            assert len(ask(address, FIRING)) == 1, "held while the exporter is unavailable"
        stopped = time.time()
        # Prometheus reads the machine's clock, which cannot be injected.
        until(lambda: time.time() > stopped + LOOKBACK + 0.5, LOOKBACK + 5)
        with prometheus(tmp_path, page.target, address):
            shows(HELD, 1)
            shows(FIRING, 1)
            page.text = SYNCED
            shows(HELD, 0, 10)
            shows(FIRING, 0, 10)

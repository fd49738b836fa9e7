"""`serve` with a schedule and upgrade windows: what its page shows, and how a new file applies."""

import subprocess
import time
from datetime import UTC, datetime

import pytest

from tests.support.components import need
from tests.support.exporter_process import exporter, local

OPEN, NEXT = "mojaloop_upgrade_window_open", "mojaloop_upgrade_window_next_timestamp_seconds"
INTERVAL = "mojaloop_exporter_lookup_interval_seconds"
# In half a year, at the beginning of a month: closed for as long as this test runs.
RARE = f"0 0 1 {(datetime.now(UTC).month + 5) % 12 + 1} *"


@pytest.fixture
def config():
    return {
        "kubernetes": {"enabled": False},
        "registries": local("127.0.0.1:1"),
        "watch": ["127.0.0.1:1/mojaloop/ledger:v1.0.0"],
        "schedule": "0 8 * * 1-5",
        "windows": [
            {"name": "always", "schedule": "0 * * * *", "duration": "1h"},
            {"name": "rare", "schedule": RARE, "duration": "1h"},
        ],
    }


@pytest.fixture
def running(config, tmp_path):
    with exporter(tmp_path / "exporter", config=config, environment={"HOME": str(tmp_path)}) as opened:
        yield opened


def test_the_page_shows_the_schedule_and_the_windows_of_the_file_in_force(running, config):
    now = time.time()
    assert running.value(INTERVAL) == 72 * 3600
    assert (running.value(OPEN, window="always"), running.value(OPEN, window="rare")) == (1.0, 0.0)
    assert now < running.value(NEXT, window="always") <= now + 3610
    assert now + 100 * 86400 < running.value(NEXT, window="rare") < now + 200 * 86400

    # Another window with the same values, and an interval instead of the schedule.
    config["windows"][0]["name"] = "every-hour"
    del config["schedule"]
    running.configure({**config, "interval": "2h"})
    running.until(lambda: running.value(INTERVAL) == 7200)
    assert {dict(labels)["window"] for _, labels in running.samples(OPEN)} == {"every-hour", "rare"}

    # A freeze closes them all.
    now = datetime.now(UTC)
    config["freezes"] = [{"from": f"{now.year - 1}-01-01", "to": f"{now.year + 1}-12-31"}]
    running.configure(config)
    running.until(lambda: running.value(OPEN, window="every-hour") == 0)
    assert running.value(NEXT, window="every-hour") == datetime(now.year + 2, 1, 1, tzinfo=UTC).timestamp()


def test_promtool_accepts_the_page(running):
    (promtool,) = need("promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=running.get("/metrics")[2], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_wrong_schedule_changes_nothing(running, config):
    running.configure({**config, "schedule": "0 8 * * 1-5 0"})
    running.until(lambda: running.value("mojaloop_exporter_config_last_reload_successful") == 0)
    assert "schedule: '0 8 * * 1-5 0' has 6 fields; cron has 5" in running.log()
    assert running.value(INTERVAL) == 72 * 3600

"""`demo` as people see it: its story, its links, the files that it offers, and what is left of it in the end."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from exporter.demo import release
from exporter.demo.story import PUBLISHED
from tests.support.components import need
from tests.support.demo_process import demo

STEPS = [f"Step {number} of 6: " for number in range(1, 7)]
PROMPT = "press Enter here"
URL = re.compile(r"http://[^\s<>\"'`]+")
# Whoever installs the wheel has neither kubectl nor Prometheus: the search path has nothing but Python.
BARE = {"PATH": str(Path(sys.executable).parent)}


def status(url):
    answer = httpx.get(url, follow_redirects=True, trust_env=False)
    return answer.status_code, answer.text


def test_without_a_terminal_it_tells_its_story_and_ends():
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL, env=BARE, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    output = done.stdout
    places = [output.index(text) for text in ("export KUBECONFIG=/", *STEPS, "The demo is over.")]
    assert places == sorted(places)
    assert output.index("export KUBECONFIG=") < output.index("kubectl -n")
    (missing,) = [line for line in output.splitlines() if "not installed, so the demo sends nothing to Slack" in line]
    assert missing.startswith("Prometheus and Alertmanager are not installed")
    assert "apt-get install prometheus prometheus-alertmanager" in missing
    (line,) = [line for line in output.splitlines() if "containers" in line and "miss a patch" in line]
    assert re.search(rf" {len(release.FORGOTTEN)} of \d+ containers miss a patch release:$", line)
    missed = re.findall(r"\(\d+ releases? behind\): \w+/(\S+) in ", output)
    assert sorted(missed) == sorted(release.FORGOTTEN)
    patch, rollback = re.findall(r"^kubectl .*$", output, re.MULTILINE)
    assert (
        f'"replace","path":"/spec/template/spec/containers/0/image","value":"mojaloop/central-ledger:{PUBLISHED}"'
        in patch
    )
    assert '"value":"mojaloop/central-ledger:v19.14.0"' in rollback.rpartition('"replace"')[2]
    name = re.search(r"deployment/\S+", patch)[0]
    assert re.search(
        rf"{name} in mojaloop runs v19\.14\.1\.\n.*{name} in mojaloop runs v19\.14\.0 again\.", output, re.DOTALL
    )
    approving = output.index(
        f" approve mojaloop/{name.replace('deployment', 'Deployment')} --tag {PUBLISHED} --config /"
    )
    assert approving < output.index(", approved by demo\n") < output.index("The patcher: Applied. The new image runs")
    assert not Path(re.search(r"KUBECONFIG=(\S+)/kubeconfig", output)[1]).exists()


def test_on_a_terminal_the_story_waits_for_enter_and_the_demo_for_the_end():
    with demo(BARE) as running:
        for number, following in ((1, STEPS[4]), (2, STEPS[5]), (3, "Press Ctrl-C to end")):
            running.until(PROMPT)
            assert running.output.count(PROMPT) == number
            running.press_enter()
            running.until(following)
        (metrics,) = re.findall(r"metrics +(\S+)", running.output)
        for _ in range(2):
            assert "mojaloop_image_patch_available" in status(metrics)[1]
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=60) == 0
        assert not running.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_the_middle_and_leaves_nothing(number):
    with demo(BARE) as running:
        running.until(PROMPT)
        assert running.folder.is_dir()
        running.process.send_signal(number)
        assert running.process.wait(timeout=60) == 128 + number
        assert not running.folder.exists()
        assert "Traceback" not in running.output


def test_a_closed_pipe_ends_it_with_a_sentence():
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m exporter demo --listen 127.0.0.1:0 | head -n 1"],
        stdin=subprocess.DEVNULL, env={"PATH": f"{BARE['PATH']}:/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == "mojaloop-image-patch-exporter: the demo ended: its output is closed\n"


def test_slack_shows_the_patch_its_command_its_end_and_the_way_back(tmp_path):
    """A person pastes the commands. Every address that is printed or shown in Slack answers, and the files work."""
    kubectl, *_ = need("kubectl", "prometheus", "prometheus-alertmanager")
    with demo() as running:
        for step, expected in ((3, "longer than allowed"), (4, PROMPT)):
            running.until(STEPS[step - 1])
            assert expected in running.output or running.until(expected) is None
        command = re.findall(r"^kubectl .*$", running.output, re.MULTILINE)[-1]
        environment = {
            "KUBECONFIG": str(running.folder / "kubeconfig"),
            "PATH": f"{kubectl.parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
        }
        paste = ["sh", "-c", command]
        assert subprocess.run(paste, env=environment, check=True, capture_output=True).stdout.endswith(b" patched\n")
        running.until(STEPS[4])
        name = re.search(r"deployment/(\S+)", command)[1]
        assert f"| Resolved: {name}:v19.14.0" in running.output
        running.until(f"image is available (14)\n  | Resolved: {name}")
        running.press_enter()
        running.until("config.yaml\n\nPaste it into another terminal")
        approve = re.search(r"^.* approve (mojaloop/\S+) --tag .*$", running.output, re.MULTILINE)
        assert approve[1] == f"mojaloop/Deployment/{name}"
        started = time.monotonic()
        approved = subprocess.run([*shlex.split(approve[0]), "--yes"], check=True, capture_output=True, text=True)
        assert approved.stdout.endswith(", approved by demo\n")
        running.until("Press Ctrl-C to end")
        assert time.monotonic() - started < 60
        assert "The patcher: Applied." in running.output
        resolved = re.findall(rf"Slack: (.*)\n  \| Resolved: {name}", running.output)
        assert [title.rpartition(": ")[2] for title in resolved] == 2 * [
            "A newer patch release of a running image is available (14)"
        ]
        recap = running.output.partition("the newest first")[2]
        titles = re.findall(r"^  (\d\d:\d\d:\d\d)  \[warning\] (.*)$", recap, re.MULTILINE)
        assert [time for time, _ in titles] == sorted((time for time, _ in titles), reverse=True)
        assert [re.search(r"\((\d+)\)$", title)[1] for _, title in titles[:4]] == ["14", "15", "14", "15"]

        channel = re.search(r"Slack +(\S+)", running.output)[1]
        page = status(channel)[1]
        assert page.index("export KUBECONFIG=") < page.index("kubectl -n")
        assert re.findall(r"<time>(\d\d:\d\d:\d\d)</time>", page) == [time for time, _ in titles]
        shown = {url for url in URL.findall(running.output) + URL.findall(page)}
        assert any("/d/mojaloop-image-patch" in url for url in shown)
        assert {url: status(url)[0] for url in shown} == dict.fromkeys(shown, 200)
        dashboard = next(url for url in shown if "/d/mojaloop-image-patch-workload" in url)
        assert "show dashboard workload &gt; mojaloop-image-patch-workload.json" in status(dashboard)[1]

        numbers = status(f"{channel}d/mojaloop-image-patch")[1]
        assert re.search(r"Workloads that miss a patch: <b>\d+</b>", numbers)

        ours = [sys.executable, "-m", "exporter"]
        config = str(running.folder / "config.yaml")
        checked = subprocess.run(
            [*ours, "check", "--config", config, "--cluster", "--output", "json"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        findings = json.loads(checked.stdout)["findings"]
        assert {f["latest_tag"] for f in findings if f["image"].endswith("/central-ledger")} == {PUBLISHED, None}
        with subprocess.Popen([*ours, "serve", "--config", config], stderr=subprocess.PIPE, text=True) as another:
            try:
                address = next(m[1] for line in another.stderr if (m := re.search(r"listens on (\S+)", line)))
                assert status(f"{address}/-/healthy")[0] == 200
            finally:
                another.terminate()

        assert (running.folder / "kubectl").is_dir(), "what kubectl keeps, which would stay in the home directory"
        assert len(running.started()) == 2, "Prometheus and Alertmanager"
        folder = running.folder
        running.close_terminal()
        assert running.process.wait(timeout=60) == 0
        assert not folder.exists()
        assert running.started() == []

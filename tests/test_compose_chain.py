"""The example with Compose, run: a missing patch of a watched image reaches Slack, and resolves with the new tag.

Exporter, Prometheus and Alertmanager are processes with the commands and the mounted files of their containers. There
is no cluster and no kubeconfig. Waiting times are shortened in copies of the rules and routes, at the places that the
demo and the chart change too.
"""

import json
import re
import shlex
import subprocess
import sys
import urllib.request

import httpx
import pytest
import yaml
from anyio.from_thread import start_blocking_portal

from exporter.demo import StandInSlack, serving
from exporter.demo.alerts import substitute
from tests.support.chain import AVAILABLE, SECONDS, findings_in, until
from tests.support.components import need
from tests.support.compose import ROOT, Machine
from tests.support.registries import registry

CONFIG = "/etc/mojaloop-image-patch-exporter/config.yaml"
RULES = "/etc/prometheus/rules/mojaloop-image-patch.rules.yml"
BEHIND = "mojaloop/central-ledger:v19.13.1"
NEWER = "mojaloop/central-ledger:v19.13.2"


def change(machine, name, inside, edit):
    """Change a mounted YAML file after its paths and addresses were replaced."""
    path = machine.path(name, inside)
    document = yaml.safe_load(machine.here(name, path.read_text()))
    edit(document)
    path.write_text(yaml.safe_dump(document))


def scrape_often(document):
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}


def send_at_once(document):
    (ours,) = document["route"]["routes"]
    for route in (ours, *ours["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}


@pytest.fixture(scope="module")
def slack():
    """A real HTTP receiver, and its address."""
    opened = StandInSlack()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(opened.app)) as address:
        yield opened, address


@pytest.fixture(scope="module")
def machine(slack, tmp_path_factory):
    """The services, running."""
    # As an editor writes it, with a line feed at the end.
    opened = Machine(tmp_path_factory.mktemp("compose"), {"slack-webhook-url": f"{slack[1]}/services/example\n"})
    prometheus, alertmanager = need("prometheus3", "prometheus-alertmanager")
    change(opened, "prometheus", "/etc/prometheus/prometheus.yml", scrape_often)
    change(opened, "alertmanager", "/etc/alertmanager/alertmanager.yml", send_at_once)
    rules = opened.path("prometheus", RULES)
    rules.write_text(substitute(rules.read_text(), SECONDS))
    watched = [
        entry if isinstance(entry, str) else entry["reference"]
        for entry in yaml.safe_load(opened.path("exporter", CONFIG).read_text())["watch"]
    ]
    assert BEHIND in watched
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as hub:
        for reference in (*watched, NEWER):
            repository, _, tag = reference.partition(":")
            hub.push(repository, [tag or "v1.0.0"])
        entry = {"endpoint": f"http://{hub.host}", "api": "oci", "allow_private": ["127.0.0.0/8"]}
        environment = {"IMAGE_PATCH_REGISTRIES": json.dumps({"docker.io": entry})}
        with (
            opened.running("exporter", sys.executable, "-m", "exporter", environment=environment),
            opened.running("prometheus", prometheus),
            opened.running("alertmanager", alertmanager),
        ):
            yield opened


def ledger(machine, slack, **wanted):
    """Wait for the message about the image that is behind."""

    def there():
        for message in slack.messages:
            if "A newer patch" in message.title and all(getattr(message, k) == v for k, v in wanted.items()):
                return message
        return None

    def seen():
        return [
            slack.messages,
            slack.refusals,
            *(machine.log(n)[-2000:] for n in ("exporter", "prometheus", "alertmanager")),
        ]

    return until(there, 90, seen)


def firing(machine):
    answer = httpx.get(f"{machine.url('prometheus')}/api/v1/alerts", trust_env=False).json()
    return {a["labels"]["workload"] for a in answer["data"]["alerts"] if a["labels"]["alertname"] == AVAILABLE}


def test_a_missing_patch_reaches_slack_and_resolves_when_the_list_names_the_new_tag(machine, slack):
    sink = slack[0]
    message = ledger(machine, sink, color="warning")
    found = findings_in(message.text)
    assert found.keys() == {"central-ledger"}
    assert found["central-ledger"].command is None, "nothing runs in a cluster"
    assert f"Set the image to {NEWER} where it runs" in found["central-ledger"].advice
    assert "v19.13.1, 1 patch release behind v19.13.2" in found["central-ledger"].line
    assert firing(machine) == {"central-ledger"}

    file = machine.path("exporter", CONFIG)
    saved = file.with_suffix(".tmp")
    saved.write_text(file.read_text().replace(BEHIND, NEWER))
    saved.replace(file)  # as editors save
    resolved = ledger(machine, sink, color="good")
    assert resolved.title.startswith("[resolved]")
    assert firing(machine) == set()
    assert sink.refusals == []


def asked(machine, path):
    return httpx.get(f"{machine.url('exporter')}{path}", trust_env=False)


@pytest.mark.parametrize("strategy", ["", "?strategy=bugfix", "?strategy=patch"])
def test_the_call_of_the_old_image_watcher_is_answered_as_before(machine, strategy):
    answer = asked(machine, f"/images/mojaloop/central-ledger/v19.13.1{strategy}")
    expected = {"tag": "v19.13.2", "fullImage": "mojaloop/central-ledger:v19.13.2"}
    assert (answer.status_code, answer.json()) == (200, expected)
    expected = {"tag": "v19.14.0", "fullImage": "mojaloop/central-ledger:v19.14.0"}
    assert asked(machine, "/images/mojaloop/central-ledger/v19.14.0").json() == expected, "nothing is newer"


def test_every_call_that_people_move_to_is_answered(machine):
    text = (ROOT / "docs" / "migrating.md").read_text()
    paths = set(re.findall(r"`GET (/\S+)`", text))
    assert len(paths) >= 5
    # Of what the example does not watch.
    (elsewhere,) = (path for path in paths if "ghcr.io" in path)
    assert asked(machine, elsewhere).status_code == 404
    assert {path: asked(machine, path).status_code for path in paths - {elsewhere}} == dict.fromkeys(
        paths - {elsewhere}, 200
    )


def test_every_health_check_succeeds(machine):
    for name in ("exporter", "prometheus", "alertmanager"):
        _, program, *arguments = machine.services[name]["healthcheck"]["test"]
        if name == "exporter":
            command = [sys.executable, *(machine.here(name, argument) for argument in arguments)]
            assert machine.here(name, arguments[-1]) != arguments[-1]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, (shlex.join([program, *arguments]), done.stderr)
        else:
            with urllib.request.urlopen(machine.here(name, arguments[-1]), timeout=10) as answer:
                assert answer.status == 200


def test_the_watcher_has_no_kubeconfig_and_speaks_of_no_cluster(machine):
    assert not list(machine.home.iterdir())
    page = httpx.get(f"{machine.url('exporter')}/metrics", trust_env=False).text
    assert 'mojaloop_exporter_synced{watched_namespace=""} 1.0' in page
    assert 'mojaloop_exporter_synced{watched_namespace="*"}' not in page

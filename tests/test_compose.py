"""The example with Compose: what its containers may do, and that everything that they name is there.

tests/test_compose_chain.py runs it.
"""

import json
import re
import subprocess

import pytest
import yaml

import exporter
from tests.support.components import need
from tests.support.compose import EXAMPLE, ROOT, Machine, mounts, project, read
from tools.install import VERSIONS

SERVICES = ("alertmanager", "exporter", "grafana", "prometheus")
# https://grafana.com/docs/grafana/v12.4/administration/provisioning/
DATASOURCE_KEYS = {
    "name", "type", "access", "orgId", "uid", "url", "user", "database", "basicAuth", "basicAuthUser",
    "withCredentials", "isDefault", "jsonData", "secureJsonData", "version", "editable",
}  # fmt: skip
PROVIDER_KEYS = {
    "name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds", "allowUiUpdates",
    "options",
}  # fmt: skip


@pytest.fixture
def services():
    return project()["services"]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, {"slack-webhook-url": "https://hooks.slack.example/services/x"})


def example(name):
    return yaml.safe_load((EXAMPLE / name).read_text())


def test_composes_library_refuses_a_key_that_it_does_not_know(tmp_path):
    file = tmp_path / "compose.yaml"
    file.write_text((EXAMPLE / "compose.yaml").read_text().replace("read_only: true", "readonly: true"))
    done = read(file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "readonly" in done.stderr


def test_it_has_the_services_of_the_chain(services):
    assert sorted(services) == sorted(SERVICES)


# What the containers may do.


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_more_rights_than_it_needs(services, name):
    service = services[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
    assert all(given.get("read_only") for given in service["volumes"] if given["type"] == "bind")


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_restarts_keeps_its_state_and_is_checked(services, name):
    service = services[name]
    assert service["restart"] == "unless-stopped"
    assert mounts(service, "volume").values(), "a volume for its state"
    assert service["healthcheck"]["test"][0] == "CMD", "there is no shell to rely on"
    (port,) = service["ports"]
    assert f"127.0.0.1:{port['target']}" in service["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_by_the_tag_of_a_release(services, name):
    assert re.fullmatch(r"[\w.]+\.\w+/[\w/-]+:v?\d+\.\d+\.\d+", services[name]["image"])


def test_the_versions_are_those_of_this_repository(services):
    tags = {name: service["image"].rpartition(":")[2] for name, service in services.items()}
    assert tags["exporter"] == f"v{exporter.__version__}"
    assert tags["prometheus"] == f"v{VERSIONS['github.com/prometheus/common/version.Version']}", "the tested one"


def test_the_exporter_runs_as_its_dockerfile_says(services):
    service = services["exporter"]
    assert service["build"]["context"] == str(ROOT)
    dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
    assert f"\nUSER {service['user']}\n" in dockerfile
    (state,) = mounts(service, "volume")
    assert f" --owner=65532 --group=65532 --mode=0700 {state}\n" in dockerfile, "an empty volume gets this owner"
    python = service["healthcheck"]["test"][1]
    assert f'"{python.removesuffix("python")}mojaloop-image-patch-exporter"' in dockerfile


# What they read and write.


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_is_mounted_is_in_the_repository(services, name):
    for source in mounts(services[name], "bind").values():
        assert source.exists(), source
        assert source.is_relative_to(ROOT)


def test_the_shipped_files_are_mounted_and_not_copied(services):
    mounted = {source.relative_to(ROOT).as_posix() for s in services.values() for source in mounts(s, "bind").values()}
    assert {"alerts", "alerts/alertmanager.yml", "alerts/slack.tmpl", "grafana"} <= mounted
    shipped = {
        path.read_bytes() for folder in ("alerts", "grafana") for path in (ROOT / folder).iterdir() if path.is_file()
    }
    assert not [path for path in EXAMPLE.rglob("*") if path.is_file() and path.read_bytes() in shipped]


@pytest.mark.parametrize("name", ["alertmanager", "exporter", "prometheus"])
def test_a_command_reads_what_is_mounted_and_writes_into_a_volume(services, name):
    service = services[name]
    options = dict(argument.removeprefix("--").split("=", 1) for argument in service["command"] if "=" in argument)
    paths = {option: value for option, value in options.items() if value.startswith("/")}
    assert len(paths) == 2
    for option, value in paths.items():
        if option.startswith("config"):
            targets = mounts(service, "bind")
            inside = next(target for target in targets if value == target or value.startswith(f"{target}/"))
            assert (targets[inside] / value.removeprefix(inside).lstrip("/")).is_file()
        else:
            assert value in mounts(service, "volume")


def test_the_watch_list_is_mounted_as_a_folder_so_that_an_editor_may_replace_it(services):
    sources = mounts(services["exporter"], "bind")
    assert [source.is_dir() for source in sources.values()] == [True]


def test_the_webhook_is_a_secret_where_the_shipped_routes_read_it(services):
    secrets = mounts(services["alertmanager"], "secret")
    shipped = yaml.safe_load((ROOT / "alerts" / "alertmanager.yml").read_text())
    slacks = [slack for receiver in shipped["receivers"] for slack in receiver.get("slack_configs", ())]
    assert {slack["api_url_file"] for slack in slacks} == set(secrets)
    assert all(path.is_relative_to(EXAMPLE / "secrets") for path in secrets.values())
    assert "/secrets/" in (EXAMPLE / ".gitignore").read_text().splitlines()
    assert not [name for name in SERVICES if name != "alertmanager" and services[name].get("secrets")]


# What they say to each other.


def test_prometheus_accepts_its_configuration_and_finds_the_rules(machine):
    (promtool,) = need("promtool3")
    file = machine.path("prometheus", "/etc/prometheus/prometheus.yml")
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"mojaloop-image-patch\.rules\.yml\n\s+SUCCESS: \d\d+ rules found", done.stdout), done.stdout


def test_alertmanager_accepts_its_configuration_and_finds_the_template(machine):
    (amtool,) = need("amtool")
    file = machine.path("alertmanager", "/etc/alertmanager/alertmanager.yml")
    done = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 templates" in done.stdout


def test_every_address_is_that_of_a_service(services):
    listening = {f"{name}:{port['target']}" for name, service in services.items() for port in service["ports"]}
    prometheus = example("prometheus.yml")
    (scrape,) = prometheus["scrape_configs"]
    (alertmanager,) = prometheus["alerting"]["alertmanagers"]
    (datasource,) = example("grafana/datasources.yaml")["datasources"]
    used = [
        *scrape["static_configs"],
        *alertmanager["static_configs"],
        {"targets": [datasource["url"].removeprefix("http://")]},
    ]
    assert {target for given in used for target in given["targets"]} == listening - {"grafana:3000"}
    assert scrape["honor_labels"] is True


# Grafana, which is not run.


def test_grafanas_files_have_documented_keys():
    datasources, dashboards = example("grafana/datasources.yaml"), example("grafana/dashboards.yaml")
    assert datasources.keys() == {"apiVersion", "datasources"}
    assert dashboards.keys() == {"apiVersion", "providers"}
    assert datasources["apiVersion"] == dashboards["apiVersion"] == 1
    (datasource,), (provider,) = datasources["datasources"], dashboards["providers"]
    assert datasource.keys() <= DATASOURCE_KEYS
    assert datasource["jsonData"].keys() <= {"httpMethod", "timeInterval"}
    assert datasource["jsonData"]["timeInterval"] == example("prometheus.yml")["global"]["scrape_interval"]
    assert provider.keys() <= PROVIDER_KEYS
    assert provider["options"].keys() <= {"path", "foldersFromFilesStructure"}


def test_grafana_provisions_every_dashboard_and_opens_one(services):
    grafana = services["grafana"]
    binds = mounts(grafana, "bind")
    for kind, name in (("datasources", "datasources.yaml"), ("dashboards", "dashboards.yaml")):
        targets = [target for target in binds if target.startswith(f"/etc/grafana/provisioning/{kind}/")]
        assert [binds[target] for target in targets] == [EXAMPLE / "grafana" / name]
    (provider,) = example("grafana/dashboards.yaml")["providers"]
    folder = provider["options"]["path"]
    boards = {path.name: json.loads(path.read_text()) for path in binds[folder].glob("*.json")}
    assert len(boards) == 5
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder}/")
    assert home.removeprefix(f"{folder}/") in boards
    (datasource,) = example("grafana/datasources.yaml")["datasources"]
    for board in boards.values():
        (variable,) = (v for v in board["templating"]["list"] if v["type"] == "datasource")
        assert variable["query"] == datasource["type"]


def test_links_in_messages_lead_to_grafana(services):
    rules = (ROOT / "alerts" / "mojaloop-image-patch.rules.yml").read_text()
    (port,) = services["grafana"]["ports"]
    assert set(re.findall(r"http://[^/\s]+(?=/d/)", rules)) == {f"http://localhost:{port['published']}"}


def test_nobody_logs_in_to_grafana_and_everybody_only_reads(services):
    environment = services["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true", "no account with a known password"


def test_every_path_of_the_readme_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (EXAMPLE / "README.md").read_text())
    assert len(links) >= 5
    for link in links:
        assert (EXAMPLE / link).exists(), link

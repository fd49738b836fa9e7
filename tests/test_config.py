"""A file and the environment are a configuration, or an error with the place, what was found and what is expected."""

import dataclasses
import re
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.checker import Settings
from exporter.config import KEYS, REGISTRY_KEYS, Configuration, ConfigurationError, Globs, differing, load, parse_option
from exporter.config.document import read as read_yaml
from exporter.config.parsers import duration, show_duration, show_interval, show_listen
from exporter.cron import Cron
from exporter.images import parse
from exporter.registry import DEFAULT_ENTRIES, REGISTRY_KINDS, RegistryEntry
from exporter.versions import STRATEGY_NAMES, Strategy
from exporter.watchlist import WatchedImage
from exporter.windows import Freeze, Window
from exporter.workloads import WorkloadKey, reference_key

DATA = Path(__file__).parent / "data" / "config"
BAD = sorted((DATA / "bad").glob("*.yaml"))
EXAMPLE = Path(__file__).parent.parent / "docs" / "configuration.yaml"


def read(tmp_path, text, *, files=False, **environment):
    file = tmp_path / "configuration.yaml"
    file.write_text(text)
    return load(file, environment, files=files)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file(file):
    expected = file.read_bytes().partition(b"\n")[0].decode().removeprefix("# ")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, files=False)
    assert str(caught.value) == f"{file}, {expected}"
    assert "s3cret" not in str(caught.value)


def test_without_a_file_everything_has_its_default():
    loaded = load(None, {"HOME": "/home/hub"})
    assert loaded == Configuration(state_dir=Path("/home/hub/.local/state/mojaloop-image-patch-exporter"))
    assert [entry.name for entry in loaded.registries] == [
        "docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mirror.gcr.io", "public.ecr.aws",
    ]  # fmt: skip
    assert loaded.watched_namespaces == ()


# How the text of a default is written in YAML, where that is more than the text.
IN_YAML = {"kubernetes.kinds": "[{}]", "registries": "{{{}: }}"}


@pytest.mark.parametrize("key", [*KEYS, *REGISTRY_KEYS], ids=lambda key: key.name)
def test_the_documented_default_is_the_value_that_the_code_uses(key):
    model = Configuration() if key in KEYS else RegistryEntry(name="quay.io")
    used = key.of(model)
    assert key.value == used
    if used in (None, ()):
        assert key.default == key.unset
        return
    text = key.default.replace(", ", ": , ") if key.name == "registries" else key.default
    assert key.parse(read_yaml(IN_YAML.get(key.name, "{}").format(text), "README")) == used


def test_defaults_that_depend_on_the_machine_or_the_registry_are_as_documented():
    (state_dir,) = (key for key in KEYS if key.name == "state_dir")
    documented = state_dir.default.replace("$XDG_STATE_HOME", "/state")
    assert load(None, {"XDG_STATE_HOME": "/state"}).state_dir == Path(documented)
    (endpoint,) = (key for key in REGISTRY_KEYS if key.name == "endpoint")
    assert str(RegistryEntry(name="quay.io").base) == endpoint.default.replace("HOST", "quay.io")


def test_the_checker_has_the_same_defaults():
    ours, theirs = Configuration().settings(), Settings()
    assert (ours.strategy, ours.interval, ours.schedule) == (theirs.strategy, theirs.interval, theirs.schedule)


@pytest.mark.parametrize(("address", "text"), [(("::1", 80), "[::1]:80"), (("", 80), ":80"), (("a.b", 80), "a.b:80")])
def test_an_address_is_shown_as_it_is_written(address, text):
    assert show_listen(address) == text
    assert parse_option("listen", text) == address


@given(st.integers(min_value=60, max_value=10_000_000))
def test_a_duration_is_shown_as_it_is_written(seconds):
    assert parse_option("interval", show_interval(float(seconds))) == float(seconds)


@given(st.integers(min_value=0, max_value=10_000_000))
def test_a_duration_without_a_minimum_is_shown_as_it_is_written(seconds):
    assert duration(read_yaml(show_duration(float(seconds)), "test")) == float(seconds)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_name_of_a_strategy_is_accepted(tmp_path, name):
    assert read(tmp_path, f"strategy: {name}").strategy is STRATEGY_NAMES[name]
    assert parse_option("strategy", name) is STRATEGY_NAMES[name]


@pytest.mark.parametrize("kind", REGISTRY_KINDS)
def test_every_kind_of_registry_is_accepted(tmp_path, kind):
    entries = {e.name: e for e in read(tmp_path, f"registries: {{a.example: {{api: {kind}}}}}").registries}
    assert entries["a.example"].api == kind


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/hub"}, "/state"),
        ({"XDG_STATE_HOME": "not/absolute", "HOME": "/home/hub"}, "/home/hub/.local/state"),
        ({"XDG_STATE_HOME": "", "HOME": ""}, "~/.local/state"),
    ],
)
def test_the_default_state_dir(environment, folder):
    assert load(None, environment).state_dir == Path(folder).expanduser() / "mojaloop-image-patch-exporter"


def test_without_a_home_directory_state_dir_has_no_default(monkeypatch):
    def homeless(_path):
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(ConfigurationError, match="state_dir: no home directory"):
        load(None, {})
    assert load(None, {"IMAGE_PATCH_STATE_DIR": ""}).state_dir is None


def test_every_key_is_read():
    text = (DATA / "good" / "every-key.yaml").read_text()
    loaded = load(DATA / "good" / "every-key.yaml", {}, files=False)
    *_, hub, other = loaded.registries
    assert loaded == Configuration(
        listen=("::1", 9878),
        api_listen=("::1", 9879),
        api_token_file=Path("/etc/api/token"),
        state_dir=None,
        watch=(
            WatchedImage(reference=parse("mojaloop/central-ledger:v19.13.1"), name="central-ledger"),
            WatchedImage(
                reference=parse(f"hub.example:5000/mojaloop/quoting-service:v1.0.0@sha256:{'0123456789abcdef' * 4}"),
                name="quoting",
                strategy=Strategy.MINOR,
            ),
            WatchedImage(reference=parse("mojaloop/sdk-scheme-adapter")),
        ),
        strategy=Strategy.PATCH,
        interval=5400.0,
        timezone=ZoneInfo("Africa/Nairobi"),
        windows=(
            Window(
                name="weeknights",
                cron=Cron("0 22 * * 1-5", ZoneInfo("Africa/Nairobi")),
                duration=21600.0,
                namespaces=("mojaloop", "hub-*"),
                workloads=("*/Deployment/*",),
            ),
            Window(name="sunday", cron=Cron("0 3 * * SUN", ZoneInfo("Europe/Berlin")), duration=9000.0),
        ),
        freezes=(
            Freeze(start=1798405200.0, end=1798923600.0, name="month-end"),
            Freeze(start=1782831600.0, end=1782885600.0),
        ),
        proxy="http://hub:s3cret@proxy.example:3128",
        ca_file=Path("/etc/ca-bundle/ca.crt"),
        kubernetes=False,
        kubeconfig=Path("/etc/kube/config"),
        context="hub",
        kinds=("Deployment", "Pod"),
        namespaces=Globs(include=("mojaloop", "backing", "kube-system"), exclude=("kube-*",)),
        workloads=Globs(include=("*/Deployment/*",), exclude=("mojaloop/Deployment/ttk",)),
        images=Globs(
            include=("docker.io/mojaloop/*", "docker.io/library/redis"),
            exclude=("docker.io/mojaloop/*-testing-[a-z]*",),
        ),
        registries=(
            *(dataclasses.replace(p, ca_file=Path("/etc/ca-bundle/ca.crt")) for p in DEFAULT_ENTRIES),
            hub,
            other,
        ),
        page_enabled=False,
        approve_commands=True,
        patching=False,
        patcher_soak=0.0,
        patcher_deadline=93600.0,
        patcher_reserve=90.0,
        patcher_expiry=129600.0,
        patcher_on_failure="continue",
        patcher_statefulset_recovery="evict",
        patcher_lease_namespace="patching",
        patcher_lease_name="hub-patcher",
        patcher_own_release="patching/hub",
        patcher_verified_approvers=True,
        log_level="debug",
        log_format="json",
    )
    assert hub == RegistryEntry(
        name="hub.example:5000",
        insecure=True,
        ca_file=Path("/etc/registries/ca.pem"),
        username_file=Path("/etc/registries/username"),
        password_file=Path("/etc/registries/password"),
        allow_annotations=True,
        expose_tags=True,
        api="dockerhub",
        token_hosts=("auth.hub.example", "auth.hub.example:8443"),
        mirror_of="docker.io",
        allow_private=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        redirect_hosts=("*.cdn.example",),
        endpoint="http://cache.example:5000/hub",
        hub_endpoint="https://hub.example",
    )
    assert other.name == "[fd00::1]:5000"
    assert other.ca_file == Path("/etc/ca-bundle/ca.crt")
    for key in (*KEYS, *REGISTRY_KEYS):
        assert f"{key.name.rpartition('.')[2]}:" in text, "the file has to have it"
    fields = {field.name for field in dataclasses.fields(RegistryEntry)} - {"name", "base"}
    assert {key.name for key in REGISTRY_KEYS} == fields
    assert {key.field for key in KEYS} == {field.name for field in dataclasses.fields(Configuration)}


@pytest.mark.parametrize(
    ("include", "exclude", "watched"),
    [
        ("[]", "[kube-*]", ()),
        ("[a, b]", "[b]", ("a",)),
        ("[a, b]", "['*']", ("a", "b")),  # nothing is judged; it must not mean the whole cluster
        ("[a, 'b?']", "[]", ()),
    ],
)
def test_exact_names_that_are_not_excluded_are_watched_one_by_one(tmp_path, include, exclude, watched):
    loaded = read(tmp_path, f"namespaces: {{include: {include}, exclude: {exclude}}}")
    assert loaded.watched_namespaces == watched


def test_filters_do_not_apply_to_what_is_named(tmp_path):
    loaded = read(tmp_path, "namespaces: {include: [hub]}")
    keys = reference_key(0), WorkloadKey("", "Image", "ledger"), WorkloadKey("other", "Deployment", "ledger")
    assert [loaded.selects(key) for key in keys] == [True, True, False]


@pytest.mark.parametrize(
    ("written", "address"),
    [("':9877'", ("", 9877)), ("'[::]:0'", ("::", 0)), ("localhost:80", ("localhost", 80))],
)
def test_addresses_to_listen_on(tmp_path, written, address):
    assert read(tmp_path, f"listen: {written}").listen == address


def test_the_example_of_the_documentation():
    loaded = load(EXAMPLE, {}, files=False)
    assert loaded.listen == ("0.0.0.0", 9877)
    assert loaded.watched_namespaces == ("mojaloop", "backing")
    assert [image.name for image in loaded.watch] == ["central-ledger", "quoting", ""]
    assert loaded.schedule == Cron("0 8 * * 1-5", ZoneInfo("Africa/Nairobi"))
    assert [window.name for window in loaded.windows] == ["weeknights"]
    assert loaded.selects(WorkloadKey("mojaloop", "Deployment", "ledger"))
    assert not loaded.selects(WorkloadKey("mojaloop", "Job", "ttk-tests-1"))
    assert not loaded.selects(WorkloadKey("other", "Deployment", "ledger"))
    assert not loaded.settings().selects_image("docker.io/library/busybox")
    entries = {entry.name: entry for entry in loaded.registries}
    assert entries["registry.hub.example"] == RegistryEntry(
        name="registry.hub.example",
        docker_config_file=Path("/etc/registries/config.json"),
        token_hosts=("auth.hub.example",),
        allow_private=(ip_network("10.0.0.0/8"),),
    )
    assert entries["ghcr.io/hub/docker-hub"].mirror_of == "docker.io"
    assert not entries["gcr.io"].allow
    assert entries["docker.io"] == DEFAULT_ENTRIES[0]


def test_an_entry_is_merged_into_the_default_one(tmp_path):
    hub = "docker.io: {username_file: /u, password_file: /p}, index.docker.io/mojaloop: {allow: false}"
    text = f"registries: {{{hub}, quay.io: }}"
    entries = {entry.name: entry for entry in read(tmp_path, text).registries}
    assert entries["docker.io"].api == "dockerhub"
    assert entries["docker.io"].token_hosts == ("auth.docker.io",)
    assert entries["docker.io"].password_file == Path("/p")
    assert not entries["docker.io/mojaloop"].allow
    assert entries["quay.io"].allow


def test_a_path_prefix_of_a_default_registry_is_asked_like_the_registry(tmp_path):
    text = "{docker.io/hub: {docker_config_file: /c}, registry.k8s.io/x: {insecure: true}, mirror.gcr.io/x: }"
    entries = {entry.name: entry for entry in read(tmp_path, f"registries: {text}").registries}
    hub, prefix = entries["docker.io"], entries["docker.io/hub"]
    assert prefix == dataclasses.replace(hub, name="docker.io/hub", docker_config_file=Path("/c"))
    assert prefix.base == hub.base
    assert not hub.has_credentials
    assert entries["registry.k8s.io/x"].redirect_hosts == ("*.pkg.dev",)
    assert str(entries["registry.k8s.io/x"].base) == "http://registry.k8s.io"
    assert entries["mirror.gcr.io/x"] == RegistryEntry(name="mirror.gcr.io/x"), "what it mirrors depends on its name"


@pytest.mark.parametrize("text", ["", "# nothing\n", "kubernetes:\nlog:\nlisten:\n"])
def test_a_key_without_a_value_is_not_set(tmp_path, text):
    assert read(tmp_path, text) == load(None, {})


@pytest.mark.parametrize(
    ("written", "seconds"), [("1m", 60.0), ("90s", 90.0), ("1h", 3600.0), ("1h30m", 5400.0), ("1d", 86400.0)]
)
def test_durations(tmp_path, written, seconds):
    assert read(tmp_path, f"interval: {written}").interval == seconds


def test_the_environment_overrides_the_file(tmp_path):
    loaded = read(
        tmp_path,
        "strategy: minor\nnamespaces: {include: [a], exclude: [b]}",
        IMAGE_PATCH_STRATEGY="major",
        IMAGE_PATCH_NAMESPACES_INCLUDE="[mojaloop, 'hub-*']",
        IMAGE_PATCH_REGISTRIES="{quay.io: {allow: false}}",
        IMAGE_PATCH_STATE_DIR="",
        PATH="/bin",
    )
    assert loaded.strategy is Strategy.MAJOR
    assert loaded.namespaces.include == ("mojaloop", "hub-*")
    assert loaded.namespaces.exclude == ("b",)
    assert loaded.watched_namespaces == (), "globs need the whole cluster"
    assert loaded.state_dir is None
    assert [entry.name for entry in loaded.registries if not entry.allow] == ["quay.io"]


def test_the_watch_list_of_the_environment_replaces_that_of_the_file(tmp_path):
    listed = "[redis:7.2.4, {reference: 'quay.io/a/b:v1.0.0', name: c}]"
    loaded = read(tmp_path, "watch: [nginx:1.27.0]", IMAGE_PATCH_WATCH=listed, IMAGE_PATCH_KUBERNETES_ENABLED="false")
    assert [(image.reference.written, image.name) for image in loaded.watch] == [
        ("redis:7.2.4", "redis"),
        ("quay.io/a/b:v1.0.0", "c"),
    ]
    assert not loaded.kubernetes
    with pytest.raises(ConfigurationError, match=r"IMAGE_PATCH_WATCH, line 1: watch\[0\]: 'A': 'A' is not"):
        load(None, {"IMAGE_PATCH_WATCH": "['A:1']"})
    with pytest.raises(ConfigurationError, match=r"IMAGE_PATCH_KUBERNETES_ENABLED: kubernetes\.enabled: found false"):
        read(tmp_path, "watch: [nginx:1.27.0]", IMAGE_PATCH_WATCH="[]", IMAGE_PATCH_KUBERNETES_ENABLED="false")


def test_keys_whose_values_differ_are_found_by_name():
    one, other = Configuration(), Configuration(images=Globs(exclude=("a/b",)), strategy=Strategy.MAJOR)
    assert [key.name for key in differing(one, other)] == ["strategy", "images.exclude"]
    assert differing(one, Configuration()) == ()


def test_an_invalid_value_is_refused_even_if_the_environment_overrides_it(tmp_path):
    with pytest.raises(ConfigurationError, match="line 2: strategy"):
        read(tmp_path, "# \nstrategy: newest", IMAGE_PATCH_STRATEGY="major", IMAGE_PATCH_LISTEN="nowhere")


def test_variables_that_kubernetes_sets_for_a_service_are_ignored():
    address = {
        "IMAGE_PATCH_EXPORTER_SERVICE_HOST": "10.96.0.7",
        "IMAGE_PATCH_EXPORTER_SERVICE_PORT_HTTP": "9877",
        "IMAGE_PATCH_EXPORTER_PORT": "tcp://10.96.0.7:9877",
        "IMAGE_PATCH_EXPORTER_PORT_9877_TCP_ADDR": "10.96.0.7",
    }
    assert load(None, address) == load(None, {})
    with pytest.raises(ConfigurationError, match="unknown key"):
        load(None, {"IMAGE_PATCH_EXPORTER_PORT": "9877"})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IMAGE_PATCH_LISEN", "x", "unknown key; did you mean IMAGE_PATCH_LISTEN?"),
        ("IMAGE_PATCH_INTERVAL", "1s", "interval: found '1s', expected at least 1m"),
        ("IMAGE_PATCH_NAMESPACES_INCLUDE", "[a", "invalid YAML"),
        ("IMAGE_PATCH_STATE_DIR", "/\udcff", "invalid YAML: an unprintable character"),
        ("IMAGE_PATCH_\n", "x", r"IMAGE_PATCH_\n: unknown key"),
    ],
)
def test_a_bad_variable(name, value, said):
    with pytest.raises(ConfigurationError) as caught:
        load(None, {name: value})
    assert str(caught.value).startswith(f"environment variable {name.strip()}")
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.yaml: No such file or directory; expected a readable file"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load(tmp_path, {})
    (tmp_path / "huge.yaml").write_text("#" * (2 << 20))
    with pytest.raises(ConfigurationError, match="larger than"):
        load(tmp_path / "huge.yaml", {})
    (tmp_path / "deep.yaml").write_text("a: 1\nb: " + "[" * 20_000)
    with pytest.raises(ConfigurationError, match=r"deep\.yaml, line 2: invalid YAML: nested more than 50 levels deep"):
        load(tmp_path / "deep.yaml", {})


@pytest.mark.timeout(60)
def test_a_number_with_a_colon_is_text(tmp_path):
    (tmp_path / "a.yaml").write_text("listen: 127:59")
    assert load(tmp_path / "a.yaml", {}).listen == ("127", 59)
    (tmp_path / "a.yaml").write_text("interval: 1" + ":59" * 300_000)
    with pytest.raises(ConfigurationError, match=r"a\.yaml, line 1: interval: found a value of 900003 characters"):
        load(tmp_path / "a.yaml", {})


def test_options_of_the_command_line():
    assert parse_option("listen", "[::1]:0") == ("::1", 0)
    with pytest.raises(ConfigurationError, match="--listen: listen: found 'x', expected HOST:PORT"):
        parse_option("listen", "x")


@given(st.text(max_size=200))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_an_error_that_says_so(tmp_path, text):
    (tmp_path / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    for file, environment in (
        (tmp_path / "any.yaml", {}),
        (None, {"IMAGE_PATCH_LISTEN": text}),
        (None, {f"IMAGE_PATCH_{text}": ""}),
    ):
        loaded_or_refused(file, environment)


def loaded_or_refused(file, environment):
    """Loads, or is refused in one printable line."""
    try:
        assert isinstance(load(file, environment), Configuration)
    except ConfigurationError as error:
        said = str(error).replace(str(file), "")
        assert said.isprintable()
        assert said.isascii() or len(said) < 1000


# Pieces that YAML gives a meaning: tags, aliases, dates, numbers of other bases, merge keys.
_pieces = st.sampled_from(
    ["!!", "timestamp ", "int ", "bool ", "seq ", "&a ", "*a", "<<: ", "0x", "_", "0b", "1:", "2026-13-01", "=", "? "]
    + ["- ", "~", "~x", "'", '"', "\\ud800", "\\0", "[", "]", "{", "}", ", ", ": ", "\n", "\n  "]
    + ["%TAG ! x\n", "---\n", "|\n"]
    + [f"{part}: " for key in KEYS for part in key.name.split(".")]
    + [f"{key.name}: " for key in REGISTRY_KEYS]
    + ["a.example", "http://", "10.0.0.0/8", "1h", "\x00", "\ufeff"]
)  # fmt: skip


@given(st.lists(_pieces, max_size=12).map("".join))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
def test_any_pieces_of_yaml_are_a_configuration_or_an_error_that_says_so(tmp_path, text):
    (tmp_path / "any.yaml").write_text(text, encoding="utf-8")
    loaded_or_refused(tmp_path / "any.yaml", {})
    loaded_or_refused(None, {"IMAGE_PATCH_REGISTRIES": text, "IMAGE_PATCH_STATE_DIR": text})


_words = st.sampled_from(
    [
        *(part for key in KEYS for part in key.name.split(".")),
        *(key.name for key in REGISTRY_KEYS),
        "quay.io",
        "x",
        "1h",
    ]
)
_values = st.recursive(
    _words | st.booleans() | st.integers() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(_words, _values, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_of_known_words_is_a_configuration_or_an_error_that_says_so(tmp_path, tree):
    import yaml

    (tmp_path / "any.yaml").write_text(yaml.safe_dump(tree))
    loaded_or_refused(tmp_path / "any.yaml", {})


NAMED = {
    "api.token_file": "api: {{token_file: {}}}",
    "ca_file": "ca_file: {}",
    "kubernetes.kubeconfig": "kubernetes: {{kubeconfig: {}}}",
    "registries.ghcr.io.ca_file": "registries: {{ghcr.io: {{ca_file: {}}}}}",
    "registries.ghcr.io.docker_config_file": "registries: {{ghcr.io: {{docker_config_file: {}}}}}",
    "registries.ghcr.io.username_file": "registries: {{ghcr.io: {{username_file: {}, password_file: /dev/null}}}}",
    "registries.ghcr.io.password_file": "registries: {{ghcr.io: {{username_file: /dev/null, password_file: {}}}}}",
}


@pytest.mark.parametrize(("key", "text"), NAMED.items(), ids=NAMED)
def test_every_file_that_is_named_has_to_exist(tmp_path, key, text):
    found = (
        rf"configuration\.yaml, line 1: {re.escape(key)}: found '/nope' \(No such file or directory\), "
        "expected a readable file"
    )
    with pytest.raises(ConfigurationError, match=found):
        read(tmp_path, text.format("/nope"), files=True)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read(tmp_path, text.format(tmp_path), files=True)
    read(tmp_path, text.format("/nope"), files=False)


def test_no_key_that_names_a_file_is_left_out():
    names = {key.name for key in KEYS if key.name.endswith(("_file", "kubeconfig"))}
    names |= {f"registries.ghcr.io.{key.name}" for key in REGISTRY_KEYS if key.name.endswith("_file")}
    assert names == set(NAMED)


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_file_has_to_hold_certificates(tmp_path, content):
    (tmp_path / "ca.pem").write_text(content)
    expected = r"ca_file: found '.*ca\.pem' without any valid certificate, expected a file with certificates \(PEM\)"
    with pytest.raises(ConfigurationError, match=expected):
        read(tmp_path, f"ca_file: {tmp_path}/ca.pem", files=True)


def test_the_variable_of_the_environment_that_names_the_file_is_not_a_key(tmp_path):
    assert read(tmp_path, "strategy: minor", IMAGE_PATCH_CONFIG="/nope").strategy is Strategy.MINOR

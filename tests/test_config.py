"""What is written becomes a configuration, or an error that says where, what was found and what is expected."""

import contextlib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config import KEYS, REGISTRY_KEYS, Configuration, ConfigurationError, load, parse_option
from exporter.registry import DEFAULT_POLICIES, Api, RegistryPolicy
from exporter.versions import Strategy
from exporter.workloads import WorkloadKey

BAD = sorted((Path(__file__).parent / "data" / "config" / "bad").glob("*.yaml"))
EXAMPLE = Path(__file__).parent.parent / "docs" / "configuration.yaml"


def read(tmp_path, text, **environment):
    file = tmp_path / "configuration.yaml"
    file.write_text(text)
    return load(file, environment)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file(file):
    expected = file.read_text().splitlines()[0].removeprefix("# ")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}, {expected}"
    assert "s3cret" not in str(caught.value)


def test_without_a_file_everything_has_its_default():
    loaded = load(None, {"HOME": "/home/hub"})
    assert loaded == Configuration(state_dir=Path("~/.local/state/mojaloop-image-patch-exporter").expanduser())
    assert load(None, {"XDG_STATE_HOME": "/state"}).state_dir == Path("/state/mojaloop-image-patch-exporter")
    assert [policy.name for policy in loaded.registries] == [
        "docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mirror.gcr.io", "public.ecr.aws",
    ]  # fmt: skip
    assert loaded.watched_namespaces == ()


def test_the_example_of_the_documentation():
    loaded = load(EXAMPLE, {})
    assert loaded.listen == ("0.0.0.0", 9877)
    assert loaded.watched_namespaces == ("mojaloop", "backing")
    assert loaded.selects(WorkloadKey("mojaloop", "Deployment", "ledger"))
    assert not loaded.selects(WorkloadKey("mojaloop", "Job", "ttk-tests-1"))
    assert not loaded.selects(WorkloadKey("other", "Deployment", "ledger"))
    assert not loaded.settings().selects_image("docker.io/library/busybox")
    policies = {policy.name: policy for policy in loaded.registries}
    assert policies["registry.hub.example"] == RegistryPolicy(
        name="registry.hub.example",
        docker_config_file=Path("/etc/registries/config.json"),
        token_hosts=("auth.hub.example",),
        allow_private=(ip_network("10.0.0.0/8"),),
    )
    assert policies["ghcr.io/hub/docker-hub"].mirror_of == "docker.io"
    assert not policies["gcr.io"].allow
    assert policies["docker.io"] == DEFAULT_POLICIES[0]


def test_an_entry_is_merged_into_the_default_one(tmp_path):
    text = "registries: {docker.io: {username_file: /u, password_file: /p}, index.docker.io/mojaloop: {allow: false}, quay.io: }"
    policies = {policy.name: policy for policy in read(tmp_path, text).registries}
    assert policies["docker.io"].api is Api.DOCKERHUB
    assert policies["docker.io"].token_hosts == ("auth.docker.io",)
    assert policies["docker.io"].password_file == Path("/p")
    assert not policies["docker.io/mojaloop"].allow
    assert policies["quay.io"].allow


@pytest.mark.parametrize("text", ["", "# nothing\n", "kubernetes:\nlog:\nlisten:\n"])
def test_what_says_nothing_changes_nothing(tmp_path, text):
    assert read(tmp_path, text) == load(None, {})


@pytest.mark.parametrize(
    ("written", "seconds"), [("1m", 60.0), ("90s", 90.0), ("1h", 3600.0), ("1h30m", 5400.0), ("1d", 86400.0)]
)
def test_durations(tmp_path, written, seconds):
    assert read(tmp_path, f"interval: {written}").interval == seconds


def test_the_environment_goes_before_the_file(tmp_path):
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
    assert [policy.name for policy in loaded.registries if not policy.allow] == ["quay.io"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IMAGE_PATCH_LISEN", "x", "there is no such key; did you mean IMAGE_PATCH_LISTEN?"),
        ("IMAGE_PATCH_INTERVAL", "1s", "interval: found '1s', expected 1m or more"),
        ("IMAGE_PATCH_NAMESPACES_INCLUDE", "[a", "this is no YAML"),
    ],
)
def test_a_bad_variable(name, value, said):
    with pytest.raises(ConfigurationError) as caught:
        load(None, {name: value})
    assert str(caught.value).startswith(f"environment variable {name}")
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "none.yaml", {})
    (tmp_path / "huge.yaml").write_text("#" * (2 << 20))
    with pytest.raises(ConfigurationError, match="larger than"):
        load(tmp_path / "huge.yaml", {})
    (tmp_path / "deep.yaml").write_text("[" * 20_000)
    with pytest.raises(ConfigurationError, match="no YAML"):
        load(tmp_path / "deep.yaml", {})


def test_options_of_the_command_line():
    assert parse_option("listen", "[::1]:0") == ("::1", 0)
    with pytest.raises(ConfigurationError, match="--listen: listen: found 'x', expected HOST:PORT"):
        parse_option("listen", "x")


@given(st.text(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_an_error_that_says_so(tmp_path, text):
    (tmp_path / "any.yaml").write_bytes(text.encode("utf-8", "replace"))
    with contextlib.suppress(ConfigurationError):
        assert isinstance(load(tmp_path / "any.yaml", {}), Configuration)


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
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_of_known_words_is_a_configuration_or_an_error_that_says_so(tmp_path, tree):
    import yaml

    (tmp_path / "any.yaml").write_text(yaml.safe_dump(tree))
    try:
        assert isinstance(load(tmp_path / "any.yaml", {}), Configuration)
    except ConfigurationError as error:
        assert str(tmp_path) in str(error)

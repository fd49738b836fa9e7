"""The container image: built from the Dockerfile with buildah, then run as a restricted pod runs it.

The tests use no container engine and no image registry. The base is a small Debian from the mirror that apt uses; it
is built once and kept in the user's cache folder. At run time the kernel's own tools replace the engine: they mount the
root file system read-only, start the process in its own PID namespace, and run it as a numeric user.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import __version__
from tests.support.chart import one, rendered
from tests.support.components import need
from tests.support.container_image import STATE, TOP, Builder, Contained, debian, need_root, pip_volumes
from tests.support.exporter_process import local
from tests.support.registries import registry
from tests.support.workloads import body

# The first run makes a base and fetches every dependency.
pytestmark = pytest.mark.timeout(1800)

HOME = "opt/mojaloop-image-patch-exporter"
USER = "65532:65532"
BASE = "localhost/base:test"
IMAGE = "localhost/exporter:test"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    need_root()
    need("buildah", "debootstrap")
    made = Builder(tmp_path_factory.mktemp("image"))
    try:
        if made("images", check=False).returncode != 0:
            # Slower, as every layer is a whole copy, but there on every file system.
            shutil.rmtree(made.folder / "storage", ignore_errors=True)
            made.driver = "vfs"
        context = made.folder / "base"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        shutil.copy(debian(made.folder), context / "base.tar")
        made.build(context, BASE)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def arguments(builder: Builder) -> list[str]:
    return [f"--build-arg=BASE={BASE}", *pip_volumes(builder.folder)]


@pytest.fixture(scope="module")
def image(builder: Builder, arguments: list[str]) -> str:
    labels = ("--build-arg=REVISION=0123abc", "--build-arg=CREATED=2026-02-27T15:37:17Z")
    began = time.monotonic()
    builder.build(TOP, IMAGE, *arguments, f"--build-arg=VERSION={__version__}", *labels)
    print(f"built in {time.monotonic() - began:.0f} s with {builder.driver}")
    return IMAGE


@pytest.fixture(scope="module")
def root(builder: Builder, image: str) -> Path:
    return builder.mount(image)


def package(root: Path) -> Path:
    (found,) = root.glob(f"{HOME}/lib/python3.*/site-packages/exporter")
    return found


# What is in it


def test_its_configuration_is_what_a_restricted_pod_asks_for(builder, image):
    inspected = builder.config(image)
    config = inspected["OCIv1"]["config"]
    assert config["User"] == USER
    assert config["Entrypoint"] == [f"/{HOME}/bin/mojaloop-image-patch-exporter"]
    assert config["Cmd"] == ["serve"]
    assert config["ExposedPorts"] == {"9877/tcp": {}}
    assert f"IMAGE_PATCH_STATE_DIR={STATE}" in config["Env"]
    assert "Healthcheck" not in config
    assert not inspected["Docker"]["config"].get("Healthcheck")
    ours = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert ours.pop("io.buildah.version")
    assert ours.pop("description").startswith("Exports which containers")
    assert ours == {
        "title": "mojaloop-image-patch-exporter",
        "source": "https://github.com/mojaloop/mojaloop-image-patch-exporter",
        "licenses": "Apache-2.0",
        "base.name": BASE,
        "version": __version__,
        "revision": "0123abc",
        "created": "2026-02-27T15:37:17Z",
    }


def test_nothing_in_it_installs_python_packages_or_compiles(root):
    folders = [*root.glob("usr/*bin"), *root.glob("usr/local/*bin"), root / HOME / "bin"]
    commands = {path.name for folder in folders for path in folder.iterdir()}
    assert "python3" in commands
    assert not {name for name in commands if re.fullmatch(r"(.*-)?(pip|cc|gcc|g\+\+|c\+\+|clang|ld|make)[\d.-]*", name)}
    modules = {path.parent.name for path in root.glob("**/__init__.py")}
    assert not modules & {"pip", "ensurepip", "setuptools"}


def test_our_package_is_whole_and_has_its_bytecode(root):
    installed = package(root)

    def files(folder: Path) -> set[Path]:
        found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {path.relative_to(folder) for path in found}

    assert files(installed) == files(TOP / "exporter")
    for source in installed.rglob("*.py"):
        (compiled,) = source.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc")
        # PEP 552: bound to no file's time, and not checked.
        assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00", compiled


# Every import in our package, wherever it stands, also those that only a rare path reaches.
IMPORTS = """
import ast, importlib, pathlib, sys
from exporter import lean
import exporter
count = 0
for path in sorted(pathlib.Path(exporter.__path__[0]).rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [(name.name, None) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            wanted = [(node.module, name.name) for name in node.names]
        else:
            continue
        for module, name in wanted:
            loaded = importlib.import_module(module)
            if name is not None and not hasattr(loaded, name):
                importlib.import_module(f"{module}.{name}")
            count += 1
print(count, "kubernetes.aio.client.models" in sys.modules)
"""


def test_everything_that_our_code_imports_is_in_it(contained):
    done = contained("-c", IMPORTS, entrypoint="python").run()
    assert done.returncode == 0, f"the Dockerfile removes what is imported here:\n{done.stderr}"
    count, whole = done.stdout.split()
    assert int(count) > 500
    assert whole == "True", "the Kubernetes client looks its models up when they are used"


def test_what_nothing_imports_is_not_in_it(root):
    (installed,) = root.glob(f"{HOME}/lib/python3.*/site-packages")
    names = {path.name for path in installed.iterdir()}
    assert not names & {"requests", "urllib3", "oauthlib", "websocket", "charset_normalizer", "pygments"}
    assert not list(installed.glob("kubernetes/**/*_api.py"))
    assert {path.name for path in installed.glob("kubernetes/aio/client/models/*.py")} == {"__init__.py"}


def test_its_user_may_change_nothing_but_the_state_folder(root):
    temporary = {root / "tmp", root / "var/tmp", root / "run/lock"}
    theirs = set()
    for path in root.rglob("*"):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            continue
        if 65532 in (status.st_uid, status.st_gid) or (status.st_mode & stat.S_IWOTH and path not in temporary):
            theirs.add(f"/{path.relative_to(root)}")
    assert theirs == {STATE}


def test_a_release_of_the_code_is_one_small_layer(builder, image, arguments, tmp_path):
    archive = builder.folder / "oci"
    builder("push", image, f"oci:{archive}:latest")
    (manifest,) = json.loads((archive / "index.json").read_text())["manifests"]
    blobs = archive / "blobs" / "sha256"
    content = json.loads((blobs / manifest["digest"].partition(":")[2]).read_text())
    sizes, names = [], ("base", "pip removed", "dependencies", "code")
    for name, layer in zip(names, content["layers"], strict=True):
        with gzip.open(blobs / layer["digest"].partition(":")[2]) as file:
            whole = sum(len(part) for part in iter(lambda: file.read(1 << 20), b""))
        sizes.append(layer["size"] / 1e6)
        print(f"{name}: {layer['size'] / 1e6:.2f} MB compressed, {whole / 1e6:.1f} MB")
    print(f"all layers: {sum(sizes):.1f} MB compressed")
    assert sizes[-1] < 1.5, "megabytes of a release, while dependencies stay as they are"
    assert sum(sizes[1:]) < 15, "megabytes that we add to the base"

    changed = tmp_path / "changed"
    changed.mkdir()
    requirements = ("requirements.txt", "requirements-build.txt", "pyproject.toml")
    for name in ("Dockerfile", ".dockerignore", *requirements, "README.md", "LICENSE"):
        shutil.copy(TOP / name, changed)
    for name in ("exporter", "alerts", "grafana"):
        shutil.copytree(TOP / name, changed / name, symlinks=True)
    with (changed / "exporter/__init__.py").open("a") as file:
        file.write("# the next release\n")
    builder.build(changed, "localhost/exporter:changed", *arguments)
    before, after = builder.layers(image), builder.layers("localhost/exporter:changed")
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def test_a_version_that_is_not_the_codes_is_refused(builder, image, arguments):
    done = builder.build(
        TOP, "localhost/exporter:refused", *arguments, "--build-arg=VERSION=99.0.0", "--target=code", check=False
    )
    assert done.returncode != 0
    assert "= unreleased ||" in done.stderr, "the step that compares them"


# How it runs


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with registry("docker-registry", tmp_path_factory.mktemp("registry")) as opened:
        opened.push("mojaloop/ledger", ["v1.0.0", "v1.0.1", "v1.0.2"])
        yield opened


@pytest.fixture
def contained(builder, image, root, tmp_path):
    """Makes exporters in the image, and ends them. `entrypoint` names another command of its environment."""
    made = []

    def make(*arguments: str, state: str = STATE, entrypoint: str = "") -> Contained:
        config = builder.config(image)["OCIv1"]["config"]
        if entrypoint:
            config["Entrypoint"] = [f"/{HOME}/bin/{entrypoint}"]
        made.append(Contained(root, config, tmp_path / str(len(made)), *arguments, state=state))
        return made[-1]

    yield make
    for each in made:
        with contextlib.suppress(OSError, ValueError):
            if each.process is not None:
                each.stop(signal.SIGKILL)


def test_it_says_its_version(contained):
    done = contained("--version").run()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mojaloop-image-patch-exporter {__version__}\n", "")


def test_check_judges_manifests_with_nothing_to_write_to(contained, hub):
    command = contained("check", "--config", "/mnt/config", "--manifests", "-", "--fail-on", "patch", state="")
    command.give("config", {"registries": local(hub.host)})
    deployment = body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0")
    document = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment}
    done = command.run(json.dumps(document))
    assert done.returncode == 3, done.stderr
    assert re.search(r"ledger:v1\.0\.0 +v1\.0\.2 +2 ", done.stdout), done.stdout
    assert done.stderr == ""


SERVE = ("serve", "--config", "/mnt/config", "--kubeconfig", "/mnt/kubeconfig", "--listen", "127.0.0.1:0")


def test_serve_answers_as_a_number_on_a_read_only_root_and_ends_when_told(contained, kube, namespace, hub):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    ours = contained(*SERVE)
    ours.give("config", {"registries": local(hub.host), "namespaces": {"include": [namespace]}})
    ours.give_kubeconfig(kube)
    ours.start()
    ours.until(lambda: ours.get("/-/ready")[0] == 200)
    ours.until(lambda: ours.value("mojaloop_image_patch_available", namespace=namespace) == 1.0)
    process = Path(f"/proc/{ours.pid()}")
    status = (process / "status").read_text()
    assert re.search(r"^Uid:\s+65532\s+65532\s+65532\s+65532$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE), "number one of its own, as in a pod"
    mounts = [mount.split() for mount in (process / "mounts").read_text().splitlines()]
    assert "ro" in next(options.split(",") for _, point, _, options, *_ in mounts if point == "/")
    assert "catalogue.sqlite" in {path.name for path in (process / f"root{STATE}").iterdir()}
    began = time.monotonic()
    assert ours.stop() == 0, ours.log()
    assert time.monotonic() - began < 5
    assert "Traceback" not in ours.log()


def test_check_gets_credentials_from_a_plugin_of_the_kubeconfig(contained, kube, namespace, hub):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    command = contained("check", "--config", "/mnt/config", "--kubeconfig", "/mnt/kubeconfig", "--cluster", state="")
    command.give("config", {"registries": local(hub.host), "namespaces": {"include": [namespace]}})
    command.give_kubeconfig(kube)
    kubeconfig = json.loads((command.folder / "given" / "kubeconfig").read_text())
    (user,) = kubeconfig["users"]
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": user["user"]["token"]}}
    user["user"] = {
        "exec": {
            "apiVersion": version, "command": "/bin/cat", "args": ["/mnt/credential"], "interactiveMode": "Never"
        }
    }  # fmt: skip
    command.give("credential", credential)
    command.give("kubeconfig", kubeconfig)
    done = command.run()
    assert done.returncode == 0, done.stderr
    assert re.search(r"ledger:v1\.0\.0 +v1\.0\.2 +2 ", done.stdout), done.stdout


def test_helm_test_waits_until_it_is_ready(contained, kube, hub):
    ours = contained(*SERVE)
    ours.give("config", {"registries": local(hub.host)})
    ours.give_kubeconfig(kube)
    ours.start()
    ours.until(lambda: ours.get("/-/healthy")[0] == 200)
    command, *arguments, _ = one(rendered(), "Pod")["spec"]["containers"][0]["command"]
    assert command == f"/{HOME}/bin/python"
    done = contained(*arguments, f"{ours.url}/-/ready", entrypoint="python", state="").run()
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "/-/ready 200" in done.stdout


def test_serve_continues_in_memory_and_names_a_folder_that_it_cannot_write(contained, kube, namespace, hub):
    kube.create("Deployment", namespace, body("Deployment", image=f"{hub.host}/mojaloop/ledger:v1.0.0"))
    ours = contained(*SERVE, state="")
    ours.give("config", {"registries": local(hub.host), "namespaces": {"include": [namespace]}})
    ours.give_kubeconfig(kube)
    ours.start()
    ours.until(lambda: ours.value("mojaloop_image_patch_available", namespace=namespace) == 1.0)
    assert ours.value("mojaloop_exporter_catalogue_writable") == 0.0
    (said,) = [line for line in ours.log().splitlines() if "cannot write the catalogue" in line]
    assert f"{STATE}: " in said
    assert "Traceback" not in ours.log()
    assert ours.stop() == 0, ours.log()

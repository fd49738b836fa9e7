"""The container image: buildah builds it on a Debian base, and the kernel runs it as a restricted pod does."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.exporter_process import Exporter
from tests.support.kube import Kube
from tools import cache

TOP = Path(__file__).parents[2]
STATE = "/var/lib/mojaloop-image-patch-exporter"
PACKAGES = "python3,python3-venv,ca-certificates"
# The pip settings that determine where packages come from.
PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "find-links", "cert", "timeout", "default-timeout")
# $1 is the image's root, $2 a folder to read, $3 the folder to write, if any; then the environment and the command.
CONTAIN = """
root=$1 given=$2 state=$3; shift 3
mount --bind "$root" "$root"
mount --options remount,bind,ro "$root"
mount --types proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$given" "$root/mnt"
if [ -n "$state" ]; then mount --types tmpfs --options uid=65532,gid=65532,mode=0700 tmpfs "$root$state"; fi
exec env --ignore-environment "$@"
"""


def need_root() -> None:
    """Skip the test unless it runs as root that is allowed to mount; root in a container often is not."""
    if os.geteuid() != 0 or run("unshare", "--mount", "--pid", "--fork", "true", check=False).returncode != 0:
        sentence = "needs root that may mount: run the tests as root, on a machine of their own"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


def run(*command: str | Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def debian(folder: Path) -> Path:
    """A base with Python, as an archive: the Debian release of this machine, from the mirror that apt uses."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)[1]
    archive = cache() / f"base-{codename}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:16]}.tar"
    if archive.exists():
        return archive
    listed = run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    sources = [line.split() for line in listed.stdout.splitlines()]
    found = [(component, uri) for release, component, uri in sources if release == codename]
    assert found, f"apt has no source for {codename}"
    components = ",".join(sorted({component for component, uri in found if uri == found[0][1]}))
    options = ("--variant=minbase", f"--components={components}", f"--include={PACKAGES}")
    run("debootstrap", *options, codename, folder / "debian", found[0][1])
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(f".{os.getpid()}")
    fetched = ("--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*_*")
    run("tar", *fetched, "--numeric-owner", "--directory", folder / "debian", "--create", "--file", unfinished, ".")
    shutil.rmtree(folder / "debian")
    return unfinished.rename(archive)


def pip_volumes(folder: Path) -> list[str]:
    """Volumes that give pip in the build this machine's settings: its package index, proxy and certificates."""
    listed = run(sys.executable, "-m", "pip", "config", "list").stdout.splitlines()
    settings: dict[str, str] = {}
    for line in sorted(
        listed, key=lambda line: line.startswith(":env:")
    ):  # the environment takes precedence over files
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    settings = {name: value for name, value in settings.items() if name in PIP}
    mounted = {path: path for path in settings.get("find-links", "").split() if Path(path).is_dir()}
    bundles = (settings.get("cert"), os.environ.get("SSL_CERT_FILE"), os.environ.get("REQUESTS_CA_BUNDLE"))
    bundle = next((path for path in bundles if path and Path(path).is_file()), None)
    if bundle is not None:
        settings["cert"] = "/etc/pip.crt"
        mounted[bundle] = settings["cert"]
    file = folder / "pip.conf"
    lines = [f"{name} = {' '.join(value.split())}\n" for name, value in settings.items()]
    file.write_text("".join(["[global]\n", *lines]))
    file.chmod(0o600)
    mounted[str(file)] = "/etc/pip.conf"
    return [f"--volume={source}:{target}:ro" for source, target in mounted.items()]


@dataclass
class Builder:
    """buildah with its own storage."""

    folder: Path
    driver: str = "overlay"

    def __call__(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        storage = ("--root", self.folder / "storage", "--runroot", self.folder / "run", "--storage-driver", self.driver)
        return run("buildah", *storage, *arguments, check=check)

    def build(self, context: Path, tag: str, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = ("--isolation", "chroot", "--network", "host", "--layers", "--tag", tag)
        return self("bud", *options, *more, context, check=check)

    def config(self, image: str) -> dict[str, Any]:
        return json.loads(self("inspect", "--type", "image", image).stdout)

    def layers(self, image: str) -> list[str]:
        return self.config(image)["OCIv1"]["rootfs"]["diff_ids"]

    def mount(self, image: str) -> Path:
        return Path(self("mount", self("from", image).stdout.strip()).stdout.strip())

    def remove(self) -> None:
        self("umount", "--all", check=False)
        self("rm", "--all", check=False)
        # The overlay driver leaves its own folder mounted.
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in sorted((p for p in points if Path(p).is_relative_to(self.folder)), reverse=True):
            run("umount", point)
        shutil.rmtree(self.folder)


class Contained(Exporter):
    """The image's command as its user, on a read-only root."""

    def __init__(self, root: Path, image: dict[str, Any], folder: Path, *arguments: str, state: str = STATE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        super().__init__(folder, kubeconfig=folder, config={})
        (folder / "given").mkdir(exist_ok=True)
        command = [*image["Entrypoint"], *(arguments or image["Cmd"])]
        self._command = [
            "unshare", "--mount", "--pid", "--fork", "--propagation", "private", "sh", "-ec", CONTAIN, "sh",
            str(root), str(folder / "given"), state, *image["Env"], "HOME=/",
            "chroot", f"--userspec={image['User']}", "--groups=", str(root), *command,
        ]  # fmt: skip

    def give(self, name: str, content: Any) -> str:
        """Write a file; return its path inside the image."""
        (self.folder / "given" / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return f"/mnt/{name}"

    def run(self, text: str = "") -> subprocess.CompletedProcess[str]:
        return run(*self._command, check=False, input=text, timeout=120)

    def pid(self) -> int:
        """The process ID of the exporter itself: its parent `unshare` does not forward signals."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        os.kill(self.pid(), number)
        status = self.process.wait(timeout=60)
        self.process = None
        return status

    def give_kubeconfig(self, kube: Kube) -> None:
        """Give the kubeconfig, with the certificate as a file.

        The Kubernetes client writes an inline certificate to /tmp, which is not writable on a read-only root.
        """
        content = json.loads(kube.kubeconfig().read_text())
        (cluster,) = content["clusters"]
        authority = Path(cluster["cluster"]["certificate-authority"]).read_text()
        cluster["cluster"]["certificate-authority"] = self.give("ca.crt", authority)
        self.give("kubeconfig", content)

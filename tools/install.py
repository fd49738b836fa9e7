"""`make tools`: builds with Go, or installs from Debian, what the tests need and the machine does not have yet.

What cannot be had is said in a sentence and is no failure: the tests that need it skip, and say so as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tools import BUILT_AS, DEBIAN, DEMO, ENVTEST, HERE, MODULES, find, folder

KUBERNETES_VERSION = "v1.35.4"
LDFLAGS = {
    "kubernetes": f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    "prometheus": "-s -w -X github.com/prometheus/common/version.Version=3.15.0",
}
# Of its service discoveries Prometheus needs one; the others bring the clouds' libraries, and minutes.
TAGS = {"prometheus": "remove_all_sd,enable_kubernetes_sd"}


def say(text: str) -> None:
    print(f"tools: {text}", flush=True)


def _is_there(module: str) -> bool:
    names = MODULES[module]
    if module == "kubernetes" and os.environ.get("KUBEBUILDER_ASSETS"):
        # Whoever brings envtest's binaries wants those; the controller manager is not among them.
        return all(find(name) for name in ENVTEST)
    return all(os.access(folder(module) / BUILT_AS.get(name, name), os.X_OK) for name in names)


def build(module: str) -> bool:
    """Build a module's binaries unless they are there; whether they are in the end."""
    if _is_there(module):
        say(f"{module} is there")
        return True
    if shutil.which("go") is None:
        say(f"{module} is missing and there is no Go to build it with: install Go 1.26 or set KUBEBUILDER_ASSETS")
        return False
    target = folder(module)
    target.mkdir(parents=True, exist_ok=True)
    say(f"building {module} with Go, which takes some minutes the first time")
    began = time.monotonic()
    done = subprocess.run(
        ["go", "install", "-trimpath", "-tags", TAGS.get(module, ""), "-ldflags", LDFLAGS.get(module, "-s -w"), "tool"],
        cwd=HERE / module,
        env={**os.environ, "GOBIN": str(target), "CGO_ENABLED": "0"},
        check=False,
    )
    if done.returncode != 0:
        say(f"building {module} failed, see above")
        return False
    say(f"built {module} in {time.monotonic() - began:.0f} s")
    return True


def install_from_debian(packages: Iterable[str] = DEBIAN) -> bool:
    """An older registry (2.8) that pages nothing, Prometheus and Alertmanager, what builds the container image."""
    missing = [package for package in packages if find(DEBIAN[package]) is None]
    if not missing:
        say(f"{', '.join(packages)} are there")
        return True
    names = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"missing: on Debian, `apt-get install {names}` as root; what needs them skips")
        return False
    say(f"installing {names} from Debian")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # This file tells Debian's packages not to start what they install. One that is there already is somebody else's.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        policy.chmod(0o755)
    try:
        command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
        done = subprocess.run(command, env=environment, check=False)
        if done.returncode != 0:  # the package lists may be missing or old
            subprocess.run(["apt-get", "update", "--quiet"], env=environment, check=False)
            done = subprocess.run(command, env=environment, check=False)
    finally:
        if ours:
            policy.unlink()
    if done.returncode != 0:
        say(f"{names} could not be installed, see above; what needs them skips")
    return done.returncode == 0


def main() -> int:
    if sys.argv[1:] == ["demo"]:
        install_from_debian(DEMO)
        return 0
    outcomes = [*(build(module) for module in MODULES), install_from_debian()]
    say("everything is there" if all(outcomes) else "not everything is there: tests that need the rest are skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())

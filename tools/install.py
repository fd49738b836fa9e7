"""`make tools`: builds with Go, or installs from Debian, what the tests need and the machine does not have yet.

A component that this machine cannot have is not a failure here: it is reported, and the tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import APART, BUILT, CRDS, DEBIAN, DEMO, MODULE, brought_or_built, built, find, folder, source

# Of its service discoveries Prometheus needs one; the others bring the clouds' libraries, and minutes.
TAGS = "remove_all_sd,enable_kubernetes_sd"
# What the projects' own builds set.
VERSIONS = {
    "k8s.io/component-base/version.gitVersion": "v1.35.4",
    "github.com/prometheus/common/version.Version": "3.15.0",
}


def say(text: str) -> None:
    """Print what happens, at once: Go and apt-get print in between."""
    print(f"tools: {text}", flush=True)


def build() -> bool:
    """Build the binaries that are not there; whether all are there in the end."""
    if shutil.which("go") is not None:
        # Now, because a test that needs it runs without a network.
        try:
            source("sigs.k8s.io/gateway-api", CRDS)
        except subprocess.CalledProcessError as error:
            say(f"cannot download sigs.k8s.io/gateway-api: {error.stderr.strip()}")
            return False
    missing = [name for name in BUILT if brought_or_built(name) is None]
    if not missing:
        say(f"{', '.join(BUILT)} are there")
        return True
    names = ", ".join(missing)
    if shutil.which("go") is None:
        say(f"missing: {names}; there is no Go to build them with: install Go 1.26")
        return False
    say(f"building {names} with Go, which takes some minutes the first time")
    began = time.monotonic()
    settings = " ".join(f"-X {variable}={value}" for variable, value in VERSIONS.items())
    # Helm 3 is built by itself: its binary has the name of Helm 4's.
    alone = {"helm3", *APART}
    together = [BUILT[name] for name in missing if name not in alone]
    apart = [(str(built(name)), [BUILT[name]], APART.get(name, MODULE)) for name in missing if name in alone]
    for output, packages, module in ((f"{folder()}/", together, MODULE), *apart):
        if not packages:
            continue
        folder(module).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["go", "build", "-trimpath", "-tags", TAGS, "-ldflags", f"-s -w {settings}", "-o", output, *packages],
            cwd=module,
            env={**os.environ, "CGO_ENABLED": "0"},
            check=False,
        )
        if done.returncode != 0:
            say("the build failed, see above")
            return False
    say(f"built {names} in {time.monotonic() - began:.0f} s")
    return True


def install_from_debian(packages: Iterable[str] = DEBIAN) -> bool:
    """A registry (2.8) that pages nothing, Prometheus, Alertmanager, a browser, what builds the container image."""
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
    """Get everything, or with the argument `demo` what the demo needs."""
    if sys.argv[1:] == ["demo"]:
        install_from_debian(DEMO)
        return 0
    # One computes, the other waits for the network and the disk.
    with ThreadPoolExecutor() as pool:
        outcomes = [future.result() for future in (pool.submit(build), pool.submit(install_from_debian))]
    say("everything is there" if all(outcomes) else "not everything is there: tests that need the rest are skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())

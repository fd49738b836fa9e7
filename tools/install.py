"""`make tools`: build missing test components with Go, or install them from Debian.

A component that is not available for this machine is reported, but it is not a failure. The tests that need it are
skipped.
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

# Prometheus needs only one service discovery. The others pull in cloud SDKs, which take minutes to build.
TAGS = "remove_all_sd,enable_kubernetes_sd"
# Variables that the upstream builds set.
VERSIONS = {
    "k8s.io/component-base/version.gitVersion": "v1.35.4",
    "github.com/prometheus/common/version.Version": "3.15.0",
}


def say(text: str) -> None:
    """Print a line and flush, because Go and apt-get print in between."""
    print(f"tools: {text}", flush=True)


def build() -> bool:
    """Build missing binaries; return whether all exist in the end."""
    if shutil.which("go") is not None:
        # Now, because its tests run without a network.
        try:
            source("sigs.k8s.io/gateway-api", CRDS)
        except subprocess.CalledProcessError as error:
            say(f"cannot download sigs.k8s.io/gateway-api: {error.stderr.strip()}")
            return False
    missing = [name for name in BUILT if brought_or_built(name) is None]
    if not missing:
        say(f"{', '.join(BUILT)} are installed")
        return True
    names = ", ".join(missing)
    if shutil.which("go") is None:
        say(f"missing: {names}; install Go 1.26 to build them")
        return False
    say(f"building {names} with Go; the first build takes some minutes")
    began = time.monotonic()
    settings = " ".join(f"-X {variable}={value}" for variable, value in VERSIONS.items())
    # Helm 3 is built separately, because its binary has the same name as Helm 4's.
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
    """Install a registry (2.8) without pagination, Prometheus, Alertmanager, a browser and an image builder."""
    missing = [package for package in packages if find(DEBIAN[package]) is None]
    if not missing:
        say(f"{', '.join(packages)} are installed")
        return True
    names = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"missing: on Debian, run `apt-get install {names}` as root; tests that need them are skipped")
        return False
    say(f"installing {names} from Debian")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # This file keeps Debian's packages from starting their services. An existing file is left unchanged.
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
        say(f"could not install {names}, see above; tests that need them are skipped")
    return done.returncode == 0


def main() -> int:
    """Install everything, or only the components of the demo with the argument `demo`."""
    if sys.argv[1:] == ["demo"]:
        install_from_debian(DEMO)
        return 0
    # In parallel: one needs the CPU, the other waits for the network and the disk.
    with ThreadPoolExecutor() as pool:
        outcomes = [future.result() for future in (pool.submit(build), pool.submit(install_from_debian))]
    say(
        "everything is installed" if all(outcomes) else "incomplete: tests that need the missing components are skipped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What `exporter.lean` keeps out of memory stays out, with the pinned packages."""

import subprocess
import sys

CODE = """
import sys
import exporter.__main__, exporter.cli
import httpx
import kubernetes.aio.client, kubernetes.aio.config
unwanted = ("requests", "rich", "shtab", "pygments", "kubernetes.client", "kubernetes.aio.dynamic", "urllib3")
print(*(name for name in unwanted if name in sys.modules))
httpx.AsyncClient
kubernetes.aio.client.CoreV1Api
"""


def test_what_is_not_used_is_not_imported():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr

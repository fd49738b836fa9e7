"""What `exporter.lean` keeps out of memory stays out, with the pinned packages."""

import platform
import subprocess
import sys

import pytest

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


HEAPS = """
import ctypes, threading
from exporter.lean import share_one_heap
share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
done = threading.Barrier(5)
def allocate():
    libc.free(ctypes.c_void_p(libc.malloc(1000)))
    done.wait()
for _ in range(4):
    threading.Thread(target=allocate).start()
done.wait()
libc.fdopen.restype = ctypes.c_void_p
stdout = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of threads are a matter of glibc: run it on Linux")
def test_threads_share_one_heap():
    run = [sys.executable, "-c"]
    shared = subprocess.run([*run, HEAPS], capture_output=True, text=True, check=True)
    apart = subprocess.run([*run, HEAPS.replace("\nshare_one_heap()", "")], capture_output=True, text=True, check=True)
    assert shared.stdout.count("<heap ") == 1
    assert apart.stdout.count("<heap ") > 1, "without it there are several"

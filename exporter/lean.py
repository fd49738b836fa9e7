"""Keep unused imports out of memory. The package imports this module before everything else.

Most of the exporter's memory is imports. Two packages import far more than we use:

- `httpx/__init__` imports its command line (click, pygments, rich) if those are installed, and otherwise falls back to
  a stub (`except ImportError`). Marking the module as missing selects the stub and saves 4 MiB.
- `kubernetes/__init__` imports the synchronous client with requests, urllib3 and oauthlib, and
  `kubernetes.aio/__init__` a dynamic client, leader election and streams. We use only the asynchronous client and its
  configuration. Neither needs its parent packages, so those are replaced by empty ones, which saves 7 and 1 MiB.

Both depend on the layout of packages that the lock file pins; `tests/test_lean.py` fails when one changes. Packages
that a process has already imported (a test, a notebook) stay as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import Any, cast

if "httpx" not in sys.modules:
    cast("dict[str, Any]", sys.modules)["httpx._main"] = None

for _name in ("kubernetes", "kubernetes.aio"):
    if _name not in sys.modules and (_found := find_spec(_name)) is not None:
        _spec = ModuleSpec(_name, loader=None, origin=_found.origin, is_package=True)
        _spec.submodule_search_locations = _found.submodule_search_locations
        sys.modules[_name] = module_from_spec(_spec)
        if "." in _name:
            setattr(sys.modules[_name.rpartition(".")[0]], _name.rpartition(".")[2], sys.modules[_name])

_M_ARENA_MAX = -8  # malloc.h of glibc


def share_one_heap() -> None:
    """Make all threads of the process share one heap; call it before they start.

    glibc gives each thread its own heap, so other threads cannot use the memory that one has freed. Our threads
    allocate while holding the GIL, so they gain nothing from that. Other C libraries have no such setting.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)

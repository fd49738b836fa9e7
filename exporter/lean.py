"""Keeps memory low. The package imports it before everything else, so that unused imports stay out of memory.

Every hub pays for the exporter's memory, and most of it is imports. Two packages run far more at import than we use:

- `httpx/__init__` imports its command line (click, pygments, rich) where those are installed, and falls back
  to a stub where they are not (`except ImportError`). Marking the module as missing selects the fallback: 4 MiB.
- `kubernetes/__init__` imports the synchronous client with requests, urllib3 and oauthlib, and
  `kubernetes.aio/__init__` a dynamic client, leader election and streams. We use the asynchronous client and its
  configuration only. Neither needs its parent packages, so those are replaced by empty ones: 7 and 1 MiB.

Both depend on the layout of packages that the lock file pins; `tests/test_lean.py` fails when one changes. A process
that has imported either before (a test, a notebook) keeps what it has.
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
    """Make all threads of the process use one heap; call it before they start.

    glibc gives each thread a heap of its own, where memory that one thread has freed is of no use to another. Our
    threads hold the interpreter's lock while they allocate, so they gain nothing from that. Other C libraries have no
    such setting.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)

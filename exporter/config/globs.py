"""Glob patterns that select namespaces, workloads and images.

A pattern that can never match is refused. Otherwise it would silently include or exclude nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from exporter.config.document import Node
from exporter.config.parsers import Parser, list_of, text
from exporter.images import InvalidReferenceError, parse_repository
from exporter.workloads import is_object_name

# `fnmatch` reads an unclosed bracket literally. In a configuration it is a mistake.
_GLOB = re.compile(r"(?:[^\[\]]|\[!?[^\[\]]+\])+")
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Globs:
    """Include and exclude globs. `exclude` overrides `include`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether a name is included. Without `include`, every name is."""
        return (not self.include or any(fnmatchcase(name, glob) for glob in self.include)) and not any(
            fnmatchcase(name, glob) for glob in self.exclude
        )

    @property
    def exact(self) -> tuple[str, ...]:
        """Return the included names if all are exact; empty if one is a pattern, or all names are included."""
        if any(_MAGIC & set(glob) for glob in self.include):
            return ()
        # An excluded name needs no permissions. If all are excluded, an empty result would wrongly mean every name.
        return tuple(name for name in self.include if self.takes(name)) or self.include


def _globs(fits: Callable[[str], bool], expected: str) -> Parser:
    def parse(item: Node) -> str:
        glob = text(item)
        if not _GLOB.fullmatch(glob) or not fits(glob):
            item.wrong(expected)
        return glob

    return list_of(parse)


def _fits_namespaces(glob: str) -> bool:
    return is_object_name(re.sub(r"[*?]|\[[^/]*?\]", "x", glob))


def _fits_workloads(glob: str) -> bool:
    return "*" in glob or glob.count("/") == 2


def _fits_images(glob: str) -> bool:
    host, _, path = glob.partition("/")
    name = f"{host}/x/x" if _MAGIC & set(path) else glob
    try:
        return bool(_MAGIC & set(host)) or str(parse_repository(name)) == name
    except InvalidReferenceError:
        return False


namespaces = _globs(_fits_namespaces, "a namespace or a pattern of namespaces, such as hub-*")
workloads = _globs(_fits_workloads, "a pattern of NAMESPACE/KIND/NAME, such as mojaloop/Job/*")
images = _globs(_fits_images, "a pattern of repositories with their registry, such as docker.io/mojaloop/*")

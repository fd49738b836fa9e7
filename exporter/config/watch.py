"""The key `watch`: images to watch, with or without a cluster.

An entry is a reference, or a mapping with `reference`, `name` and `strategy`. A reference with a tag is judged, and
metrics use its name. A reference without a tag is a repository, and only its tags are looked up. A name or a strategy
would have no effect there, so both are refused.
"""

from __future__ import annotations

from typing import NoReturn

from exporter.config import parsers
from exporter.config.document import Node
from exporter.config.suggest import closest
from exporter.images import InvalidReferenceError, Reference, parse
from exporter.versions import Strategy
from exporter.watchlist import WatchedImage
from exporter.workloads import is_object_name

_EXAMPLE = "mojaloop/central-ledger:v19.13.1"
# A host, a path, a tag and a digest together. A longer text is not an image reference and is not shown.
_LONGEST_REFERENCE = 600


def parse_watch(node: Node) -> tuple[WatchedImage, ...]:
    """Parse a list of images, each with a unique name."""
    images: list[WatchedImage] = []
    seen: dict[tuple[str, str], Node] = {}
    for item in node.items():
        image = _image(item)
        place = (image.name, "") if image.name else ("", str(image.reference.repository))
        if place in seen:
            _refuse_second(item, image, seen[place])
        seen[place] = item
        images.append(image)
    return tuple(images)


def _image(item: Node) -> WatchedImage:
    if not isinstance(item.value, dict):
        return _named(item, _reference(item), None, None)
    given: dict[str, Node] = {}
    known = ("reference", "name", "strategy")
    for key, value in item.entries():
        if key not in known:
            value.refuse(f"unknown key{closest(key, known)}")
        if value.value is not None:  # a key without a value is not set
            given[key] = value
    if "reference" not in given:
        expected = f"a mapping with reference, such as {{reference: {_EXAMPLE}, name: ledger}}"
        item.wrong(expected, found="a mapping without it")
    reference = _reference(given["reference"])
    if reference.tag is None:
        for key in known[1:]:
            if key in given:
                given[key].refuse(
                    f"{reference.written} has no tag, so it is only looked up and not judged, and {key} has no effect; "
                    f"add a tag to the reference, or remove {key}"
                )
    name, strategy = given.get("name"), given.get("strategy")
    return _named(item, reference, name, None if strategy is None else parsers.strategy(strategy))


def _reference(node: Node) -> Reference:
    expected = f"an image reference, such as {_EXAMPLE}, or a repository"
    if not isinstance(node.value, str) or len(node.value) > _LONGEST_REFERENCE:
        node.wrong(expected)
    try:
        reference = parse(node.value)
    except InvalidReferenceError as error:
        node.refuse(f"{error}; expected {expected}")
    if reference.tag is None and reference.digest is not None:
        node.refuse(f"found a digest without a tag ({node.value!r}), which does not tell the version; add the tag")
    return reference


def _named(item: Node, reference: Reference, name: Node | None, strategy: Strategy | None) -> WatchedImage:
    if reference.tag is None:
        return WatchedImage(reference=reference)
    if name is None:
        own = reference.repository.path.rpartition("/")[2]
        if not is_object_name(own):
            item.refuse(
                f"cannot use {own!r}, the last part of the repository, as its name (lower case letters, digits, '-', "
                f"'.'); name it: {{reference: {reference.written}, name: {own.replace('_', '-')[:40]}}}"
            )
        return WatchedImage(reference=reference, name=own, strategy=strategy)
    written = parsers.text(name)
    if not is_object_name(written):
        name.wrong("a name of lower case letters, digits, '-' and '.', such as central-ledger")
    return WatchedImage(reference=reference, name=written, strategy=strategy)


def _refuse_second(item: Node, image: WatchedImage, first: Node) -> NoReturn:
    where = first.path if first.line is None else f"{first.path} on line {first.line}"
    if image.name:
        item.refuse(
            f"its name {image.name} is used by {where} already; give one of the two another name: "
            f"{{reference: {image.reference.written}, name: ...}}"
        )
    item.refuse(f"the repository {image.reference.repository} is listed twice, first as {where}; remove one of the two")

"""The patch of a workload and its rollback: the guarded JSON patch of `commands`, with two more guards.

The name of every container is tested, and the workload must have the version that was judged. So the API server answers
409 if anything about the workload has changed, and 422 if a container is not what was approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from exporter.commands import guarded
from exporter.images import parse
from exporter.kinds import Kind
from exporter.patcher.approvals import Attempt, Change, Spec
from exporter.patcher.objects import WorkloadObject, places

# Our name in `managedFields`, where the API server records who changed which field.
FIELD_MANAGER = "image-patcher"
Operations = list[dict[str, str]]


class Images(Enum):
    """Which images the approved containers of a workload have."""

    BEFORE = auto()
    AFTER = auto()
    OTHER = auto()


def changes(spec: Spec) -> tuple[Change, ...]:
    """The changes that an approval asks for. A digest belongs to the old tag and is dropped.

    Raises:
        InvalidReferenceError: a container's image is not a valid reference.
    """
    return tuple(Change(ref.name, ref.image, f"{parse(ref.image).name}:{spec.to}") for ref in spec.containers)


def reversed_(these: Iterable[Change]) -> tuple[Change, ...]:
    """The rollback."""
    return tuple(Change(change.container, change.after, change.before) for change in these)


def images(kind: Kind, workload: WorkloadObject, these: Sequence[Change]) -> Images:
    """Whether a workload's containers have the images of before or after the patch."""
    found = places(kind, workload)
    now = [found[change.container].image if change.container in found else None for change in these]
    if now == [change.before for change in these]:
        return Images.BEFORE
    return Images.AFTER if now == [change.after for change in these] else Images.OTHER


def operations(kind: Kind, workload: WorkloadObject, these: Iterable[Change], *, attempt: Attempt) -> Operations:
    """A JSON patch (RFC 6902) of a workload.

    Args:
        kind: of the workload.
        workload: has the containers that change.
        these: the changes.
        attempt: the version that the workload must have.
    """
    found = places(kind, workload)
    patch: Operations = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": attempt.resource_version},
        {"op": "test", "path": "/metadata/uid", "value": workload.metadata.uid},
    ]
    for change in these:
        place = found[change.container].path
        patch += guarded(place, before=change.before, after=change.after, name=change.container)
    return patch

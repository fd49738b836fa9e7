"""Response bodies of the API as structs. Their fields are part of the API and described in docs/api.md."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from exporter.catalogue import TagListing
from exporter.images import Repository
from exporter.query import Judged
from exporter.report.json_output import ContainerFinding, container_finding, rfc3339
from exporter.versions import Strategy, TagKind

_LookedUp = Annotated[str | None, Meta(description="Time of the last successful lookup of the tags (RFC 3339).")]


class ImageFinding(ContainerFinding, frozen=True, kw_only=True):
    """The finding about an image: as in `check --output json`, but without a workload."""

    strategy: Annotated[Strategy, Meta(description="The strategy that it was judged by.")]
    looked_up: _LookedUp


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that is a version."""

    tag: str
    kind: Annotated[TagKind, Meta(description="Kind of the tag, see docs/versions.md.")]
    published: Annotated[str | None, Meta(description="Publish time (RFC 3339), if it was looked up.")]


class RepositoryTags(msgspec.Struct, frozen=True, kw_only=True):
    """The known tags of a repository."""

    repository: Annotated[str, Meta(description="The repository of the tags; for a mirror, the mirrored one.")]
    looked_up: _LookedUp
    count: Annotated[int, Meta(description="Number of known tags.")]
    tags: Annotated[list[Tag], Meta(description="The highest 10,000 of them, in ascending order.")]


class NewestImage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest tag of an image, in the format of the older image watcher."""

    tag: Annotated[str, Meta(description="The newest tag, or the running one if there is none.")]
    full_image: Annotated[str, Meta(description="The image with that tag.")] = msgspec.field(name="fullImage")


def image_finding(judged: Judged) -> ImageFinding:
    """Return the response body about an image."""
    return ImageFinding(
        **msgspec.structs.asdict(container_finding(judged.finding)),
        strategy=judged.strategy,
        looked_up=_time(judged.looked_up),
    )


def repository_tags(repository: Repository, listing: TagListing, *, looked_up: float | None) -> RepositoryTags:
    """Return the response body about a repository.

    Args:
        repository: repository whose tags are looked up.
        listing: its known tags.
        looked_up: epoch seconds of the last successful lookup.
    """
    return RepositoryTags(
        repository=str(repository),
        looked_up=_time(looked_up),
        count=listing.count,
        tags=[Tag(tag=tag.name, kind=tag.kind, published=_time(tag.published)) for tag in listing.tags],
    )


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)

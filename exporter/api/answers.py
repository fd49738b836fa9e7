"""What the API answers, as structs; their fields are an API, described in docs/api.md."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from exporter.catalogue import TagListing
from exporter.images import Repository
from exporter.query import Judged
from exporter.report.json_output import ContainerFinding, container_finding, rfc3339
from exporter.versions import Strategy, TagKind

_LookedUp = Annotated[str | None, Meta(description="When the tags were last looked up successfully (RFC 3339).")]


class ImageFinding(ContainerFinding, frozen=True, kw_only=True):
    """What is known about an image: a finding as in `check --output json`, for the reference alone."""

    strategy: Annotated[Strategy, Meta(description="What it was judged by.")]
    looked_up: _LookedUp


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that is a version."""

    tag: str
    kind: Annotated[TagKind, Meta(description="What it is, see docs/versions.md.")]
    published: Annotated[str | None, Meta(description="When it was published (RFC 3339), if somebody needed to know.")]


class RepositoryTags(msgspec.Struct, frozen=True, kw_only=True):
    """The known tags of a repository."""

    repository: Annotated[str, Meta(description="The repository whose tags these are; of a mirror, what it mirrors.")]
    looked_up: _LookedUp
    count: Annotated[int, Meta(description="How many tags are known.")]
    tags: Annotated[list[Tag], Meta(description="The highest 10,000 of them, from the lowest to the highest.")]


class NewestImage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest tag of an image, as the older image watcher answered it."""

    tag: Annotated[str, Meta(description="The newest tag, or the running one if there is none.")]
    full_image: Annotated[str, Meta(description="The image with that tag.")] = msgspec.field(name="fullImage")


def image_finding(judged: Judged) -> ImageFinding:
    """The answer about an image."""
    return ImageFinding(
        **msgspec.structs.asdict(container_finding(judged.finding)),
        strategy=judged.strategy,
        looked_up=_time(judged.looked_up),
    )


def repository_tags(repository: Repository, listing: TagListing, *, looked_up: float | None) -> RepositoryTags:
    """The answer about a repository.

    Args:
        repository: where its tags are looked up.
        listing: what is known about them.
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

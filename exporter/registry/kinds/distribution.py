"""Registries that implement the OCI distribution specification v1.1.1 ("Listing Tags", "Pulling manifests").

A GET of a manifest counts against pull limits; a tag list does not. Tags are therefore listed, never probed, and the
exporter requests the publish time of few tags: the first patch that a container misses, once.
"""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import msgspec

from exporter.images import is_digest
from exporter.limits import Limit
from exporter.registry import body, headers, urls
from exporter.registry.errors import TagList, bad_answer
from exporter.registry.kinds.dates import publish_time
from exporter.registry.session import Session

_PAGE_TAGS = 1000
# OCI distribution specification v1.1.1, "Pulling manifests".
_LONGEST_TAG = 128
# A body of 64 KiB is decoded within a millisecond, one of 4 MiB in about 50.
_LARGE_BYTES = 64 * 2**10
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


class _TagPage(msgspec.Struct):
    tags: list[str] | None = None
    next: str | None = None


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct):
    digest: str = ""
    platform: _Platform = msgspec.field(default_factory=_Platform)


class _Manifest(msgspec.Struct):
    """An image's manifest, or an index of several."""

    config: _Descriptor | None = None
    manifests: list[_Descriptor] | None = None


class _Configuration(msgspec.Struct):
    created: str | None = None


class Distribution:
    """A registry that implements the OCI distribution specification."""

    async def list_tags(self, session: Session, *, etag: str | None) -> TagList:
        """Return every tag. The next page is found in `Link`, or in `next` in the body."""
        url = _url(session, f"tags/list?n={_PAGE_TAGS}")
        condition = {} if etag is None else {"If-None-Match": etag}
        answer = await session.get(url, accept="application/json", extra=condition)
        if answer.status_code == 304:
            return TagList((), etag, not_modified=True)
        # An ETag belongs to its page. With several pages it does not tell whether the others changed.
        validator: str | None = answer.headers.get("etag")
        seen, names = {url}, dict[str, None]()
        while True:
            before = len(names)
            following = _next_page(answer, await _add_page(names, answer, session.limits.tags))
            if len(names) > session.limits.tags:
                raise bad_answer(f"more than {session.limits.tags} tags", limit=Limit.TAGS)
            if following is None:
                return TagList(tuple(names), validator, not_modified=False)
            if not urls.same_origin(following, answer.url):
                raise bad_answer(f"the next page of tags is on another host ({urls.host(following)[:100]!r})")
            if following in seen or len(names) == before:
                raise bad_answer("the pages of tags form a loop")
            if len(seen) >= session.limits.pages:
                raise bad_answer(f"more than {session.limits.pages} pages of tags", limit=Limit.TAG_PAGES)
            seen.add(following)
            validator = None
            answer = await session.get(following, accept="application/json")

    async def publish_time(self, session: Session, tag: str) -> float | None:
        """Return when an image's configuration says that it was created. For an index, the first image counts."""
        manifest = await _manifest(session, tag)
        if manifest.config is None and manifest.manifests:
            # Attestations have the platform `unknown`.
            images = [one for one in manifest.manifests if one.platform.os not in ("", "unknown")]
            manifest = await _manifest(session, _digest((images or manifest.manifests)[0]))
        if manifest.config is None:
            return None
        digest = _digest(manifest.config)
        answer = await session.get(_url(session, f"blobs/{digest}"), accept="*/*", any_host=True)
        algorithm, _, expected = digest.partition(":")
        if hashlib.new(algorithm, answer.content).hexdigest() != expected:
            raise bad_answer("the configuration of an image does not match its digest")
        return publish_time(body.decode(answer.content, _Configuration).created)


def _url(session: Session, what: str) -> httpx.URL:
    base = session.entry.base
    return base.join(f"{base.path.rstrip('/')}/v2/{session.repository.path}/{what}")


async def _add_page(names: dict[str, None], answer: httpx.Response, most: int) -> str | None:
    """Add the names of a page, except those longer than any tag. Return the URL in `next`, if there is one."""

    def add() -> str | None:
        page = body.decode(answer.content, _TagPage, limit=Limit.TAGS, most=most)
        names.update((name, None) for name in page.tags or () if len(name) <= _LONGEST_TAG)
        return page.next or None

    # No other task uses the names in the meantime.
    return add() if len(answer.content) < _LARGE_BYTES else await asyncio.to_thread(add)


def _next_page(answer: httpx.Response, following: str | None) -> httpx.URL | None:
    target = headers.next_page(answer.headers.get("link", ""))
    target = following if target is None else target
    if target is None:
        return None
    url = urls.join(answer.url, target)
    if url is None:
        raise bad_answer("the next page of tags has no valid URL")
    return url


async def _manifest(session: Session, reference: str) -> _Manifest:
    answer = await session.get(_url(session, f"manifests/{reference}"), accept=_MANIFESTS)
    return body.decode(answer.content, _Manifest, limit=Limit.MANIFEST_VALUES)


def _digest(descriptor: _Descriptor) -> str:
    """Return a digest that is safe in a path."""
    if not is_digest(descriptor.digest):
        raise bad_answer("a manifest refers to an invalid digest")
    return descriptor.digest

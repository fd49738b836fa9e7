"""Docker Hub: tags from its registry, publish times from its own API.

Docker Hub counts a GET of a manifest as a pull (https://docs.docker.com/docker-hub/usage/pulls/). Its own API returns
the publish time of a tag without one. That API is not used for tag lists: it refuses anonymous paging past 1,000 tags.
"""

from __future__ import annotations

import httpx
import msgspec

from exporter.registry import body
from exporter.registry.kinds.dates import publish_time
from exporter.registry.kinds.distribution import Distribution
from exporter.registry.session import Session


class _Tag(msgspec.Struct):
    tag_last_pushed: str | None = None
    last_updated: str | None = None


class DockerHub(Distribution):
    """Docker Hub, or a registry with the same API."""

    async def publish_time(self, session: Session, tag: str) -> float | None:
        """Return the earlier of the two times that Docker Hub stores for a tag."""
        base = httpx.URL(session.entry.hub_endpoint.rstrip("/"))
        url = base.join(f"{base.path.rstrip('/')}/v2/repositories/{session.repository.path}/tags/{tag}")
        answer = await session.get(url, accept="application/json")
        found = body.decode(answer.content, _Tag)
        times = [publish_time(text) for text in (found.tag_last_pushed, found.last_updated)]
        return min((at for at in times if at is not None), default=None)

"""The operations of the API: their declarations and handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from exporter.api import problems
from exporter.api.answers import ImageFinding, NewestImage, RepositoryTags, image_finding, repository_tags
from exporter.api.declare import Asked, Operation, Parameter, strategy_parameter
from exporter.api.findings import FindingsDocument
from exporter.api.problems import ProblemError
from exporter.api.replies import Reply
from exporter.findings import Snapshot
from exporter.images import DOCKER_HUB, InvalidReferenceError, is_tag, parse_repository
from exporter.logs import shown
from exporter.query import Kept, Query
from exporter.report.json_output import Document
from exporter.server.negotiation import accepts_gzip
from exporter.versions import STRATEGY_NAMES, Strategy

# The list of Mojaloop's largest repository has 200 KiB. Frequently requested lists stay cached.
_KEPT_BYTES = 4 << 20


class Handlers:
    """Handlers of the operations.

    Args:
        query: answers questions about images.
        snapshot: returns the newest snapshot; None before the first complete one.
        clock: returns epoch seconds.
    """

    def __init__(self, query: Query, snapshot: Callable[[], Snapshot | None], *, clock: Callable[[], float]) -> None:
        self._query = query
        self._findings = FindingsDocument(snapshot, clock=clock)
        self._tags: Kept[Reply] = Kept(_KEPT_BYTES, size=lambda reply: sum(map(len, reply.parts)))
        # Only one list is rendered at a time: each takes megabytes until then.
        self._listing = asyncio.Lock()
        self._openapi: Reply | None = None
        self._encode = msgspec.json.Encoder().encode
        # One thread, so that concurrent requests are rendered once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="api")

    async def image(self, asked: Asked) -> Reply:
        """Return the complete finding about an image."""
        judged = await self._query.image(asked.given["reference"], _strategy(asked))
        return Reply.of(self._encode(image_finding(judged)))

    async def tags(self, asked: Asked) -> Reply:
        """Return the known tags of a repository."""
        repository = self._query.repository(asked.given["repository"])
        stamp = self._query.stamp(repository)
        if (reply := self._tags.get(repository, stamp)) is not None:
            return reply
        async with self._listing:
            stamp = self._query.stamp(repository)
            if (reply := self._tags.get(repository, stamp)) is None:
                listing = await self._query.tags(repository)
                looked_up = self._query.looked_up(repository)
                reply = Reply.of(self._encode(repository_tags(repository, listing, looked_up=looked_up)))
                self._tags.put(repository, stamp, reply)
        return reply

    async def newest(self, asked: Asked) -> Reply:
        """Return the newest tag of an image on Docker Hub, in the format of the older image watcher."""
        given = asked.given
        image = f"{given['org']}/{given['image']}"
        _check_names(given["org"], given["image"], given["tag"])
        judged = await self._query.image(f"{DOCKER_HUB}/{image}:{given['tag']}", _strategy(asked) or Strategy.PATCH)
        tag = judged.finding.latest_tag
        if tag is None:
            raise ProblemError(
                problems.NOT_FOUND, f"the registry does not have {image}:{given['tag']}", reason=judged.finding.reason
            )
        return Reply.of(self._encode(NewestImage(tag=tag, full_image=f"{image}:{tag}")))

    async def findings(self, asked: Asked) -> Reply:
        """Return the findings about everything that is watched."""
        gzip = accepts_gzip(asked.header(b"accept-encoding"))
        loop = asyncio.get_running_loop()
        rendered = await loop.run_in_executor(self._thread, lambda: self._findings.render(gzip=gzip))
        if rendered is None:
            # An empty list would look as if no patch was missing.
            raise ProblemError(problems.NOT_LISTED, "the watched resources have not been listed yet")
        parts, etag = rendered
        headers = ((b"vary", b"Accept-Encoding"), *(((b"content-encoding", b"gzip"),) if gzip else ()))
        return Reply(parts=parts, headers=headers, etag=etag)

    async def openapi(self, _asked: Asked) -> Reply:
        """Return the OpenAPI document."""
        if self._openapi is None:
            from exporter.api.openapi import document  # noqa: PLC0415 - rarely requested

            self._openapi = Reply.of(self._encode(document(OPERATIONS)))
        return self._openapi


def _strategy(asked: Asked) -> Strategy | None:
    name = asked.given.get("strategy")
    if name is None:
        return None
    if name not in STRATEGY_NAMES:
        raise ProblemError(
            problems.INVALID_STRATEGY, f"found {shown(name)!r}, expected one of {', '.join(STRATEGY_NAMES)}"
        )
    return STRATEGY_NAMES[name]


def _check_names(org: str, image: str, tag: str) -> None:
    """Reject parts that would form another image than the path says, such as a tag followed by a digest."""
    try:
        path = parse_repository(f"{DOCKER_HUB}/{org}/{image}").path
    except InvalidReferenceError as error:
        raise ProblemError(problems.INVALID_REFERENCE, shown(str(error))) from error
    if "/" in org or "/" in image or path != f"{org}/{image}" or not is_tag(tag):
        raise ProblemError(
            problems.INVALID_REFERENCE, f"{shown(f'{org}/{image}:{tag}')!r} is not an image of Docker Hub with a tag"
        )


_REFERENCE = Parameter(
    name="reference",
    place="query",
    description="The image with its tag, as in a container.",
    example="mojaloop/central-ledger:v17.8.0",
)
_REPOSITORY = Parameter(
    name="repository",
    place="query",
    description="The repository: a reference without tag and digest.",
    example="mojaloop/central-ledger",
)
_OF_A_REPOSITORY = (
    problems.INVALID_PARAMETER,
    problems.INVALID_REFERENCE,
    problems.NOT_EXPOSED,
    problems.NOT_WATCHED,
    problems.NOT_FOUND,
    problems.NOT_LOOKED_UP,
)
_OF_AN_IMAGE = (*_OF_A_REPOSITORY, problems.INVALID_STRATEGY, problems.NOT_A_VERSION)

OPERATIONS = (
    Operation(
        name="getImage",
        path="/api/v1/images",
        summary="The finding about an image",
        description="The finding of `check --output json` about one reference, of any registry. Its repository must be "
        "watched; a request causes no lookup. Annotations of workloads do not apply.",
        answer=ImageFinding,
        handle=Handlers.image,
        parameters=(_REFERENCE, strategy_parameter("the key `strategy` of the configuration")),
        problems=_OF_AN_IMAGE,
    ),
    Operation(
        name="getTags",
        path="/api/v1/images/tags",
        summary="The known tags of a repository",
        description="In version order. Tags that are not versions, such as `latest` and `1.2`, are not stored and not "
        "listed.",
        answer=RepositoryTags,
        handle=Handlers.tags,
        parameters=(_REPOSITORY,),
        problems=_OF_A_REPOSITORY,
    ),
    Operation(
        name="getFindings",
        path="/api/v1/findings",
        summary="The findings about all containers",
        description="The document of `check --output json` about everything that is watched. It has no tag that "
        "`/metrics` does not have.",
        answer=Document,
        handle=Handlers.findings,
        lenient=True,
        problems=(problems.INVALID_PARAMETER, problems.NOT_LISTED),
    ),
    Operation(
        name="getOpenAPI",
        path="/api/v1/openapi.json",
        summary="This document",
        description="The description of the API (OpenAPI 3.1). It needs no token.",
        answer=None,
        handle=Handlers.openapi,
        lenient=True,
        problems=(problems.INVALID_PARAMETER,),
        public=True,
    ),
    Operation(
        name="getNewestImage",
        path="/images/{org}/{image}/{tag}",
        summary="The newest tag of an image on Docker Hub",
        description="The response of Mojaloop's image watcher, for its clients. `/api/v1/images` has more details.",
        answer=NewestImage,
        handle=Handlers.newest,
        parameters=(
            Parameter(name="org", place="path", description="The organisation.", example="mojaloop"),
            Parameter(name="image", place="path", description="The image.", example="central-ledger"),
            Parameter(name="tag", place="path", description="The running tag.", example="v17.8.0"),
            strategy_parameter("`bugfix`"),
        ),
        problems=_OF_AN_IMAGE,
        lenient=True,
    ),
)

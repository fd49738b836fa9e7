"""A list of the API server, read in pages of bounded size.

Objects of one kind have 1 KB or 1 MB each, so that a number of objects per page bounds no memory. The number follows
the size of the pages before: about `PAGE_BYTES` each. A page that exceeds `Limit.ANSWER` is dropped while it arrives,
and asked for again with fewer objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from exporter.cluster.connection import Connection, TooLargeError
from exporter.cluster.decode import MalformedError, decode_message, decode_page
from exporter.limits import Limit
from exporter.telemetry import Telemetry

# The first page tells how large the objects are.
FIRST_ITEMS = 50
PAGE_ITEMS = 500
PAGE_BYTES = 2 * 2**20
# The API server fills its pages, even where a selector matches few objects; more than this is a fault.
EMPTY_PAGES = 10


async def read_list(
    connection: Connection,
    path: str,
    *,
    params: Mapping[str, str],
    accept: str,
    take: Callable[[Sequence[msgspec.Raw]], Awaitable[None]],
    telemetry: Telemetry,
    most_pages: int = Limit.LIST_PAGES.most,
) -> str:
    """Read a list and return its resource version.

    Args:
        connection: to the API server.
        path: of the list.
        params: of the request, such as a selector.
        accept: the media type.
        take: called with the objects of each page, which it must not keep.
        telemetry: where an exceeded limit is counted.
        most_pages: how many requests a list may take.

    Raises:
        ApiError: the server refused.
        UnreachableError: the server did not answer.
        MalformedError: the answer makes no sense, or does not end.
    """
    limit, token, tokens, empty = min(FIRST_ITEMS, PAGE_ITEMS), "", set[int](), 0
    for _ in range(most_pages):
        asked = {**params, "limit": str(limit), **({"continue": token} if token else {})}
        try:
            async with connection.get(path, params=asked, accept=accept) as body:
                page = await decode_message(decode_page, body)
                items, size = page.items or (), len(body)
                await take(items)
        except TooLargeError:
            if limit == 1:
                telemetry.exceeded(Limit.ANSWER)
                raise
            limit = max(1, limit // 4)
            continue
        token = page.metadata.continue_
        if not token:
            return page.metadata.resource_version
        empty = 0 if items else empty + 1
        if hash(token) in tokens or empty > EMPTY_PAGES:
            raise MalformedError("the list does not end: a page is empty, or the same page comes again")
        tokens.add(hash(token))
        limit = _next_limit(limit, items=len(items), size=size)
        del page, items
    telemetry.exceeded(Limit.LIST_PAGES)
    raise MalformedError(f"the list does not end: it has more than {most_pages:,} pages")


def _next_limit(limit: int, *, items: int, size: int) -> int:
    """How many objects to ask for next: what fits into a page by the sizes of this one, and not many times as many."""
    fitting = PAGE_BYTES * max(items, 1) // max(size, 1)
    return max(1, min(fitting, limit * 4, PAGE_ITEMS))

"""Pagination of the API server's lists with bounded page sizes.

Objects of a kind may have 1 KB or 1 MB, so a fixed number of objects per page does not bound memory. The number follows
the size of the previous pages, aiming for `PAGE_BYTES` each. A page that exceeds `Limit.ANSWER` is dropped while it
arrives and requested again with fewer objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from exporter.cluster.connection import Connection, TooLargeError
from exporter.cluster.decode import MalformedError, decode_message, decode_page
from exporter.limits import Limit
from exporter.telemetry import Telemetry

# The first page shows how large the objects are.
FIRST_ITEMS = 50
PAGE_ITEMS = 500
PAGE_BYTES = 2 * 2**20
# The API server fills its pages even if a selector matches few objects, so more empty pages are a fault.
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
    """Read a list and return its resourceVersion.

    Args:
        connection: connection to the API server.
        path: path of the list.
        params: query parameters, such as a selector.
        accept: media type.
        take: called with the objects of each page, which it must not keep.
        telemetry: counts an exceeded limit.
        most_pages: limit on the requests for a list.

    Raises:
        ApiError: the server refused a request.
        UnreachableError: the server did not respond.
        MalformedError: a response is invalid, or pagination does not end.
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
            raise MalformedError("pagination does not end: too many empty pages, or a repeated continue token")
        tokens.add(hash(token))
        limit = _next_limit(limit, items=len(items), size=size)
        del page, items
    telemetry.exceeded(Limit.LIST_PAGES)
    raise MalformedError(f"pagination does not end: more than {most_pages:,} pages")


def _next_limit(limit: int, *, items: int, size: int) -> int:
    """Return the next page's number of objects, from their average size. It grows at most fourfold."""
    fitting = PAGE_BYTES * max(items, 1) // max(size, 1)
    return max(1, min(fitting, limit * 4, PAGE_ITEMS))

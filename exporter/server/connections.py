"""Client connections with limits on their time and memory.

uvicorn closes connections that are idle after a response, and can refuse requests beyond a number of connections.
Clients that send nothing or do not read would then lock out Prometheus and the kubelet. Here, no request is refused.
Connections that take too long are closed, and so are those beyond a limit, starting with the client with most of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.limits import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on connections. Each attribute is the `Limit` of that name."""

    connections: int = Limit.HTTP_CONNECTIONS.most
    stalled: int = Limit.HTTP_STALLED.most
    header_bytes: int = Limit.HTTP_HEADER_BYTES.most
    header_seconds: float = Limit.HTTP_HEADER_SECONDS.most
    stall_seconds: float = Limit.HTTP_STALL_SECONDS.most
    response_seconds: float = Limit.HTTP_RESPONSE_SECONDS.most


class Connections:
    """All open connections.

    Args:
        bounds: limits on them.
        exceeded: called with each exceeded limit.
    """

    def __init__(self, *, bounds: Bounds, exceeded: Callable[[Limit], None]) -> None:
        self.bounds = bounds
        self.exceeded = exceeded
        self._open: set[Connection] = set()

    def accept(self, **arguments: Any) -> Connection:
        """Return the protocol of a new connection, with uvicorn's arguments."""
        return Connection(self, **arguments)

    def opened(self, connection: Connection) -> None:
        """Add a new connection."""
        others = set(self._open)
        self._open.add(connection)
        if len(self._open) > self.bounds.connections:
            self._cut(_worst(others), Limit.HTTP_CONNECTIONS)

    def closed(self, connection: Connection) -> None:
        """Remove a connection."""
        self._open.discard(connection)

    def stalled(self) -> None:
        """Handle a client that reads more slowly than we write."""
        waiting = [connection for connection in self._open if connection.flow.write_paused]
        if len(waiting) > self.bounds.stalled:
            self._cut(_worst(waiting), Limit.HTTP_STALLED)

    def sweep(self) -> None:
        """Close connections that take too long; called periodically."""
        for connection in list(self._open):
            if (limit := self._overdue(connection)) is not None:
                self._cut(connection, limit)

    def _overdue(self, connection: Connection) -> Limit | None:
        now = connection.loop.time()
        if connection.transport.get_write_buffer_size() and now - connection.moved > self.bounds.stall_seconds:
            return Limit.HTTP_STALL_SECONDS
        if connection.answering:
            return Limit.HTTP_RESPONSE_SECONDS if now - connection.began > self.bounds.response_seconds else None
        return Limit.HTTP_HEADER_SECONDS if now - connection.moved > self.bounds.header_seconds else None

    def _cut(self, connection: Connection, limit: Limit) -> None:
        self.exceeded(limit)
        self._open.discard(connection)
        connection.abort()


class Connection(H11Protocol):
    """A connection.

    Attributes:
        began: when the request in progress was complete, on the event loop's clock.
        moved: time of the last progress: opened, request complete, client read, or response ended.
    """

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        self.began = self.moved = self.loop.time()

    @property
    def answering(self) -> bool:
        """Whether a request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def address(self) -> str:
        """The client's address, without the port."""
        return self.client[0] if self.client else ""

    def abort(self) -> None:
        """Close the connection at once. The transport's `close` would wait until the client has read the buffer."""
        if self.cycle is not None:
            # Drop what is sent before the transport reports the loss.
            self.cycle.disconnected = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add this connection; called by the transport."""
        super().connection_made(transport)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove this connection; called by the transport."""
        self._all.closed(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle received bytes, which may complete a request."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.began = self.moved = self.loop.time()

    def pause_writing(self) -> None:
        """Handle a full write buffer; called by the transport."""
        super().pause_writing()
        self._all.stalled()

    def resume_writing(self) -> None:
        """Handle a mostly drained write buffer; called by the transport."""
        super().resume_writing()
        self.moved = self.loop.time()

    def on_response_complete(self) -> None:
        """Handle the end of a response, after its last write."""
        self.moved = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Reject bytes that are not HTTP."""
        if len(self.conn.trailing_data[0]) > self._all.bounds.header_bytes:
            self._all.exceeded(Limit.HTTP_HEADER_BYTES)
        if self.conn.our_state is h11.IDLE:
            super().send_400_response(msg)
            return
        # A response was started, or ended the connection, so another one cannot be sent.
        self.abort()

    def _should_upgrade(self) -> bool:
        return False


def _worst(connections: Iterable[Connection]) -> Connection:
    """Return a connection of the client with most of them: idle ones first, then the longest in its state."""
    candidates = list(connections)
    counts = Counter(connection.address for connection in candidates)
    most = max(counts.values())
    crowd = (connection for connection in candidates if counts[connection.address] == most)
    return min(crowd, key=lambda connection: (connection.answering, connection.moved))

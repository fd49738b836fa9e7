"""Leader election with a Lease, so that one replica works at a time.

This saves requests; safety does not depend on it. If two replicas both believe that they hold the Lease, nothing
happens twice, because every change names the version of the object that it changes. `kubernetes.aio` has a leader
election, but it cannot create a Lease, keeps working for seconds after it has lost it, and does not release it.

The rules are those of client-go. A Lease of another process expires when it has not changed for its duration, measured
with our own clock; the times in it are ignored. Work stops before others may take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from exporter.cluster.connection import ApiError, UnreachableError
from exporter.cluster.decode import MalformedError
from exporter.patcher.api import Transport

_log = logging.getLogger(__name__)

DURATION_SECONDS = 15.0
# If the lease cannot be renewed for this long, work stops.
RENEW_DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0
CALL_SECONDS = 4.0


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    renew_time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, rename="camel"):
    # Written back as it was read, because it has labels of others, such as Helm's.
    metadata: dict[str, Any]
    spec: _Spec
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


_decode = msgspec.json.Decoder(_Lease).decode


class Lease:
    """A Lease that this process holds, or waits for.

    Args:
        transport: sends requests.
        namespace, name: of the Lease.
        identity: the unique name of this process.
        duration: the seconds after which another process may take over.
        renew_deadline: the seconds without a renewal after which work stops; fewer than `duration`.
        retry: the seconds between two renewals, or two looks at the lease of another.
        changed: called after each look with whether this process holds the lease.

    Attributes:
        held: whether this process holds it.
        contacted: whether the API server has answered once.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = DURATION_SECONDS,
        renew_deadline: float = RENEW_DEADLINE_SECONDS,
        retry: float = RETRY_SECONDS,
        changed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._transport = transport
        self._root = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._names = namespace, name
        self._identity = identity
        self._duration, self._renew_deadline, self._retry = duration, renew_deadline, retry
        self._seconds = min(CALL_SECONDS, renew_deadline / 3)
        # The version of a lease that another process holds, and when we first saw it.
        self._seen: tuple[str, float] = "", 0.0
        self._changed = changed
        self.held = self.contacted = False

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work while this process holds the lease, until cancelled.

        If the lease cannot be renewed in time, the work is cancelled and awaited. At the end the lease is released, so
        that another process does not have to wait.

        Args:
            work: runs until it is cancelled; if it raises an exception, so does this.
        """
        loop = asyncio.get_running_loop()
        working: asyncio.Task[None] | None = None
        renewed = loop.time()
        try:
            while True:
                began = loop.time()
                end = renewed + self._renew_deadline if self.held else began + self._duration
                try:
                    async with asyncio.timeout_at(end):
                        held = await self._acquire()
                except (ApiError, UnreachableError, MalformedError, TimeoutError) as error:
                    _log.warning("cannot renew or acquire the lease %s/%s: %s", *self._names, error or "no answer")
                    held = self.held and loop.time() < end
                else:
                    self.contacted = True
                    renewed = began if held else renewed
                self.held = held
                self._changed(held)
                if held and working is None:
                    _log.info("%s holds the lease %s/%s", self._identity, *self._names)
                    working = asyncio.create_task(_run(work), name="patcher")
                elif not held and working is not None:
                    _log.warning("%s has lost the lease %s/%s", self._identity, *self._names)
                    await _stop(working)
                    working = None
                left = renewed + self._renew_deadline - loop.time()
                await _wait(working, min(self._retry, max(0.0, left)) if held else self._retry)
        finally:
            if working is not None and not working.done():
                await _stop(working)
            if self.held:
                self.held = False
                with contextlib.suppress(ApiError, UnreachableError, MalformedError):
                    await self._release()

    async def _acquire(self) -> bool:
        """Create, renew or take over the lease; False if another process holds it."""
        lease = await self._read()
        if lease is None:
            namespace, name = self._names
            new = _Lease({"name": name, "namespace": namespace}, _Spec())
            return await self._write("POST", self._root, self._ours(new))
        holder, version = lease.spec.holder_identity or "", str(lease.metadata.get("resourceVersion", ""))
        if holder not in ("", self._identity):
            now = asyncio.get_running_loop().time()
            if self._seen[0] != version:
                self._seen = version, now
            duration = max(self._duration, float(lease.spec.lease_duration_seconds or 0))
            if now - self._seen[1] < duration:
                return False
        return await self._write("PUT", f"{self._root}/{self._names[1]}", self._ours(lease))

    def _ours(self, lease: _Lease) -> _Lease:
        now, spec = datetime.now(UTC), lease.spec
        if spec.holder_identity != self._identity:
            spec.lease_transitions = (spec.lease_transitions or 0) + 1
            spec.acquire_time = now
        spec.holder_identity, spec.renew_time = self._identity, now
        spec.lease_duration_seconds = max(1, round(self._duration))
        return lease

    async def _release(self) -> None:
        lease = await self._read()
        if lease is None or lease.spec.holder_identity != self._identity:
            return
        lease.spec.holder_identity = ""
        await self._write("PUT", f"{self._root}/{self._names[1]}", lease)

    async def _read(self) -> _Lease | None:
        try:
            body = await self._transport.call("GET", f"{self._root}/{self._names[1]}", seconds=self._seconds)
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        try:
            return _decode(body)
        except ValueError as error:
            raise MalformedError(f"cannot read a Lease: {error}") from error

    async def _write(self, method: str, path: str, lease: _Lease) -> bool:
        """Write the lease; False if another process was faster."""
        body = msgspec.json.encode(lease)
        try:
            await self._transport.call(method, path, body=body, seconds=self._seconds)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _wait(working: asyncio.Task[None] | None, seconds: float) -> None:
    """Wait; if the work raises an exception meanwhile, raise it here."""
    if working is None:
        await asyncio.sleep(seconds)
        return
    done, _ = await asyncio.wait({working}, timeout=seconds)
    if done:
        working.result()


async def _stop(working: asyncio.Task[None]) -> None:
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working

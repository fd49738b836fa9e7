"""A patcher on any transport with a clock of its own, faults at any request, and a registry that knows some tags."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from exporter.cluster import ApiError, UnreachableError
from exporter.images import Repository
from exporter.patcher.api import Api, Transport
from exporter.patcher.audit import Audit
from exporter.patcher.engine import Engine, Parts
from exporter.patcher.settings import Opening, Settings, Windows
from exporter.patcher.tags import Tags
from exporter.patcher.telemetry import PatcherTelemetry
from exporter.registry import TagList
from exporter.versions import Strategy
from exporter.workloads import WorkloadKey


class Killed(BaseException):
    """The process of the patcher ends here."""


FAULTS = ("killed before", "killed after", "409", "429", "500", "silence before", "silence after")


@dataclass
class Faults:
    """Counts requests, and does something else at one of them.

    Attributes:
        at: the number of the request, from 1.
        fault: one of `FAULTS`.
        calls: method and path of every request so far.
    """

    at: int = 0
    fault: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def around(self, method: str, path: str, send: Callable[[], Awaitable[bytes]]) -> bytes:
        self.calls.append((method, path))
        if len(self.calls) != self.at:
            return await send()
        if self.fault in ("409", "429", "500"):
            raise ApiError(int(self.fault), "injected")
        if self.fault.endswith("after"):
            await send()
        raise Killed if self.fault.startswith("killed") else UnreachableError("injected")


class FaultyTransport:
    """A transport with faults; each request lets other tasks run before and after it."""

    def __init__(self, inner: Transport, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    async def call(self, method: str, path: str, **more: Any) -> bytes:
        await asyncio.sleep(0)
        answer = await self._faults.around(method, path, lambda: self._inner.call(method, path, **more))
        await asyncio.sleep(0)
        return answer


class KnownTags:
    """A registry that has these tags, or does not answer."""

    def __init__(self, *names: str, error: Exception | None = None, dates: dict[str, float] | None = None) -> None:
        self.names, self.error, self.dates = names, error, dates or {}
        self.asked = 0

    def lookup_repository(self, repository: Repository, instead: Repository | None = None, /) -> Repository:
        return instead or repository

    async def tags(self, _repository: Repository, /) -> TagList:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return TagList(names=self.names, etag=None, not_modified=False)

    async def created(self, _repository: Repository, tag: str, /) -> float | None:
        return self.dates.get(tag)


@dataclass
class Always:
    """A window that is open until a time, or closed."""

    until: float = 1e12
    open: bool = True

    def opening(self, _key: WorkloadKey, now: float, /) -> Opening | None:
        return Opening("night", self.until - now) if self.open and now < self.until else None

    def next_opening(self, _key: WorkloadKey, _now: float, /) -> float | None:
        return None


@dataclass
class Clock:
    """Epoch seconds that only tests move."""

    now: float = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Patcher:
    """What a process of the patcher is made of, to be started again and again.

    Attributes:
        lines: the audit lines of all processes, as documents.
        engines: one for each process.
    """

    transport: Transport
    clock: Callable[[], float]
    windows: Windows = field(default_factory=Always)
    settings: Settings = field(default_factory=Settings)
    registry: KnownTags = field(default_factory=lambda: KnownTags("v1.0.0", "v1.0.1", "v1.0.2"))
    namespaces: tuple[str, ...] = ()
    lines: list[dict[str, Any]] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)

    def parts(self, transport: Transport | None = None, *, identity: str = "one") -> Parts:
        return Parts(
            api=Api(transport or self.transport, namespaces=self.namespaces),
            tags=Tags(self.registry, strategy=Strategy.PATCH, monotonic=self.clock),
            windows=self.windows,
            settings=self.settings,
            telemetry=PatcherTelemetry(),
            audit=Audit(lambda line: self.lines.append(json.loads(line)), identity=identity, verified=True),
            clock=self.clock,
            identity=identity,
        )

    def engine(self, transport: Transport | None = None, *, identity: str = "one", poll: float = 5.0) -> Engine:
        engine = Engine(self.parts(transport, identity=identity), poll=poll)
        self.engines.append(engine)
        return engine

"""Whether an approved tag may replace the running one: by the exporter's rules, and the registry's list of tags.

The registry is asked again each time a rollout could start, because a tag may have been deleted since the approval.
Its answer is cached for a minute, so that two hundred approvals of one image cause one request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Protocol

from exporter.annotations import Annotations, InvalidAnnotationError, Options, acceptor
from exporter.images import Repository, parse
from exporter.patcher.approvals import Approval, Reason
from exporter.patcher.judge import TagAnswer
from exporter.reasons import Reason as Unknown
from exporter.registry import RegistryError, TagList
from exporter.versions import Span, Strategy, final_of, highest, offers, place, unjudgeable
from exporter.workloads import Workload

KEPT_SECONDS = 60.0
# The time limit of a lookup: a rollout that is being watched has to wait for it.
ANSWER_SECONDS = 10.0
# How many lists of tags are cached.
_MOST_KEPT = 8
_SILENT = RegistryError("no answer a moment ago", reason=Unknown.UNREACHABLE)


class Registry(Protocol):
    """The registry client: `registry.RegistryClient`."""

    def lookup_repository(self, repository: Repository, instead: Repository | None = None, /) -> Repository:
        """The repository whose tags are looked up."""

    async def tags(self, repository: Repository, /) -> TagList:
        """Every tag of a repository."""

    async def created(self, repository: Repository, tag: str, /) -> float | None:
        """When a tag was published."""


class Tags:
    """Answers about approved tags.

    Args:
        registry: where tags are looked up.
        strategy: for workloads whose annotations do not set one.
        monotonic: seconds of a monotonic clock.
    """

    def __init__(
        self, registry: Registry, *, strategy: Strategy, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._strategy = strategy
        self._monotonic = monotonic
        self._known: dict[Repository, tuple[float, frozenset[str] | RegistryError]] = {}

    async def answer(self, approval: Approval, workload: Workload) -> TagAnswer:
        """Whether the tag of an approval may be used.

        Args:
            approval: its references can be parsed and have one repository.
            workload: the workload that it names, with its annotations.
        """
        spec = approval.spec
        annotations = Annotations(workload.annotations, [container.name for container in workload.containers])
        for container in spec.containers:
            try:
                options = annotations.options(container.name)
            except InvalidAnnotationError as error:
                return TagAnswer(Reason.INVALID_ANNOTATION, f"An annotation of {container.name} is not valid: {error}.")
            if options.ignore:
                return TagAnswer(Reason.IGNORED, f"An annotation says to ignore container {container.name}.")
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    refused = await self._ask(
                        parse(container.image).repository, options, running=spec.from_, to=spec.to
                    )
            except RegistryError as error:
                if error.reason.permanent:
                    text = f"The configuration does not allow this registry: {error}."
                    return TagAnswer(Reason.REGISTRY_NOT_ALLOWED, text)
                return _unanswered(f"{error.reason.value}: {error}")
            except TimeoutError:
                return _unanswered(f"not within {ANSWER_SECONDS:.0f} s")
            if refused is not None:
                return refused
        return TagAnswer()

    async def _ask(self, repository: Repository, options: Options, *, running: str, to: str) -> TagAnswer | None:
        if (reason := unjudgeable(running)) is not None:
            return TagAnswer(Reason.NOT_A_PATCH, f"{running} has no patches ({reason.value.replace('_', ' ')}).")
        found = self._registry.lookup_repository(repository, options.lookup)
        names = await self._names(found)
        if to not in names:
            return TagAnswer(Reason.TAG_NOT_FOUND, f"The registry has no tag {to} of {found}.")
        return refused_tag(
            running,
            to,
            names=names,
            strategy=options.strategy or self._strategy,
            accept=acceptor(options.include, options.exclude),
            final_is_younger=to == final_of(running) and await self._is_younger(found, to, running),
        )

    async def _is_younger(self, repository: Repository, tag: str, other: str) -> bool:
        times = [await self._registry.created(repository, name) for name in (tag, other)]
        return times[0] is not None and times[1] is not None and times[0] > times[1]

    async def _names(self, repository: Repository) -> frozenset[str]:
        now = self._monotonic()
        self._known = {key: kept for key, kept in self._known.items() if now - kept[0] < KEPT_SECONDS}
        if repository not in self._known:
            while len(self._known) >= _MOST_KEPT:
                del self._known[next(iter(self._known))]
            # A failure is cached too, so that a registry that is down is not asked for every approval.
            self._known[repository] = now, _SILENT
            self._known[repository] = now, await self._list(repository)
        answer = self._known[repository][1]
        if isinstance(answer, RegistryError):
            raise answer.with_traceback(None)
        return answer

    async def _list(self, repository: Repository) -> frozenset[str] | RegistryError:
        try:
            return frozenset((await self._registry.tags(repository)).names)
        except RegistryError as error:
            return error


def _unanswered(why: str) -> TagAnswer:
    return TagAnswer(Reason.REGISTRY_UNAVAILABLE, f"The registry did not answer ({why}).", passing=True)


def refused_tag(
    running: str,
    to: str,
    *,
    names: Collection[str],
    strategy: Strategy,
    accept: Callable[[str], bool] | None = None,
    final_is_younger: bool = False,
) -> TagAnswer | None:
    """Why a tag may not replace a running one; None if it may.

    Args:
        running: the running tag; it is a version.
        to: the tag that was approved.
        names: every tag of the repository.
        strategy: how far the version may rise.
        accept: which tags the annotations allow; None allows all.
        final_is_younger: as in `versions.offers`.
    """
    at = place(to)
    if to == running or (at is not None and highest((running, to)) == running):
        return TagAnswer(Reason.NOT_NEWER, f"{to} is not newer than {running}.")
    spans = offers(running, strategy=strategy, final_is_younger=final_is_younger)
    if at is not None:
        for span in spans:
            if at.line == span.line and span.low <= at.rank < span.high:
                if accept is None or accept(to):
                    return None
                return TagAnswer(Reason.NOT_A_PATCH, f"The annotations of the workload exclude {to}.")
            # As in the exporter's verdicts: a build is offered another build only if no final is offered.
            if (better := _newest(span, names, accept)) is not None:
                return TagAnswer(Reason.NOT_A_PATCH, f"{running} is offered {better}, not {to}.")
    return TagAnswer(Reason.NOT_A_PATCH, f"{to} is not a patch of {running} under the strategy {strategy.value}.")


def _newest(span: Span, names: Collection[str], accept: Callable[[str], bool] | None) -> str | None:
    """The newest tag of a span that the annotations allow."""
    offered = [
        name
        for name in names
        if (at := place(name)) is not None
        and at.line == span.line
        and span.low <= at.rank < span.high
        and (accept is None or accept(name))
    ]
    return highest(offered) if offered else None

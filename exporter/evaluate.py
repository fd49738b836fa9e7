"""Evaluate a workload to the findings of its containers. No I/O and no clock.

`Evaluator.evaluate` reads a workload's references and annotations. Each container gets either a permanent reason or a
question for the catalogue. `Item.update` stores the answer, or the reason for its absence, in the finding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from exporter.annotations import Annotations, InvalidAnnotationError, LimitExceededError
from exporter.findings import Finding
from exporter.images import InvalidReferenceError, Repository, parse
from exporter.limits import Limit
from exporter.logs import shown
from exporter.reasons import Reason
from exporter.registry import RegistryError
from exporter.verdicts import Question, Verdict
from exporter.versions import Strategy, lowest, unjudgeable
from exporter.workloads import Container, ContainerType, Workload, WorkloadKey, is_kind, is_object_name

_log = logging.getLogger(__name__)
# Limits of the logged problems of a workload. Anyone who can create a workload can cause any number of them.
_MOST_LOGGED = 3
# The other fields of a finding that has a reason.
_NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(
    ("latest_tag", "releases_behind", "published", "first_seen", "minor", "major")
)


class Ask(NamedTuple):
    """A question, and the repository to answer it from."""

    repository: Repository
    question: Question


@dataclass(slots=True)
class Item:
    """A container: its current finding and its question, which is None if its reason is permanent."""

    finding: Finding
    ask: Ask | None = None
    _verdict: Verdict | None = None

    def update(self, verdict: Verdict | None, failure: Reason) -> None:
        """Bring the finding up to date; an equal finding stays the same object.

        Args:
            verdict: the answer to `ask`, or None.
            failure: why the last lookup failed; `pending` if it succeeded, or if there was none.
        """
        if verdict is not None and not verdict.found:
            # The tag may be newer than the list from before the failure.
            verdict, failure = None, Reason.TAG_NOT_FOUND if failure is Reason.PENDING else failure
        if verdict is None:
            self._verdict = None
            if self.finding.reason is not failure:
                self.finding = replace(self.finding, reason=failure, **_NOTHING_KNOWN)
        elif verdict is not self._verdict:
            self._verdict = verdict
            self.finding = replace(
                self.finding,
                reason=None,
                latest_tag=verdict.latest,
                releases_behind=verdict.behind,
                published=verdict.published,
                first_seen=verdict.first_seen,
                minor=verdict.minor,
                major=verdict.major,
            )


class Evaluated(NamedTuple):
    """The judged containers of a workload, and the number of ignored ones."""

    items: list[Item]
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Evaluates workloads by the rules of a configuration.

    Attributes:
        strategy: for containers whose annotations name none.
        selects_image: whether containers of a repository, given by name, are judged. Images of the watch list always
            are.
        lookup_repository: maps an image's repository, or the one that an annotation names, to the repository to look up
            (for mirrors); raises `RegistryError` if its registry is not allowed.
        exceeded: called with each limit that a workload exceeds.
    """

    strategy: Strategy
    selects_image: Callable[[str], bool]
    lookup_repository: Callable[[Repository, Repository | None], Repository]
    exceeded: Callable[[Limit], None] = lambda _: None

    def evaluate(self, workload: Workload) -> Evaluated:
        """Read a workload's references and annotations, and log all problems in one line.

        Call it in a thread: it compiles regular expressions, which may take milliseconds each.
        """
        if not _is_named(workload.key):
            _log.warning("ignored: %s is not a valid workload name", shown(repr(tuple(workload.key))))
            return Evaluated([], ignored=len(workload.containers))
        if workload.limit_exceeded:
            # One finding for all of its containers. The caller that refused them has counted and logged it.
            first = next((container for container in workload.containers if is_object_name(container.name)), None)
            return Evaluated([Item(_unknown(workload.key, first, reason=Reason.LIMIT_EXCEEDED))], ignored=0)
        annotations = Annotations(workload.annotations, [container.name for container in workload.containers])
        reading = _Reading(workload.key, annotations)
        items = [self._item(reading, container) for container in workload.containers]
        for limit in reading.limits:
            self.exceeded(limit)
        reading.log()
        judged = [item for item in items if item is not None]
        return Evaluated(_only_lowest(judged), ignored=len(items) - len(judged))

    def _item(self, reading: _Reading, container: Container) -> Item | None:
        """Return the item of a container; None if the container is ignored."""
        if reading.key.namespace and not is_object_name(container.name):
            # The API server validates the names of built-in kinds only, and names end up in commands.
            reading.problems[f"ignored: {container.name!r} is not a valid container name"] = None
            return None
        unknown = _unknown(reading.key, container, reason=Reason.INVALID_REFERENCE)
        try:
            reference = parse(container.image)
        except InvalidReferenceError:
            return Item(replace(unknown, reference=shown(container.image)))
        image = str(reference.repository)
        if not (reading.key.is_image or self.selects_image(image)):
            return None
        tag = reference.tag or ("" if reference.digest else "latest")
        known = replace(
            unknown,
            reference=reference.written,
            image=image,
            tag=tag,
            digest=reference.digest or "",
            reason=Reason.PENDING,
        )
        try:
            options = reading.annotations.options(container.name)
        except LimitExceededError as error:
            reading.problems[str(error)] = error.limit
            return Item(replace(known, reason=Reason.LIMIT_EXCEEDED))
        except InvalidAnnotationError as error:
            reading.problems[str(error)] = None
            return Item(replace(known, reason=Reason.INVALID_ANNOTATION))
        if options.ignore:
            return None
        if (reason := unjudgeable(tag) if tag else Reason.DIGEST_ONLY) is not None:
            return Item(replace(known, reason=reason))
        try:
            repository = self.lookup_repository(reference.repository, options.lookup)
        except RegistryError as error:
            return Item(replace(known, reason=error.reason))
        question = Question(tag, options.strategy or self.strategy, options.include, options.exclude)
        return Item(known, Ask(repository, question))


class _Reading:
    """The state while a workload is read.

    Attributes:
        key: of the workload.
        annotations: of its pod template.
        problems: its problems in the order of the log, with the limit that each exceeds or None.
    """

    def __init__(self, key: WorkloadKey, annotations: Annotations) -> None:
        self.key = key
        self.annotations = annotations
        self.problems: dict[str, Limit | None] = {}

    @property
    def limits(self) -> list[Limit]:
        """Return the limits that the workload exceeds, one for each time."""
        return [limit for limit in self.problems.values() if limit is not None]

    def log(self) -> None:
        """Log all problems in one line."""
        problems = [*self.problems, *(f"ignored: {what}" for what in self.annotations.ignored)]
        if problems:
            more = len(problems) - _MOST_LOGGED
            listed = "; ".join(shown(problem) for problem in problems[:_MOST_LOGGED])
            _log.warning("%s: %s%s", self.key, listed, f"; and {more} more" if more > 0 else "")


def _unknown(key: WorkloadKey, container: Container | None, *, reason: Reason) -> Finding:
    """Return a finding without a reference; without a container it is about the workload."""
    return Finding(
        workload=key,
        container="" if container is None else container.name,
        container_type=ContainerType.CONTAINER if container is None else container.type,
        position=0 if container is None else container.position,
        reference="",
        image="",
        tag="",
        reason=reason,
    )


def _is_named(key: WorkloadKey) -> bool:
    # A reference that is judged by itself has no kind and no names (`workloads.reference_key`).
    return not key.kind or (
        (key.is_image or is_object_name(key.namespace)) and is_object_name(key.name) and is_kind(key.kind)
    )


def _only_lowest(items: Iterable[Item]) -> list[Item]:
    """Keep the lowest of several tags of one image in one container (a custom controller during a rollout)."""
    places: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        places.setdefault((item.finding.container, item.finding.container_type, item.finding.image), []).append(item)
    kept: list[Item] = []
    for place in places.values():
        tag = lowest(item.finding.tag for item in place)
        kept.append(next(item for item in place if item.finding.tag == tag))
    return kept

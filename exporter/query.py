"""Answer questions about images over HTTP, by the same rules as findings.

Only watched images are answered: those of the cluster's containers and those on the watch list. A question never leads
to a request to a registry, and never reveals what the catalogue still has about other repositories. The answer equals
that of `check` for the same reference: annotations of workloads do not apply.

Answers are cached until the tags of their repository change. The cache is limited, because anyone may ask for any tag.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

from exporter.annotations import PREFIX
from exporter.catalogue import Catalogue, TagListing
from exporter.evaluate import Ask, Evaluator, Item
from exporter.findings import Finding
from exporter.images import InvalidReferenceError, Repository, parse, parse_repository
from exporter.logs import shown
from exporter.polling import Poller
from exporter.reasons import Reason
from exporter.registry import RegistryClient, RegistryError
from exporter.verdicts import Verdict
from exporter.versions import Strategy
from exporter.workloads import Container, ContainerType, Workload, reference_key

_T = TypeVar("_T")
# Some bytes each; more than the distinct images of the largest hub.
_MOST_VERDICTS = 4_096
# Mojaloop's largest repository has 3,000 tags.
_MOST_TAGS = 10_000
_UNVERSIONED = frozenset({Reason.NOT_A_VERSION, Reason.FLOATING_TAG, Reason.DIGEST_ONLY})


class Refusal(Enum):
    """Why a question has no answer."""

    INVALID_REFERENCE = "invalid reference"
    NOT_A_VERSION = "not a version"
    NOT_EXPOSED = "not exposed"
    NOT_WATCHED = "not watched"
    NOT_FOUND = "not found"
    NOT_LOOKED_UP = "not looked up"


class RefusedError(Exception):
    """A question has no answer; the message says why, in one sentence.

    Attributes:
        refusal: why.
        reason: the reason that a finding about the image would have, if any.
    """

    def __init__(self, refusal: Refusal, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The answer about an image.

    Attributes:
        finding: the same as of `check`.
        strategy: the strategy used.
        looked_up: epoch seconds of the last successful lookup of its tags.
    """

    finding: Finding
    strategy: Strategy
    looked_up: float | None


class Kept(Generic[_T]):
    """An LRU cache of values, each with the stamp of its inputs.

    Args:
        most: the total size to keep.
        size: returns the size of a value.
    """

    def __init__(self, most: int, *, size: Callable[[_T], int] = lambda _: 1) -> None:
        self._most = most
        self._size = size
        self._values: OrderedDict[Hashable, tuple[object, _T]] = OrderedDict()
        self._sum = 0

    def get(self, key: Hashable, stamp: object) -> _T | None:
        """Return the value of a key if its stamp matches, otherwise None."""
        found = self._values.get(key)
        if found is None or found[0] != stamp:
            return None
        self._values.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, stamp: object, value: _T) -> None:
        """Store a value, unless it exceeds the total size."""
        if key in self._values:
            self._sum -= self._size(self._values.pop(key)[1])
        self._values[key] = stamp, value
        self._sum += self._size(value)
        while self._sum > self._most:
            self._sum -= self._size(self._values.popitem(last=False)[1][1])


class Query:
    """Answers questions about watched images.

    Args:
        evaluator: the current rules, shared with the checker.
        catalogue: the tags.
        poller: the watched repositories and their last lookups.
        registry: its entries map repositories to those to look up.
        guarded: whether all clients are permitted to see the tags of private repositories.
    """

    def __init__(
        self,
        *,
        evaluator: Callable[[], Evaluator],
        catalogue: Catalogue,
        poller: Poller,
        registry: RegistryClient,
        guarded: bool,
    ) -> None:
        self._evaluator = evaluator
        self._catalogue = catalogue
        self._poller = poller
        self._registry = registry
        self._guarded = guarded
        self._verdicts: Kept[Verdict] = Kept(_MOST_VERDICTS)

    async def image(self, reference: str, strategy: Strategy | None = None) -> Judged:
        """Judge an image.

        Args:
            reference: with a tag.
            strategy: the widest version change to offer; None for the configured one.

        Raises:
            RefusedError: there is no answer.
        """
        # Filters for workloads do not apply: it only matters whether the repository is watched. Registries that are not
        # allowed are not logged, because anyone may ask for any.
        evaluator = replace(self._evaluator(), selects_image=lambda _: True, lookup_repository=self._lookup_repository)
        strategy = strategy or evaluator.strategy
        item = _item(evaluator, reference, strategy)
        ask = item.ask
        assert ask is not None  # noqa: S101 - `_item` refuses permanent reasons
        self._permit(ask.repository, item.finding.image)
        verdict = await self._verdict(ask)
        failure = self._poller.failures.get(ask.repository, Reason.PENDING)
        if verdict is None:
            raise _unanswered(item.finding.image, failure)
        item.update(verdict, failure)
        return Judged(finding=item.finding, strategy=strategy, looked_up=self._poller.lookups.get(ask.repository))

    def repository(self, name: str) -> Repository:
        """Return the repository where the tags of a repository are looked up.

        Args:
            name: a reference without tag and digest.

        Raises:
            RefusedError: it is not a repository, its tags may not be exposed, or it is not watched.
        """
        try:
            own = parse_repository(name)
        except InvalidReferenceError as error:
            raise RefusedError(Refusal.INVALID_REFERENCE, shown(str(error))) from error
        try:
            repository = self._lookup_repository(own)
        except RegistryError as error:
            raise _unwatched(str(own)) from error
        self._permit(repository, str(own))
        return repository

    async def tags(self, repository: Repository) -> TagListing:
        """Return the known tags of a repository that `repository` returned.

        Raises:
            RefusedError: it was never looked up successfully.
        """
        listing = await self._catalogue.list_tags(repository, most=_MOST_TAGS)
        if listing is None:
            raise _unanswered(str(repository), self._poller.failures.get(repository, Reason.PENDING))
        return listing

    def looked_up(self, repository: Repository) -> float | None:
        """Return the time of the last successful lookup of such a repository, in epoch seconds."""
        return self._poller.lookups.get(repository)

    def stamp(self, repository: Repository) -> Hashable:
        """Return a value that changes whenever the answers about such a repository may change."""
        return self._catalogue.revision(repository), self.looked_up(repository)

    async def _verdict(self, ask: Ask) -> Verdict | None:
        # Read before the tags: a change in between makes the answer outdated, but not permanently wrong.
        stamp = self._catalogue.revision(ask.repository)
        verdict = self._verdicts.get(ask, stamp)
        if verdict is None and (found := await self._catalogue.judge(ask.repository, [ask.question])) is not None:
            (verdict,) = found
            self._verdicts.put(ask, stamp, verdict)
        return verdict

    def _lookup_repository(self, repository: Repository, _instead: Repository | None = None) -> Repository:
        return self._registry.entries.lookup_repository(repository)

    def _permit(self, repository: Repository, image: str) -> None:
        entry = self._registry.entries.of(repository)
        # In this order, clients that may not see the tags do not learn what is watched.
        if entry.has_credentials and not (self._guarded or entry.expose_tags):
            raise RefusedError(
                Refusal.NOT_EXPOSED,
                f"the registry of {image} has credentials; set api.token_file, or expose_tags in its entry",
            )
        if not self._poller.uses(repository):
            raise _unwatched(image)


def _item(evaluator: Evaluator, reference: str, strategy: Strategy) -> Item:
    """Return the checker's item for a reference."""
    try:
        parsed = parse(reference)
    except InvalidReferenceError as error:
        raise RefusedError(Refusal.INVALID_REFERENCE, shown(str(error))) from error
    container = Container("", ContainerType.CONTAINER, reference, 0)
    annotation = (f"{PREFIX}strategy", strategy.value)
    evaluated = evaluator.evaluate(Workload(reference_key(0), (container,), annotations=(annotation,)))
    item = next(iter(evaluated.items), None)
    if item is None:
        raise _unwatched(str(parsed.repository))
    if (reason := item.finding.reason) in _UNVERSIONED:
        what = item.finding.tag or "a digest"
        raise RefusedError(Refusal.NOT_A_VERSION, f"{what} is not a version such as v1.2.3", reason=reason)
    if item.ask is None:
        raise _unwatched(str(parsed.repository))
    return item


def _unwatched(image: str) -> RefusedError:
    return RefusedError(
        Refusal.NOT_WATCHED, f"{image} is not watched: no container runs it, and the watch list does not name it"
    )


def _unanswered(image: str, failure: Reason) -> RefusedError:
    if failure is Reason.NOT_FOUND:
        return RefusedError(Refusal.NOT_FOUND, f"the registry does not have {image}", reason=failure)
    return RefusedError(Refusal.NOT_LOOKED_UP, f"the tags of {image} are not known yet", reason=failure)

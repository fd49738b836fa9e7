"""Look up a repository: ask its registry, store the answer, and note failures.

A failed lookup keeps the last answer. `polling` decides when lookups happen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

from exporter.catalogue import Catalogue, CatalogueError, IncompleteListError, TooLargeError
from exporter.images import Repository
from exporter.reasons import Reason
from exporter.registry import RegistryClient, RegistryError
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)

# Tolerated difference between the clocks of registries and exporters.
_FUTURE_SECONDS = 86400.0


class Lookups:
    """Looks repositories up and stores the answers in the catalogue.

    Args:
        catalogue: where answers are stored.
        registry: the registry client.
        telemetry: the exporter's own metrics.
        clock: epoch seconds.

    Attributes:
        changed: set after every lookup and every new publish time; cleared by its waiter.
        failures: why the last lookup of a repository failed, if it did.
        lookups: the last successful lookup of each repository in use, epoch seconds.
    """

    def __init__(
        self, *, catalogue: Catalogue, registry: RegistryClient, telemetry: Telemetry, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._telemetry = telemetry
        self._clock = clock
        self._in_use: Mapping[str, Collection[str]] = {}
        self._stale: set[Repository] = set()
        self._unreachable: set[str] = set()
        self.changed = asyncio.Event()
        self.failures: dict[Repository, Reason] = {}
        self.lookups: dict[Repository, float] = {}

    def take_stale(self) -> set[Repository]:
        """Return the repositories whose answers may have changed since the last call."""
        stale, self._stale = self._stale, set()
        return stale

    async def look_up(self, repository: Repository, running: AbstractSet[str]) -> RegistryError | None:
        """Look up a repository once; a failure keeps the last answer and is returned.

        Args:
            repository: the repository.
            running: its running tags: a complete list contains at least one of those known before.
        """
        try:
            etag = await self._catalogue.etag(repository)
            async with self._registry.listing(repository, etag=etag) as answer:
                if answer.not_modified:
                    stored = await self._catalogue.confirm(repository)
                else:
                    stored = await self._catalogue.store(
                        repository, answer.names, running=running, etag=answer.etag, in_use=self._in_use
                    )
        except RegistryError as error:
            self._note_failure(repository, error)
            return self._failed(repository, error)
        except IncompleteListError as error:
            _log.warning("%s; the last answer is kept", error)
            self._telemetry.registry_failures.labels(repository.registry, Reason.BAD_ANSWER.value).inc()
            return self._failed(repository, RegistryError(str(error), reason=Reason.BAD_ANSWER))
        except TooLargeError as error:
            _log.warning("%s; the last answer is kept", error)
            self._telemetry.exceeded(error.limit)
            return self._failed(repository, RegistryError(str(error), reason=Reason.LIMIT_EXCEEDED))
        except CatalogueError as error:
            _log.error("%s: the tags could not be stored: %s", repository, error)
            return self._failed(repository, RegistryError(str(error), reason=Reason.PENDING))
        self.failures.pop(repository, None)
        if repository.registry in self._unreachable:
            self._unreachable.remove(repository.registry)
            _log.info("%s responds again", repository.registry)
        self.lookups[repository] = stored.looked_up
        if stored.changed:
            self._stale.add(repository)
        self.changed.set()
        return None

    def _note_failure(self, repository: Repository, error: RegistryError) -> None:
        """Log a failed lookup; of an unreachable registry, only the first until it answers again."""
        if error.reason is not Reason.UNREACHABLE:
            _log.warning("%s: %s (%s)", repository, error, error.reason)
        elif repository.registry not in self._unreachable:
            self._unreachable.add(repository.registry)
            more = "; failures of its other repositories are not logged until it answers"
            _log.warning("%s: %s (%s)%s", repository, error, error.reason, more)
        else:
            _log.debug("%s: %s (%s)", repository, error, error.reason)

    def _failed(self, repository: Repository, error: RegistryError) -> RegistryError:
        self.failures[repository] = error.reason
        self.changed.set()
        return error

    async def look_up_dates(self, repository: Repository, undated: AbstractSet[str]) -> None:
        """Look up when tags were published, once if the registry does not know.

        A time in the future is not recorded, because this clock is behind or the time is wrong. It is looked up again
        after the next lookup.
        """
        for tag in sorted(undated):
            try:
                published = await self._registry.created(repository, tag)
            except RegistryError as error:
                if error.reason is not Reason.NOT_FOUND:
                    _log.info("%s:%s: publish time not known yet: %s", repository, tag, error)
                    continue
                published = None
            if published is not None and published > self._clock() + _FUTURE_SECONDS:
                _log.info("%s:%s: publish time is in the future", repository, tag)
                continue
            await self._catalogue.record_published(repository, tag, published)
            self._stale.add(repository)
        if repository in self._stale:
            self.changed.set()

"""Reload the configuration file while the exporter runs: when its content changes, and on demand (SIGHUP).

The content is compared every few seconds, because nothing else works everywhere: ConfigMaps change by swapping a
symbolic link in another directory, editors replace the file, and network file systems send no notifications. New
content is used once two consecutive reads agree, because a partly written file is often valid YAML, and an empty one is
a valid configuration too.

An invalid file is logged and counted, and has no other effect. Reading and parsing happen in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.config import Configuration, ConfigurationError, content_of, differing
from exporter.telemetry import Telemetry

_log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
# A file that is being replaced may be gone for a moment.
_CHECKS_UNTIL_GONE = 5


@dataclass(frozen=True, slots=True)
class ConfigurationSource:
    """The origin of a configuration.

    Attributes:
        path: of the file; None if there is none.
        load: parses its content; the environment and command-line options still take precedence.
        content: the content at the first load.
        requested: set it to reload the file now, even if its content is the same, because the files that it names may
            have changed.
    """

    path: Path | None
    load: Callable[[bytes | None], Configuration]
    content: bytes | None = None
    requested: asyncio.Event = field(default_factory=asyncio.Event)


class Reloader:
    """Follows the file of a configuration while `run` runs.

    Args:
        source: the origin of the configuration.
        configuration: the one in effect.
        apply: called with each new configuration and the names of the changed keys that apply without a restart.
            `registries` is always one of them if the reload was requested, because it names files.
        telemetry: the exporter's own metrics.
        clock: epoch seconds.
    """

    def __init__(
        self,
        source: ConfigurationSource,
        configuration: Configuration,
        *,
        apply: Callable[[Configuration, Collection[str]], Awaitable[None]],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._configuration = configuration
        self._apply = apply
        self._telemetry = telemetry
        self._clock = clock
        # The content tried last; None if the file could not be read.
        self._tried = source.content
        self._unconfirmed: bytes | None = None
        self._unread = 0
        # The default executor may be blocked by slow DNS lookups.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="configuration")

    async def run(self, *, seconds: float = CHECK_SECONDS) -> None:
        """Follow the file until cancelled.

        Args:
            seconds: between two checks.
        """
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self._source.requested.wait()
            except TimeoutError:
                await self.check()
            else:
                self._source.requested.clear()
                await self.check(requested=True)

    async def check(self, *, requested: bool = False) -> None:
        """Compare the file once, and apply changes.

        Args:
            requested: whether to apply it immediately, even if unchanged.
        """
        path = self._source.path
        if path is None:
            if requested:
                _log.warning("SIGHUP: no configuration file to reload; set one with --config")
            return
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._thread, content_of, path)
        except ConfigurationError as error:
            self._unread += 1
            if requested or self._unread == _CHECKS_UNTIL_GONE:
                self._tried = self._unconfirmed = None
                self._refuse(error)
            return
        self._unread = 0
        confirmed = requested or content == self._unconfirmed
        self._unconfirmed = content
        if not confirmed or (content == self._tried and not requested):
            return
        self._tried = content
        try:
            loaded = await loop.run_in_executor(self._thread, self._source.load, content)
        except ConfigurationError as error:
            self._refuse(error)
            return
        await self._use(loaded, requested=requested)

    async def _use(self, loaded: Configuration, *, requested: bool) -> None:
        changed = differing(self._configuration, loaded)
        later = [key for key in changed if not key.live]
        # Until the restart they keep their values.
        kept = {key.field: getattr(self._configuration, key.field) for key in later}
        self._configuration = replace(loaded, **kept)
        live = [key.name for key in changed if key.live]
        await self._apply(self._configuration, {*live, *(("registries",) if requested else ())})
        self._telemetry.config_reloads.labels("success").inc()
        self._telemetry.config_loaded(self._clock())
        what = f"{', '.join(live)} changed" if live else "no changes that apply without a restart"
        _log.info("configuration reloaded: %s", what)
        if later:
            _log.warning("%s changed; restart to apply", ", ".join(key.name for key in later))

    def _refuse(self, error: ConfigurationError) -> None:
        _log.error("configuration not reloaded, keeping the previous one: %s", error)
        self._telemetry.config_reloads.labels("failure").inc()
        self._telemetry.config_last_reload_successful.set(0)

"""Questions to registries: which tags a repository has, and when one of them was published.

The OCI distribution specification v1.1.1 for any registry ("Listing Tags", "Pulling manifests"), and Docker Hub's own API for publish times.

What counts against Docker Hub's pull limit: a GET of a manifest does, a HEAD of one and a tag list do not
(https://docs.docker.com/docker-hub/usage/pulls/). Tags are therefore listed, never probed; publish times of images on Docker Hub come from
its own API; and anywhere else a manifest is fetched for the first patch that some container misses only, once ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from exporter import __version__, lean  # noqa: F401 - lean before httpx

import httpx  # isort: skip
import msgspec  # isort: skip

from exporter.images import Repository, is_digest, is_tag
from exporter.reasons import Reason
from exporter.registry import body, headers
from exporter.registry.auth import RegistryAuth
from exporter.registry.entries import Api, RegistryEntries, RegistryEntry
from exporter.registry.errors import RegistryError, TagList
from exporter.registry.network import PrivateAddressError, Resolve, is_private_literal, resolve
from exporter.registry.transport import Limits, Transport
from exporter.telemetry import Telemetry

_USER_AGENT = f"mojaloop-image-patch-exporter/{__version__}"
_PAGE_TAGS = 1000
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
# Before Docker was: builders that want equal images for equal sources write 1970 or 1980.
_EARLIEST = datetime.fromisoformat("2013-01-01T00:00:00+00:00").timestamp()
_DAY_SECONDS = 86400.0


class _TagPage(msgspec.Struct):
    tags: list[str] | None = None
    next: str | None = None


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct):
    digest: str = ""
    platform: _Platform = msgspec.field(default_factory=_Platform)


class _Manifest(msgspec.Struct):
    """An image's manifest, or an index of several."""

    config: _Descriptor | None = None
    manifests: list[_Descriptor] | None = None


class _Configuration(msgspec.Struct):
    created: str | None = None


class _HubTag(msgspec.Struct):
    tag_last_pushed: str | None = None
    last_updated: str | None = None


class _Registry:
    """What is kept of one registry's entry while we talk to it."""

    def __init__(self, entry: RegistryEntry, limits: Limits) -> None:
        self.entry = entry
        self.auth = RegistryAuth(entry)
        self.turns = asyncio.Semaphore(limits.concurrency)
        # By host (Docker Hub's API has limits of its own): it asked to be left alone until then, by the event loop's clock.
        self.closed_until: dict[str, float] = {}


class RegistryClient:
    """Asks registries, within what their entries allow; used as an async context manager.

    Args:
        entries: the entries, one for each registry.
        telemetry: where requests and failures are counted.
        limits: what one registry may take of us.
        proxy: the address of an HTTP proxy, trusted to refuse addresses that are not public; None connects directly.
        clock: epoch seconds.
        resolve: how names become addresses.
    """

    def __init__(
        self,
        entries: Iterable[RegistryEntry],
        *,
        telemetry: Telemetry,
        limits: Limits | None = None,
        proxy: str | None = None,
        clock: Callable[[], float] = time.time,
        resolve: Resolve = resolve,
    ) -> None:
        self._policies = RegistryEntries(entries)
        self._telemetry = telemetry
        self._limits = limits or Limits()
        self._clock = clock
        self._registries: dict[str, _Registry] = {}
        timeout = httpx.Timeout(self._limits.read, connect=self._limits.connect, pool=None)
        self._http = httpx.AsyncClient(
            transport=Transport(telemetry=telemetry, limits=self._limits, proxy=proxy, resolve=resolve),
            trust_env=False,
            timeout=timeout,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip"},
        )
        for entry in self._policies:
            if entry.allow and entry.mirror_of is None:
                telemetry.watch_registry(_host(entry))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def lookup_repository(self, repository: Repository) -> Repository:
        """Where the tags of a repository are looked up.

        Raises:
            RegistryError: `registry_not_allowed`, or `private_address` where the host is an address that may not be contacted.
        """
        found = self._policies.lookup_repository(repository)
        entry = self._policies.of(found)
        if is_private_literal(entry.base.host, allowed=entry.private_networks(entry.base.host)):
            raise RegistryError(
                f"{entry.base.host} is not public; name its network in allow_private", reason=Reason.PRIVATE_ADDRESS
            )
        return found

    async def tags(self, repository: Repository, *, etag: str | None = None) -> TagList:
        """Every tag of a repository, all pages.

        Args:
            repository: as `lookup_repository` gave it.
            etag: what came with the list that is known, to ask whether it is still the same.

        Raises:
            RegistryError: there was no answer, or not a whole one.
        """
        async with self._question(repository) as registry:
            url = registry.entry.base.join(f"{_path(registry.entry)}/v2/{repository.path}/tags/list?n={_PAGE_TAGS}")
            names: dict[str, None] = {}
            seen: set[httpx.URL] = set()
            first: httpx.Response | None = None
            while True:
                condition = {"If-None-Match": etag} if etag is not None and first is None else {}
                answer = await self._get(registry, url, repository, accept="application/json", extra=condition)
                if answer.status_code == 304 and condition:
                    return TagList((), etag, not_modified=True)
                if answer.status_code != 200:
                    raise _bad(f"a tag list came with status {answer.status_code}")
                first = first or answer
                page = body.decode(answer.content, _TagPage)
                before = len(names)
                # What is no tag can be no offer either, and must never become a label.
                names.update((name, None) for name in page.tags or () if is_tag(name))
                following = headers.next_page(answer.headers.get("link", ""), current=answer.url)
                if following is None and page.next:
                    following = _join(answer.url, page.next)
                if following is None:
                    # An ETag speaks for its own page alone.
                    whole = first is answer
                    return TagList(tuple(names), first.headers.get("etag") if whole else None, not_modified=False)
                seen.add(url)
                if not headers.same_origin(following, answer.url):
                    raise _bad(f"the next page of tags is said to be at another host ({following.host[:100]!r})")
                if following in seen or len(names) == before:
                    raise _bad("the pages of tags go round in a circle")
                if len(seen) >= self._limits.pages or len(names) > self._limits.tags:
                    raise _bad(f"there are more tags than {self._limits.pages} pages or {self._limits.tags} names")
                url = following

    async def created(self, repository: Repository, tag: str) -> float | None:
        """When a tag was published, epoch seconds; None where its registry does not know.

        Args:
            repository: as `lookup_repository` gave it.
            tag: one of its tags.

        Raises:
            RegistryError: there was no answer, or no usable one.
        """
        async with self._question(repository) as registry:
            if registry.entry.api is Api.DOCKERHUB:
                return await self._created_at_hub(registry, repository, tag)
            manifest = await self._manifest(registry, repository, tag)
            if manifest.config is None and manifest.manifests:
                images = [one for one in manifest.manifests if one.platform.os not in ("", "unknown")]
                chosen = (images or manifest.manifests)[0]
                manifest = await self._manifest(registry, repository, chosen.digest)
            if manifest.config is None:
                return None
            answer = await self._get(
                registry,
                _url(registry.entry, repository, "blobs", _digest(manifest.config.digest)),
                repository,
                accept="*/*",
                blob=True,
            )
            algorithm, _, expected = manifest.config.digest.partition(":")
            if hashlib.new(algorithm, answer.content).hexdigest() != expected:
                raise _bad("the configuration of an image is not what its digest says")
            return self._timestamp(body.decode(answer.content, _Configuration).created)

    async def _created_at_hub(self, registry: _Registry, repository: Repository, tag: str) -> float | None:
        base = httpx.URL(registry.entry.hub_endpoint.rstrip("/"))
        url = base.join(f"{base.path.rstrip('/')}/v2/repositories/{repository.path}/tags/{tag}")
        answer = await self._get(registry, url, repository, accept="application/json")
        said = body.decode(answer.content, _HubTag)
        times = [self._timestamp(text) for text in (said.tag_last_pushed, said.last_updated)]
        return min((at for at in times if at is not None), default=None)

    async def _manifest(self, registry: _Registry, repository: Repository, reference: str) -> _Manifest:
        named = reference if is_tag(reference) else _digest(reference)
        url = _url(registry.entry, repository, "manifests", named)
        return body.decode((await self._get(registry, url, repository, accept=_MANIFESTS)).content, _Manifest)

    def _timestamp(self, text: str | None) -> float | None:
        """Epoch seconds of an RFC 3339 time that can be the time of a publication."""
        try:
            at = datetime.fromisoformat(text or "").timestamp()
        except (ValueError, OverflowError):
            return None
        return at if _EARLIEST <= at <= self._clock() + _DAY_SECONDS else None

    @asynccontextmanager
    async def _question(self, repository: Repository) -> AsyncIterator[_Registry]:
        """One question to a registry: in its turn, within its time, its failure counted."""
        entry = self._policies.of(repository)
        registry = self._registries.setdefault(entry.name, _Registry(entry, self._limits))
        async with registry.turns:
            try:
                async with asyncio.timeout(self._limits.lookup):
                    yield registry
            except TimeoutError as error:
                failure = RegistryError(
                    f"no whole answer within {self._limits.lookup:.0f} s", reason=Reason.UNREACHABLE
                )
                self._count(entry, failure)
                raise failure from error
            except RegistryError as error:
                self._count(entry, error)
                raise

    def _count(self, entry: RegistryEntry, error: RegistryError) -> None:
        self._telemetry.registry_failures.labels(_host(entry), error.reason.value).inc()

    async def _get(
        self,
        registry: _Registry,
        url: httpx.URL,
        repository: Repository,
        *,
        accept: str,
        extra: dict[str, str] | None = None,
        blob: bool = False,
    ) -> httpx.Response:
        """One answer with status 200 or 304, over at most three redirects.

        Raises:
            RegistryError: anything else.
        """
        entry = registry.entry
        closed = registry.closed_until.get(url.host, 0.0) - asyncio.get_running_loop().time()
        if closed > 0:
            raise RegistryError(
                f"{url.host} asked to be left alone for another {closed:.0f} s",
                reason=Reason.RATE_LIMITED,
                retry_after=closed,
            )
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send(registry, url, repository, {"Accept": accept, **(extra or {})})
            if answer.status_code not in _REDIRECTS:
                self._judge(registry, answer)
                return answer
            target = _join(url, answer.headers.get("location", ""))
            if target is None:
                raise _bad("it redirects to no address")
            if target.scheme != "https" and not (target.scheme == url.scheme == "http"):
                raise _bad(f"it redirects from {url.scheme} to {target.scheme[:10]!r}")
            if not (blob or headers.same_origin(target, entry.base) or entry.may_redirect_to(target.host)):
                raise _bad(f"it redirects to {target.host[:100]!r}, which its entry does not name in redirect_hosts")
            url = target
        raise _bad(f"it redirects more than {_MOST_REDIRECTS} times")

    async def _send(
        self, registry: _Registry, url: httpx.URL, repository: Repository, extra: dict[str, str]
    ) -> httpx.Response:
        extensions: dict[str, Any] = {
            "entry": registry.entry,
            "registry": _host(registry.entry),
            "scope": f"repository:{repository.path}:pull",
        }
        try:
            request = self._http.build_request("GET", url, headers=extra, extensions=extensions)
            async with asyncio.timeout(self._limits.request):
                return await self._http.send(request, auth=registry.auth, follow_redirects=False)
        except RegistryError as error:
            self._close(registry, url.host, error)
            raise
        except TimeoutError as error:
            raise RegistryError(f"no answer within {self._limits.request:.0f} s", reason=Reason.UNREACHABLE) from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise _mapped(error) from error

    def _judge(self, registry: _Registry, answer: httpx.Response) -> None:
        """Take in what an answer says of limits, and raise where it is a refusal."""
        if (left := headers.remaining(answer.headers)) is not None:
            self._telemetry.ratelimit_remaining.labels(_host(registry.entry)).set(left)
        status = answer.status_code
        if status in (200, 304):
            return
        reason = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 404: Reason.NOT_FOUND, 429: Reason.RATE_LIMITED}
        error = RegistryError(
            f"{answer.url.host} answered with status {status}",
            reason=reason.get(status, Reason.UNREACHABLE if status >= 500 else Reason.BAD_ANSWER),
            retry_after=headers.retry_after(answer.headers, now=self._clock()),
        )
        self._close(registry, answer.url.host, error)
        raise error

    def _close(self, registry: _Registry, host: str, error: RegistryError) -> None:
        """Leave a registry alone that asked for it: all of its repositories, not only the one that heard of it."""
        wait = error.retry_after
        if wait is None and error.reason is Reason.RATE_LIMITED:
            wait = error.retry_after = self._limits.pause
        if wait is not None and error.reason in (Reason.RATE_LIMITED, Reason.UNREACHABLE):
            until = asyncio.get_running_loop().time() + wait
            registry.closed_until[host] = max(registry.closed_until.get(host, 0.0), until)


def _host(entry: RegistryEntry) -> str:
    return entry.name.partition("/")[0]


def _path(entry: RegistryEntry) -> str:
    return entry.base.path.rstrip("/")


def _url(entry: RegistryEntry, repository: Repository, what: str, reference: str) -> httpx.URL:
    return entry.base.join(f"{_path(entry)}/v2/{repository.path}/{what}/{reference}")


def _join(url: httpx.URL, target: str) -> httpx.URL | None:
    try:
        return url.join(target) if target else None
    except httpx.InvalidURL:
        return None


def _digest(text: str) -> str:
    """A digest that may stand in a path."""
    if not is_digest(text):
        raise _bad("a manifest names something by no digest")
    return text


def _bad(message: str) -> RegistryError:
    return RegistryError(message, reason=Reason.BAD_ANSWER)


def _mapped(error: Exception) -> RegistryError:
    """A failure of the transport in our words; its own may hold the addresses of presigned redirects."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddressError):
            return RegistryError(str(cause), reason=Reason.PRIVATE_ADDRESS)
        cause = cause.__cause__
    if isinstance(error, (httpx.ProtocolError, httpx.DecodingError, httpx.InvalidURL)):
        return _bad(f"its answer breaks HTTP: {error}")
    if isinstance(error, httpx.TimeoutException):
        return RegistryError(f"no answer in time ({type(error).__name__})", reason=Reason.UNREACHABLE)
    return RegistryError(str(error) or type(error).__name__, reason=Reason.UNREACHABLE)

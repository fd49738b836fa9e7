"""Requests to one registry for one repository, for all kinds of registries: redirects, refusals and rate limits.

A rate limit closes the registry for all of its repositories, not only for the one that hit it. Docker Hub's API has a
separate limit, so hosts are closed one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import headers, urls
from exporter.registry.auth import RegistryAuth
from exporter.registry.budget import Budget
from exporter.registry.entries import RegistryEntry
from exporter.registry.errors import RegistryError, bad_answer
from exporter.registry.transport import Limits, expects_https
from exporter.telemetry import Telemetry

_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REASONS = {
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    429: Reason.RATE_LIMITED,
}


# A registry may redirect to any number of rate limited hosts.
_MOST_CLOSED = 100


class ClosedHosts:
    """Hosts closed by a rate limit, and when they open again, on the event loop's clock."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def left(self, host: str) -> float:
        """Return the seconds until a host may be contacted again; 0 or less if it may."""
        return self._until.get(host, 0.0) - asyncio.get_running_loop().time()

    def close(self, host: str, seconds: float) -> None:
        """Close a host, and open those whose rate limit has ended."""
        now = asyncio.get_running_loop().time()
        until = max(self._until.get(host, 0.0), now + seconds)
        closed = {name: end for name, end in self._until.items() if end > now and name != host}
        if len(closed) >= _MOST_CLOSED:
            del closed[min(closed, key=closed.__getitem__)]
        self._until = {**closed, host: until}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Session in which a registry kind sends its requests.

    Attributes:
        repository: repository that is looked up.
        entry: entry of its registry.
        limits: limits of its registry.
        now: returns epoch seconds.
        http: client that sends requests.
        auth: authentication of the entry.
        closed: hosts closed by a rate limit, shared by all sessions of the entry.
        budget: byte budget of all responses together.
        telemetry: publishes the registry's announced rate limit.
    """

    repository: Repository
    entry: RegistryEntry
    limits: Limits
    now: Callable[[], float]
    http: httpx.AsyncClient = field(repr=False)
    auth: RegistryAuth = field(repr=False)
    closed: ClosedHosts = field(repr=False)
    budget: Budget = field(repr=False)
    telemetry: Telemetry = field(repr=False)

    async def get(
        self, url: httpx.URL, *, accept: str, extra: dict[str, str] | None = None, any_host: bool = False
    ) -> httpx.Response:
        """Send a GET, following at most three redirects, and return a 200, or a 304 to a conditional request.

        Args:
            url: URL to request.
            accept: media types.
            extra: additional headers.
            any_host: follow redirects to any public host, as for blobs; otherwise only to the entry's `redirect_hosts`.

        Raises:
            RegistryError: there was no such response.
        """
        host = urls.host(url)
        if (left := self.closed.left(host)) > 0:
            raise RegistryError(
                f"{host} is rate limited; retrying in {left:.0f} s", reason=Reason.RATE_LIMITED, retry_after=left
            )
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send(url, {"Accept": accept, **(extra or {})})
            if answer.status_code not in _REDIRECTS:
                self._check(answer)
                return answer
            url = self._target(url, answer, any_host=any_host)
        raise bad_answer(f"more than {_MOST_REDIRECTS} redirects")

    def _target(self, url: httpx.URL, answer: httpx.Response, *, any_host: bool) -> httpx.URL:
        target = urls.join(url, answer.extensions["location"])
        if target is None:
            raise bad_answer("a redirect has no valid URL")
        if target.scheme != "https" and not (target.scheme == url.scheme == "http"):
            raise bad_answer(f"a redirect leads from {url.scheme} to {target.scheme[:10]!r}")
        host = urls.host(target)
        if not (any_host or urls.same_origin(target, self.entry.base) or self.entry.may_redirect_to(host)):
            raise bad_answer(f"a redirect leads to {host[:100]!r}; add it to redirect_hosts to follow it")
        return target

    async def _send(self, url: httpx.URL, extra: dict[str, str]) -> httpx.Response:
        extensions: dict[str, Any] = {
            "entry": self.entry,
            "scope": f"repository:{self.repository.path}:pull",
            "take": self.budget.take,
        }
        try:
            request = self.http.build_request("GET", url, headers=extra, extensions=extensions)
            async with asyncio.timeout(self.limits.request) as self.budget.deadline:
                return await self.http.send(request, auth=self.auth, follow_redirects=False)
        except RegistryError as error:
            self._close(urls.host(url), error)
            raise
        except TimeoutError as error:
            message = f"no response within {self.limits.request:.0f} s"
            raise RegistryError(message, reason=Reason.UNREACHABLE, limit=Limit.REQUEST_SECONDS) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # the transport raises `RegistryError` for everything else
            raise bad_answer(f"invalid HTTP response: {error}") from error

    def _check(self, answer: httpx.Response) -> None:
        """Publish the announced rate limit. Raise if the registry refused the request."""
        if (left := headers.remaining(answer.headers)) is not None:
            self.telemetry.ratelimit_remaining.labels(self.entry.host).set(left)
        status = answer.status_code
        if status == 200 or (status == 304 and "if-none-match" in answer.request.headers):
            return
        error = RegistryError(
            f"{urls.host(answer.url)} returned status {status}"
            # HTTPS servers (Go, nginx, Apache) answer plain HTTP with a 400.
            + (expects_https(self.entry) if status == 400 and answer.url.scheme == "http" else ""),
            reason=_REASONS.get(status, Reason.UNREACHABLE if status >= 500 else Reason.BAD_ANSWER),
            retry_after=headers.retry_after(answer.headers, now=self.now()),
        )
        self._close(urls.host(answer.url), error)
        raise error

    def _close(self, host: str, error: RegistryError) -> None:
        """Close a host until its rate limit ends, if the error is due to one."""
        wait = error.retry_after
        if wait is None and error.reason is Reason.RATE_LIMITED:
            wait = error.retry_after = self.limits.pause
        if wait is not None and error.reason in (Reason.RATE_LIMITED, Reason.UNREACHABLE):
            self.closed.close(host, wait)

"""Requests to the API server with the configuration, credentials and transport of `kubernetes.aio`, without its models.

Requests use the client's own aiohttp session, because the client's `request` limits a complete answer to 300 s and
reads all of it, which does not work for a watch. The client's configuration still says which proxy, certificates and
tokens to use, and a service account's token is read from its file again every minute.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from exporter.cluster import credentials
from exporter.cluster.credentials import ClusterConfigurationError
from exporter.cluster.decode import MalformedError, decode_failure
from exporter.cluster.nesting import Message
from exporter.limits import Limit

REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 10.0
MOST_RETRY_AFTER = 30.0
CLOSING_SECONDS = 0.05
# Answers that are in memory at a time, over all kinds and namespaces.
ANSWERS = 2
# Seconds between two readings of credentials that did not help: a plugin may be slow, and a certificate is replaced
# within minutes.
REREAD_SECONDS = (1.0, 60.0)
LONGEST_MESSAGE = 500
# Lines of a watch that are handled before other tasks run.
LINES_TOGETHER = 200


class UnreachableError(Exception):
    """The API server did not answer, or stopped in the middle of an answer."""


class UntrustedError(UnreachableError):
    """TLS failed: we do not trust the server's certificate, or it does not accept ours."""


class TooLargeError(MalformedError):
    """An answer exceeds `Limit.ANSWER`."""


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: the HTTP status, or the code of a watch's ERROR event.
        retry_after: the seconds to wait before the next request, if the server said so.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.retry_after = retry_after


@dataclass(slots=True, eq=False)
class _Session:
    """A client with the credentials read at one time, and how many requests it carries."""

    client: Any
    requests: int = 0
    retired: bool = False


class Connection:
    """Requests to one API server; made by `open_connection`."""

    def __init__(self, *, kubeconfig: Path | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._session: _Session | None = None
        self._reading = asyncio.Lock()
        self._answers = asyncio.Semaphore(ANSWERS)
        # When credentials may be read again after the server refused them, on the loop's clock, and the pause then.
        self._readable, self._pause = 0.0, 0.0
        # Counts how often credentials were read, so that many reflectors refused at once read them once.
        self.credentials_generation = 0

    async def read_credentials(self, *, refused: int | None = None) -> None:
        """Read configuration and credentials (again).

        Args:
            refused: what `credentials_generation` was when the server refused them. Nothing is done if they are newer
                by now, or were read a moment ago: the pause grows until the server accepts them.

        Raises:
            ClusterConfigurationError: they cannot be read.
        """
        async with self._reading:
            if refused is not None:
                now = asyncio.get_running_loop().time()
                if refused != self.credentials_generation or now < self._readable:
                    return
                first, most = REREAD_SECONDS
                self._pause = min(max(first, self._pause * 2), most)
                self._readable = now + self._pause
            configuration = await credentials.read(kubeconfig=self._kubeconfig, context=self._context)
            configuration.connection_pool_maxsize = 0  # every watch keeps one open
            try:
                client = ApiClient(configuration)
            except (OSError, ValueError) as error:
                raise ClusterConfigurationError(f"cannot read the cluster's configuration: {error}") from error
            before, self._session = self._session, _Session(client)
            self.credentials_generation += 1
            if before is not None:
                await _retire(before)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.client.close()
            # The session only begins to close its transports; a loop that ends right now would leave them open.
            await asyncio.sleep(CLOSING_SECONDS)

    @asynccontextmanager
    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        accept: str = "application/json",
        most: int = Limit.ANSWER.most,
    ) -> AsyncIterator[Message]:
        """A complete answer, which the caller drops with the context: few of them are in memory at a time.

        Raises:
            ApiError: the server refused.
            UnreachableError: there was no complete answer.
            TooLargeError: the answer has more than `most` bytes.
        """
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with AsyncExitStack() as held:
            async with self._request(path, params=params, accept=accept, timeout=timeout) as answer:
                # Not before the server answers: one that hangs must not hold up the requests to another one.
                await held.enter_async_context(self._answers)
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        raise TooLargeError(f"the answer has more than {most:,} bytes")
            yield body

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media: str = "application/json",
        params: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
        most: int = Limit.ANSWER.most,
    ) -> bytes:
        """One request of any method, and its complete answer.

        Args:
            method: as HTTP has it.
            path: of the resource.
            body: what is sent; None sends nothing.
            media: the media type of the body. It says what kind of patch it is.
            params: of the request.
            seconds: until there has to be a complete answer.
            most: the bytes of the answer.

        Raises:
            ApiError: the server refused. After 401 the credentials are read again, for the next request.
            UnreachableError: there was no complete answer. The server may have done what was asked.
            TooLargeError: the answer has more than `most` bytes.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        credentials = self.credentials_generation
        try:
            async with self._request(
                path,
                params=params,
                accept="application/json",
                timeout=timeout,
                method=method,
                data=body,
                media=media if body is not None else None,
            ) as answer:
                received = bytearray()
                async for chunk in answer.content.iter_any():
                    received += chunk
                    if len(received) > most:
                        raise TooLargeError(f"the answer has more than {most:,} bytes")
        except ApiError as error:
            if error.status == 401:
                await self.read_credentials(refused=credentials)
            raise
        return bytes(received)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        accept: str,
        silence: float,
        most: int = Limit.ANSWER.most,
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """The lines of a watch, as many at a time as arrived together, up to `LINES_TOGETHER`.

        Args:
            path: of the list to watch.
            params: of the request.
            accept: the media type.
            silence: the seconds without a byte after which the connection counts as broken.
            most: the bytes of a line.

        Raises:
            ApiError: the server refused.
            UnreachableError: the connection broke.
            TooLargeError: a line has more than `most` bytes.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._request(path, params=params, accept=accept, timeout=timeout) as answer:
            yield _lines(answer.content.iter_any(), most)

    @asynccontextmanager
    async def _request(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None,
        accept: str,
        timeout: aiohttp.ClientTimeout,
        method: str = "GET",
        data: bytes | None = None,
        media: str | None = None,
    ) -> AsyncIterator[Any]:
        if self._session is None:
            await self.read_credentials(refused=0)
        session = self._session
        if session is None:
            raise UnreachableError("the connection is closed")
        client = session.client
        rest = client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - as its own request does
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "mojaloop-image-patch-exporter"}
        if media is not None:
            headers["Content-Type"] = media
        options: dict[str, Any] = {"proxy": rest.proxy, "proxy_headers": rest.proxy_headers}
        if client.configuration.tls_server_name:
            options["server_hostname"] = client.configuration.tls_server_name
        session.requests += 1
        try:
            await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
            # An API server redirects nobody. A proxy that does leads to a page for people.
            async with rest.pool_manager.request(
                method,
                client.configuration.host + path,
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                **options,
            ) as answer:
                if answer.status not in (200, 201):
                    raise await _refusal(answer)
                self._readable, self._pause = 0.0, 0.0
                yield answer
        except config.ConfigException as error:
            raise UnreachableError(f"cannot read the service account's token: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = UntrustedError if _is_of_tls(error) else UnreachableError
            raise kind(_described(error)[:LONGEST_MESSAGE]) from error
        finally:
            session.requests -= 1
            if session.retired:
                await _retire(session)


@asynccontextmanager
async def open_connection(*, kubeconfig: Path | None = None, context: str | None = None) -> AsyncIterator[Connection]:
    """A connection: with a kubeconfig or its context if one is named, with the service account inside a pod, otherwise
    with kubectl's default.

    Raises:
        ClusterConfigurationError: neither can be read.
    """
    connection = Connection(kubeconfig=kubeconfig, context=context)
    await connection.read_credentials()
    try:
        yield connection
    finally:
        await connection.close()


async def _retire(session: _Session) -> None:
    """Close a session once nothing uses it. If it is closed earlier, some of its requests never end."""
    session.retired = True
    if session.requests == 0:
        await session.client.close()


async def _lines(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[list[bytes]]:
    unfinished = bytearray()
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        unfinished += first
        if len(unfinished) > most:
            raise TooLargeError(f"an event has more than {most:,} bytes")
        if not others:
            continue
        complete = [line for line in (bytes(unfinished), *others[:-1]) if line]
        unfinished = bytearray(others[-1])
        for begin in range(0, len(complete), LINES_TOGETHER):
            yield complete[begin : begin + LINES_TOGETHER]
            # Where much has arrived, reading does not wait, and other tasks would not run.
            await asyncio.sleep(0)


async def _refusal(answer: Any) -> ApiError:
    """What the server says about a request that it refuses. The answer of a proxy may be anything."""
    try:
        message = decode_failure(await answer.content.read(65536)).message
    except (aiohttp.ClientError, TimeoutError, OSError):
        message = ""
    asked = answer.headers.get("Retry-After", "")
    seconds = min(float(asked), MOST_RETRY_AFTER) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None
    return ApiError(answer.status, message[:LONGEST_MESSAGE] or "no reason given", retry_after=seconds)


def _described(error: Exception) -> str:
    """What went wrong, and whether it is the proxy's fault, which aiohttp's own texts do not say."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot connect to the proxy {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy {error.request_info.real_url.host} answered with status {error.status}: {error.message}"
    return str(error) or type(error).__name__


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether TLS is the cause: the server's certificate, or an alert about ours after the handshake."""
    while error is not None:
        if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
            return True
        error = error.__cause__ or error.__context__
    return False

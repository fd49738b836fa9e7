"""Requests to the API server with the configuration, credentials and transport of `kubernetes.aio`, without its models.

The client's `request` limits a response to 300 s and buffers it, which does not work for a watch. Requests therefore
use the client's aiohttp session directly. Proxy, certificates and tokens still come from the client's configuration,
and it reads a service account's token again every minute.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
# Responses in memory at a time, across all kinds and namespaces.
ANSWERS = 2
# Backoff of reloading credentials that do not help: a plugin may be slow, and a certificate is replaced within minutes.
REREAD_SECONDS = (1.0, 60.0)
LONGEST_MESSAGE = 500
# Lines of a watch handled before yielding to other tasks.
LINES_TOGETHER = 200


class UnreachableError(Exception):
    """The API server did not respond, or the connection broke before the end of the response."""


class UntrustedError(UnreachableError):
    """TLS failed: we do not trust the server's certificate, or it rejects ours."""


class TooLargeError(MalformedError):
    """A response exceeds `Limit.ANSWER`."""


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: the HTTP status, or the code of a watch's ERROR event.
        retry_after: seconds to wait before the next request, if the server sent `Retry-After`.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.retry_after = retry_after


@dataclass(slots=True, eq=False)
class _Session:
    """A client with one generation of credentials, and its number of active requests."""

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
        # Earliest time of the next reload after the server rejected credentials (loop clock), and the current backoff.
        self._readable, self._pause = 0.0, 0.0
        # Incremented by every reload, so that many reflectors that fail together reload once.
        self.credentials_generation = 0

    async def read_credentials(self, *, refused: int | None = None) -> None:
        """Load, or reload, the configuration and credentials.

        Args:
            refused: `credentials_generation` of the rejected credentials. Does nothing if newer ones are loaded
                already, or during the backoff, which grows until the server accepts them.

        Raises:
            ClusterConfigurationError: they cannot be loaded.
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
            configuration.connection_pool_maxsize = 0  # unlimited: every watch holds a connection
            try:
                client = ApiClient(configuration)
            except (OSError, ValueError) as error:
                raise ClusterConfigurationError(f"cannot load the cluster configuration: {error}") from error
            before, self._session = self._session, _Session(client)
            self.credentials_generation += 1
            if before is not None:
                await _retire(before)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.client.close()
            # aiohttp only starts closing its transports; without this delay, a loop that ends now leaves them open.
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
        """Send a GET and return the complete response. Few responses are in memory at a time: leave the context soon.

        Raises:
            ApiError: the server refused the request.
            UnreachableError: there was no complete response.
            TooLargeError: the response has more than `most` bytes.
        """
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with AsyncExitStack() as held:
            async with self._request(path, params=params, accept=accept, timeout=timeout) as answer:
                # Only once the server responds: a server that hangs must not block requests to another one.
                await held.enter_async_context(self._answers)
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        raise TooLargeError(f"the response has more than {most:,} bytes")
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
        """Send a request of any method and return the complete response.

        Args:
            method: HTTP method.
            path: path of the resource.
            body: request body, or None.
            media: media type of the body. It selects the type of a patch.
            params: query parameters.
            seconds: timeout of the complete response.
            most: limit on the bytes of the response.

        Raises:
            ApiError: the server refused the request. After a 401, credentials are reloaded for the next request.
            UnreachableError: there was no complete response. The server may have processed the request.
            TooLargeError: the response has more than `most` bytes.
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
                        raise TooLargeError(f"the response has more than {most:,} bytes")
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
        """Yield the lines of a watch in batches as they arrive, up to `LINES_TOGETHER` each.

        Args:
            path: path of the list to watch.
            params: query parameters.
            accept: media type.
            silence: seconds without a byte after which the connection is considered broken.
            most: limit on the bytes of a line.

        Raises:
            ApiError: the server refused the request.
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
            # API servers do not redirect. A proxy that does leads to a login page.
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
                with _aborting(answer):
                    yield answer
        except config.ConfigException as error:
            raise UnreachableError(f"cannot read the service account token: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = UntrustedError if _is_of_tls(error) else UnreachableError
            raise kind(_described(error)[:LONGEST_MESSAGE]) from error
        finally:
            session.requests -= 1
            if session.retired:
                await _retire(session)


@asynccontextmanager
async def open_connection(*, kubeconfig: Path | None = None, context: str | None = None) -> AsyncIterator[Connection]:
    """Open a connection with the given kubeconfig or context, with the service account inside a pod, or with kubectl's
    default.

    Raises:
        ClusterConfigurationError: the configuration cannot be loaded.
    """
    connection = Connection(kubeconfig=kubeconfig, context=context)
    await connection.read_credentials()
    try:
        yield connection
    finally:
        await connection.close()


async def _retire(session: _Session) -> None:
    """Close a session after its last request. Closing it earlier leaves some requests hanging forever."""
    session.retired = True
    if session.requests == 0:
        await session.client.close()


@contextmanager
def _aborting(answer: aiohttp.ClientResponse) -> Iterator[None]:
    """Abort the connection of a response that is not read to its end.

    Closing a TLS connection waits for the server, up to 30 s, and the event loop may end earlier.
    """
    try:
        yield
    except BaseException:
        if answer.connection is not None and answer.connection.transport is not None:
            answer.connection.transport.abort()
        raise


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
            # Reading does not block while data is buffered, so other tasks would starve.
            await asyncio.sleep(0)


async def _refusal(answer: Any) -> ApiError:
    """Return the server's refusal as an error. A proxy may send anything."""
    try:
        message = decode_failure(await answer.content.read(65536)).message
    except (aiohttp.ClientError, TimeoutError, OSError):
        message = ""
    asked = answer.headers.get("Retry-After", "")
    seconds = min(float(asked), MOST_RETRY_AFTER) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None
    return ApiError(answer.status, message[:LONGEST_MESSAGE] or "no reason given", retry_after=seconds)


def _described(error: Exception) -> str:
    """Describe an error, and name the proxy if it is the cause: aiohttp's messages do not."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot connect to the proxy {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy {error.request_info.real_url.host} returned status {error.status}: {error.message}"
    return str(error) or type(error).__name__


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether TLS is the cause: the server's certificate, or an alert about ours after the handshake."""
    while error is not None:
        if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
            return True
        error = error.__cause__ or error.__context__
    return False

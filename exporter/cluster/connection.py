"""The way to the API server: configuration, credentials and transport of `kubernetes.aio`, without its models.

Requests go through the client's own aiohttp session, as the client's `request` puts a limit of 300 s on a whole answer
and reads it into one piece, which is of no use for a watch. Its configuration still says which proxy, certificates and
tokens to use, and a service account's token is read from its file again each minute.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter import lean  # noqa: F401 - before kubernetes

import aiohttp  # isort: skip
import msgspec  # isort: skip
from kubernetes.aio import config  # isort: skip
from kubernetes.aio.client import ApiClient, Configuration  # isort: skip

from exporter.cluster.decode import decode_failure

REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 10.0
MOST_RETRY_AFTER = 30.0
CLOSING_SECONDS = 0.05


class ClusterConfigurationError(Exception):
    """There is no usable way to a cluster: no kubeconfig, no such context, no service account."""


class UnreachableError(Exception):
    """The API server did not answer, or stopped in the middle of an answer."""


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: the HTTP status, or the code of a watch's ERROR event.
        retry_after: the seconds that the server wants to be left alone, if it said so.
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
        # Counts how often credentials were read, so that many reflectors refused at once read them once.
        self.credentials_generation = 0

    async def read_credentials(self, *, refused: int | None = None) -> None:
        """Read configuration and credentials (again).

        Args:
            refused: what `credentials_generation` was when the server refused them; nothing is done if they are newer
                by now.
        """
        async with self._reading:
            if refused is not None and refused != self.credentials_generation:
                return
            configuration = Configuration()
            configuration.connection_pool_maxsize = 0  # every watch keeps one open
            try:
                if self._kubeconfig is None and self._context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                    config.load_incluster_config(client_configuration=configuration)
                else:
                    _look_for(self._kubeconfig)
                    await config.load_kube_config(
                        config_file=str(self._kubeconfig) if self._kubeconfig is not None else None,
                        context=self._context,
                        client_configuration=configuration,
                        persist_config=False,
                    )
                client = ApiClient(configuration)
            except (config.ConfigException, OSError, ValueError) as error:
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

    async def get(
        self, path: str, *, params: Mapping[str, str] | None = None, accept: str = "application/json"
    ) -> bytes:
        """A whole answer.

        Raises:
            ApiError: the server refused.
            UnreachableError: there was no whole answer.
        """
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._request(path, params=params, accept=accept, timeout=timeout) as answer:
            body: bytes = await answer.read()
            return body

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], accept: str, silence: float
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """The lines of a watch, as many at a time as arrived together.

        Args:
            path: of the list to watch.
            params: of the request.
            accept: the media type.
            silence: the seconds without a byte after which the connection counts as broken.

        Raises:
            ApiError: the server refused.
            UnreachableError: the connection broke.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._request(path, params=params, accept=accept, timeout=timeout) as answer:
            yield _lines(answer.content.iter_any())

    @asynccontextmanager
    async def _request(
        self, path: str, *, params: Mapping[str, str] | None, accept: str, timeout: aiohttp.ClientTimeout
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
        options: dict[str, Any] = {"proxy": rest.proxy, "proxy_headers": rest.proxy_headers}
        if client.configuration.tls_server_name:
            options["server_hostname"] = client.configuration.tls_server_name
        session.requests += 1
        try:
            await client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
            async with rest.pool_manager.get(
                client.configuration.host + path, params=params, headers=headers, timeout=timeout, **options
            ) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.content.read(65536), answer.headers.get("Retry-After"))
                yield answer
        except config.ConfigException as error:
            raise UnreachableError(f"cannot read the service account's token: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error
        finally:
            session.requests -= 1
            if session.retired:
                await _retire(session)


@asynccontextmanager
async def open_connection(*, kubeconfig: Path | None = None, context: str | None = None) -> AsyncIterator[Connection]:
    """A connection: by a kubeconfig or its context if one is named, by the service account inside a pod, by kubectl's
    default else.

    Raises:
        ClusterConfigurationError: neither can be read.
    """
    connection = Connection(kubeconfig=kubeconfig, context=context)
    await connection.read_credentials()
    try:
        yield connection
    finally:
        await connection.close()


def _look_for(kubeconfig: Path | None) -> None:
    """Say what is missing where no kubeconfig is there; the client only misses a key in nothing."""
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise ClusterConfigurationError(f"there is no kubeconfig {kubeconfig}")
        return
    named = os.environ.get("KUBECONFIG", "")
    files = [Path(part) for part in named.split(os.pathsep) if part] or [Path("~/.kube/config").expanduser()]
    if not any(file.is_file() for file in files):
        raise ClusterConfigurationError(
            f"there is no kubeconfig ({', '.join(map(str, files))}) and this is no pod; name one with --kubeconfig"
        )


async def _retire(session: _Session) -> None:
    """Close a session once nothing uses it: closed under its requests, it lets some of them wait for ever."""
    session.retired = True
    if session.requests == 0:
        await session.client.close()


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    unfinished: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        unfinished.append(first)
        if not others:
            continue
        whole = [b"".join(unfinished), *others[:-1]]
        unfinished = [others[-1]]
        yield [line for line in whole if line]


def _refusal(status: int, body: bytes, retry_after: str | None) -> ApiError:
    try:
        message = decode_failure(body).message
    except msgspec.DecodeError:
        message = ""
    seconds = min(float(retry_after), MOST_RETRY_AFTER) if retry_after is not None and retry_after.isdecimal() else None
    return ApiError(status, message or "no reason given", retry_after=seconds)

"""Registry authentication: Basic, or distribution's token authentication.

In the latter, a 401 names a token service (`realm`). The token that it issues is sent with the next request, and reused
for the same scope until it expires. A hostile challenge may name any service, so only the registry's own host and the
entry's `token_hosts` ever receive token requests, with or without credentials.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from exporter.images import DOCKER_HUB
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import body, headers, urls
from exporter.registry.entries import RegistryEntry
from exporter.registry.errors import RegistryError, bad_answer

# Distribution's token specification: without `expires_in` a token is valid for 60 s.
_DEFAULT_TOKEN_SECONDS = 60.0
# Some services issue longer ones, but nothing depends on keeping a token for longer.
_LONGEST_TOKEN_SECONDS = 3600.0
# A token is dropped before it expires, because its last request takes time.
_MARGIN_SECONDS = 10.0
_LARGEST_FILE = 1 << 20
# Docker stores Docker Hub's credentials under the URL of its first API.
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password, or a Docker identity token. Its repr hides them."""

    username: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


class _DockerAuth(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _DockerConfig(msgspec.Struct):
    auths: dict[str, _DockerAuth] = {}


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


def read_credentials(entry: RegistryEntry) -> Credentials | None:
    """Read the credentials of an entry from their files; None is anonymous.

    Raises:
        RegistryError: `unauthorized`, a file cannot be read or is invalid. The message never quotes its content.
    """
    if entry.username_file is not None and entry.password_file is not None:
        return Credentials(_text(entry.username_file).strip(), _text(entry.password_file).rstrip("\r\n"))
    if entry.docker_config_file is None:
        return None
    try:
        config = msgspec.json.decode(_text(entry.docker_config_file), type=_DockerConfig)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # The error may quote the file's content.
        raise _unauthorized(f"{entry.docker_config_file} is not a Docker config.json") from error
    host = entry.host
    for key in (entry.name, host, *(f"https://{host}{end}" for end in ("", "/", "/v1/", "/v2/"))) + (
        _HUB_KEYS if host == DOCKER_HUB else ()
    ):
        if (found := config.auths.get(key)) is not None:
            return _credentials(found, entry.docker_config_file)
    return None


def _credentials(found: _DockerAuth, file: Path) -> Credentials:
    username, password = found.username, found.password
    if found.auth:
        try:
            username, _, password = base64.b64decode(found.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _unauthorized(f"{file}: an auth is not the base64 encoding of user:password") from error
    return Credentials(username, password, found.identitytoken)


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_LARGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "invalid UTF-8"
        raise _unauthorized(f"cannot read the credentials from {file}: {why}") from error


def _unauthorized(message: str) -> RegistryError:
    return RegistryError(message, reason=Reason.UNAUTHORIZED)


class RegistryAuth(httpx.Auth):
    """Authentication of one entry, with a cache of tokens.

    The extension `scope` of a request is the scope that it needs. Requests to other hosts than the entry's own
    (redirects, Docker Hub's API) are sent without credentials.
    """

    def __init__(self, entry: RegistryEntry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._entry = entry
        self._clock = clock
        # Header value and expiry by scope, the most recent last.
        self._known: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        """Return the number of cached tokens."""
        return len(self._known)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send a request. After a challenge, send it again with credentials or a token.

        Raises:
            RegistryError: `unauthorized`, the token service is not allowed or refused; or the token service failed.
        """
        if not urls.same_origin(request.url, self._entry.base):
            yield request
            return
        scope: str = request.extensions.get("scope", "")
        value, until = self._known.get(scope, ("", 0.0))
        sent = bool(value) and self._clock() < until
        if sent:
            request.headers["Authorization"] = value
        answer = yield request
        if answer.status_code != 401:
            return
        self._known.pop(scope, None)
        challenge = answer.headers.get("www-authenticate", "")
        if challenge.strip().lower().startswith("basic"):
            value, seconds = self._basic(), _DEFAULT_TOKEN_SECONDS
            if sent and value == request.headers["Authorization"]:
                return
        elif (parameters := headers.challenge(challenge)) is not None:
            token_answer = yield self._token_request(parameters, scope, request)
            value, seconds = self._bearer(token_answer)
        else:
            return
        self._keep(scope, value, seconds)
        request.headers["Authorization"] = value
        yield request

    def _keep(self, scope: str, value: str, seconds: float) -> None:
        now = self._clock()
        self._known = {key: known for key, known in self._known.items() if known[1] > now and key != scope}
        while len(self._known) >= Limit.TOKENS.most:
            del self._known[next(iter(self._known))]
        self._known[scope] = (value, now + seconds)

    def _basic(self) -> str:
        credentials = read_credentials(self._entry)
        if credentials is None:
            raise _unauthorized("the registry requires a user name and a password; add them to its entry")
        return _basic_header(credentials)

    def _token_request(self, challenge: dict[str, str], scope: str, request: httpx.Request) -> httpx.Request:
        realm = urls.parse(challenge["realm"])
        if realm is None:
            raise _unauthorized("the challenge has no valid token service URL")
        if not self._entry.may_send_token_requests_to(realm):
            raise _unauthorized(
                f"the registry refers to the token service {urls.host(realm)!r}; add it to token_hosts to allow it"
            )
        credentials = read_credentials(self._entry)
        service = {"service": challenge["service"]} if "service" in challenge else {}
        extensions = {name: request.extensions[name] for name in ("timeout", "entry", "take")}
        accept = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": request.headers["User-Agent"]}
        if credentials is not None and credentials.identity_token:
            # Distribution's "Docker Registry v2 authentication using OAuth2": an identity token is a refresh token.
            form = {
                **service,
                "scope": scope,
                "grant_type": "refresh_token",
                "client_id": "mojaloop-image-patch-exporter",
                "refresh_token": credentials.identity_token,
            }
            return httpx.Request("POST", realm, data=form, headers=accept, extensions=extensions)
        if credentials is not None:
            accept["Authorization"] = _basic_header(credentials)
        # The scope that we need, not that of the challenge: a registry must not choose what our token permits.
        asked = realm.copy_merge_params({**service, "scope": scope})
        return httpx.Request("GET", asked, headers=accept, extensions=extensions)

    def _bearer(self, answer: httpx.Response) -> tuple[str, float]:
        if answer.status_code != 200:
            reason = Reason.RATE_LIMITED if answer.status_code == 429 else Reason.UNAUTHORIZED
            if answer.status_code >= 500:
                reason = Reason.UNREACHABLE
            wait = headers.retry_after(answer.headers, now=time.time())
            raise RegistryError(
                f"the token service returned status {answer.status_code}", reason=reason, retry_after=wait
            )
        try:
            token = body.decode(answer.content, _Token)
        except RegistryError as error:
            raise bad_answer("the response of the token service is not a token") from error
        value = token.token or token.access_token
        if not value.isascii() or not value.isprintable() or not value or " " in value:
            raise bad_answer("the token service issued an invalid token")
        if len(value) > Limit.TOKEN_BYTES.most:
            raise bad_answer(
                f"the token service issued a token of more than {Limit.TOKEN_BYTES.most} bytes", limit=Limit.TOKEN_BYTES
            )
        seconds = token.expires_in if token.expires_in is not None and token.expires_in > 0 else _DEFAULT_TOKEN_SECONDS
        return f"Bearer {value}", max(0.0, min(seconds, _LONGEST_TOKEN_SECONDS) - _MARGIN_SECONDS)


def _basic_header(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()

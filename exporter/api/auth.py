"""Authentication with a bearer token (RFC 6750) from a file, which is read again whenever it changes.

If the file cannot be read or has no token, all requests are denied: removing the token means revoking access.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from exporter.api.problems import UNAUTHORIZED, ProblemError

_log = logging.getLogger(__name__)
# RFC 6750, section 2.1.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_LONGEST = 4096
_CHALLENGE = b'Bearer realm="mojaloop-image-patch-exporter"'


class TokenError(Exception):
    """A file without a valid token. The message says what is wrong with it."""


def read_token(file: Path) -> bytes:
    """Return the token in a file, without surrounding white space.

    Raises:
        TokenError: the file cannot be read, or its content is not a token.
    """
    try:
        with file.open("rb") as opened:
            token = opened.read(_LONGEST + 1).strip()
    except OSError as error:
        raise TokenError(f"{file}: cannot be read: {error.strerror}") from error
    if len(token) > _LONGEST or not _TOKEN.fullmatch(token):
        raise TokenError(
            f"{file}: expected one token of letters, digits and -._~+/ (and = at its end), at most {_LONGEST} bytes"
        )
    return token


class Guard:
    """Admits requests that have the token.

    Args:
        file: file with the token; None admits every request.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._token: bytes | None = None
        self._seen: object = ()

    @property
    def closed(self) -> bool:
        """Whether a token is required."""
        return self._file is not None

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Check a request's headers (names in lower case).

        Raises:
            ProblemError: the token is missing or wrong.
        """
        if self._file is None:
            return
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, sent = given[0].strip().partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() != b"bearer":
            raise _refused("send the header Authorization: Bearer TOKEN once", _CHALLENGE)
        token = self._current(self._file)
        # Constant time, so the duration reveals nothing about the token.
        if token is None or not hmac.compare_digest(sent.strip(), token):
            raise _refused("wrong token", _CHALLENGE + b', error="invalid_token"')

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers has the token, or no token is required."""
        try:
            self.check(headers)
        except ProblemError:
            return False
        return True

    def _current(self, file: Path) -> bytes | None:
        try:
            found = file.stat()
            seen: object = (found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError as error:
            seen = error.errno
        if seen != self._seen:
            self._seen = seen
            try:
                self._token = read_token(file)
            except TokenError as error:
                self._token = None
                _log.error("the API denies all requests: api.token_file: %s", error)
        return self._token


def _refused(detail: str, challenge: bytes) -> ProblemError:
    return ProblemError(UNAUTHORIZED, detail, headers=((b"www-authenticate", challenge),))

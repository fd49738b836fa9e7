"""The API's token, sent by a browser.

A browser cannot send `Authorization: Bearer`, but it prompts for a name and a password (RFC 7617). The password is the
token. A proxy that sends the bearer token itself needs none of this.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, with their values."""
CHALLENGE = 'Basic realm="mojaloop-image-patch-exporter", charset="UTF-8"'


def with_bearer(headers: Headers) -> Headers:
    """Return a request's headers, with the password of Basic authentication as a bearer token (RFC 6750)."""
    return [(name, _bearer(value) if name == b"authorization" else value) for name, value in headers]


def _bearer(value: bytes) -> bytes:
    scheme, _, credentials = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return value
    try:
        _, _, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except binascii.Error:
        return value
    return b"Bearer " + password
